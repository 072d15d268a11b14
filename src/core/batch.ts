import { BAD, GOOD } from './quality.ts';

/** A value as a person or another machine sees it; null where the quality is bad. */
export type PointValue = number | boolean | string;

/** Forms of a value in a column. */
export const NUMBER = 0;
export const BOOLEAN = 1; // value is 0 or 1
export const TEXT = 2; // value is an index into `texts`
export const NOTHING = 3; // no value: the quality is bad

/**
 * Samples as columns: row i is (points[i], times[i], values[i], …). Nothing is an object per value. The buffers of a
 * batch belong to whoever holds it; they may be transferred to another thread.
 */
export interface Batch {
  readonly count: number;
  /** Index into `Config.points`. */
  readonly points: Uint32Array<ArrayBuffer>;
  /** Milliseconds since 1970, UTC (`EpochMs`). */
  readonly times: Float64Array<ArrayBuffer>;
  readonly values: Float64Array<ArrayBuffer>;
  readonly forms: Uint8Array<ArrayBuffer>;
  /** GOOD, UNCERTAIN or BAD. */
  readonly qualities: Uint8Array<ArrayBuffer>;
  /** Index into `REASONS`; 0 where good. */
  readonly reasons: Uint8Array<ArrayBuffer>;
  /** Values of form TEXT; integers beyond 2^53 travel here as decimal text, because a wrong value is worse than none. */
  readonly texts: readonly string[];
}

const INITIAL_ROWS = 256;

/** Collects samples and hands them over as one batch. Grows by doubling; `take` leaves it empty. */
export class BatchBuilder {
  #count = 0;
  #texts: string[] = [];
  #points = new Uint32Array(INITIAL_ROWS);
  #times = new Float64Array(INITIAL_ROWS);
  #values = new Float64Array(INITIAL_ROWS);
  #forms = new Uint8Array(INITIAL_ROWS);
  #qualities = new Uint8Array(INITIAL_ROWS);
  #reasons = new Uint8Array(INITIAL_ROWS);

  get count(): number {
    return this.#count;
  }

  /** A number that JSON can carry. The caller turns NaN and infinities into `addBad`. */
  addNumber(point: number, time: number, value: number, quality = GOOD, reason = 0): void {
    this.#row(point, time, value, NUMBER, quality, reason);
  }

  /** The first `count` of these, the first at `time` and each of the others `step` after the one before. */
  addNumbers(point: number, time: number, step: number, values: Float64Array, count: number): void {
    const from = this.#count;
    const to = from + count;
    while (to > this.#points.length) this.#grow();
    const times = this.#times;
    for (let i = 0; i < count; i++) times[from + i] = time + i * step;
    this.#points.fill(point, from, to);
    this.#values.set(values.subarray(0, count), from);
    this.#forms.fill(NUMBER, from, to);
    this.#qualities.fill(GOOD, from, to);
    this.#reasons.fill(0, from, to);
    this.#count = to;
  }

  addBoolean(point: number, time: number, value: boolean, quality = GOOD, reason = 0): void {
    this.#row(point, time, value ? 1 : 0, BOOLEAN, quality, reason);
  }

  addText(point: number, time: number, value: string, quality = GOOD, reason = 0): void {
    this.#row(point, time, this.#texts.length, TEXT, quality, reason);
    this.#texts.push(value);
  }

  add(point: number, time: number, value: PointValue, quality = GOOD, reason = 0): void {
    if (typeof value === 'number') this.addNumber(point, time, value, quality, reason);
    else if (typeof value === 'boolean') this.addBoolean(point, time, value, quality, reason);
    else this.addText(point, time, value, quality, reason);
  }

  /** An error is never a value. */
  addBad(point: number, time: number, reason: number): void {
    this.#row(point, time, 0, NOTHING, BAD, reason);
  }

  /** Everything collected so far, or undefined where there is nothing. */
  take(): Batch | undefined {
    const count = this.#count;
    if (count === 0) return undefined;
    const batch: Batch = {
      count,
      points: this.#points.slice(0, count),
      times: this.#times.slice(0, count),
      values: this.#values.slice(0, count),
      forms: this.#forms.slice(0, count),
      qualities: this.#qualities.slice(0, count),
      reasons: this.#reasons.slice(0, count),
      texts: this.#texts,
    };
    this.#count = 0;
    this.#texts = [];
    return batch;
  }

  /** Everything collected so far, in place: valid until the next row is added. */
  peek(): Batch {
    const count = this.#count;
    return {
      count,
      points: this.#points.subarray(0, count),
      times: this.#times.subarray(0, count),
      values: this.#values.subarray(0, count),
      forms: this.#forms.subarray(0, count),
      qualities: this.#qualities.subarray(0, count),
      reasons: this.#reasons.subarray(0, count),
      texts: this.#texts,
    };
  }

  /** Everything collected so far is done with; what it lay in is used again. */
  clear(): void {
    this.#count = 0;
    this.#texts = [];
  }

  /** Takes back everything after the first `count` rows. */
  truncate(count: number): void {
    this.#count = Math.min(this.#count, count);
  }

  #row(point: number, time: number, value: number, form: number, quality: number, reason: number): void {
    const at = this.#count;
    if (at === this.#points.length) this.#grow();
    this.#points[at] = point;
    this.#times[at] = time;
    this.#values[at] = value;
    this.#forms[at] = form;
    this.#qualities[at] = quality;
    this.#reasons[at] = reason;
    this.#count = at + 1;
  }

  #grow(): void {
    const rows = this.#points.length * 2;
    this.#points = extended(this.#points, new Uint32Array(rows));
    this.#times = extended(this.#times, new Float64Array(rows));
    this.#values = extended(this.#values, new Float64Array(rows));
    this.#forms = extended(this.#forms, new Uint8Array(rows));
    this.#qualities = extended(this.#qualities, new Uint8Array(rows));
    this.#reasons = extended(this.#reasons, new Uint8Array(rows));
  }
}

function extended<T extends Uint32Array | Float64Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}

/** The value of row i as a person sees it; null where there is none. */
export function valueAt(batch: Batch, i: number): PointValue | null {
  const value = batch.values[i] ?? 0;
  switch (batch.forms[i]) {
    case NUMBER:
      return value;
    case BOOLEAN:
      return value !== 0;
    case TEXT:
      return batch.texts[value] ?? null;
    default:
      return null;
  }
}

/** The buffers of a batch, for `postMessage(batch, buffersOf(batch))`. */
export function buffersOf(batch: Batch): ArrayBuffer[] {
  return [
    batch.points.buffer,
    batch.times.buffer,
    batch.values.buffer,
    batch.forms.buffer,
    batch.qualities.buffer,
    batch.reasons.buffer,
  ];
}
