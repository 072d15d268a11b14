import { type Batch, BatchBuilder, type PointValue, valueAt } from '../../src/core/batch.ts';
import { BAD, GOOD, type Reason, REASONS, reasonCode, UNCERTAIN } from '../../src/core/quality.ts';

/** A sample as a person writes it: [point, time, value], or [point, time, null, reason]. */
export interface Row {
  readonly point: number;
  readonly time: number;
  readonly value: PointValue | null;
  readonly quality: number;
  readonly reason: Reason;
}

export function good(point: number, time: number, value: PointValue): Row {
  return { point, time, value, quality: GOOD, reason: '' };
}

export function uncertain(point: number, time: number, value: PointValue): Row {
  return { point, time, value, quality: UNCERTAIN, reason: 'stale' };
}

export function bad(point: number, time: number, reason: Reason = 'timeout'): Row {
  return { point, time, value: null, quality: BAD, reason };
}

export function batchOf(rows: readonly Row[]): Batch {
  const builder = new BatchBuilder();
  for (const { point, time, value, quality, reason } of rows) {
    if (value === null) builder.addBad(point, time, reasonCode(reason));
    else builder.add(point, time, value, quality, reasonCode(reason));
  }
  return builder.take() ?? EMPTY;
}

export function rowsOf(batch: Batch | undefined): Row[] {
  if (batch === undefined) return [];
  return Array.from({ length: batch.count }, (_, i) => ({
    point: batch.points[i] ?? -1,
    time: batch.times[i] ?? Number.NaN,
    value: valueAt(batch, i),
    quality: batch.qualities[i] ?? -1,
    reason: REASONS[batch.reasons[i] ?? 0] ?? '',
  }));
}

const EMPTY: Batch = {
  count: 0,
  points: new Uint32Array(0),
  times: new Float64Array(0),
  values: new Float64Array(0),
  forms: new Uint8Array(0),
  qualities: new Uint8Array(0),
  reasons: new Uint8Array(0),
  texts: [],
};
