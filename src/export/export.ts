import type { Batch } from '../core/batch.ts';
import type { PointName } from '../core/point.ts';
import { csvEncoder } from './csv.ts';
import type { Encoder, Format, Write } from './encoder.ts';
import { jsonlEncoder } from './jsonl.ts';
import { parquetEncoder } from './parquet.ts';

export interface ExportOptions {
  /** As `History.samples` gives them. */
  readonly samples: {
    readonly names: readonly PointName[];
    readonly batches: Iterable<Batch> | AsyncIterable<Batch>;
  };
  readonly format: Format;
  readonly write: Write;
  /** After each batch that was written. */
  readonly onBatch?: (batch: Batch) => void;
  readonly signal?: AbortSignal;
}

/** Writes all samples; one batch and what its format collects are in memory. Throws the reason of the signal. */
export async function exportSamples(options: ExportOptions): Promise<number> {
  const { samples, format, write, onBatch, signal } = options;
  const encoder = encoderOf(format, samples.names, write);
  let count = 0;
  await encoder.begin();
  for await (const batch of samples.batches) {
    signal?.throwIfAborted();
    await encoder.add(batch);
    count += batch.count;
    onBatch?.(batch);
  }
  signal?.throwIfAborted();
  await encoder.end();
  return count;
}

function encoderOf(format: Format, names: readonly PointName[], write: Write): Encoder {
  switch (format) {
    case 'csv':
      return csvEncoder(names, write);
    case 'jsonl':
      return jsonlEncoder(names, write);
    case 'parquet':
      return parquetEncoder(names, write);
    default:
      return format satisfies never;
  }
}
