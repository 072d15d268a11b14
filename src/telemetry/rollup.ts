import type { Batch, PointValue } from '../core/batch.ts';
import type { Duration, EpochMs } from '../core/units.ts';

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

/**
 * The rows order[from..to) of a batch, which are of one series and sorted by time, bucket by bucket; empty buckets are
 * left out.
 */
export function rollUp(
  _batch: Batch,
  _order: Uint32Array,
  _from: number,
  _to: number,
  _width: Duration,
): Rollup[] {
  return [];
}

/**
 * Two parts of the same bucket, in any order. Exact, but for `changes` where the parts interleave in time: it is then
 * the sum of both, never less than the truth of either part.
 */
export function merge(a: Rollup, _b: Rollup): Rollup {
  return a;
}

/** Mean of the numbers, which lies between min and max whatever rounding did; NaN where there are none. */
export function meanOf({ numbers, sum, min, max }: Rollup): number {
  return numbers === 0 ? Number.NaN : Math.min(max, Math.max(min, sum / numbers));
}

/** Of the population: the root of the mean square distance from the mean; NaN where there are no numbers. */
export function deviationOf({ numbers, m2 }: Rollup): number {
  return numbers === 0 ? Number.NaN : Math.sqrt(m2 / numbers);
}

/** The buckets of a row that begins at `start`, as JSON. `sum` keeps 15 significant digits and `m2` 7. */
export function encodeRollups(_start: EpochMs, _width: Duration, _rollups: readonly Rollup[]): string {
  return '[]';
}

export function decodeRollups(_start: EpochMs, _width: Duration, _text: string): Rollup[] {
  return [];
}
