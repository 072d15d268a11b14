import type { Batch } from '../core/batch.ts';

export const FORMATS = ['csv', 'jsonl', 'parquet'] as const;
export type Format = (typeof FORMATS)[number];

/** Takes bytes over; resolves when the receiver wants more. Nothing is kept that was handed on. */
export type Write = (bytes: Uint8Array) => Promise<void>;

/** Samples in, bytes of one format out. Calls do not overlap; memory does not grow with what went through. */
export interface Encoder {
  begin(): Promise<void>;
  /** Rows of a batch; `points` are indices into the names that the encoder was made for. */
  add(batch: Batch): Promise<void>;
  end(): Promise<void>;
}
