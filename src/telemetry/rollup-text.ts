import type { PointValue } from '../core/batch.ts';
import { type Duration, type EpochMs, epochMs } from '../core/units.ts';
import { JsonReader } from './json-reader.ts';
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
  if (Number.isInteger(value) && Math.abs(value) < 10 ** digits) return value;
  const short = Number(value.toPrecision(digits));
  return Number.isFinite(short) ? short : value; // the largest double, with which some devices say that they have none
}

/** Throws where the bytes are not what `encodeRollups` makes. */
export function decodeRollups(start: EpochMs, width: Duration, text: Uint8Array): Rollup[] {
  const rollups: Rollup[] = [];
  const reader = new JsonReader(text);
  if (!reader.open()) reader.fail();
  if (reader.close()) return rollups;
  let begin: number = start;
  do {
    if (reader.open()) rollups.push(readRollup(reader, begin, width));
    else reader.number();
    begin += width;
  } while (reader.comma());
  if (!reader.close() || !reader.atEnd) reader.fail();
  return rollups;
}

const COLUMNS = 13;
/** One bucket is read after the other, and what it needs for that is made once. */
const column = new Float64Array(COLUMNS);

/** Behind the bracket of a bucket. What was left out at its end is 0. */
function readRollup(reader: JsonReader, start: number, width: number): Rollup {
  column.fill(0);
  let first: PointValue | null = null;
  let last: PointValue | null = null;
  for (let place = 0; place < COLUMNS; place++) {
    const value = reader.isNumber ? reader.number() : reader.value();
    if (place === 1) first = value;
    else if (place === 2) last = value;
    else column[place] = typeof value === 'number' ? value : Number.NaN;
    if (!reader.comma()) break;
  }
  if (!reader.close()) reader.fail();
  const count = at(7);
  const bad = at(10);
  return {
    start: epochMs(start),
    count,
    good: count - bad - at(11),
    bad,
    numbers: count - bad - at(12),
    min: at(3),
    max: at(4),
    sum: at(5),
    m2: at(6),
    firstTime: first === null ? Number.NaN : start + at(8),
    first,
    lastTime: first === null ? Number.NaN : start + width - at(9),
    last,
    changes: at(0),
  };
}

function at(place: number): number {
  return column[place] ?? Number.NaN;
}
