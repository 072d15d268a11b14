import type { Batch } from '../../src/core/batch.ts';
import { BOOLEAN, NUMBER } from '../../src/core/batch.ts';
import type { RecordedPoint } from '../../src/store/series.ts';
import { plantSignals } from './plant-signals.ts';

const POINTS_PER_DEVICE = 50;
/** Values made beforehand, together; a run that is longer starts again with the first. */
const VALUES = 6_000_000;
const MAX_TICKS = 7_200;

/** A plant whose values are made beforehand, so that handing them over costs next to nothing. */
export class Load {
  readonly points: readonly RecordedPoint[];
  readonly #template: Scan;
  /** Tick by tick, point by point. */
  readonly #values: Float64Array<ArrayBuffer>;
  readonly #ticks: number;
  #tick = 0;

  constructor(points: number, seed = 1) {
    const signals = plantSignals(points, seed);
    this.points = signals.map(({ kind }, i) => ({
      device: `unit-${Math.floor(i / POINTS_PER_DEVICE)}`,
      point: `${kind.name}-${i % POINTS_PER_DEVICE}`,
      unit: kind.unit,
    }));
    this.#ticks = Math.min(MAX_TICKS, Math.floor(VALUES / points));
    this.#values = new Float64Array(this.#ticks * points);
    for (let tick = 0; tick < this.#ticks; tick++)
      for (const [i, { next }] of signals.entries()) this.#values[tick * points + i] = next();
    this.#template = {
      points: Uint32Array.from(signals.keys()),
      forms: Uint8Array.from(signals, ({ kind }) => (kind.form === 'boolean' ? BOOLEAN : NUMBER)),
    };
  }

  /** One value of every point for each of these times, which are rising. */
  scans(times: readonly number[]): Batch {
    const width = this.points.length;
    const count = width * times.length;
    const batch: Batch = {
      count,
      points: new Uint32Array(count),
      times: new Float64Array(count),
      values: new Float64Array(count),
      forms: new Uint8Array(count),
      qualities: new Uint8Array(count),
      reasons: new Uint8Array(count),
      texts: [],
    };
    for (const [i, time] of times.entries()) {
      const at = i * width;
      const from = (this.#tick++ % this.#ticks) * width;
      batch.points.set(this.#template.points, at);
      batch.forms.set(this.#template.forms, at);
      batch.times.fill(time, at, at + width);
      batch.values.set(this.#values.subarray(from, from + width), at);
    }
    return batch;
  }

  /** The points [from, to) at one time: a scan that comes in parts. The next tick begins when the last point was taken. */
  part(time: number, from: number, to: number): Batch {
    const count = to - from;
    const at = (this.#tick % this.#ticks) * this.points.length;
    if (to === this.points.length) this.#tick++;
    return {
      count,
      points: this.#template.points.slice(from, to),
      times: new Float64Array(count).fill(time),
      values: this.#values.slice(at + from, at + to),
      forms: this.#template.forms.slice(from, to),
      qualities: new Uint8Array(count),
      reasons: new Uint8Array(count),
      texts: [],
    };
  }
}

interface Scan {
  readonly points: Uint32Array<ArrayBuffer>;
  readonly forms: Uint8Array<ArrayBuffer>;
}
