import type { PointValue } from '../core/batch.ts';
import { type Duration, type EpochMs, epochMs } from '../core/units.ts';
import { JsonReader } from './json-reader.ts';
import { emptyPart } from './reduce.ts';
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

/** A rollup that is used again. */
export type FilledRollup = { -readonly [Key in keyof Rollup]: Rollup[Key] };

/**
 * Reads rollups into those that are there already; adds some where they are too few. Returns how many were filled. Throws
 * where the bytes are not what `encodeRollups` makes.
 */
export function fillRollups(start: EpochMs, width: Duration, text: Uint8Array, into: FilledRollup[]): number {
  const reader = new JsonReader(text);
  if (!reader.open()) reader.fail();
  if (reader.close()) return 0;
  let [begin, filled]: [number, number] = [start, 0];
  do {
    if (reader.open()) readRollup(reader, begin, width, (into[filled++] ??= emptyRollup()));
    else reader.number();
    begin += width;
  } while (reader.comma());
  if (!reader.close() || !reader.atEnd) reader.fail();
  return filled;
}

function emptyRollup(): FilledRollup {
  return { start: epochMs(0), ...emptyPart() };
}

const COLUMNS = 13;
const FIRST = 1;
const LAST = 2;
/** One bucket is read after the other, and what it needs for that is made once. */
const column = new Float64Array(COLUMNS);
/** Nearly everywhere all columns are numbers: these are views of what is left to read from each place on. */
const rest = Array.from({ length: COLUMNS }, (_, place) => column.subarray(place));

/** Behind the bracket of a bucket. What was left out at its end is 0. */
function readRollup(reader: JsonReader, start: number, width: number, into: FilledRollup): void {
  let first: PointValue | null = null;
  let last: PointValue | null = null;
  let place = 0;
  do {
    const free = rest[place];
    if (free === undefined) break;
    if (reader.isNumber) {
      const count = reader.numbers(free);
      if (place <= FIRST && place + count > FIRST) first = at(FIRST);
      if (place <= LAST && place + count > LAST) last = at(LAST);
      place += count;
    } else {
      const value = reader.value();
      if (place === FIRST) first = value;
      else if (place === LAST) last = value;
      column[place] = Number.NaN;
      place++;
    }
  } while (reader.comma());
  if (!reader.close()) reader.fail();
  if (place < COLUMNS) column.fill(0, place);
  const count = at(7);
  const bad = at(10);
  into.start = epochMs(start);
  into.count = count;
  into.good = count - bad - at(11);
  into.bad = bad;
  into.numbers = count - bad - at(12);
  into.min = at(3);
  into.max = at(4);
  into.sum = at(5);
  into.m2 = at(6);
  into.firstTime = first === null ? Number.NaN : start + at(8);
  into.first = first;
  into.lastTime = first === null ? Number.NaN : start + width - at(9);
  into.last = last;
  into.changes = at(0);
}

function at(place: number): number {
  return column[place] ?? Number.NaN;
}
