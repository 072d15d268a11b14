import { type Batch, BatchBuilder } from '../../core/batch.ts';
import { type EpochMs, days, epochMs, hours } from '../../core/units.ts';
import { type SeriesRun, sortedOrder } from '../../telemetry/order.ts';
import { firstAt } from './runs.ts';
import type { RowMark, Tail, TailQuery } from './tail.ts';

const HOUR = hours(1);
const DAY = days(1);

/** What the tail has for one query, by name and in the order of time. */
export class TailSamples {
  readonly batch: Batch;
  readonly #order: Uint32Array;
  readonly #marks: readonly RowMark[];
  readonly #runs: readonly (SeriesRun | undefined)[];
  #days: ReadonlySet<EpochMs> | undefined;

  constructor(tail: Tail, query: TailQuery) {
    const builder = new BatchBuilder();
    this.#marks = tail.samples(query, builder);
    this.batch = builder.peek();
    const { order, runs } = sortedOrder(this.batch);
    this.#order = order;
    const byName: (SeriesRun | undefined)[] = query.names.map(() => undefined);
    for (const run of runs) byName[run.series] = run;
    this.#runs = byName;
  }

  /** Rows of the batch in [from, to) of the name, in the order of time, that a file with this mark does not have. */
  rows(name: number, from: number, to: number, mark: number): Uint32Array {
    const run = this.#runs[name];
    if (run === undefined) return EMPTY;
    const place = (time: number): number => firstAt(this.batch, this.#order, run, time);
    const rows = this.#order.subarray(place(from), place(to));
    const first = this.#firstAbove(mark);
    if (first === 0 || rows.length === 0) return rows;
    return rows.filter((row) => row >= first);
  }

  /** UTC hours in [from, to) that samples of any name lie in. */
  hours(from: number, to: number): Set<EpochMs> {
    return this.#periods(HOUR, from, to);
  }

  /** UTC days that samples of any name lie in. */
  get days(): ReadonlySet<EpochMs> {
    this.#days ??= this.#periods(DAY, Number.NEGATIVE_INFINITY, Number.POSITIVE_INFINITY);
    return this.#days;
  }

  #periods(width: number, from: number, to: number): Set<EpochMs> {
    const found = new Set<EpochMs>();
    let [start, end] = [0, 0];
    const { times, count } = this.batch;
    for (let i = 0; i < count; i++) {
      const time = times[i] ?? 0;
      if ((time >= start && time < end) || time < from || time >= to) continue;
      start = Math.floor(time / width) * width;
      end = start + width;
      found.add(epochMs(start));
    }
    return found;
  }

  /** The first row of the batch that is of a row of the log above the mark. */
  #firstAbove(mark: number): number {
    return this.#marks.find(({ row }) => row > mark)?.at ?? this.batch.count;
  }
}

const EMPTY = new Uint32Array(0);
