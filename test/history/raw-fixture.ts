import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Batch, BatchBuilder, type PointValue, valueAt } from '../../src/core/batch.ts';
import type { PointName } from '../../src/core/point.ts';
import { GOOD } from '../../src/core/quality.ts';
import { type EpochMs, epochMs, mebibytes } from '../../src/core/units.ts';
import { type HistoryFile, fileAt } from '../../src/store/history/files.ts';
import { RawFile, type StoredChunk, readChunk } from '../../src/store/history/raw-file.ts';
import { sortedOrder } from '../../src/telemetry/chunk.ts';

export const DAY: EpochMs = epochMs(Date.UTC(2026, 10, 22));
export const HOUR = 3_600_000;
export const LIMIT: number = mebibytes(64);
const NEXT_DAY = epochMs(DAY + 24 * HOUR);

/** A good number, a second after midnight for each `at`, unless it says more. */
export interface Written {
  readonly series: number;
  /** Milliseconds after midnight. */
  readonly at: number;
  readonly value: PointValue | null;
  readonly quality?: number;
  readonly reason?: number;
}

export interface Read {
  readonly at: number;
  readonly value: PointValue | null;
  readonly quality: number;
  readonly reason: number;
}

interface Teardown {
  teardown(after: () => unknown): void;
}

/** A day file in a folder that the end of the test removes. */
export function dayFile(t: Teardown, part = 1): HistoryFile {
  const folder = mkdtempSync(join(tmpdir(), 'raw-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return fileAt(folder, 'raw', DAY, part);
}

export function opened(t: Teardown, at: HistoryFile): RawFile {
  const file = RawFile.forWriting(at, LIMIT);
  t.teardown(() => file.close());
  return file;
}

export function nameOf(series: number): PointName {
  return { device: `device-${Math.floor(series / 10)}`, point: `point-${series}`, unit: 'V' };
}

export function batchOf(samples: readonly Written[]): Batch {
  const builder = new BatchBuilder();
  for (const { series, at, value, quality = GOOD, reason = 0 } of samples) {
    if (value === null) builder.addBad(series, DAY + at, reason);
    else builder.add(series, DAY + at, value, quality, reason);
  }
  return builder.peek();
}

/** Adds without `begin` and `commit`. */
export function addAll(file: RawFile, samples: readonly Written[]): void {
  const batch = batchOf(samples);
  const { order, runs } = sortedOrder(batch);
  for (const { series, from, to } of runs) file.add(nameOf(series), batch, order, from, to);
}

/** One transaction, as the historian makes it. */
export function write(file: RawFile, samples: readonly Written[], row = 1, log = 77): void {
  file.begin();
  addAll(file, samples);
  file.mark(log, row);
  file.commit();
}

/** `count` numbers of a series, one every `step` ms. */
export function ticks(series: number, from: number, count: number, step = 1_000): Written[] {
  return Array.from({ length: count }, (_, k) => ({ series, at: from + k * step, value: from / 1_000 + k }));
}

/** Everything that the file has of a series, chunk by chunk. Throws where a chunk is not what its row says. */
export function read(file: RawFile, series: number): Read[] {
  return chunksOf(file, series).flatMap((chunk) => {
    const into = new BatchBuilder();
    readChunk(chunk, series, into);
    const batch = into.peek();
    const times = [...batch.times];
    const isSorted = times.every((time, i) => time >= (times[i - 1] ?? 0));
    if (!isSorted || times[0] !== chunk.t0 || times.at(-1) !== chunk.t1)
      throw new Error(`not what its row says: ${JSON.stringify(times)}`);
    return times.map((time, i) => ({
      at: time - DAY,
      value: valueAt(batch, i),
      quality: batch.qualities[i] ?? 0,
      reason: batch.reasons[i] ?? 0,
    }));
  });
}

function chunksOf(file: RawFile, series: number): readonly StoredChunk[] {
  const { device, point } = nameOf(series);
  const found = file.series().find((known) => known.device === device && known.point === point);
  return found === undefined ? [] : file.chunks(found.id, DAY, NEXT_DAY);
}

/** Samples in each chunk of a series. */
export function chunkSizes(file: RawFile, series: number): number[] {
  return chunksOf(file, series).map(({ n }) => n);
}

export function asRead(samples: readonly Written[]): Read[] {
  return samples.map(({ at, value, quality = GOOD, reason = 0 }) => ({
    at,
    value,
    quality: value === null ? 2 : quality,
    reason,
  }));
}
