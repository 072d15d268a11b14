import { existsSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { errorText } from '../../core/errors.ts';
import type { Facts, Log } from '../../core/log.ts';
import { type Bytes, type EpochMs, bytes, epochMs, mebibytes } from '../../core/units.ts';
import { setAside } from '../damage.ts';
import { damaged, isFull, openForReading } from '../open.ts';
import type { SpareRoom } from '../spare.ts';
import { EARLIEST, type HistoryFile, fileAt, fileOf, pathsOf } from './files.ts';
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
  /** Does the disk take so much now? */
  readonly takes: (bytes: Bytes) => boolean;
  /** Puts into the rollups what of these hours is not yet. */
  readonly rollUp: (wanted: (hour: TouchedHour) => boolean) => Promise<void>;
}

/** The index that is shared with others takes some pages a file; below this an attempt would be for nothing. */
const ROOM_FOR_READERS = mebibytes(1);

/** What is tried before a file goes that the room on the disk gives no reason for; with the spare room, where that is more. */
const LEAST_TRIED = mebibytes(1);

/** A file that cannot go, and the file that found no room. */
interface Blocked {
  readonly drop: Drop;
  readonly trouble: FileTrouble;
}

/** Gives files up: those too old, those that are too much, those that are damaged. */
export class Keeper {
  readonly #options: KeeperOptions;
  /** Everything below `gateway.data`, at the last look. */
  used: Bytes = bytes(0);
  dropped = 0;
  #allowed: Bytes | undefined;
  /** The spare room was given up since it was last complete. */
  #lent = false;
  /** It took what was tried: until then that is believed. */
  #roomUntil = Number.NEGATIVE_INFINITY;
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
    const { believed, horizon, ran } = ledger;
    const usage = to(folder, () => usageOf(folder));
    const disk = to(folder, () => diskOf(folder));
    if (disk.free >= reserveOf(disk) + spareBytes && !spare.complete) spare.take();
    this.used = bytes(usage.outbox + usage.other + sum(usage.files) + sum(usage.aside));
    const situation = { usage, disk, retention, outbox, believed, horizon, ran };
    const plan = planRetention(situation);
    this.#allow(plan.allow);
    this.#next = plan.next;
    if (!full || plan.drops.length > 0) return plan.drops;
    if (this.#takesAgain()) return [];
    // The disk may be full for another reason than the room that it says it has, such as a quota of the system.
    return planRetention({ ...situation, disk: { ...disk, free: bytes(0) } }).drops.slice(0, 1);
  }

  /** The word of a full disk may be old: whoever filled it may have gone. Not tried with each word. */
  #takesAgain(): boolean {
    const { folder, clock, takes, thresholds } = this.#options;
    const now = clock.elapsed();
    if (now < this.#roomUntil) return true;
    if (!to(folder, () => takes(bytes(Math.max(LEAST_TRIED, thresholds.spareBytes))))) return false;
    this.#roomUntil = now + thresholds.look;
    return true;
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
    let blocked: Blocked | undefined;
    for (const drop of drops) {
      // What is younger has the same hours before it, for which there was no room.
      if (blocked !== undefined && drop.stored?.tier === 'raw' && !drop.future) continue;
      const trouble = await this.#dropWithHelp(drop);
      if (trouble === undefined) done.push(drop);
      else blocked ??= { drop, trouble };
    }
    if (done.length === 0 && blocked !== undefined) done.push(...(await this.#unblock(blocked)));
    this.#tell(done);
    this.dropped += done.length;
    return done.length;
  }

  /** Room of our own for what cannot be put off: that of logs, and the spare room. False where there was none. */
  lend(): boolean {
    const { log, spare } = this.#options;
    const lent = spare.release() > 0;
    this.#copyBack();
    if (lent && !this.#lent)
      log.warn('the disk is full: the history makes room with the help of its spare room');
    this.#lent ||= lent;
    return lent;
  }

  /** Files that only we can read, because the disk had no room when they were opened, are opened again for others. */
  openToOthers(): void {
    const { folder, shelf, spare } = this.#options;
    if (!shelf.isAlone) return;
    if (diskOf(folder).free < ROOM_FOR_READERS && spare.release() === 0) return;
    try {
      shelf.openToOthers();
    } finally {
      spare.refill();
    }
  }

  /**
   * Minutes, the oldest first, are what is given up next where no raw file can go, because its hours find no room. At
   * last those of these hours themselves: hours need little.
   */
  async #unblock({ drop, trouble }: Blocked): Promise<Drop[]> {
    const done: Drop[] = [];
    for (const minutes of this.#next.filter(({ stored }) => stored?.tier === 'minute')) {
      if ((await this.#dropWithHelp(minutes)) !== undefined) continue;
      done.push(minutes);
      if ((await this.#dropWithHelp(drop)) === undefined) return [...done, drop];
    }
    if (this.#giveUpMinutesOf(drop) && (await this.#dropWithHelp(drop)) === undefined) return [...done, drop];
    if (done.length === 0) throw trouble;
    return done;
  }

  /** The hours of this raw file go into the hours only. False where that is no help. */
  #giveUpMinutesOf({ stored, future }: Drop): boolean {
    const { folder, shelf, ledger, clock, log, onEvent } = this.#options;
    const at = stored === undefined ? undefined : fileOf(shelf.pathOf(stored.file));
    if (at?.tier !== 'raw' || future) return false;
    const end = this.#floorWithout(at);
    const from = epochMs(Math.max(at.from, ledger.floors().minute));
    if (from >= end || !this.#hasHoursOf(at.from)) return false;
    ledger.raiseFloor('minute', end);
    const file = shelf.nameOf(fileAt(folder, 'minute', at.from).path);
    const what = { tier: 'minute', file, from, to: end, time: clock.now(), bytes: bytes(0) } as const;
    ledger.addDropped({ ...what, reason: 'disk full' });
    const facts = { tier: 'minute', reason: 'disk full', from: isoOf(from), to: isoOf(end) };
    log.warn('the disk is full: hours are rolled up without their minutes', facts);
    onEvent('history-shed', 'minute', facts);
    return true;
  }

  /** Without a file of hours nothing helps. */
  #hasHoursOf(time: EpochMs): boolean {
    try {
      this.#options.shelf.rollup('hour', time);
      return true;
    } catch (error) {
      if (!(error instanceof FileTrouble) || !isFull(error.cause)) throw error;
      return false;
    }
  }

  #copyBack(): true {
    const { ledger, shelf } = this.#options;
    ledger.copyBack();
    shelf.copyBack();
    return true;
  }

  /** Undefined where the file is gone; else what was in the way: no room. */
  async #dropWithHelp(drop: Drop): Promise<FileTrouble | undefined> {
    const { spare } = this.#options;
    const helps = [() => true, () => this.#copyBack(), () => this.lend()];
    let full: FileTrouble | undefined;
    for (const help of helps) {
      if (!help()) break;
      try {
        await this.#drop(drop);
        // Before anybody else takes what this freed: the next file needs it again.
        if (!spare.complete && drop.reason === 'disk full') spare.refill();
        this.#lent &&= !spare.complete;
        return undefined;
      } catch (error) {
        if (!(error instanceof FileTrouble) || !isFull(error.cause)) throw error;
        full = error;
      }
    }
    return full;
  }

  async #drop(drop: Drop): Promise<void> {
    const { shelf, ledger, rollUp, reached } = this.#options;
    const path = shelf.pathOf(drop.file);
    const at = fileOf(path);
    const end = at?.tier === 'raw' ? this.#floorWithout(at) : undefined;
    if (at !== undefined && end !== undefined) {
      const day = dayOf(at.from);
      // Everything in it is of hours before `end`; what was written under a wrong clock has no order.
      await rollUp((touched) => (drop.future ? touched.day === day : touched.hour < end));
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
      const [from, until] = [isoOf(first.from), isoOf(last.to)];
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

function isoOf(time: EpochMs): string {
  return new Date(time).toISOString();
}

function sum(files: readonly { readonly bytes: number }[]): number {
  return files.reduce((total, file) => total + file.bytes, 0);
}
