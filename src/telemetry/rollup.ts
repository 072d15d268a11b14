import { type Batch, BOOLEAN, NOTHING, NUMBER, type PointValue, TEXT, valueAt } from '../core/batch.ts';
import { BAD, GOOD } from '../core/quality.ts';
import { type Duration, type EpochMs, epochMs } from '../core/units.ts';

/**
 * What a series did in one bucket of time [start, start + width), from every sample. Buckets are aligned to 1970 in
 * UTC, so midnight and daylight saving are nothing special.
 *
 * Bad samples are in `count` and `bad` only; uncertain ones have a value, but are not `good`. Where a bucket has no
 * number, `min` and `max` are NaN and `sum` and `m2` are 0. Where all samples are bad, `first` and `last` are null and
 * their times NaN.
 */
export interface Rollup {
  readonly start: EpochMs;
  /** Samples of any quality. */
  readonly count: number;
  readonly good: number;
  readonly bad: number;
  /** Samples that are not bad with a number or a boolean (as 0 or 1); min, max, sum and m2 are over these. */
  readonly numbers: number;
  readonly min: number;
  readonly max: number;
  readonly sum: number;
  /** Sum of the squared distances from the mean. */
  readonly m2: number;
  readonly firstTime: number;
  readonly first: PointValue | null;
  readonly lastTime: number;
  readonly last: PointValue | null;
  /** How often a value that is not bad differed from the one before it in the bucket. */
  readonly changes: number;
}

type Moments = Pick<Rollup, 'numbers' | 'min' | 'max' | 'sum' | 'm2'>;

/**
 * The rows order[from..to) of a batch, which are of one series and sorted by time, bucket by bucket; empty buckets are
 * left out.
 */
export function rollUp(
  batch: Batch,
  order: Uint32Array,
  from: number,
  to: number,
  width: Duration,
): Rollup[] {
  const rollups: Rollup[] = [];
  const { times } = batch;
  for (let i = from; i < to; ) {
    const start = Math.floor((times[order[i] ?? 0] ?? 0) / width) * width;
    const end = start + width;
    const numbers = new Accumulator();
    let good = 0;
    let bad = 0;
    let changes = 0;
    let first = -1;
    let last = -1;
    const begin = i;
    for (; i < to; i++) {
      const row = order[i] ?? 0;
      if ((times[row] ?? 0) >= end) break;
      const quality = batch.qualities[row];
      const form = batch.forms[row];
      if (quality === BAD || form === NOTHING) {
        bad++;
        continue;
      }
      if (quality === GOOD) good++;
      if (form === NUMBER || form === BOOLEAN) numbers.add(batch.values[row] ?? 0);
      if (first < 0) first = row;
      else if (differs(batch, last, row)) changes++;
      last = row;
    }
    rollups.push({
      start: epochMs(start),
      count: i - begin,
      good,
      bad,
      ...numbers.moments(),
      firstTime: first < 0 ? Number.NaN : (times[first] ?? 0),
      first: first < 0 ? null : valueAt(batch, first),
      lastTime: last < 0 ? Number.NaN : (times[last] ?? 0),
      last: last < 0 ? null : valueAt(batch, last),
      changes,
    });
  }
  return rollups;
}

function differs(batch: Batch, a: number, b: number): boolean {
  const form = batch.forms[a];
  if (form !== batch.forms[b]) return true;
  const [before = 0, after = 0] = [batch.values[a], batch.values[b]];
  return form === TEXT ? batch.texts[before] !== batch.texts[after] : before !== after;
}

/**
 * Welford's algorithm on the distances from the first number: a counter of 1e15 that moves by ones leaves no digits for
 * squares, its distances do.
 */
class Accumulator {
  #numbers = 0;
  #min = Number.NaN;
  #max = Number.NaN;
  #origin = 0;
  #mean = 0;
  #m2 = 0;
  #sum = 0;
  #lost = 0; // what rounding took from #sum (Neumaier)

  add(value: number): void {
    if (this.#numbers === 0) this.#origin = this.#min = this.#max = value;
    else if (value < this.#min) this.#min = value;
    else if (value > this.#max) this.#max = value;
    this.#numbers++;
    const distance = value - this.#origin;
    const delta = distance - this.#mean;
    this.#mean += delta / this.#numbers;
    this.#m2 += delta * (distance - this.#mean);
    const sum = this.#sum + distance;
    this.#lost +=
      Math.abs(this.#sum) >= Math.abs(distance) ? this.#sum - sum + distance : distance - sum + this.#sum;
    this.#sum = sum;
  }

  moments(): Moments {
    const sum = this.#numbers * this.#origin + (this.#sum + this.#lost);
    return { numbers: this.#numbers, min: this.#min, max: this.#max, sum, m2: this.#m2 };
  }
}

/**
 * Two parts of the same bucket; where both have a sample of the same time, that of `b` came later. Exact, but for
 * `changes` where the parts interleave in time: it is then the sum of both, for want of the samples.
 */
export function merge(a: Rollup, b: Rollup): Rollup {
  const head = b.first === null || a.firstTime <= b.firstTime ? a : b;
  const tail = a.last === null || b.lastTime >= a.lastTime ? b : a;
  return {
    start: a.start,
    count: a.count + b.count,
    good: a.good + b.good,
    bad: a.bad + b.bad,
    ...mergedMoments(a, b),
    firstTime: head.firstTime,
    first: head.first,
    lastTime: tail.lastTime,
    last: tail.last,
    changes: a.changes + b.changes + changesBetween(a, b),
  };
}

/** From the last value of the one part to the first of the other, where one follows the other. */
function changesBetween(a: Rollup, b: Rollup): number {
  if (a.lastTime <= b.firstTime) return a.last === b.first ? 0 : 1;
  if (b.lastTime < a.firstTime) return b.last === a.first ? 0 : 1;
  return 0; // they interleave, or one of them has no value
}

/** Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979). */
function mergedMoments(a: Rollup, b: Rollup): Moments {
  if (a.numbers === 0) return momentsOf(b);
  if (b.numbers === 0) return momentsOf(a);
  const numbers = a.numbers + b.numbers;
  const apart = meanOf(b) - meanOf(a);
  return {
    numbers,
    min: Math.min(a.min, b.min),
    max: Math.max(a.max, b.max),
    sum: a.sum + b.sum,
    m2: a.m2 + b.m2 + ((apart * a.numbers) / numbers) * apart * b.numbers,
  };
}

function momentsOf({ numbers, min, max, sum, m2 }: Rollup): Moments {
  return { numbers, min, max, sum, m2 };
}

/** Mean of the numbers, which lies between min and max whatever rounding did; NaN where there are none. */
export function meanOf({ numbers, sum, min, max }: Rollup): number {
  return numbers === 0 ? Number.NaN : Math.min(max, Math.max(min, sum / numbers));
}

/** Of each bucket the one with more samples: where some of them are lost, or cannot be read, what was computed before. */
export function fuller(computed: readonly Rollup[], stored: readonly Rollup[]): Rollup[] {
  const buckets = new Map<EpochMs, Rollup>();
  for (const rollup of [...stored, ...computed]) {
    const other = buckets.get(rollup.start);
    if (other === undefined || other.count <= rollup.count) buckets.set(rollup.start, rollup);
  }
  return [...buckets.values()].sort((a, b) => a.start - b.start);
}
