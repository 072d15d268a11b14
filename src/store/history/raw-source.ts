import { existsSync } from 'node:fs';
import { type Batch, BatchBuilder } from '../../core/batch.ts';
import type { PointName } from '../../core/point.ts';
import { type EpochMs, days, epochMs } from '../../core/units.ts';
import { copyRow } from './copy-row.ts';
import { type HistoryFile, fileAt, filesIn } from './files.ts';
import type { Handles } from './handles.ts';
import { type StoredChunk, readChunk } from './raw-file.ts';
import { dayOf } from './shelf.ts';
import type { TailSamples } from './tail-samples.ts';

const DAY = days(1);
/** Rows that are decoded before they are handed on: small enough for the cache of a processor. */
const SLICE_ROWS = 16_384;

/** Rows [from, to) of a batch: samples of one series in the order of time. Valid until the next one is asked for. */
export interface Slice {
  readonly batch: Batch;
  readonly from: number;
  readonly to: number;
}

export interface RawSourceOptions {
  readonly folder: string;
  readonly handles: Handles;
  readonly names: readonly PointName[];
  readonly tail: TailSamples;
  /** Identity of the log that the tail is of. */
  readonly log: number;
  /** Samples of the tail before it go into rollups only. */
  readonly floor: EpochMs;
}

interface Found {
  readonly at: HistoryFile;
  readonly chunk: StoredChunk;
  /** Among those that were found, in the order of filing. */
  readonly filed: number;
}

/** Raw samples of files and tail, each of them once. */
export class RawSource {
  readonly #options: RawSourceOptions;
  readonly #parts: ReadonlyMap<EpochMs, readonly HistoryFile[]>;
  readonly #rows = new BatchBuilder();
  readonly #sorted = new BatchBuilder();

  constructor(options: RawSourceOptions) {
    this.#options = options;
    this.#parts = Map.groupBy(filesIn(options.folder, 'raw'), ({ from }) => from);
  }

  /** UTC days that overlap [from, to) and have samples, oldest first. */
  days(from: EpochMs, to: EpochMs): EpochMs[] {
    const all = new Set([...this.#parts.keys(), ...this.#options.tail.days]);
    return [...all].filter((day) => day < to && day + DAY > from).sort((a, b) => a - b);
  }

  /** Raw files of a UTC day, parts in order. */
  parts(day: EpochMs): readonly HistoryFile[] {
    return this.#parts.get(day) ?? [];
  }

  /**
   * Are samples of the tail of this time on their way into raw files that hold whatever came before them? Otherwise
   * they stand beside what is rolled up: raw files of that time are gone, or there were none yet.
   */
  takes(time: EpochMs): boolean {
    return time >= this.#options.floor && this.#parts.has(dayOf(time));
  }

  /** Did the first raw file of the day come after this source was made? Then what is rolled up since holds the tail too. */
  appeared(time: EpochMs): boolean {
    const { folder, floor } = this.#options;
    if (time < floor || this.#parts.has(dayOf(time))) return false;
    return existsSync(fileAt(folder, 'raw', time).path);
  }

  /** Samples of a name in [from, to), which may be of many days. */
  *read(name: number, from: EpochMs, to: EpochMs): Generator<Slice, void, void> {
    for (const day of this.days(from, to))
      yield* this.readDay(day, name, epochMs(Math.max(from, day)), epochMs(Math.min(to, day + DAY)));
  }

  /** The same within one UTC day. Nothing is open between two slices. */
  *readDay(day: EpochMs, name: number, from: EpochMs, to: EpochMs): Generator<Slice, void, void> {
    const { tail, floor } = this.#options;
    const { chunks, mark } = this.#look(day, name, from, to);
    const late = tail.rows(name, Math.max(from, floor), to, mark);
    const span: Span = { name, from, to };
    let taken = 0;
    this.#rows.clear();
    for (let i = 0; i < chunks.length; ) {
      const first = i;
      // Chunks that overlap belong together.
      let end = Number.NEGATIVE_INFINITY;
      for (let rows = 0; i < chunks.length; i++) {
        const chunk = chunks[i]?.chunk;
        if (chunk === undefined || (chunk.t0 > end && rows >= SLICE_ROWS)) break;
        end = Math.max(end, chunk.t1);
        rows += chunk.n;
      }
      const border = chunks[i]?.chunk.t0 ?? Number.POSITIVE_INFINITY;
      const begin = taken;
      while (taken < late.length && (tail.batch.times[late[taken] ?? 0] ?? 0) < border) taken++;
      yield this.#slice(span, chunks.slice(first, i), late.subarray(begin, taken));
    }
    if (taken < late.length) yield this.#slice(span, [], late.subarray(taken));
  }

  /** The chunks of all parts by t0, those of the same in the order of filing, and up to which row of the log they hold the day. */
  #look(day: EpochMs, name: number, from: EpochMs, to: EpochMs): { chunks: Found[]; mark: number } {
    const { handles, names, log } = this.#options;
    const wanted = names[name];
    const chunks: Found[] = [];
    let mark = 0;
    const parts = this.parts(day);
    for (const at of parts) {
      handles.raw(at, (file) =>
        file.snapshot(() => {
          mark = Math.max(mark, file.filedRow(log));
          const series = wanted === undefined ? undefined : file.find(wanted);
          if (series === undefined) return;
          const found = file.chunks(series, from, to).toSorted((a, b) => a.id - b.id);
          for (const chunk of found) chunks.push({ at, chunk, filed: chunks.length });
        }),
      );
    }
    return { chunks: chunks.sort((a, b) => a.chunk.t0 - b.chunk.t0), mark };
  }

  #slice(span: Span, group: readonly Found[], late: Uint32Array): Slice {
    const rows = this.#rows;
    rows.clear();
    let [end, ordered] = [Number.NEGATIVE_INFINITY, true];
    for (const { chunk } of group) {
      if (chunk.t0 <= end) ordered = false;
      end = Math.max(end, chunk.t1);
    }
    // Of samples of the same time the one that was filed first comes first.
    for (const found of ordered ? group : group.toSorted((a, b) => a.filed - b.filed))
      this.#decode(found, span.name);
    const { batch } = this.#options.tail;
    if (late.length > 0 && (batch.times[late[0] ?? 0] ?? 0) < end) ordered = false;
    for (const row of late) copyRow(batch, row, span.name, rows);
    const all = ordered ? rows.peek() : this.#inOrder(rows.peek());
    return { batch: all, from: firstAt(all, span.from), to: firstAt(all, span.to) };
  }

  /** What was decoded of a damaged chunk is taken back. */
  #decode({ at, chunk }: Found, name: number): void {
    const before = this.#rows.count;
    try {
      readChunk(chunk, name, this.#rows);
    } catch (error) {
      this.#options.handles.note(at, error, { from: epochMs(chunk.t0), to: epochMs(chunk.t1 + 1) });
      this.#rows.truncate(before);
    }
  }

  /** Rows of the same time stay in the order in which they came. */
  #inOrder(batch: Batch): Batch {
    const order = Uint32Array.from({ length: batch.count }, (_, i) => i);
    order.sort((a, b) => (batch.times[a] ?? 0) - (batch.times[b] ?? 0) || a - b);
    this.#sorted.clear();
    for (const row of order) copyRow(batch, row, batch.points[row] ?? 0, this.#sorted);
    return this.#sorted.peek();
  }
}

interface Span {
  readonly name: number;
  readonly from: number;
  readonly to: number;
}

/** The first row that is not before `time`. */
function firstAt({ times, count }: Batch, time: number): number {
  let [low, high] = [0, count];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((times[middle] ?? 0) < time) low = middle + 1;
    else high = middle;
  }
  return low;
}
