import type { Batch } from './batch.ts';
import type { Bytes } from './units.ts';

/**
 * The way of every sample, before any filter, into the history. What is on disk here and in no file of the history yet
 * is the sample log: rows in the order of their commits, numbered from 1, never twice the same number.
 */
export interface SampleLog {
  /**
   * Takes the samples over (their buffers are transferred). Resolves when they are on disk; rejects with OUTBOX_FULL
   * where they had to be given up, which is counted and remembered as an outage.
   */
  record(samples: Batch): Promise<void>;
  /** Rows up to this one are in files of the history, durably: the log may forget them. */
  filed(row: number): void;
  /** What the outbox may take from now on; the oldest goes first and is told as a gap. Never above its own limit. */
  allow(outbox: Bytes): void;
}
