import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import { SluiceError, errorText } from '../../core/errors.ts';
import type { HistoryState, Tier } from '../../core/history.ts';
import type { Facts, Log } from '../../core/log.ts';
import { type Bytes, type EpochMs, epochMs, hours, milliseconds, seconds } from '../../core/units.ts';
import { setAside } from '../damage.ts';
import { Mover } from '../mover.ts';
import { isDamage, isFull, isTrouble } from '../open.ts';
import { SpareRoom, takes } from '../spare.ts';
import { type Book, openBook } from './book.ts';
import { ClockWatch } from './clock-watch.ts';
import { filesIn } from './files.ts';
import type { Stage } from './filing.ts';
import { FullWatch } from './full-watch.ts';
import { rawFloorInFiles } from './given-up.ts';
import { Intake } from './intake.ts';
import { Keeper } from './keeper.ts';
import { Ledger } from './ledger.ts';
import { finishMoves } from './make-file.ts';
import type { WorkerOptions } from './protocol.ts';
import { Reader } from './reader.ts';
import { Roller } from './roller.ts';
import { RollupFile } from './rollup-file.ts';
import { Shelf } from './shelf.ts';
import { FileTrouble, causeOf } from './trouble.ts';

const HOUR = hours(1);
const FIRST_RETRY = milliseconds(500);
const LONGEST_RETRY = seconds(30);
/** The disk is full and nothing is left to be dropped: after so many attempts raw samples are given up. */
const ATTEMPTS_ON_FULL_DISK = 3;
/** Samples that come faster than they are filed do not put off for ever what the quota wants. */
const FILINGS_WITHOUT_LOOK = 4;

export interface HistorianOptions extends WorkerOptions {
  readonly clock: Clock;
  readonly log: Log;
  /** Rows of the sample log up to this one are in files. */
  readonly filed: (row: number) => void;
  readonly allow: (outbox: Bytes) => void;
  readonly onEvent: (kind: string, subject: string, facts: Facts) => void;
  /** For tests: may throw, where a crash would end it. */
  readonly reached?: (stage: Stage) => void;
  /** For tests: does the disk take so much? */
  readonly takes?: (bytes: Bytes) => boolean;
}

/** Follows the sample log, files it, rolls it up, gives up what is too old or too much. One thing at a time. */
export class Historian {
  readonly reader: Reader;
  readonly #options: HistorianOptions;
  readonly #stop = new AbortController();
  readonly #bookFile: string;
  readonly #ledger: Ledger;
  readonly #shelf: Shelf;
  readonly #intake: Intake;
  readonly #roller: Roller;
  readonly #keeper: Keeper;
  readonly #full: FullWatch;
  readonly #mover: Mover;
  readonly #clockWatch: ClockWatch;
  /** Files that somebody could not read. */
  readonly #suspects = new Set<string>();
  readonly #withDamagedRows = new Set<string>();
  #loaded = false;
  #shed = false;
  #lookAt = 0;
  #retryAt = 0;
  #retry: number = FIRST_RETRY;
  #failing: string | null = null;
  #fullAttempts = 0;
  /** Since the last look. A start looks before it files: one that is killed again and again keeps to the quota too. */
  #filings = FILINGS_WITHOUT_LOOK;

  /** Throws STORE_FAILED for files of a newer Sluice. */
  constructor(options: HistorianOptions) {
    const { folder, retention, thresholds, clock, log, onEvent, filed, allow, outbox } = options;
    const { signal } = this.#stop;
    const reached = (stage: Stage): void => options.reached?.(stage);
    this.#options = options;
    this.#bookFile = join(folder, 'history.db');
    finishMoves(folder, this.#bookFile);
    const newest = (): EpochMs | undefined => newestRolledUp(folder);
    const book = { file: this.#bookFile, folder, retention, newest, open: () => this.#openBook() };
    this.#ledger = new Ledger(book, clock.now(), clock.elapsed());
    const onChange = (path: string, isGone: boolean): void => this.reader.forget(path, isGone);
    this.#shelf = new Shelf({ folder, partBytes: thresholds.partBytes, onChange });
    const shared = {
      folder,
      thresholds,
      shelf: this.#shelf,
      ledger: this.#ledger,
      clock,
      log,
      signal,
      reached,
      onDamagedRow: (path: string) => this.#sayDamagedRow(path),
    };
    this.#intake = new Intake({ ...shared, filed });
    this.#roller = new Roller({ ...shared, between: async () => this.#between() });
    const rollUp: Roller['rollNow'] = async (wanted) => this.#roller.rollNow(wanted);
    const spare = new SpareRoom(join(folder, 'history.spare'), thresholds.spareBytes);
    this.#keeper = new Keeper({
      ...{ ...shared, spare, retention, outbox, allow, onEvent, rollUp },
      takes: options.takes ?? ((size) => takes(folder, size)),
    });
    this.#full = new FullWatch({ clock, log, onEvent });
    this.#mover = new Mover({ what: 'history', log, elapsed: () => clock.elapsed() });
    this.#clockWatch = new ClockWatch({ clock, log, onEvent, floors: () => this.#ledger.floors() });
    if (this.#ledger.book.aside !== undefined) this.#tellBook(this.#ledger.book.aside);
    this.reader = new Reader({
      ...{ folder, log },
      now: () => clock.now(),
      tail: this.#intake.tail,
      book: () => this.#ledger.chronicle,
      onUnreadable: (path) => this.#suspects.add(path),
    });
    try {
      this.#load();
    } catch (error) {
      const cause = causeOf(error);
      if (cause instanceof SluiceError) throw cause;
      this.#troubled(error);
    }
  }

  /** Steps until it is stopped. */
  async run(): Promise<void> {
    const { clock, thresholds } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted)
      if (await this.step()) await new Promise((resolve) => setImmediate(resolve));
      else await clock.sleep(thresholds.tick, signal).catch(() => {});
  }

  /** Does the next thing that is due, and returns whether there may be another one. */
  async step(): Promise<boolean> {
    if (this.#options.clock.elapsed() < this.#retryAt) return false;
    try {
      const more = await this.#next();
      if (!more) this.#recovered();
      return more;
    } catch (error) {
      if (this.#stop.signal.aborted) return false;
      return this.#troubled(error);
    }
  }

  /** Samples have to be filed now, and can be for all that is known. */
  get isBehind(): boolean {
    return this.#failing === null && this.#intake.due;
  }

  /** The disk is full: something is given up with the next step. */
  shed(): void {
    this.#shed = true;
    this.#full.met();
  }

  state(): HistoryState {
    const { retention, clock, folder } = this.#options;
    const oldest = (tier: Tier): EpochMs | undefined => filesIn(folder, tier)[0]?.from;
    const since = this.#intake.waitingSince;
    return {
      samplesFiled: this.#intake.samplesFiled,
      samplesWaiting: this.#intake.samplesWaiting,
      samplesLate: this.#intake.samplesLate,
      samplesRefused: this.#intake.samplesRefused,
      oldestRaw: oldest('raw'),
      oldestMinute: oldest('minute'),
      oldestHour: oldest('hour'),
      bytes: this.#keeper.used,
      quota: retention.disk,
      filesDropped: this.#keeper.dropped,
      questionsRefused: 0, // they never come here
      namesLeftOut: this.reader.namesLeftOut,
      behind: milliseconds(since === undefined ? 0 : Math.max(0, clock.now() - since)),
      failing: this.#failing,
    };
  }

  /** What is being done is given up; `run` and `step` return soon. */
  stop(): void {
    this.#stop.abort();
  }

  /** When nothing runs any more. What is in no file is in the log. */
  close(): void {
    try {
      this.#ledger.flush();
      this.#ledger.alive(this.#options.clock.now());
    } catch (error) {
      this.#options.log.warn('the end of this run is not written down', { error: errorText(error) });
    }
    this.reader.close();
    this.#intake.close();
    this.#shelf.close();
    this.#ledger.close();
  }

  async #next(): Promise<boolean> {
    this.#load();
    for (const path of this.#suspects) {
      this.#suspects.delete(path);
      this.#keeper.check(path);
    }
    // First of all: where the disk is full, even what the log says may find no room in the book.
    if (this.#shed) {
      await this.#look();
      return true;
    }
    const more = this.#intake.follow();
    if (this.#intake.due && !(this.#lookDue && this.#filings >= FILINGS_WITHOUT_LOOK)) {
      if (this.#fullAttempts > ATTEMPTS_ON_FULL_DISK) await this.#giveUpRaw();
      await this.#intake.file();
      this.#fullAttempts = 0;
      this.#filings++;
      return true;
    }
    if (this.#lookDue) {
      await this.#look();
      return true;
    }
    const hour = this.#roller.due;
    if (hour !== undefined) {
      await this.#roller.roll(hour);
      return true;
    }
    return (await this.#roller.rebuildOne()) || more;
  }

  /** Takes stock of the files, once. */
  #load(): void {
    if (this.#loaded) return;
    this.#shelf.load();
    this.#ledger.raiseRawFloor(rawFloorInFiles(this.#options.folder, this.#ledger.horizon));
    this.#roller.recall();
    this.#loaded = true;
  }

  get #lookDue(): boolean {
    return this.#shed || this.#options.clock.elapsed() >= this.#lookAt;
  }

  async #look(): Promise<void> {
    const { clock, thresholds } = this.#options;
    this.#lookAt = clock.elapsed() + thresholds.look;
    this.#filings = 0;
    const dropped = await this.#keeper.drop(this.#keeper.look(this.#shed));
    if (dropped > 0) this.#hasRoom();
    this.#shed = false;
    this.#clockWatch.look();
    this.#keeper.openToOthers();
    for (const part of [this.#shelf, this.#ledger]) part.leaveReaders(this.#mover);
    if (this.#failing === null) this.#full.look();
    this.#intake.tell();
    // Not more often: where another process reads one it cannot be sealed, and is tried again.
    this.#shelf.seal(epochMs(clock.now() - thresholds.grace));
  }

  /** A long hour lets the log be filed meanwhile; room that has to be made is not put off. */
  async #between(): Promise<boolean> {
    const { clock, thresholds } = this.#options;
    this.#intake.follow();
    while (this.#intake.due) await this.#intake.file();
    if (!this.#lookDue) return true;
    if (this.#shed || this.#keeper.look(false).length > 0) return false;
    this.#lookAt = clock.elapsed() + thresholds.look;
    return true;
  }

  #recovered(): void {
    if (this.#failing !== null) this.#options.log.info('the history goes on');
    this.#failing = null;
    this.#hasRoom();
  }

  /** What failed for want of room need not wait longer and longer. */
  #hasRoom(): void {
    this.#retry = FIRST_RETRY;
    this.#fullAttempts = 0;
  }

  /** Returns whether it can go on at once. Throws what is a bug: the thread ends and is started again. */
  #troubled(error: unknown): boolean {
    const cause = causeOf(error);
    const file = error instanceof FileTrouble ? error.file : undefined;
    if (file !== undefined && isDamage(cause) && !file.endsWith('telemetry.db')) {
      this.#setAside(file, error);
      return true;
    }
    if (!isTrouble(cause) && !(cause instanceof SluiceError)) throw error;
    if (isFull(cause)) {
      this.shed();
      this.#fullAttempts++;
    }
    this.#fail(error);
    return false;
  }

  #fail(error: unknown): void {
    const { clock, log } = this.#options;
    const sentence = errorText(error);
    if (this.#failing === null) log.error('the history is failing and tries again', { error: sentence });
    this.#failing = sentence;
    this.#retryAt = clock.elapsed() + this.#retry;
    this.#retry = Math.min(this.#retry * 2, LONGEST_RETRY);
  }

  /** Raw samples find no room, and nothing is left to make some: rollups go on, which need little. */
  async #giveUpRaw(): Promise<void> {
    const { log, onEvent } = this.#options;
    const end = Math.min(this.#intake.latest ?? 0, this.#ledger.horizon);
    const floor = epochMs((Math.floor(end / HOUR) + 1) * HOUR);
    this.#keeper.lend();
    await this.#roller.rollNow(({ hour }) => hour < floor);
    this.#shelf.keepRawFloor(floor);
    this.#ledger.raiseRawFloor(floor);
    const facts = { until: new Date(floor).toISOString(), remedy: 'free space on the disk of gateway.data' };
    log.error('the disk is full: raw samples are given up, rollups go on', facts);
    onEvent('history-shed', 'raw', { ...facts, reason: 'disk full' });
  }

  #openBook(): Book {
    const { folder, log } = this.#options;
    return openBook({ file: this.#bookFile, log, floor: () => newestRolledUp(folder) });
  }

  #setAside(file: string, error: unknown): void {
    if (file !== this.#bookFile) return this.#keeper.setAside(file, error);
    const { clock, log } = this.#options;
    this.#ledger.close();
    const aside = setAside(file, new Date(clock.now()));
    const found = errorText(causeOf(error));
    log.error('the book of the history is damaged; set aside, a new one is begun', { file, aside, found });
    this.#tellBook(aside);
    return this.#ledger.reopen();
  }

  /** Once for a file. */
  #sayDamagedRow(path: string): void {
    if (this.#withDamagedRows.has(path)) return;
    this.#withDamagedRows.add(path);
    const facts = { file: this.#shelf.nameOf(path), found: 'a row of rollups cannot be read' };
    this.#options.log.error('rollups are damaged; what finer tiers have of them is computed again', facts);
    this.#options.onEvent('history-file-damaged', facts.file, facts);
  }

  #tellBook(aside: string): void {
    const facts = { file: 'history.db', aside: this.#shelf.nameOf(aside) };
    this.#options.onEvent('history-file-damaged', 'history.db', facts);
  }
}

/** The end of the newest hour that is in the rollups. */
function newestRolledUp(folder: string): EpochMs | undefined {
  for (const { path } of filesIn(folder, 'minute').toReversed()) {
    const file = RollupFile.openForReading(path, 'minute');
    try {
      const row = file.newestRow();
      if (row !== undefined) return epochMs(row + HOUR);
    } finally {
      file.close();
    }
  }
  return undefined;
}
