import type { Batch } from '../core/batch.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { JsonWriter } from '../telemetry/json-writer.ts';
import { MAX_ROW_SAMPLES, SAMPLES, encodeRuns, spanOf } from '../telemetry/sample-log.ts';
import { type LogRow, logRow } from './log-table.ts';

/** A row of a batch: a point, a time, a value, form, quality and reason. */
const ROW_BYTES = 31;
const NOT_YET = epochMs(Number.POSITIVE_INFINITY);
const NEVER_YET = epochMs(Number.NEGATIVE_INFINITY);

/** Samples on their way into the sample log, as they came, until the commit that takes them. */
export class Recording {
  readonly #seriesOf: Uint32Array<ArrayBuffer>;
  readonly #text = new JsonWriter();
  #batches: Batch[] = [];
  #ids: number[] = [];
  #bytes = 0;
  #from = NOT_YET;
  #to = NEVER_YET;

  constructor(seriesOf: Uint32Array<ArrayBuffer>) {
    this.#seriesOf = seriesOf;
  }

  get empty(): boolean {
    return this.#ids.length === 0;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Throws RangeError, and takes nothing, where the batch names a point that is not in the table. */
  add(id: number, batch: Batch): void {
    const { count, points } = batch;
    const known = this.#seriesOf.length;
    for (let i = 0; i < count; i++)
      if ((points[i] ?? known) >= known)
        throw new RangeError(`point ${points[i]} is not among the ${known} of the configuration`);
    const { from, to } = spanOf(batch);
    this.#from = epochMs(Math.min(this.#from, from));
    this.#to = epochMs(Math.max(this.#to, to));
    this.#batches.push(batch);
    this.#ids.push(id);
    this.#bytes += count * ROW_BYTES + batch.texts.reduce((sum, text) => sum + text.length, 0);
  }

  /** Everything collected, as rows of at most MAX_ROW_SAMPLES, and who waits for it; leaves it empty. */
  take(time: number): {
    readonly rows: readonly LogRow[];
    readonly ids: readonly number[];
    readonly from: EpochMs;
    readonly to: EpochMs;
  } {
    const taken = { rows: this.#rows(time), ids: this.#ids, from: this.#from, to: this.#to };
    this.#batches = [];
    this.#ids = [];
    this.#bytes = 0;
    this.#from = NOT_YET;
    this.#to = NEVER_YET;
    return taken;
  }

  #rows(time: number): LogRow[] {
    const rows: LogRow[] = [];
    const seriesOf = this.#seriesOf;
    const text = this.#text;
    let samples = 0;
    const begin = (): void => {
      samples = 0;
      text.clear();
      text.open();
    };
    const finish = (): void => {
      text.close();
      if (samples > 0) rows.push(logRow(SAMPLES, text.taken(), { time, samples }));
      begin();
    };
    begin();
    for (const batch of this.#batches)
      for (let from = 0; from < batch.count; ) {
        const to = Math.min(batch.count, from + MAX_ROW_SAMPLES - samples);
        samples += encodeRuns(batch, { seriesOf, time, from, to }, text);
        from = to;
        if (samples >= MAX_ROW_SAMPLES) finish();
      }
    finish();
    return rows;
  }
}
