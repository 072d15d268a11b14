import { type Batch, valueAt } from '../../src/core/batch.ts';
import type { Trace } from '../../src/core/history.ts';
import { BAD, GOOD } from '../../src/core/quality.ts';

// The rollups once more, as simply as they can be said: lists of values.

export interface Sample {
  readonly time: number;
  readonly value: number | boolean | string | null;
  readonly quality: number;
}

export function sampleOf(batch: Batch, i: number): Sample {
  return {
    time: batch.times[i] ?? Number.NaN,
    value: valueAt(batch, i),
    quality: batch.qualities[i] ?? BAD,
  };
}

type Facts = Record<string, number | string>;

/** A bucket of the chart, in the words of `Trace`; NaN where there is nothing. */
function recomputed(samples: readonly Sample[]): Facts {
  const values = samples.flatMap(({ value, quality }) => (value === null || quality === BAD ? [] : [value]));
  const numbers = values.filter((value) => typeof value !== 'string').map(Number);
  const mean = numbers.reduce((sum, n) => sum + n, 0) / numbers.length;
  const squares = numbers.reduce((sum, n) => sum + (n - mean) ** 2, 0);
  const asNumber = (value: Sample['value'] | undefined): number =>
    value === undefined || typeof value === 'string' ? Number.NaN : Number(value);
  const asText = (value: Sample['value'] | undefined): string => (typeof value === 'string' ? value : '');
  return {
    counts: samples.length,
    goods: samples.filter(({ quality }) => quality === GOOD).length,
    bads: samples.filter(({ quality }) => quality === BAD).length,
    mins: numbers.length === 0 ? Number.NaN : Math.min(...numbers),
    maxes: numbers.length === 0 ? Number.NaN : Math.max(...numbers),
    means: mean,
    deviations: Math.sqrt(squares / numbers.length),
    firsts: asNumber(values[0]),
    lasts: asNumber(values.at(-1)),
    changes: values.filter((value, i) => i > 0 && value !== values[i - 1]).length,
    first: asText(values[0]),
    last: asText(values.at(-1)),
  };
}

function bucketOf(trace: Trace, i: number): Facts {
  const [first, last] = trace.texts.get(i) ?? ['', ''];
  const { counts, goods, bads, mins, maxes, means, deviations, firsts, lasts, changes } = trace;
  const columns = { counts, goods, bads, mins, maxes, means, deviations, firsts, lasts, changes };
  const facts = Object.entries(columns).map(([name, column]) => [name, column[i] ?? Number.NaN] as const);
  return { ...Object.fromEntries(facts), first, last };
}

/** Sums are stored with 15 digits, squares with 7; the rest is exact. */
const ROUNDED: Readonly<Record<string, number>> = { means: 1e-12, deviations: 1e-6 };

function differ(name: string, is: number | string | undefined, should: number | string | undefined): boolean {
  if (Object.is(is, should)) return false;
  if (typeof is !== 'number' || typeof should !== 'number') return true;
  const room = (ROUNDED[name] ?? 0) * Math.abs(should) + (name in ROUNDED ? 1e-9 : 0);
  return !(Math.abs(is - should) <= room);
}

/** What is wrong with a chart of buckets as wide as `trace.step`, given every sample of the series in time order. */
export function wrongBuckets(trace: Trace, samples: readonly Sample[]): string[] {
  const lists = Map.groupBy(samples, ({ time }) => Math.floor(time / trace.step) * trace.step);
  const wrong: string[] = [];
  const seen = new Set<number>();
  for (const [i, start] of trace.starts.entries()) {
    const should = recomputed(lists.get(start) ?? []);
    const is = bucketOf(trace, i);
    seen.add(start);
    for (const name of Object.keys(should))
      if (differ(name, is[name], should[name]))
        wrong.push(`${trace.tier} ${new Date(start).toISOString()} ${name} ${is[name]} not ${should[name]}`);
  }
  for (const start of lists.keys())
    if (!seen.has(start)) wrong.push(`${trace.tier} ${new Date(start).toISOString()} is missing`);
  return wrong;
}
