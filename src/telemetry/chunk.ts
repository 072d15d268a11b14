import type { Batch, BatchBuilder } from '../core/batch.ts';

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

/** Rows order[from..to) of a batch are those of one series. */
export interface SeriesRun {
  readonly series: number;
  readonly from: number;
  readonly to: number;
}

export interface SortedOrder {
  readonly order: Uint32Array<ArrayBuffer>;
  readonly runs: readonly SeriesRun[];
}

/** The rows of a batch by series and then by time; rows of the same time stay in the order in which they came. */
export function sortedOrder(_batch: Batch): SortedOrder {
  throw new Error('not built yet');
}

/** Rows order[from..to) of one series, sorted by time and of one UTC day, as chunks. */
export function encodeChunks(_batch: Batch, _order: Uint32Array, _from: number, _to: number): Chunk[] {
  throw new Error('not built yet');
}

/** Appends every sample of a chunk, as samples of `point`. Throws where the text is not one of a chunk. */
export function decodeChunk(
  _chunk: { readonly t0: number; readonly step: number },
  _text: Buffer,
  _point: number,
  _into: BatchBuilder,
): void {
  throw new Error('not built yet');
}
