import { BOOLEAN, type Batch, type BatchBuilder, NOTHING, NUMBER } from '../core/batch.ts';
import { BAD, GOOD, reasonCode } from '../core/quality.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { JsonReader } from './json-reader.ts';
import type { JsonWriter } from './json-writer.ts';

/** Kinds of rows of the sample log. */
export const SAMPLES = 0;
/** Samples were given up: `{"from":…,"to":…,"samples":…,"reason":…}`. */
export const OUTAGE = 1;
/** The gateway started: `[[series, period in ms], …]` of everything that is recorded, 0 where nobody polls. */
export const START = 2;

/** Samples of one row: what a reader of the log decodes at a time. */
export const MAX_ROW_SAMPLES = 65_536;

const NOT_A_NUMBER = reasonCode('not a number');
/** What stands before the first run of a row. */
const BRACKET = 1;

/** What the body of a row of kind OUTAGE says. `from` and `to` are times of samples, as far as known; both inclusive. */
export interface Outage {
  readonly from: EpochMs;
  readonly to: EpochMs;
  readonly samples: number;
  readonly reason: string;
}

export interface RunOptions {
  /** Series by point, 0 where it is not recorded. */
  readonly seriesOf: Uint32Array;
  /** Of the row: times of samples are told as their distance from it. */
  readonly time: number;
  readonly from: number;
  readonly to: number;
}

/**
 * Writes rows [from, to) of a batch as runs `[time - row time, first series, [element, …]]` into the array that is open
 * in `into`, so that several batches make one row; returns how many samples they have. Element i is a sample of series
 * first + i: its value, or `[value, quality, reason]` where it is not good.
 */
export function encodeRuns(batch: Batch, options: RunOptions, into: JsonWriter): number {
  const { seriesOf, time, from, to } = options;
  const { points, times, values, forms, qualities } = batch;
  let samples = 0;
  let expected = 0;
  let runTime = Number.NaN;
  for (let i = from; i < to; i++) {
    const series = seriesOf[points[i] ?? 0] ?? 0;
    if (series === 0) continue;
    const at = times[i] ?? 0;
    if (series === expected && at === runTime) into.comma();
    else {
      if (samples > 0) endRun(into);
      beginRun(into, Math.round(at) - time, series);
      runTime = at;
    }
    expected = series + 1;
    samples++;
    const value = values[i] ?? 0;
    if (qualities[i] === GOOD && forms[i] === NUMBER && value - value === 0) into.number(value);
    else writeUncommon(batch, i, into);
  }
  if (samples > 0) endRun(into);
  return samples;
}

function beginRun(into: JsonWriter, offset: number, series: number): void {
  if (into.length > BRACKET) into.comma();
  into.open();
  into.number(offset);
  into.comma();
  into.number(series);
  into.comma();
  into.open();
}

function endRun(into: JsonWriter): void {
  into.close();
  into.close();
}

/** What is not a good number. */
function writeUncommon(
  { values, forms, qualities, reasons, texts }: Batch,
  i: number,
  into: JsonWriter,
): void {
  const value = values[i] ?? 0;
  const form = forms[i] ?? NOTHING;
  const isSound = form !== NUMBER || Number.isFinite(value);
  // An error is never a value.
  const quality = isSound && form !== NOTHING ? (qualities[i] ?? BAD) : BAD;
  const reason = isSound ? (reasons[i] ?? 0) : NOT_A_NUMBER;
  if (quality !== GOOD) into.open();
  if (quality === BAD) into.null();
  else if (form === NUMBER) into.number(value);
  else if (form === BOOLEAN) into.boolean(value !== 0);
  else into.json(JSON.stringify(texts[value] ?? ''));
  if (quality === GOOD) return;
  into.json(`,${quality},${reason}`);
  into.close();
}

/**
 * Adds the samples of a row of kind SAMPLES to `into`; its `points` are series. Throws where the text is not what
 * `encodeRuns` makes, with nothing to be relied on in `into`.
 */
export function decodeRow(text: Uint8Array, time: number, into: BatchBuilder): void {
  const reader = new JsonReader(text);
  must(reader, reader.open());
  // What is left of the newest row when it was filed.
  if (reader.close()) return must(reader, reader.atEnd);
  do {
    must(reader, reader.open());
    const at = time + reader.number();
    must(reader, reader.comma());
    const first = reader.number();
    must(reader, reader.comma() && reader.open());
    readElements(reader, first, at, into);
    must(reader, reader.close());
  } while (reader.comma());
  must(reader, reader.close() && reader.atEnd);
}

function readElements(reader: JsonReader, first: number, at: number, into: BatchBuilder): void {
  let series = first;
  do {
    if (reader.isNumber) into.addNumber(series, at, reader.number());
    else if (reader.open()) readDoubtful(reader, series, at, into);
    else {
      const value = reader.value();
      if (value === null) reader.fail();
      into.add(series, at, value);
    }
    series++;
  } while (reader.comma());
  must(reader, reader.close());
}

/** Behind the bracket of `[value, quality, reason]`. */
function readDoubtful(reader: JsonReader, series: number, at: number, into: BatchBuilder): void {
  const value = reader.value();
  must(reader, reader.comma());
  const quality = reader.number();
  must(reader, reader.comma());
  const reason = reader.number();
  must(reader, reader.close());
  if (value === null) into.addBad(series, at, reason);
  else into.add(series, at, value, quality, reason);
}

function must(reader: JsonReader, holds: boolean): void {
  if (!holds) reader.fail();
}

/** The text of an OUTAGE row; undefined where it cannot be understood. */
export function outageOf(text: string): Outage | undefined {
  const found: unknown = JSON.parse(text);
  if (typeof found !== 'object' || found === null) return undefined;
  const { from, to, samples, reason } = { from: 0, to: 0, samples: 0, reason: '', ...found };
  if (![from, to, samples].every(Number.isFinite) || typeof reason !== 'string') return undefined;
  return { from: epochMs(from), to: epochMs(to), samples, reason };
}

export function joinedOutage(first: Outage, second: Outage): Outage {
  return {
    from: epochMs(Math.min(first.from, second.from)),
    to: epochMs(Math.max(first.to, second.to)),
    samples: first.samples + second.samples,
    reason: second.reason,
  };
}

/** First and last time of the samples. */
export function spanOf({ count, times }: Batch): { readonly from: EpochMs; readonly to: EpochMs } {
  let [from, to] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < count; i++) {
    const time = times[i] ?? 0;
    if (time < from) from = time;
    if (time > to) to = time;
  }
  return { from: epochMs(from), to: epochMs(to) };
}

/** The text of a START row: series and their periods, 0 where nobody polls. */
export function startOf(text: string): readonly (readonly [series: number, period: number])[] {
  return listOf(JSON.parse(text)).map((pair) => {
    const [series, period] = listOf(pair);
    if (typeof series !== 'number' || typeof period !== 'number') throw notARow();
    return [series, period];
  });
}

function listOf(found: unknown): readonly unknown[] {
  if (!Array.isArray(found)) throw notARow();
  return found;
}

function notARow(): TypeError {
  return new TypeError('not the text of a row of the sample log');
}
