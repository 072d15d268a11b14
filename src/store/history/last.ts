import { type Batch, BatchBuilder, valueAt } from '../../core/batch.ts';
import type { LastSample } from '../../core/history.ts';
import type { PointName } from '../../core/point.ts';
import { GOOD } from '../../core/quality.ts';
import { type EpochMs, epochMs, hours } from '../../core/units.ts';
import { type HistoryFile, filesIn } from './files.ts';
import type { Handles } from './handles.ts';
import { readChunk } from './raw-file.ts';
import type { Tail } from './tail.ts';

/** At the end of a file it is looked through first, before the whole of it: nearly every series has a chunk there. */
const WINDOW = hours(2);

export interface LastOptions {
  readonly folder: string;
  readonly tail: Tail;
  readonly handles: Handles;
}

type Found = (LastSample | undefined)[];

/**
 * The newest sample of each series: of the tail, else of the newest file that has one. Of several of the same time the
 * one that was filed last, and the tail comes after the files.
 */
export function lastSamples(
  names: readonly PointName[],
  { folder, tail, handles }: LastOptions,
): LastSample[] {
  const found: Found = names.map(() => undefined);
  const builder = new BatchBuilder();
  tail.last(names, builder);
  const batch = builder.peek();
  for (let i = 0; i < batch.count; i++) {
    const place = batch.points[i] ?? 0;
    const name = names[place];
    const time: number = batch.times[i] ?? 0;
    if (name !== undefined && time >= (found[place]?.time ?? 0)) found[place] = sampleAt(batch, i, name);
  }
  for (const at of filesIn(folder, 'raw').toReversed()) fromRaw(at, names, found, handles);
  for (const tier of ['minute', 'hour'] as const)
    for (const at of filesIn(folder, tier).toReversed()) fromRollups(at, names, found, handles);
  return found.flatMap((sample) => sample ?? []);
}

/** Series for which a file may have a newer sample than the one that was found; none of it is after `latest`. */
function wantedOf(latest: EpochMs, names: readonly PointName[], found: Found): [number, PointName][] {
  return [...names.entries()].filter(([place]) => (found[place]?.time ?? 0) < latest);
}

function fromRaw(at: HistoryFile, names: readonly PointName[], found: Found, handles: Handles): void {
  const builder = new BatchBuilder();
  const newest = handles.raw(at, (file) => file.latest) ?? epochMs(0);
  for (const [place, name] of wantedOf(newest, names, found)) {
    const after = epochMs(Math.max(at.from, (found[place]?.time ?? 0) + 1));
    const from = epochMs(Math.max(after, newest - WINDOW));
    const chunks = handles.raw(at, (file) => {
      const series = file.find(name);
      if (series === undefined) return [];
      const late = file.chunks(series, from, at.to);
      return late.length > 0 || from === after ? late : file.chunks(series, after, at.to);
    });
    builder.clear();
    // Chunks may overlap: only those that reach as far as any other can hold the newest sample.
    const end = Math.max(...(chunks ?? []).map(({ t1 }) => t1));
    const ends = (chunks ?? []).filter(({ t1 }) => t1 === end);
    for (const chunk of ends.toSorted((a, b) => a.id - b.id))
      try {
        readChunk(chunk, place, builder);
      } catch (error) {
        handles.note(at, error);
      }
    const batch = builder.peek();
    const row = newestRow(batch);
    if (row >= 0 && (batch.times[row] ?? 0) >= after) found[place] = sampleAt(batch, row, name);
  }
}

/** Where raw samples are gone: the last value that was not bad. */
function fromRollups(at: HistoryFile, names: readonly PointName[], found: Found, handles: Handles): void {
  for (const [place, name] of wantedOf(at.to, names, found)) {
    if (found[place] !== undefined) continue;
    const rollups = handles.rollup(at, (file) => file.read(name, at.from, at.to)) ?? [];
    const newest = rollups.findLast(({ last }) => last !== null);
    if (newest === undefined) continue;
    const { last: value, lastTime } = newest;
    found[place] = { name, time: epochMs(lastTime), value, quality: GOOD, reason: 0 };
  }
}

/** The last one of those of the newest time. */
function newestRow({ times, count }: Batch): number {
  let newest = -1;
  for (let i = 0; i < count; i++) if (newest < 0 || (times[i] ?? 0) >= (times[newest] ?? 0)) newest = i;
  return newest;
}

function sampleAt(batch: Batch, i: number, name: PointName): LastSample {
  const time: number = batch.times[i] ?? 0;
  return {
    name,
    time: epochMs(time),
    value: valueAt(batch, i),
    quality: batch.qualities[i] ?? 0,
    reason: batch.reasons[i] ?? 0,
  };
}
