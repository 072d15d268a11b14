import { type Batch, BOOLEAN, NOTHING, NUMBER, type PointValue, TEXT } from '../core/batch.ts';
import { BAD, GOOD } from '../core/quality.ts';
import type { EpochMs } from '../core/units.ts';

/**
 * What every point did since the window began, from all samples before any filter; columns over the index of the
 * point. Booleans count as 0 and 1, so their mean is the share of samples that were true.
 */
export interface Statistics {
  /** Beginning of the window, ms since 1970. */
  since: number;
  readonly counts: Float64Array;
  readonly goods: Float64Array;
  readonly bads: Float64Array;
  /** Samples with a number or a boolean, which min, max and sum are made of. */
  readonly numbers: Float64Array;
  readonly mins: Float64Array;
  readonly maxes: Float64Array;
  readonly sums: Float64Array;
  /** Samples that the filter passed on. */
  readonly reported: Float64Array;
  /** The latest sample; it outlives the window. */
  readonly times: Float64Array;
  readonly values: Float64Array;
  readonly forms: Uint8Array;
  readonly qualities: Uint8Array;
  readonly reasons: Uint8Array;
  readonly texts: Map<number, string>;
}

export function createStatistics(points: number, now: EpochMs): Statistics {
  return {
    since: now,
    counts: new Float64Array(points),
    goods: new Float64Array(points),
    bads: new Float64Array(points),
    numbers: new Float64Array(points),
    mins: new Float64Array(points).fill(Number.POSITIVE_INFINITY),
    maxes: new Float64Array(points).fill(Number.NEGATIVE_INFINITY),
    sums: new Float64Array(points),
    reported: new Float64Array(points),
    times: new Float64Array(points).fill(Number.NaN),
    values: new Float64Array(points),
    forms: new Uint8Array(points).fill(NOTHING),
    qualities: new Uint8Array(points).fill(BAD),
    reasons: new Uint8Array(points),
    texts: new Map(),
  };
}

/** Takes in a batch of raw samples. */
export function observe(statistics: Statistics, batch: Batch): void {
  const { counts, goods, bads, numbers, mins, maxes, sums } = statistics;
  for (let i = 0; i < batch.count; i++) {
    const point = batch.points[i] ?? 0;
    const value = batch.values[i] ?? 0;
    const form = batch.forms[i] ?? NOTHING;
    const quality = batch.qualities[i] ?? BAD;
    counts[point] = (counts[point] ?? 0) + 1;
    if (quality === GOOD) goods[point] = (goods[point] ?? 0) + 1;
    else if (quality === BAD) bads[point] = (bads[point] ?? 0) + 1;
    if (quality !== BAD && (form === NUMBER || form === BOOLEAN)) {
      numbers[point] = (numbers[point] ?? 0) + 1;
      sums[point] = (sums[point] ?? 0) + value;
      if (value < (mins[point] ?? 0)) mins[point] = value;
      if (value > (maxes[point] ?? 0)) maxes[point] = value;
    }
    statistics.times[point] = batch.times[i] ?? 0;
    statistics.values[point] = value;
    statistics.forms[point] = form;
    statistics.qualities[point] = quality;
    statistics.reasons[point] = batch.reasons[i] ?? 0;
    if (form === TEXT) statistics.texts.set(point, batch.texts[value] ?? '');
  }
}

/** Counts what the filter passed on. */
export function observeReported(statistics: Statistics, batch: Batch): void {
  const { reported } = statistics;
  for (let i = 0; i < batch.count; i++) {
    const point = batch.points[i] ?? 0;
    reported[point] = (reported[point] ?? 0) + 1;
  }
}

/** Begins a new window; the latest samples stay. */
export function startWindow(statistics: Statistics, now: EpochMs): void {
  statistics.since = now;
  statistics.counts.fill(0);
  statistics.goods.fill(0);
  statistics.bads.fill(0);
  statistics.numbers.fill(0);
  statistics.mins.fill(Number.POSITIVE_INFINITY);
  statistics.maxes.fill(Number.NEGATIVE_INFINITY);
  statistics.sums.fill(0);
  statistics.reported.fill(0);
}

/** The latest value of a point; null where it is bad or was never heard. */
export function latest(statistics: Statistics, point: number): PointValue | null {
  const value = statistics.values[point] ?? 0;
  switch (statistics.forms[point]) {
    case NUMBER:
      return value;
    case BOOLEAN:
      return value !== 0;
    case TEXT:
      return statistics.texts.get(point) ?? null;
    default:
      return null;
  }
}

/** Mean of the numbers of a point in the window; NaN where there were none. */
export function mean(statistics: Statistics, point: number): number {
  return (statistics.sums[point] ?? 0) / (statistics.numbers[point] ?? 0);
}
