import type { Batch, PointValue } from '../core/batch.ts';
import type { Trace } from '../core/history.ts';
import type { PointName } from '../core/point.ts';
import {
  type Columns,
  bucketAt,
  columnsOf,
  copyInto,
  copyOf,
  deviationsOf,
  meansOf,
  mergeCounts,
  mergeNumbers,
  startBucket,
} from './chart-columns.ts';
import type { ChartPlan } from './chart-plan.ts';
import { type Part, emptyPart, reduceRun } from './reduce.ts';
import type { Rollup } from './rollup.ts';

/** Buckets of a series that are complete: no sample of theirs is to come. They are kept and used again. */
export interface Buckets {
  readonly columns: Columns;
  readonly texts: ReadonlyMap<number, readonly [first: string, last: string]>;
}

/**
 * Reduces one series after the other to charts of the same plan. Samples and rollups come in the order of time; what
 * lies outside of the plan is left out.
 */
export class ChartBuilder {
  readonly #plan: ChartPlan;
  readonly #columns: Columns;
  readonly #part: Part = emptyPart();
  /** Columns in use, which is one more than the number of the current bucket. */
  #used = 0;
  /** Of the current bucket. */
  #first: PointValue | null = null;
  #last: PointValue | null = null;
  #texts = new Map<number, readonly [string, string]>();

  constructor(plan: ChartPlan) {
    this.#plan = plan;
    this.#columns = columnsOf(Math.max(0, Math.round((plan.to - plan.from) / plan.step)));
  }

  /** Rows [from, to) of a batch, of one series and sorted by time. */
  addSamples(batch: Batch, from = 0, to = batch.count): void {
    const { step } = this.#plan;
    const { times } = batch;
    let i = from;
    while (i < to) {
      const start = Math.floor((times[i] ?? 0) / step) * step;
      const end = start + step;
      let next = i + 1;
      while (next < to && (times[next] ?? 0) < end) next++;
      if (this.#holds(start)) this.#merge(start, reduceRun(batch, i, next, this.#part));
      i = next;
    }
  }

  /** A bucket that is no wider than the step. */
  addRollup(rollup: Rollup): void {
    const { step } = this.#plan;
    const start = Math.floor(rollup.start / step) * step;
    if (this.#holds(start)) this.#merge(start, rollup);
  }

  /** Those that begin in [from, to), which are whole buckets of the same step; nothing else was or will be added to them. */
  addBuckets({ columns, texts }: Buckets, from: number, to: number): void {
    const { plan, used } = { plan: this.#plan, used: this.#used };
    const first = bucketAt(columns, Math.max(from, plan.from));
    const end = bucketAt(columns, Math.min(to, plan.to));
    if (first >= end) return;
    copyInto(this.#columns, used, columns, first, end);
    for (const [at, text] of texts) if (at >= first && at < end) this.#texts.set(used + at - first, text);
    this.#used = used + end - first;
  }

  /** What was added since the last call, to be added to other charts of this step. */
  takeBuckets(): Buckets {
    const buckets = { columns: copyOf(this.#columns, this.#used), texts: this.#texts };
    this.#used = 0;
    this.#texts = new Map();
    return buckets;
  }

  /** The chart of what was added since the last call. */
  take(name: PointName): Trace {
    const { tier, step } = this.#plan;
    const { columns, texts } = this.takeBuckets();
    return {
      name,
      tier,
      step,
      starts: columns.starts,
      counts: columns.counts,
      goods: columns.goods,
      bads: columns.bads,
      mins: columns.mins,
      maxes: columns.maxes,
      means: meansOf(columns),
      deviations: deviationsOf(columns),
      firsts: columns.firsts,
      firstTimes: columns.firstTimes,
      lasts: columns.lasts,
      lastTimes: columns.lastTimes,
      changes: columns.changes,
      texts,
    };
  }

  #holds(start: number): boolean {
    return start >= this.#plan.from && start < this.#plan.to;
  }

  #merge(start: number, part: Readonly<Part>): void {
    const columns = this.#columns;
    if (this.#used === 0 || columns.starts[this.#used - 1] !== start) {
      startBucket(columns, this.#used, start);
      this.#used++;
      this.#first = null;
      this.#last = null;
    }
    const at = this.#used - 1;
    mergeCounts(columns, at, part);
    if (part.numbers > 0) mergeNumbers(columns, at, part);
    if (part.first === null || part.last === null) return;
    const between = this.#last !== null && this.#last !== part.first ? 1 : 0;
    columns.changes[at] = (columns.changes[at] ?? 0) + part.changes + between;
    if (this.#first === null) {
      this.#first = part.first;
      columns.firsts[at] = asNumber(part.first);
      columns.firstTimes[at] = part.firstTime;
    }
    columns.lasts[at] = asNumber(part.last);
    columns.lastTimes[at] = part.lastTime;
    this.#last = part.last;
    this.#rememberTexts(at);
  }

  #rememberTexts(at: number): void {
    const [first, last] = [this.#first, this.#last];
    if (first === null || last === null) return;
    if (typeof first === 'string' || typeof last === 'string') this.#texts.set(at, [`${first}`, `${last}`]);
    else if (this.#texts.size > 0) this.#texts.delete(at); // a string in between
  }
}

function asNumber(value: PointValue): number {
  return typeof value === 'string' ? Number.NaN : Number(value);
}
