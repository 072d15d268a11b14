import { type Batch, BatchBuilder, valueAt } from '../../core/batch.ts';
import type { LastSample } from '../../core/history.ts';
import type { PointName } from '../../core/point.ts';
import { GOOD } from '../../core/quality.ts';
import { type EpochMs, days, epochMs, hours } from '../../core/units.ts';
import type { Span } from '../../telemetry/spans.ts';
import { EARLIEST, type HistoryFile, filesIn } from './files.ts';
import type { Handles } from './handles.ts';
import { readChunk } from './raw-file.ts';
import type { Tail } from './tail.ts';

/** At the end of a file it is looked through first, before the whole of it: nearly every series has a chunk there. */
const WINDOW = hours(2);
/** A device may be ahead by up to a day. */
const AHEAD = days(1);

export interface LastOptions {
  readonly folder: string;
  readonly tail: Tail;
  readonly handles: Handles;
  readonly now: EpochMs;
}

/** A series, its newest sample so far, and where a newer one may be: times in (after, until]. */
interface Wanted {
  readonly place: number;
  readonly name: PointName;
  sample: LastSample | undefined;
  after: number;
  until: number;
}

/**
 * The newest sample of each series: of the tail, else of the newest file that has one. Of several of the same time the
 * one that was filed last, and the tail comes after the files. A clock that was wrong does not decide: what is in the
 * tail is newer than whatever files have of a time that was still to come then, and of a series that only files have,
 * what is of the future counts only where there is nothing else.
 */
export function lastSamples(
  names: readonly PointName[],
  { folder, tail, handles, now }: LastOptions,
): LastSample[] {
  const builder = new BatchBuilder();
  const { since, times } = tail.last(names, builder);
  const until = now + AHEAD;
  const all: Wanted[] = names.map((name, place) => {
    return { place, name, sample: undefined, after: Number.NEGATIVE_INFINITY, until };
  });
  const batch = builder.peek();
  for (let i = 0; i < batch.count; i++) {
    const wanted = all[batch.points[i] ?? 0];
    if (wanted === undefined) continue;
    wanted.sample = sampleAt(batch, i, wanted.name);
    wanted.after = times[wanted.place] ?? wanted.after;
    wanted.until = since ?? wanted.until;
  }
  fromFiles(folder, all, handles);
  const rest = all.filter(({ sample }) => sample === undefined);
  for (const wanted of rest) wanted.until = Number.POSITIVE_INFINITY;
  if (rest.length > 0) fromFiles(folder, rest, handles);
  return all.flatMap(({ sample }) => sample ?? []);
}

function fromFiles(folder: string, all: readonly Wanted[], handles: Handles): void {
  for (const at of filesIn(folder, 'raw').toReversed()) fromRaw(at, all, handles);
  for (const tier of ['minute', 'hour'] as const)
    for (const at of filesIn(folder, tier).toReversed()) fromRollups(at, all, handles);
}

function fromRaw(at: HistoryFile, all: readonly Wanted[], handles: Handles): void {
  const latest = handles.raw(at, (file) => file.latest) ?? EARLIEST;
  for (const wanted of all) {
    const from = Math.max(at.from, wanted.after + 1);
    const to = Math.min(latest, wanted.until);
    // Nearly always it is near the end.
    for (const begin of new Set([Math.max(from, to - WINDOW), from])) {
      if (begin > to) break;
      const sample = newestIn(at, wanted, { from: epochMs(begin), to: epochMs(to) }, handles);
      if (sample === undefined) continue;
      wanted.sample = sample;
      wanted.after = sample.time;
      break;
    }
  }
}

/** The newest sample of a file in [from, to]. */
function newestIn(
  at: HistoryFile,
  { place, name }: Wanted,
  { from, to }: Span,
  handles: Handles,
): LastSample | undefined {
  const chunks =
    handles.raw(at, (file) => {
      const series = file.find(name);
      return series === undefined ? [] : file.chunks(series, from, epochMs(to + 1));
    }) ?? [];
  // Chunks may overlap: only those that reach as far as any other can hold the newest sample, unless it is within one.
  const end = Math.max(...chunks.map(({ t1 }) => t1));
  const ends = chunks.filter(({ t1 }) => end > to || t1 === end);
  const builder = new BatchBuilder();
  for (const chunk of ends.toSorted((a, b) => a.id - b.id))
    try {
      readChunk(chunk, place, builder);
    } catch (error) {
      handles.note(at, error);
    }
  const batch = builder.peek();
  const row = newestRow(batch, to);
  return row >= 0 && (batch.times[row] ?? 0) >= from ? sampleAt(batch, row, name) : undefined;
}

/** Where raw samples are gone: the last value that was not bad. */
function fromRollups(at: HistoryFile, all: readonly Wanted[], handles: Handles): void {
  for (const wanted of all) {
    if (wanted.sample !== undefined || at.from > wanted.until) continue;
    const { name, until } = wanted;
    const rollups = handles.rollup(at, (file) => file.read(name, at.from, at.to)) ?? [];
    const newest = rollups.findLast(({ last, lastTime }) => last !== null && lastTime <= until);
    if (newest === undefined) continue;
    const { last: value, lastTime } = newest;
    wanted.sample = { name, time: epochMs(lastTime), value, quality: GOOD, reason: 0 };
  }
}

/** The last one of those of the newest time that is not after `to`; -1 where there is none. */
function newestRow({ times, count }: Batch, to: number): number {
  let [newest, latest] = [-1, Number.NEGATIVE_INFINITY];
  for (let i = 0; i < count; i++) {
    const time = times[i] ?? 0;
    if (time < latest || time > to) continue;
    [newest, latest] = [i, time];
  }
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
