import { readFileSync } from 'node:fs';
import { tableFromIPC } from 'apache-arrow';
import { readParquet } from 'parquet-wasm/node';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import type { PointName } from '../../src/core/point.ts';
import { reasonCode, UNCERTAIN } from '../../src/core/quality.ts';
import type { Format } from '../../src/export/encoder.ts';
import { exportSamples } from '../../src/export/export.ts';

/** 2026-11-24T00:00:00Z. */
export const DAY = Date.UTC(2026, 10, 24);

export const NAMES: readonly PointName[] = [
  { device: 'meter-1', point: 'voltage', unit: 'V' },
  { device: 'meter-1', point: 'running' },
  { device: 'tank', point: 'batch', unit: '=cmd' },
];

/** Texts that a format could trip over. */
export const TEXTS = [
  'plain',
  '',
  'comma, "quote"',
  'line\r\nbreak',
  '=1+1',
  '+44 20',
  '-2',
  '-9223372036854775808',
  '@SUM(A1)',
  "'tick",
  '\tTab',
  'Grüße 🌊',
];

/** One row of each kind, and each text. */
export function mixed(): Batch {
  const builder = new BatchBuilder();
  builder.addNumber(0, DAY, 230.1);
  builder.addNumber(0, DAY + 1_005, -1.5e-7, UNCERTAIN, reasonCode('stale'));
  builder.addBad(0, DAY + 59_999, reasonCode('timeout'));
  builder.addNumber(0, DAY + 60_000, 2 ** 53 - 1);
  builder.addBoolean(1, DAY + 10, true);
  builder.addBoolean(1, DAY + 3_600_000, false);
  TEXTS.forEach((text, i) => builder.addText(2, DAY + i, text));
  return taken(builder);
}

export function taken(builder: BatchBuilder): Batch {
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

export async function exported(
  format: Format,
  batches: Iterable<Batch>,
  names: readonly PointName[] = NAMES,
): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  await exportSamples({
    samples: { names, batches },
    format,
    write: async (bytes) => void pieces.push(Buffer.from(bytes)),
  });
  return Buffer.concat(pieces);
}

export interface ParquetRow {
  readonly device: string;
  readonly point: string;
  readonly time: number;
  readonly value: number | null;
  readonly text: string | null;
  readonly type: string | null;
  readonly unit: string | null;
  readonly quality: string;
  readonly reason: string | null;
}

/** Read by the Rust implementation. */
export function parquetRows(file: Uint8Array): ParquetRow[] {
  const table = tableFromIPC(readParquet(file).intoIPCStream());
  return table.toArray().map((row: { toJSON(): ParquetRow }) => ({ ...row.toJSON() }));
}

export function parquetFile(path: string): ParquetRow[] {
  return parquetRows(readFileSync(path));
}
