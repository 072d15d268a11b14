import type { Batch, BatchBuilder } from '../../core/batch.ts';
import type { PointName } from '../../core/point.ts';
import type { EpochMs } from '../../core/units.ts';
import type { HistoryFile } from './files.ts';

/** A series of this file; its number means something in this file only. */
export interface RawSeries extends PointName {
  readonly id: number;
}

/** A chunk as it is on disk. */
export interface StoredChunk {
  readonly t0: number;
  readonly t1: number;
  readonly step: number;
  readonly n: number;
  /** Of the text. */
  readonly len: number;
  readonly body: Buffer;
}

/** A UTC hour in which chunks were written since it was rolled up last. */
export interface UnrolledHour {
  readonly hour: EpochMs;
  /** Hand it to `setRolled` when the rollups of these series are on disk. */
  readonly upTo: number;
  /** Series that were touched, as numbers of this file. */
  readonly series: readonly number[];
}

/** One part of a UTC day. SQLite's own errors come through; `isTrouble`, `isFull` and `isDamage` sort them. */
export class RawFile {
  readonly at: HistoryFile;

  private constructor(at: HistoryFile) {
    this.at = at;
  }

  /** Makes the file where it is missing; makes a sealed one writable again. `limit`: what it and its log may take. */
  static forWriting(_at: HistoryFile, _limit: number): RawFile {
    throw new Error('not built yet');
  }

  /** Any process may read along while another one writes. */
  static forReading(_at: HistoryFile): RawFile {
    throw new Error('not built yet');
  }

  /** With the write-ahead log. */
  get bytes(): number {
    throw new Error('not built yet');
  }

  /** The last row of this sample log that is in the file; 0 where none is. */
  filedRow(_log: number): number {
    throw new Error('not built yet');
  }

  begin(): void {
    throw new Error('not built yet');
  }

  /** Takes rows order[from..to) of one series, sorted by time, all of this day. Between `begin` and `commit`. */
  add(_name: PointName, _batch: Batch, _order: Uint32Array, _from: number, _to: number): void {
    throw new Error('not built yet');
  }

  /** Everything of the log up to this row that belongs into this day is in the file, once this is committed. */
  mark(_log: number, _row: number): void {
    throw new Error('not built yet');
  }

  commit(): void {
    throw new Error('not built yet');
  }

  /** May be called where no transaction is open (any more). */
  rollback(): void {
    throw new Error('not built yet');
  }

  series(): readonly RawSeries[] {
    throw new Error('not built yet');
  }

  /** The chunks of a series that have to do with [from, to), by t0. They may overlap. */
  chunks(_series: number, _from: EpochMs, _to: EpochMs): readonly StoredChunk[] {
    throw new Error('not built yet');
  }

  /** What `read` reads sees one state of the file: marks and chunks belong together. Keep it short. */
  snapshot<T>(_read: () => T): T {
    throw new Error('not built yet');
  }

  /** Hours that were touched since they were rolled up last, oldest first, whoever's log it came from. */
  unrolled(): readonly UnrolledHour[] {
    throw new Error('not built yet');
  }

  setRolled(_hour: EpochMs, _upTo: number): void {
    throw new Error('not built yet');
  }

  /** Makes it one self-contained file that a read-only directory can serve, and closes it. */
  seal(): void {
    throw new Error('not built yet');
  }

  close(): void {
    throw new Error('not built yet');
  }
}

/** Appends every sample of a chunk, as samples of `point`. Throws where the body is damaged. */
export function readChunk(_chunk: StoredChunk, _point: number, _into: BatchBuilder): void {
  throw new Error('not built yet');
}
