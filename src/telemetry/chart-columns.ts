import type { Part } from './reduce.ts';

export type Column = Float64Array<ArrayBuffer>;

/** What a chart adds up, bucket by bucket; means and deviations come of it at the end. */
export interface Columns {
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

export function columnsOf(buckets: number): Columns {
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

export function startBucket(columns: Columns, at: number, start: number): void {
  const { counts, goods, bads, numbers, sums, m2s, changes } = columns;
  columns.starts[at] = start;
  for (const column of [counts, goods, bads, numbers, sums, m2s, changes]) column[at] = 0;
  const { mins, maxes, firsts, firstTimes, lasts, lastTimes } = columns;
  for (const column of [mins, maxes, firsts, firstTimes, lasts, lastTimes]) column[at] = Number.NaN;
}

export function mergeCounts(columns: Columns, at: number, part: Readonly<Part>): void {
  columns.counts[at] = (columns.counts[at] ?? 0) + part.count;
  columns.goods[at] = (columns.goods[at] ?? 0) + part.good;
  columns.bads[at] = (columns.bads[at] ?? 0) + part.bad;
}

export function mergeNumbers(columns: Columns, at: number, part: Readonly<Part>): void {
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

/** The first `used` buckets, as a copy. */
export function copyOf(columns: Columns, used: number): Columns {
  const whole = (column: Column): Column => column.slice(0, used);
  return {
    starts: whole(columns.starts),
    counts: whole(columns.counts),
    goods: whole(columns.goods),
    bads: whole(columns.bads),
    numbers: whole(columns.numbers),
    mins: whole(columns.mins),
    maxes: whole(columns.maxes),
    sums: whole(columns.sums),
    m2s: whole(columns.m2s),
    firsts: whole(columns.firsts),
    firstTimes: whole(columns.firstTimes),
    lasts: whole(columns.lasts),
    lastTimes: whole(columns.lastTimes),
    changes: whole(columns.changes),
  };
}

/** Buckets [from, to) of the one, from bucket `at` of the other on. */
export function copyInto(target: Columns, at: number, source: Columns, from: number, to: number): void {
  const put = (into: Column, column: Column): void => into.set(column.subarray(from, to), at);
  put(target.starts, source.starts);
  put(target.counts, source.counts);
  put(target.goods, source.goods);
  put(target.bads, source.bads);
  put(target.numbers, source.numbers);
  put(target.mins, source.mins);
  put(target.maxes, source.maxes);
  put(target.sums, source.sums);
  put(target.m2s, source.m2s);
  put(target.firsts, source.firsts);
  put(target.firstTimes, source.firstTimes);
  put(target.lasts, source.lasts);
  put(target.lastTimes, source.lastTimes);
  put(target.changes, source.changes);
}

/** The first bucket that does not begin before `time`. */
export function bucketAt({ starts }: Columns, time: number): number {
  let [low, high] = [0, starts.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((starts[middle] ?? 0) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** NaN where there is no number; else between min and max, whatever rounding did. */
export function meansOf({ sums, numbers, mins, maxes }: Columns): Column {
  const means = new Float64Array(sums.length);
  for (let i = 0; i < means.length; i++) {
    const mean = (sums[i] ?? 0) / (numbers[i] ?? 0);
    means[i] = Math.min(maxes[i] ?? 0, Math.max(mins[i] ?? 0, mean));
  }
  return means;
}

export function deviationsOf({ m2s, numbers }: Columns): Column {
  const deviations = new Float64Array(m2s.length);
  for (let i = 0; i < deviations.length; i++) deviations[i] = Math.sqrt((m2s[i] ?? 0) / (numbers[i] ?? 0));
  return deviations;
}
