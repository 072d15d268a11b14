import type { PointValue } from '../core/batch.ts';
import { type Duration, type EpochMs, epochMs } from '../core/units.ts';
import type { Rollup } from './rollup.ts';

/**
 * The buckets of a row that begins at `start`, as JSON: element k is the bucket that begins at start + k * width, or 0
 * where it has no samples. Zeros at the end of an element are left out; what is usual there is 0, so that a bucket of a
 * series that is regular and good is short:
 *
 *   [changes, first, last, min, max, sum, m2, count, ms from the beginning to the first value, ms from the last value to
 *    the end, bad, uncertain, texts]
 *
 * `sum` keeps 15 significant digits and `m2` 7; everything else is exact. Measured on ten kinds of plant signals: 12.0
 * bytes for a minute after zlib, against 15.4 with all columns in the order of the interface.
 */
export function encodeRollups(start: EpochMs, width: Duration, rollups: readonly Rollup[]): string {
  const elements: (0 | (PointValue | null)[])[] = [];
  for (const rollup of rollups) {
    const place = (rollup.start - start) / width;
    while (elements.length < place) elements.push(0);
    elements[place] = elementOf(rollup, width);
  }
  return JSON.stringify(elements);
}

function elementOf(rollup: Rollup, width: Duration): (PointValue | null)[] {
  const { start, count, good, bad, numbers, min, max, sum, m2, first, last, changes } = rollup;
  const element = [
    ...[
      changes,
      first,
      last,
      stored(min),
      stored(max),
      stored(rounded(sum, 15)),
      stored(rounded(m2, 7)),
      count,
    ],
    ...(first === null ? [0, 0] : [rollup.firstTime - start, start + width - rollup.lastTime]),
    ...[bad, count - bad - good, count - bad - numbers],
  ];
  while (element.at(-1) === 0) element.pop();
  return element;
}

/** JSON has no NaN, and no infinity for what is larger than any number. */
function stored(value: number): number | null {
  return Number.isFinite(value) ? value : null;
}

function rounded(value: number, digits: number): number {
  return Number.isInteger(value) && Math.abs(value) < 10 ** digits
    ? value
    : Number(value.toPrecision(digits));
}

export function decodeRollups(start: EpochMs, width: Duration, text: string): Rollup[] {
  const rollups: Rollup[] = [];
  const elements: unknown = JSON.parse(text);
  if (!Array.isArray(elements)) return rollups;
  for (let place = 0; place < elements.length; place++) {
    const element: unknown = elements[place];
    if (Array.isArray(element)) rollups.push(rollupOf(element, start + place * width, width));
  }
  return rollups;
}

function rollupOf(element: readonly unknown[], start: number, width: number): Rollup {
  const count = numberAt(element, 7);
  const bad = numberAt(element, 10);
  const first = valueAt(element, 1);
  return {
    start: epochMs(start),
    count,
    good: count - bad - numberAt(element, 11),
    bad,
    numbers: count - bad - numberAt(element, 12),
    min: numberAt(element, 3),
    max: numberAt(element, 4),
    sum: numberAt(element, 5),
    m2: numberAt(element, 6),
    firstTime: first === null ? Number.NaN : start + numberAt(element, 8),
    first,
    lastTime: first === null ? Number.NaN : start + width - numberAt(element, 9),
    last: valueAt(element, 2),
    changes: numberAt(element, 0),
  };
}

/** 0 where the end was left out, NaN where there is none. */
function numberAt(element: readonly unknown[], at: number): number {
  const value = at < element.length ? element[at] : 0;
  return typeof value === 'number' ? value : Number.NaN;
}

function valueAt(element: readonly unknown[], at: number): PointValue | null {
  const value = element[at];
  if (typeof value === 'number' || typeof value === 'string' || typeof value === 'boolean') return value;
  return null;
}
