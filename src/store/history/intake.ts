import { join } from 'node:path';
import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import { type EpochMs, epochMs, hours } from '../../core/units.ts';
import { type Stage, fileSegment } from './filing.ts';
import { Follower } from './follower.ts';
import { Head } from './head.ts';
import { HeadTail } from './head-tail.ts';
import type { Ledger, Signs } from './ledger.ts';
import { LogTail } from './log-tail.ts';
import { Pace } from './pace.ts';
import type { Shelf } from './shelf.ts';
import type { Thresholds } from './thresholds.ts';
import { to } from './trouble.ts';

const HOUR = hours(1);
/** Pages of the log that a question may wait for. */
const PAGES_AT_ONCE = 8;

export interface IntakeOptions {
  /** `gateway.data`. */
  readonly folder: string;
  readonly thresholds: Thresholds;
  readonly shelf: Shelf;
  readonly ledger: Ledger;
  readonly clock: Clock;
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly filed: (row: number) => void;
  readonly reached: (stage: Stage) => void;
  readonly onDamagedRow: (path: string) => void;
}

/** From the sample log into memory, and from memory into files. */
export class Intake {
  readonly tail: HeadTail;
  readonly #options: IntakeOptions;
  readonly #logFile: string;
  readonly #follower: Follower;
  readonly #head: Head;
  /** Up to this row the log was told to forget. */
  #told = 0;
  /** When this is over, with a grace, what it brought is filed. */
  #hourEnds: EpochMs;
  /** What is in the log and not in the head, at the last question. */
  #beyond: LogTail | undefined;
  samplesFiled = 0;
  samplesLate = 0;

  constructor(options: IntakeOptions) {
    const { folder, thresholds, ledger, log } = options;
    this.#options = options;
    this.#logFile = join(folder, 'telemetry.db');
    this.#follower = new Follower(this.#logFile);
    this.#head = new Head({
      follower: this.#follower,
      samples: thresholds.headSamples,
      bytes: thresholds.logBytes,
      log,
      earliest: () => ledger.floors().hour,
      onEntry: (entry) => ledger.take(entry),
      onFirstRow: (...row) => this.#beginLog(...row),
    });
    this.tail = new HeadTail({
      head: this.#head,
      entries: () => ledger.entries,
      refresh: () => this.#refresh(),
      beyond: () => this.#beyond,
      now: () => options.clock.now(),
    });
    this.#hourEnds = this.#nextHour();
  }

  get samplesWaiting(): number {
    return this.#head.samples;
  }

  get samplesRefused(): number {
    return this.#head.refused;
  }

  /** Commit of the oldest row that is in no file. */
  get waitingSince(): number | undefined {
    return this.#head.segments[0]?.begun;
  }

  /** Reads a page of the log that lies there. False where there is no more, or no more fits. Throws FileTrouble. */
  follow(): boolean {
    const { clock, ledger } = this.#options;
    ledger.notice(clock.now(), clock.elapsed());
    if (this.#head.log === 0 || (this.#head.replaced && this.#head.segments.length === 0)) this.#begin();
    const more = to(this.#logFile, () => this.#head.follow());
    ledger.flush();
    return more;
  }

  /** Is there something that has to be filed now? */
  get due(): boolean {
    const [oldest] = this.#head.segments;
    if (oldest === undefined) return false;
    return oldest.closed || this.#head.replaced || this.#hourIsOver();
  }

  /** The latest time of a sample of what is to be filed next. */
  get latest(): number | undefined {
    return this.#head.segments[0]?.latest;
  }

  /** Files the oldest segment; done again where it failed, whatever of it was done. */
  async file(): Promise<void> {
    const { folder, shelf, ledger, signal, reached, onDamagedRow } = this.#options;
    const segment = this.#head.freeze();
    if (segment === undefined) return;
    const pace = new Pace(1, signal);
    ledger.keepFloor();
    const options = { folder, shelf, pace, reached, onDamagedRow };
    const { raw, late } = await fileSegment(segment, ledger.floors(), options);
    reached('all filed');
    const ended = epochMs(segment.ended);
    this.#keepFiled(segment.upTo, { until: ended, alive: ended });
    this.#head.remove(segment);
    this.samplesFiled += raw + late;
    this.samplesLate += late;
    this.#hourEnds = this.#nextHour();
  }

  /** The log may forget what is in files: rows without samples too. A store whose thread was started again has not heard of it. */
  tell(): void {
    const idle = this.#head.segments.length === 0 && this.#head.row > this.#told;
    if (idle && this.#hourIsOver()) {
      this.#keepFiled(this.#head.row, { until: this.#head.alive, alive: this.#head.alive });
      this.#hourEnds = this.#nextHour();
    } else if (this.#told > 0) this.#options.filed(this.#told);
  }

  close(): void {
    this.#beyond?.close();
    this.#follower.close();
  }

  /** Takes up the log that lies there, where the files left off. */
  #begin(): void {
    const { ledger, shelf, filed } = this.#options;
    const log = to(this.#logFile, () => this.#head.present());
    const row = ledger.filed(log);
    this.#head.begin(log, row ?? 0, shelf.marks(log));
    this.#told = row ?? 0;
    if (this.#told > 0) filed(this.#told);
  }

  #beginLog(log: number, time: EpochMs, before: EpochMs | undefined): void {
    const lost = this.#options.ledger.beginLog(log, time, before);
    if (lost === undefined) return;
    this.#options.log.error('there is a new sample log: what was in the old one and in no file is lost', {
      from: new Date(lost.from).toISOString(),
      to: new Date(lost.to).toISOString(),
    });
  }

  #keepFiled(row: number, signs: Signs): void {
    this.#options.ledger.keepFiled(this.#head.log, row, signs);
    this.#options.reached('mark kept');
    this.#told = row;
    this.#options.filed(row);
  }

  #refresh(): void {
    try {
      let more = true;
      for (let page = 0; page < PAGES_AT_ONCE && more; page++) more = this.follow();
      this.#lookBeyond(more || this.#head.isFull);
    } catch {
      // The next step meets it too, and says so. The answer has what was read before.
    }
  }

  #lookBeyond(wanted: boolean): void {
    if (!wanted) {
      this.#beyond?.close();
      this.#beyond = undefined;
      return;
    }
    this.#beyond ??= new LogTail(this.#options.folder, this.#options.log);
    this.#beyond.refresh();
    if (this.#beyond.log !== this.#head.log) this.#lookBeyond(false); // what is in the head comes first
  }

  #hourIsOver(): boolean {
    const now = this.#options.clock.now();
    return now >= this.#hourEnds + this.#options.thresholds.grace || now < this.#hourEnds - 2 * HOUR; // it was set back
  }

  #nextHour(): EpochMs {
    return epochMs((Math.floor(this.#options.clock.now() / HOUR) + 1) * HOUR);
  }
}
