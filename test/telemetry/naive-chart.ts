import { deepStrictEqual } from 'node:assert/strict';
import type { Trace } from '../../src/core/history.ts';
import { epochMs } from '../../src/core/units.ts';
import type { Rollup } from '../../src/telemetry/rollup.ts';
import type { Row } from './rows.ts';

/** Recomputes every bucket from all of its samples, in the plainest way. */
export function compare(trace: Trace, rows: readonly Row[], { step }: { readonly step: number }): void {
  const buckets = grouped(rows, step);
  deepStrictEqual([...trace.starts], [...buckets.keys()]);
  for (const [i, bucket] of [...buckets.values()].entries()) {
    const expected = naive(bucket);
    const { mins, maxes, means, deviations } = trace;
    deepStrictEqual(
      [trace.counts[i], trace.goods[i], trace.bads[i]],
      [expected.count, expected.good, expected.bad],
    );
    deepStrictEqual(trace.changes[i], expected.changes);
    deepStrictEqual([trace.firsts[i], trace.lasts[i]], [expected.first, expected.last].map(numberOf));
    deepStrictEqual([trace.firstTimes[i], trace.lastTimes[i]], [expected.firstTime, expected.lastTime]);
    if ([expected.first, expected.last].some((value) => typeof value === 'string'))
      deepStrictEqual([trace.texts.get(i)?.length, trace.texts.get(i)?.[1]], [2, String(expected.last)]);
    else deepStrictEqual(trace.texts.has(i), false);
    deepStrictEqual([mins[i], maxes[i]], [expected.min, expected.max]);
    near(means[i], expected.mean);
    near(deviations[i], expected.deviation);
  }
}

export function grouped(rows: readonly Row[], step: number): Map<number, Row[]> {
  return Map.groupBy(rows, ({ time }) => Math.floor(time / step) * step);
}

function numberOf(value: Row['value']): number {
  return typeof value === 'string' || value === null ? Number.NaN : Number(value);
}

function naive(rows: readonly Row[]) {
  const known = rows.filter(({ value }) => value !== null);
  const values = known.map(({ value }) => numberOf(value)).filter((value) => !Number.isNaN(value));
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const square = values.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return {
    count: rows.length,
    good: rows.filter(({ quality }) => quality === 0).length,
    bad: rows.filter(({ quality }) => quality === 2).length,
    numbers: values.length,
    min: values.length === 0 ? Number.NaN : Math.min(...values),
    max: values.length === 0 ? Number.NaN : Math.max(...values),
    mean,
    square,
    deviation: Math.sqrt(square / values.length),
    first: known[0]?.value ?? null,
    firstTime: known[0]?.time ?? Number.NaN,
    last: known.at(-1)?.value ?? null,
    lastTime: known.at(-1)?.time ?? Number.NaN,
    changes: known.filter(({ value }, i) => i > 0 && value !== known[i - 1]?.value).length,
  };
}

export function naiveRollups(rows: readonly Row[], width: number): Rollup[] {
  return [...grouped(rows, width)].map(([start, bucket]) => {
    const { mean, square, deviation: _, ...same } = naive(bucket);
    return { ...same, start: epochMs(start), sum: same.numbers === 0 ? 0 : mean * same.numbers, m2: square };
  });
}

function near(found: number | undefined, expected: number): void {
  const close = Number.isNaN(expected)
    ? Number.isNaN(found)
    : Math.abs((found ?? 0) - expected) <= 1e-6 * Math.abs(expected) + 1e-3;
  if (!close) throw new Error(`${found} is not ${expected}`);
}
