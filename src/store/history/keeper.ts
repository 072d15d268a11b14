import { existsSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { errorText } from '../../core/errors.ts';
import type { Facts, Log } from '../../core/log.ts';
import { type Bytes, type EpochMs, bytes } from '../../core/units.ts';
import { setAside } from '../damage.ts';
import { damaged, isFull, openForReading } from '../open.ts';
import type { SpareRoom } from '../spare.ts';
import { EARLIEST, type HistoryFile, fileOf, pathsOf } from './files.ts';
import type { Stage } from './filing.ts';
import { endOfDamaged } from './given-up.ts';
import type { Ledger } from './ledger.ts';
import { syncFolder } from './make-file.ts';
import type { Retention } from './protocol.ts';
import { type Drop, diskOf, planRetention, reserveOf, usageOf } from './retention.ts';
import { type Shelf, type TouchedHour, dayOf } from './shelf.ts';
import type { Thresholds } from './thresholds.ts';
import { FileTrouble, causeOf, to } from './trouble.ts';

export interface KeeperOptions {
  /** `gateway.data`. */
  readonly folder: string;
  readonly retention: Retention;
  readonly outbox: Bytes;
  readonly thresholds: Thresholds;
  /** Without it a full disk whose raw files have hours to be rolled up could not even be made less full. */
  readonly spare: SpareRoom;
  readonly shelf: Shelf;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly allow: (outbox: Bytes) => void;
  readonly onEvent: (kind: string, subject: string, facts: Facts) => void;
  readonly reached: (stage: Stage) => void;
  /** Puts into the rollups what of these hours is not yet. */
  readonly rollUp: (wanted: (hour: TouchedHour) => boolean) => Promise<void>;
}

/** Gives files up: those too old, those that are too much, those that are damaged. */
export class Keeper {
  readonly #options: KeeperOptions;
  /** Everything below `gateway.data`, at the last look. */
  used: Bytes = bytes(0);
  dropped = 0;
  #allowed: Bytes | undefined;
  /** What would go after what has to go, at the last look. */
  #next: readonly Drop[] = [];

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  /** Looks at age, quota and room: what has to go? `full`: something has to. Throws FileTrouble. */
  look(full: boolean): readonly Drop[] {
    const { folder, ledger, clock, retention, outbox, spare } = this.#options;
    const { spareBytes } = this.#options.thresholds;
    ledger.look(clock.now(), clock.elapsed());
    const { believed, horizon } = ledger;
    const usage = to(folder, () => usageOf(folder));
    const disk = to(folder, () => diskOf(folder));
    if (disk.free >= reserveOf(disk) + spareBytes && !spare.complete) spare.take();
    this.used = bytes(usage.outbox + usage.other + sum(usage.files) + sum(usage.aside));
    const situation = { usage, disk, retention, outbox, believed, horizon };
    const plan = planRetention(situation);
    this.#allow(plan.allow);
    this.#next = plan.next;
    if (!full || plan.drops.length > 0) return plan.drops;
    // The disk may be full for another reason than the room that it says it has, such as a quota of the system.
    return planRetention({ ...situation, disk: { ...disk, free: bytes(0) } }).drops.slice(0, 1);
  }

  /** Somebody could not read a file: is it damaged? Throws FileTrouble where it is. */
  check(path: string): void {
    if (!existsSync(path)) return;
    to(path, () => {
      const db = openForReading(path);
      try {
        const found = db.pragma('quick_check(1)', { simple: true });
        if (found !== 'ok') throw damaged(String(found));
      } finally {
        db.close();
      }
    });
  }

  /** A damaged file makes room for a new one, and is kept for a person to look at. */
  setAside(path: string, error: unknown): void {
    const { shelf, ledger, clock, log, onEvent } = this.#options;
    const at = fileOf(path);
    const file = shelf.nameOf(path);
    // Before it is gone; where the book has no room for it, the name of a raw file that was set aside says the same.
    if (at?.tier === 'raw' && at.from <= ledger.horizon) ledger.raiseRawFloor(endOfDamaged(at, clock.now()));
    else if (at !== undefined && at.tier !== 'raw') ledger.setLost(file, true);
    shelf.takeOut(path);
    const aside = shelf.nameOf(setAside(path, new Date(clock.now())));
    const facts = { file, aside, found: errorText(causeOf(error)) };
    log.error('a file of the history is damaged; set aside, recording goes on in a new one', facts);
    onEvent('history-file-damaged', file, facts);
    if (at === undefined) return;
    const { tier, from, to: until } = at;
    const what = {
      tier,
      file,
      from,
      to: until,
      time: clock.now(),
      reason: 'damaged',
      bytes: bytes(0),
    } as const;
    ledger.addDropped(what);
  }

  #allow(outbox: Bytes): void {
    if (outbox === this.#allowed) return;
    this.#allowed = outbox;
    this.#options.allow(outbox);
  }

  /** Returns how many of the files are gone. */
  async drop(drops: readonly Drop[]): Promise<number> {
    const done: Drop[] = [];
    let full: FileTrouble | undefined;
    for (const drop of drops)
      try {
        await this.#drop(drop);
        done.push(drop);
      } catch (error) {
        if (!(error instanceof FileTrouble) || !isFull(error.cause)) throw error;
        full = error; // it still has hours to be rolled up, for which there is no room: others go first
      }
    if (done.length === 0 && full !== undefined) done.push(await this.#dropOne(drops, full));
    this.#tell(done);
    this.dropped += done.length;
    return done.length;
  }

  /** Nothing of what should go can, for want of room: in the spare room one can, or else another, minutes at last. */
  async #dropOne(drops: readonly Drop[], full: FileTrouble): Promise<Drop> {
    const { log, spare } = this.#options;
    const hasRoom = spare.release() > 0;
    if (hasRoom) log.warn('the disk is full: the history makes room with the help of its spare room');
    for (const drop of hasRoom ? [...drops, ...this.#next] : this.#next)
      try {
        await this.#drop(drop);
        return drop;
      } catch (error) {
        if (!(error instanceof FileTrouble) || !isFull(error.cause)) throw error;
      }
    throw full;
  }

  async #drop(drop: Drop): Promise<void> {
    const { shelf, ledger, rollUp, reached } = this.#options;
    const path = shelf.pathOf(drop.file);
    const at = fileOf(path);
    const end = at?.tier === 'raw' ? this.#floorWithout(at) : undefined;
    if (at !== undefined && end !== undefined) {
      const day = dayOf(at.from);
      await rollUp((touched) => touched.day === day || (!drop.future && touched.hour < end));
      // The floor is on the disk with the marks, before the file goes: the book may have no room for it until then.
      if (day >= ledger.floors().hour) shelf.keepMarks(at, drop.future ? EARLIEST : end);
      reached('marks kept');
    }
    this.#writeDown(drop, at, end);
    this.#remove(path);
    reached('file removed');
    ledger.pay(); // in the room that this made
  }

  #writeDown(
    { file, stored, reason, future, bytes: size }: Drop,
    at: HistoryFile | undefined,
    end: EpochMs | undefined,
  ): void {
    const { ledger, clock } = this.#options;
    if (!future && end !== undefined) ledger.raiseRawFloor(end);
    if (!future && at !== undefined && at.tier !== 'raw') ledger.raiseFloor(at.tier, at.to);
    if (stored === undefined) return;
    const { tier, from } = stored;
    // Of a day that goes on, raw samples that are filed from then on are in another file.
    const until = (future ? undefined : end) ?? stored.to;
    ledger.addDropped({ tier, file, from, to: until, time: clock.now(), reason, bytes: size });
  }

  #remove(path: string): void {
    this.#options.shelf.takeOut(path);
    to(path, () => {
      for (const each of pathsOf({ path })) rmSync(each, { force: true });
      syncFolder(dirname(path));
    });
  }

  /** Where raw begins to be complete when this file is gone: after the day, or after the last hour of it. */
  #floorWithout(at: HistoryFile): EpochMs {
    const { shelf, clock } = this.#options;
    const others = shelf.parts(dayOf(at.from)).filter(({ path }) => path !== at.path);
    return others.length === 0 && at.to <= clock.now() ? at.to : shelf.endOf(at);
  }

  /** Once for a tier and reason: a quota may drop many parts of a day. What is old goes without a word. */
  #tell(drops: readonly Drop[]): void {
    const { log, onEvent } = this.#options;
    const told = drops.filter(({ stored, reason }) => stored !== undefined && reason !== 'retention');
    for (const group of Map.groupBy(told, ({ stored, reason }) => `${stored?.tier} ${reason}`).values()) {
      const [first] = group.map(({ stored }) => stored);
      const last = group.at(-1)?.stored;
      if (first === undefined || last === undefined) continue;
      const from = new Date(first.from).toISOString();
      const until = new Date(last.to).toISOString();
      const facts = {
        tier: first.tier,
        reason: group[0]?.reason,
        files: group.length,
        bytes: sum(group),
        from,
        to: until,
      };
      log.warn('history was given up for want of room', facts);
      onEvent('history-shed', first.tier, facts);
    }
  }
}

function sum(files: readonly { readonly bytes: number }[]): number {
  return files.reduce((total, file) => total + file.bytes, 0);
}
