import { type Batch, BatchBuilder, type PointValue, valueAt } from '../../src/core/batch.ts';
import type { PointName } from '../../src/core/point.ts';
import { BAD, GOOD, UNCERTAIN, reasonCode } from '../../src/core/quality.ts';

// Sample k is a known function of k, and its point and time tell k: whoever reads a sample can judge it.

const DEVICES = 4;
const POINTS_PER_DEVICE = 10;
export const POINTS = DEVICES * POINTS_PER_DEVICE;
/** Between two samples of a point: an hour has 90, so that a short run sees many hours end. */
export const PERIOD_MS = 40_000;
/** One device stamps its samples itself, off the tick. */
const JITTER_MS = 997;

export const points: readonly Required<PointName>[] = Array.from({ length: POINTS }, (_, i) => ({
  device: `meter-${Math.floor(i / POINTS_PER_DEVICE)}`,
  point: `p-${i % POINTS_PER_DEVICE}`,
  unit: i % POINTS_PER_DEVICE < 7 ? 'kW' : '',
}));

export interface Expected {
  readonly time: number;
  readonly value: PointValue | null;
  readonly quality: number;
  readonly reason: number;
}

/** `start` is the time of sample 0: a multiple of the period, so that no two runs of a test need share one. */
export function sampleAt(k: number, start: number): Expected {
  const jitter = k % POINTS >= POINTS - POINTS_PER_DEVICE ? (k * 7_919) % JITTER_MS : 0;
  const time = start + Math.floor(k / POINTS) * PERIOD_MS + jitter;
  if (k % 31 === 0) return { time, value: null, quality: BAD, reason: reasonCode('timeout') };
  const doubtful = k % 37 === 0;
  return {
    time,
    value: valueOf(k),
    quality: doubtful ? UNCERTAIN : GOOD,
    reason: doubtful ? reasonCode('stale') : 0,
  };
}

function valueOf(k: number): PointValue {
  switch (k % POINTS_PER_DEVICE) {
    case 7:
      return (k * 2_654_435_761) % 7 < 3;
    case 8:
      return `state ${(k * 2_654_435_761) % 11}`;
    case 9:
      return k * 1.1; // as many digits as there are
    default:
      return k / 4;
  }
}

/** Which sample a point has at a time. */
export function numberOf(point: number, time: number, start: number): number {
  return Math.floor((time - start) / PERIOD_MS) * POINTS + point;
}

export function batchOf(first: number, count: number, start: number): Batch {
  const builder = new BatchBuilder();
  for (let k = first; k < first + count; k++) {
    const { time, value, quality, reason } = sampleAt(k, start);
    if (value === null) builder.addBad(k % POINTS, time, reason);
    else builder.add(k % POINTS, time, value, quality, reason);
  }
  const batch = builder.take();
  if (batch === undefined) throw new RangeError('an empty batch');
  return batch;
}

/** Row i of a batch as sample k should be; a sentence where it is not. */
export function judge(batch: Batch, i: number, k: number, start: number): string | undefined {
  const expected = sampleAt(k, start);
  const is: Expected = {
    time: batch.times[i] ?? Number.NaN,
    value: valueAt(batch, i),
    quality: batch.qualities[i] ?? BAD,
    reason: batch.reasons[i] ?? 0,
  };
  const same =
    is.time === expected.time &&
    is.value === expected.value &&
    is.quality === expected.quality &&
    is.reason === expected.reason;
  return same ? undefined : `sample ${k} is ${JSON.stringify(is)} and not ${JSON.stringify(expected)}`;
}
