import type { Batch, PointValue } from '../core/batch.ts';
import type { Trace } from '../core/history.ts';
import type { PointName } from '../core/point.ts';
import type { ChartPlan } from './chart-plan.ts';
import { type Part, emptyPart, reduceRun } from './reduce.ts';
import type { Rollup } from './rollup.ts';

type Column = Float64Array<ArrayBuffer>;

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

  /** The chart of what was added since the last call. */
  take(name: PointName): Trace {
    const { tier, step } = this.#plan;
    const used = this.#used;
    const columns = this.#columns;
    const whole = (column: Column): Column => column.slice(0, used);
    const trace: Trace = {
      name,
      tier,
      step,
      starts: whole(columns.starts),
      counts: whole(columns.counts),
      goods: whole(columns.goods),
      bads: whole(columns.bads),
      mins: whole(columns.mins),
      maxes: whole(columns.maxes),
      means: meansOf(columns, used),
      deviations: deviationsOf(columns, used),
      firsts: whole(columns.firsts),
      firstTimes: whole(columns.firstTimes),
      lasts: whole(columns.lasts),
      lastTimes: whole(columns.lastTimes),
      changes: whole(columns.changes),
      texts: this.#texts,
    };
    this.#used = 0;
    this.#texts = new Map();
    return trace;
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

interface Columns {
  readonly starts: Column;
  readonly counts: Column;
  readonly goods: Column;
  readonly bads: Column;
  readonly numbers: Column;
  readonly mins: Column;
  readonly maxes: Column;
  readonly sums: Column;
  readonly m2s: Column;
  readonly firsts: Column;
  readonly firstTimes: Column;
  readonly lasts: Column;
  readonly lastTimes: Column;
  readonly changes: Column;
}

function columnsOf(buckets: number): Columns {
  const column = (): Column => new Float64Array(buckets);
  return {
    starts: column(),
    counts: column(),
    goods: column(),
    bads: column(),
    numbers: column(),
    mins: column(),
    maxes: column(),
    sums: column(),
    m2s: column(),
    firsts: column(),
    firstTimes: column(),
    lasts: column(),
    lastTimes: column(),
    changes: column(),
  };
}

function startBucket(columns: Columns, at: number, start: number): void {
  const { counts, goods, bads, numbers, sums, m2s, changes } = columns;
  columns.starts[at] = start;
  for (const column of [counts, goods, bads, numbers, sums, m2s, changes]) column[at] = 0;
  const { mins, maxes, firsts, firstTimes, lasts, lastTimes } = columns;
  for (const column of [mins, maxes, firsts, firstTimes, lasts, lastTimes]) column[at] = Number.NaN;
}

function mergeCounts(columns: Columns, at: number, part: Readonly<Part>): void {
  columns.counts[at] = (columns.counts[at] ?? 0) + part.count;
  columns.goods[at] = (columns.goods[at] ?? 0) + part.good;
  columns.bads[at] = (columns.bads[at] ?? 0) + part.bad;
}

function mergeNumbers(columns: Columns, at: number, part: Readonly<Part>): void {
  const { mins, maxes, sums, m2s, numbers } = columns;
  const before = numbers[at] ?? 0;
  const sum = sums[at] ?? 0;
  if (before === 0) {
    mins[at] = part.min;
    maxes[at] = part.max;
    m2s[at] = part.m2;
  } else {
    mins[at] = Math.min(mins[at] ?? 0, part.min);
    maxes[at] = Math.max(maxes[at] ?? 0, part.max);
    // Chan, Golub and LeVeque: the squares of two groups, and of the way between their means.
    const apart = part.sum / part.numbers - sum / before;
    m2s[at] = (m2s[at] ?? 0) + part.m2 + (apart * apart * before * part.numbers) / (before + part.numbers);
  }
  numbers[at] = before + part.numbers;
  sums[at] = sum + part.sum;
}

function asNumber(value: PointValue): number {
  return typeof value === 'string' ? Number.NaN : Number(value);
}

/** NaN where there is no number; else between min and max, whatever rounding did. */
function meansOf({ sums, numbers, mins, maxes }: Columns, used: number): Column {
  const means = new Float64Array(used);
  for (let i = 0; i < used; i++) {
    const mean = (sums[i] ?? 0) / (numbers[i] ?? 0);
    means[i] = Math.min(maxes[i] ?? 0, Math.max(mins[i] ?? 0, mean));
  }
  return means;
}

function deviationsOf({ m2s, numbers }: Columns, used: number): Column {
  const deviations = new Float64Array(used);
  for (let i = 0; i < used; i++) deviations[i] = Math.sqrt((m2s[i] ?? 0) / (numbers[i] ?? 0));
  return deviations;
}
