import { BOOLEAN, type Batch, type BatchBuilder, NOTHING, NUMBER } from '../core/batch.ts';
import { BAD, GOOD, UNCERTAIN, reasonCode } from '../core/quality.ts';
import { JsonReader } from './json-reader.ts';
import { JsonWriter } from './json-writer.ts';
import { MAX_MISSED, findStep, tickOf } from './step.ts';

export { type SeriesRun, type SortedOrder, sortedOrder } from './order.ts';

/** Samples of one series as they are stored, before compression. Sorted by time; t0 and t1 are the true ends. */
export interface Chunk {
  readonly t0: number;
  readonly t1: number;
  /** Element k of the text belongs to time t0 + k × step. */
  readonly step: number;
  /** Samples; elements are more where ticks were missed. */
  readonly n: number;
  /** JSON in UTF-8: `v`, `[r, v]`, `[r, v, quality, reason]`, or `[]` for a tick without a sample. */
  readonly text: Buffer;
}

/** A reader that wants one minute decodes a chunk; a longer one would shrink by less than a hundredth. */
export const MAX_SAMPLES = 4_096;
/** A chunk of long strings ends earlier. */
const MAX_TEXT = 1_048_576;

const NOT_A_NUMBER = reasonCode('not a number');

// A thread codes one chunk after the other, and what it needs for that is made once.
const writer = new JsonWriter();
const times = new Float64Array(MAX_SAMPLES);
const numbers = new Float64Array(MAX_SAMPLES);

/** Rows order[from..to) of one series, sorted by time and of one UTC day, as chunks. Times are whole milliseconds. */
export function encodeChunks(batch: Batch, order: Uint32Array, from: number, to: number): Chunk[] {
  const chunks: Chunk[] = [];
  // Pieces of the same size: 5,000 samples are twice 2,500, not 4,096 and a rest.
  const pieces = Math.ceil((to - from) / MAX_SAMPLES);
  for (let piece = 0; piece < pieces; piece++) {
    const first = from + Math.round((piece * (to - from)) / pieces);
    const last = from + Math.round(((piece + 1) * (to - from)) / pieces);
    encodePiece(batch, order.subarray(first, last), chunks);
  }
  return chunks;
}

function encodePiece(batch: Batch, rows: Uint32Array, into: Chunk[]): void {
  for (let i = 0; i < rows.length; i++) times[i] = Math.round(batch.times[rows[i] ?? 0] ?? 0);
  const step = findStep(times, rows.length);
  for (let from = 0; from < rows.length; ) {
    const to = step === 0 ? writeOffsets(batch, rows, from) : writeTicks(batch, rows, from, step);
    writer.close();
    into.push({ t0: times[from] ?? 0, t1: times[to - 1] ?? 0, step, n: to - from, text: writer.taken() });
    from = to;
  }
}

/** Samples without a rhythm: each with its distance from the first. Returns where it ended. */
function writeOffsets(batch: Batch, rows: Uint32Array, from: number): number {
  const start = times[from] ?? 0;
  beginText();
  let at = from;
  for (; at < rows.length && writer.length < MAX_TEXT; at++) {
    if (at > from) writer.comma();
    writeSample(batch, rows[at] ?? 0, (times[at] ?? 0) - start);
  }
  return at;
}

/** One element a tick, up to a sample that no tick is left for, or a hole that is too long. Returns where it ended. */
function writeTicks(batch: Batch, rows: Uint32Array, from: number, step: number): number {
  const start = times[from] ?? 0;
  let next = 0;
  beginText();
  let at = from;
  for (; at < rows.length && writer.length < MAX_TEXT; at++) {
    const offset = (times[at] ?? 0) - start;
    let residual = offset - next * step;
    if (residual !== 0) {
      const tick = tickOf(offset, step);
      if (tick < next || tick - next > MAX_MISSED) break;
      for (; next < tick; next++) writer.json(',[]');
      residual = offset - tick * step;
    }
    if (at > from) writer.comma();
    writeSample(batch, rows[at] ?? 0, residual);
    next++;
  }
  return at;
}

function beginText(): void {
  writer.clear();
  writer.open();
}

function writeSample(batch: Batch, row: number, residual: number): void {
  const { values, forms, qualities, reasons } = batch;
  if (residual === 0 && qualities[row] === GOOD && reasons[row] === 0) {
    const value = values[row] ?? 0;
    const form = forms[row];
    if (form === NUMBER && value - value === 0) {
      writer.number(value);
      return;
    }
    if (form === BOOLEAN) {
      writer.boolean(value !== 0);
      return;
    }
  }
  writeUncommon(batch, row, residual);
}

/** An error is never a value: what is bad has none. */
function writeUncommon(batch: Batch, row: number, residual: number): void {
  const { values, forms, qualities, reasons, texts } = batch;
  const value = values[row] ?? 0;
  const form = forms[row] ?? NOTHING;
  const isNumber = form !== NUMBER || Number.isFinite(value);
  const quality = isNumber && form !== NOTHING ? (qualities[row] ?? BAD) : BAD;
  const reason = isNumber ? (reasons[row] ?? 0) : NOT_A_NUMBER;
  const isPlain = quality === GOOD && reason === 0;
  if (residual !== 0 || !isPlain) {
    writer.open();
    writer.number(residual);
    writer.comma();
  }
  if (quality === BAD) writer.null();
  else if (form === NUMBER) writer.number(value);
  else if (form === BOOLEAN) writer.boolean(value !== 0);
  else writer.json(JSON.stringify(texts[value] ?? ''));
  if (!isPlain) writer.json(`,${quality},${reason}`);
  if (residual !== 0 || !isPlain) writer.close();
}

/** Appends every sample of a chunk, as samples of `point`. Throws where the text is not one of a chunk. */
export function decodeChunk(
  chunk: { readonly t0: number; readonly step: number },
  text: Uint8Array,
  point: number,
  into: BatchBuilder,
): void {
  const reader = new JsonReader(text);
  if (!reader.open()) reader.fail();
  let time = chunk.t0;
  do {
    if (reader.isNumber) {
      const count = reader.numbers(numbers);
      into.addNumbers(point, time, chunk.step, numbers, count);
      time += count * chunk.step;
      continue;
    }
    if (reader.open()) readPair(reader, time, point, into);
    else addValue(into, point, time, reader.value(), GOOD, 0);
    time += chunk.step;
  } while (reader.comma());
  if (!reader.close() || !reader.atEnd) reader.fail();
}

/** Behind the bracket of `[]`, `[r, v]` or `[r, v, quality, reason]`. */
function readPair(reader: JsonReader, tick: number, point: number, into: BatchBuilder): void {
  if (reader.close()) return;
  const time = tick + reader.number();
  if (!reader.comma()) reader.fail();
  const value = reader.value();
  let quality = GOOD;
  let reason = 0;
  if (reader.comma()) {
    quality = reader.number();
    if (!reader.comma() || (quality !== GOOD && quality !== UNCERTAIN && quality !== BAD)) reader.fail();
    reason = reader.number();
  }
  if (!reader.close()) reader.fail();
  addValue(into, point, time, value, quality, reason);
}

function addValue(
  into: BatchBuilder,
  point: number,
  time: number,
  value: number | boolean | string | null,
  quality: number,
  reason: number,
): void {
  if (value === null) into.addBad(point, time, reason);
  else into.add(point, time, value, quality, reason);
}
