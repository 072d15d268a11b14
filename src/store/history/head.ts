import { errorText } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import { type Duration, type EpochMs, days, epochMs, milliseconds } from '../../core/units.ts';
import { OUTAGE, SAMPLES, START, decodeRow, outageOf, startOf } from '../../telemetry/sample-log.ts';
import type { Outage } from '../../telemetry/sample-log.ts';
import { unpacked } from '../body.ts';
import { pagesOf } from '../journal.ts';
import type { LogRow as At } from './book.ts';
import type { Catalog } from './catalog.ts';
import { EARLIEST, LATEST } from './files.ts';
import type { Follower, LogRow, Page } from './follower.ts';
import { RowClock } from './row-clock.ts';
import { Segment } from './segment.ts';
import { type Start, nameKey } from './tail.ts';

/** A clock that is wrong by more than this is wrong; a device may be a day ahead, as in local time. */
const FUTURE = days(1);

/** What the log says beside samples. */
export type Entry = { readonly at: At } & (
  | {
      readonly start: Start;
      readonly names: readonly (readonly [name: PointName, period: Duration])[];
      /** The last sign of life before it. */
      readonly before: EpochMs | undefined;
    }
  | { readonly outage: Outage }
);

export interface HeadOptions {
  readonly follower: Follower;
  /** A segment is closed at so many samples, or when its rows take so much in the log. */
  readonly samples: number;
  readonly bytes: number;
  readonly log: Log;
  /** Samples of an earlier time are refused: nothing is kept that far back. */
  readonly earliest: () => EpochMs;
  readonly onEntry: (entry: Entry) => void;
  /** The first row that is read of a log. `before`: the last sign of life in the one that was followed before. */
  readonly onFirstRow: (log: number, time: EpochMs, before: EpochMs | undefined) => void;
}

/** The samples that no file has: follows the sample log into segments, the oldest of which is filed first. */
export class Head {
  readonly #options: HeadOptions;
  readonly #segments: Segment[] = [];
  /** Over everything that was read. */
  readonly clock = new RowClock();
  /** Rows at which something may have been filed: a segment ends there, so that it is in a file as a whole or not at all. */
  #boundaries: readonly number[] = [];
  #log = 0;
  #row = 0;
  #catalog: Catalog | undefined;
  #alive: EpochMs | undefined;
  #begun = false;
  refused = 0;
  /** The log lies there no more: when everything that was read of it is filed, `begin` the one that does. */
  replaced = false;

  constructor(options: HeadOptions) {
    this.#options = options;
  }

  get log(): number {
    return this.#log;
  }

  /** Up to this row everything was read. */
  get row(): number {
    return this.#row;
  }

  /** Commit of the last row that was read. */
  get alive(): EpochMs | undefined {
    return this.#alive;
  }

  get catalog(): Catalog | undefined {
    return this.#catalog;
  }

  /** Oldest first. */
  get segments(): readonly Segment[] {
    return this.#segments;
  }

  get samples(): number {
    return this.#segments.reduce((sum, { count }) => sum + count, 0);
  }

  /** Reads on in a log from `row`; segments end at `boundaries` above it. Nothing may be left of another log. */
  begin(log: number, row: number, boundaries: readonly number[]): void {
    this.#log = log;
    this.#row = row;
    this.#catalog = undefined;
    this.replaced = false;
    this.#begun = false;
    this.#boundaries = boundaries.filter((boundary) => boundary > row).sort((a, b) => a - b);
  }

  /** Reads a page. False where nothing is left to be read, or nothing more fits. Throws where the log cannot be read. */
  follow(): boolean {
    if (this.isFull) return false;
    const page = this.#options.follower.page(this.#log, this.#row);
    if (page.log !== this.#log) {
      this.replaced = true;
      return false;
    }
    this.#catalog = page.catalog;
    for (const row of page.rows) this.#take(row, page);
    return page.more;
  }

  /** The log that lies there now, which may not be the one that is being followed. */
  present(): number {
    return this.#options.follower.page(this.#log, this.#row).log;
  }

  /** The oldest segment, which takes no more rows from now on; undefined where there is none. */
  freeze(): Segment | undefined {
    const [oldest] = this.#segments;
    if (oldest !== undefined) oldest.closed = true;
    return oldest;
  }

  /** It is in files. */
  remove(segment: Segment): void {
    const at = this.#segments.indexOf(segment);
    if (at >= 0) this.#segments.splice(at, 1);
  }

  /** While filing cannot proceed the log keeps what does not fit here. */
  get isFull(): boolean {
    const { samples, bytes } = this.#options;
    const held = this.#segments.reduce((sum, segment) => sum + segment.bytes, 0);
    return this.samples >= 2 * samples || held >= 2 * bytes;
  }

  #take(row: LogRow, { catalog }: Page): void {
    if (!this.#begun) this.#options.onFirstRow(this.#log, epochMs(row.time), this.#alive);
    this.#begun = true;
    if (row.kind === SAMPLES) this.#takeSamples(row, catalog);
    else this.#takeEntry(row, catalog);
    this.#row = row.id;
    this.#alive = epochMs(row.time);
  }

  #takeSamples(row: LogRow, catalog: Catalog): void {
    if (row.samples === 0) return; // a sign of life
    const segment = this.#segmentFor(row, catalog);
    const from = segment.count;
    segment.begin({ time: row.time, ahead: this.clock.take(row.time) });
    try {
      decodeRow(unpacked(row.body, row.len), row.time, segment.builder);
      const latest = Math.min(row.time + FUTURE, LATEST);
      const refused = segment.admit(from, Math.max(EARLIEST, this.#options.earliest()), latest);
      if (refused > 0 && this.refused === 0) this.#sayRefused(row, refused);
      this.refused += refused;
    } catch (error) {
      segment.builder.truncate(from);
      this.#unreadable(row, error);
    }
    segment.bytes += pagesOf(row.body.length);
    segment.ended = row.time;
    segment.upTo = row.id;
    const { samples, bytes } = this.#options;
    if (segment.count >= samples || segment.bytes >= bytes || row.id === this.#boundaries[0])
      segment.closed = true;
  }

  #segmentFor(row: LogRow, catalog: Catalog): Segment {
    const [boundary] = this.#boundaries;
    const last = this.#segments.at(-1);
    if (boundary !== undefined && row.id > boundary) {
      this.#boundaries = this.#boundaries.filter((at) => at >= row.id);
      if (last !== undefined) last.closed = true;
    }
    if (last !== undefined && !last.closed) return last;
    const segment = new Segment(this.#log, this.#row, catalog);
    this.#segments.push(segment);
    return segment;
  }

  #takeEntry(row: LogRow, catalog: Catalog): void {
    const at = { log: this.#log, row: row.id };
    try {
      const text = unpacked(row.body, row.len).toString();
      if (row.kind === START) {
        const names = namesIn(text, catalog);
        const recorded = new Map(names.map(([name, period]) => [nameKey(name), period]));
        const start = { time: epochMs(row.time), recorded };
        this.#options.onEntry({ at, start, names, before: this.#alive });
      } else if (row.kind === OUTAGE) {
        const outage = outageOf(text);
        if (outage === undefined) throw new TypeError('an outage that says nothing');
        this.#options.onEntry({
          at,
          outage: { ...outage, from: epochMs(outage.from), to: epochMs(outage.to) },
        });
      }
    } catch (error) {
      this.#unreadable(row, error);
    }
  }

  #unreadable(row: LogRow, error: unknown): void {
    const { id, time, samples } = row;
    this.#options.log.error('a row of the sample log cannot be read and is given up', {
      row: id,
      samples,
      error: errorText(error),
    });
    if (samples === 0) return;
    const from = epochMs(this.#alive ?? time);
    const outage = { from, to: epochMs(time), samples, reason: 'damaged in the sample log' };
    this.#options.onEntry({ at: { log: this.#log, row: id }, outage });
  }

  #sayRefused({ time }: LogRow, samples: number): void {
    this.#options.log.warn(
      'samples are refused: their own time is more than a day ahead, or before everything that is kept',
      {
        samples,
        received: new Date(time).toISOString(),
        remedy: 'set the clock of the devices that send their own time; state() counts what follows',
      },
    );
  }
}

function namesIn(text: string, catalog: Catalog): (readonly [PointName, Duration])[] {
  return startOf(text).flatMap(([series, period]) => {
    const name = catalog.name(series);
    return name === undefined ? [] : [[name, milliseconds(period)] as const];
  });
}
