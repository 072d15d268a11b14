import type { Tier } from '../../core/history.ts';
import type { Duration, EpochMs } from '../../core/units.ts';
import { epochMs, hours, milliseconds, minutes } from '../../core/units.ts';
import type { Outage } from '../../telemetry/sample-log.ts';
import type { Mover } from '../mover.ts';
import { isFull } from '../open.ts';
import { type ClockState, believed, horizon, look, newClock } from './believed-clock.ts';
import type { Book, DroppedFile } from './book.ts';
import { EARLIEST, fileAt } from './files.ts';
import type { Floors } from './filing.ts';
import type { Entry } from './head.ts';
import type { Retention } from './protocol.ts';
import type { Chronicle } from './query.ts';
import type { RollupTier } from './rollup-file.ts';
import { dayOf } from './shelf.ts';
import { causeOf, to } from './trouble.ts';

/** The clock is written down so often, and at once where it jumps: each time costs a commit. */
const CLOCK_EVERY = minutes(10);
const JUMP = minutes(1);
/** The commit of the last row that is in files. */
const UNTIL = 'log:until';
/** Rows of a log count from 1. */
const NO_ROW = 0;
const HOUR = hours(1);
/** Of files that are given up while the book takes nothing; floors only rise, so the newest say where tiers begin. */
const MOST_OWED = 1_000;

export interface LedgerOptions {
  /** `history.db`. */
  readonly file: string;
  /** `gateway.data`. */
  readonly folder: string;
  readonly retention: Retention;
  readonly open: () => Book;
  /** The end of what is kept, where the book does not know what time it was. */
  readonly newest: () => EpochMs | undefined;
}

export interface Signs {
  readonly until: EpochMs | undefined;
  readonly alive: EpochMs | undefined;
}

/** What the historian keeps in the book: marks, floors, the believed clock, and what the log says beside samples. */
export class Ledger {
  readonly #options: LedgerOptions;
  #book: Book;
  #entries: Entry[] = [];
  /** A log that is followed now, and the book does not know. */
  #begun: { readonly log: number; readonly time: EpochMs } | undefined;
  #clock: ClockState;
  #clockKept: Duration;
  #looked: Duration;
  readonly #lost = new Set<string>();
  /** What the book says of the time before is forgotten. */
  #forgotten = EARLIEST;

  /** Where tiers begin for what was given up: it holds also while the book cannot be told. */
  readonly #given: Record<Tier, EpochMs> = { raw: EARLIEST, minute: EARLIEST, hour: EARLIEST };
  /** What the book could not take for want of room, the oldest first; it is written with what comes next. */
  readonly #owed: ((book: Book) => void)[] = [];

  constructor(options: LedgerOptions, wall: EpochMs, elapsed: Duration) {
    this.#options = options;
    this.#book = to(options.file, options.open);
    const stored = this.#storedClock();
    this.#clock =
      stored === undefined ? newClock(wall, options.newest()) : look(stored, wall, milliseconds(0));
    this.#clockKept = milliseconds(elapsed - CLOCK_EVERY);
    this.#looked = elapsed;
    this.#keepClock(elapsed);
    this.keepFloor();
  }

  get book(): Book {
    return this.#book;
  }

  /** The book as a question sees it: with a floor that it could not be told yet. */
  get chronicle(): Chronicle {
    const given = this.#given.raw;
    const { floor } = this.#book;
    // A question may take long, and the book be another one meanwhile.
    return {
      floor: given === EARLIEST ? floor : latest(floor, given),
      runs: (...span) => this.#book.runs(...span),
      outages: (...span) => this.#book.outages(...span),
      drops: (...span) => this.#book.drops(...span),
      period: (...of) => this.#book.period(...of),
    };
  }

  /** Entries that are not in the book yet. */
  get entries(): readonly Entry[] {
    return this.#entries;
  }

  get believed(): EpochMs {
    return believed(this.#clock);
  }

  get horizon(): EpochMs {
    return horizon(this.#clock);
  }

  /** How long the gateway has run since its clock was set by more than a day. */
  get ran(): Duration {
    return this.#clock.run;
  }

  /** After it was found damaged, and set aside. */
  reopen(): void {
    const { file, open } = this.#options;
    this.#book.close();
    this.#book = to(file, open);
    this.#keepClock(this.#looked);
    const { raw } = this.#given;
    if (raw > EARLIEST) this.#owe((book) => book.raiseFloor(raw));
    this.keepFloor();
  }

  /** Where somebody reads the book for so long that its log grows it goes on in a copy. */
  leaveReaders(mover: Mover): void {
    const { file, open } = this.#options;
    if (!this.#book.heldUp || !mover.move(this.#book.stored, 'read')) return;
    this.#book = to(file, open);
  }

  /** Rows of the log up to this one are in files, for all that the book knows. */
  filed(log: number): number | undefined {
    return this.#read((book) => book.value(`filed:${log}`));
  }

  /**
   * The first row of a log is read, committed at `time`. Where another one was followed before, that one is gone, with
   * whatever of it was not filed: returns from when on.
   */
  beginLog(log: number, time: EpochMs, before: EpochMs | undefined): Outage | undefined {
    const [known, until] = ['log', UNTIL].map((key) => this.#read((book) => book.value(key)));
    if (known === log) return undefined;
    this.#begun = { log, time };
    if (known === undefined) return undefined;
    const from = epochMs(Math.min(time, Math.max(until ?? 0, before ?? 0)));
    const outage = { from, to: time, samples: 0, reason: 'store damaged' };
    this.#entries.push({ at: { log, row: NO_ROW }, outage });
    return outage;
  }

  /** Rows up to this one are in files; `until`: its commit. `alive`: the last sign of life. */
  keepFiled(log: number, row: number, { until, alive }: Signs): void {
    this.flush();
    this.#write((book) => {
      book.setValues([[`filed:${log}`, row], ...(until === undefined ? [] : [[UNTIL, until] as const])]);
      if (alive !== undefined) book.alive(alive, { log, row });
    });
  }

  floors(): Floors {
    const { folder, retention } = this.#options;
    const age = (kept: Duration): EpochMs => epochMs(Math.max(EARLIEST, this.believed - kept));
    return {
      raw: latest(
        this.#read(({ floorOfDropped }) => floorOfDropped),
        latest(this.#given.raw, dayOf(age(retention.raw))),
      ),
      minute: latest(this.#floor('minute'), dayOf(age(retention.minute))),
      hour: latest(this.#floor('hour'), fileAt(folder, 'hour', age(retention.hour)).from),
    };
  }

  /**
   * Holds from now on, also where the book cannot be written: a raw file may be gone already, and an hour that is made of
   * what is left of it would lack what the file had. Whoever raises it has it on the disk in another place.
   */
  raiseRawFloor(floor: EpochMs): void {
    if (floor <= this.#given.raw) return;
    this.#given.raw = floor;
    this.#owe((book) => book.raiseFloor(floor));
  }

  /** A file of the tier was dropped that ends then: nothing is to make it again, but what comes after this hour is kept. */
  raiseFloor(tier: RollupTier, end: EpochMs): void {
    const floor = epochMs(Math.min(end, Math.ceil(this.horizon / HOUR) * HOUR));
    const before = this.#floor(tier);
    if (before !== undefined && before >= floor) return;
    this.#given[tier] = floor;
    this.#owe((book) => book.setValue(`floor:${tier}`, floor));
  }

  addDropped(dropped: DroppedFile): void {
    this.#owe((book) => book.addDropped(dropped));
  }

  /** Files that are to be made again from what finer tiers have; it is known of these only after `recall`. */
  get lost(): ReadonlySet<string> {
    return this.#lost;
  }

  setLost(file: string, lost: boolean): void {
    if (lost) this.#lost.add(file);
    else this.#lost.delete(file);
    this.#owe((book) => book.setValue(`lost:${file}`, lost ? 1 : 0));
  }

  /** Which of these files were lost before the start? */
  recall(files: Iterable<string>): void {
    for (const file of files)
      if (this.#read((book) => book.value(`lost:${file}`)) === 1) this.#lost.add(file);
  }

  /** The end of an orderly run. */
  alive(time: EpochMs): void {
    this.#write((book) => book.alive(time));
  }

  take(entry: Entry): void {
    this.#entries.push(entry);
  }

  /** Writes down what the log said. Throws FileTrouble, and keeps what was not written. */
  flush(): void {
    this.pay();
    for (let entry = this.#entries[0]; entry !== undefined; entry = this.#entries[0]) {
      const { at } = entry;
      this.#write((book) => {
        if ('outage' in entry) return book.addOutage(at, entry.outage);
        if (entry.before !== undefined) book.alive(entry.before, { ...at, row: at.row - 1 });
        return book.beginRun(at, entry.start.time, entry.names);
      });
      this.#entries.shift();
    }
    if (this.#begun === undefined) return;
    const { log, time } = this.#begun;
    this.#write((book) =>
      book.setValues([
        ['log', log],
        [UNTIL, time],
      ]),
    );
    this.#begun = undefined;
  }

  /** Before samples are judged by their time: a clock that was set since the last look is not waited for. */
  notice(wall: EpochMs, elapsed: Duration): void {
    const passed = milliseconds(elapsed - this.#looked);
    if (this.#hasJumped(wall, passed)) this.look(wall, elapsed);
  }

  /** Looks at the clocks. */
  look(wall: EpochMs, elapsed: Duration): void {
    const passed = milliseconds(elapsed - this.#looked);
    const jumped = this.#hasJumped(wall, passed);
    this.#clock = look(this.#clock, wall, passed);
    this.#looked = elapsed;
    this.keepFloor();
    this.#forgetOld();
    if (!jumped && elapsed - this.#clockKept < CLOCK_EVERY) return;
    this.#keepClock(elapsed);
  }

  /** Nothing is kept that far back: what the book says of it is of no use. It moves once a month. */
  #forgetOld(): void {
    const { hour } = this.floors();
    if (hour <= this.#forgotten) return;
    this.#writeIfRoom((book) => {
      book.forget(hour);
      this.#forgotten = hour;
    });
  }

  #hasJumped(wall: EpochMs, passed: Duration): boolean {
    return Math.abs(wall - this.#clock.wall - passed) > JUMP;
  }

  /** What is older than raw keeps does not go there: readers are to know it before the first file is given up. */
  keepFloor(): void {
    const { raw } = this.floors();
    this.#writeIfRoom((book) => book.keepRawFrom(raw));
  }

  /** The log of the book takes no more room, where that is possible. */
  copyBack(): void {
    this.#book.copyBack();
  }

  close(): void {
    this.#book.close();
  }

  #keepClock(elapsed: Duration): void {
    const { line, wall, run } = this.#clock;
    this.#writeIfRoom((book) => {
      book.setValues([
        ['clock:line', Math.round(line)],
        ['clock:wall', wall],
        ['clock:run', Math.round(run)],
      ]);
      this.#clockKept = elapsed;
    });
  }

  /** Where the disk is full, room is made by what follows; the next look writes it down. */
  #writeIfRoom(write: (book: Book) => void): void {
    try {
      this.#write(write);
    } catch (error) {
      if (!isFull(causeOf(error))) throw error;
    }
  }

  /** Written now, or where there is no room for it with what comes next. */
  #owe(write: (book: Book) => void): void {
    this.#owed.push(write);
    if (this.#owed.length > MOST_OWED) this.#owed.shift();
    this.pay();
  }

  /** Writes what is owed, as far as there is room for it. */
  pay(): void {
    this.#writeIfRoom((book) => {
      for (let write = this.#owed[0]; write !== undefined; write = this.#owed[0]) {
        write(book);
        this.#owed.shift();
      }
    });
  }

  #storedClock(): ClockState | undefined {
    const [line, wall, run] = ['line', 'wall', 'run'].map((key) =>
      this.#read((book) => book.value(`clock:${key}`)),
    );
    if (line === undefined || wall === undefined || run === undefined) return undefined;
    return { line: epochMs(line), wall: epochMs(wall), run: milliseconds(run) };
  }

  #floor(tier: RollupTier): EpochMs | undefined {
    const value = this.#read((book) => book.value(`floor:${tier}`));
    const given = this.#given[tier];
    return value === undefined && given === EARLIEST
      ? undefined
      : epochMs(Math.max(value ?? EARLIEST, given));
  }

  #read<T>(read: (book: Book) => T): T {
    return to(this.#options.file, () => read(this.#book));
  }

  #write(write: (book: Book) => void): void {
    to(this.#options.file, () => write(this.#book));
  }
}

function latest(a: EpochMs | undefined, b: EpochMs): EpochMs {
  return a === undefined || a < b ? b : a;
}
