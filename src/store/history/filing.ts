import type { Batch } from '../../core/batch.ts';
import type { PointName } from '../../core/point.ts';
import { days, epochMs, type EpochMs } from '../../core/units.ts';
import { type SeriesRun, type SortedOrder, sortedOrder } from '../../telemetry/chunk.ts';
import { TIER_WIDTH } from '../../telemetry/chart-plan.ts';
import { rollUp } from '../../telemetry/rollup.ts';
import { fileAt } from './files.ts';
import type { Pace } from './pace.ts';
import type { RollupFile, RollupTier } from './rollup-file.ts';
import { periodsOf, runsWithin } from './runs.ts';
import type { Segment } from './segment.ts';
import { type Shelf, dayOf } from './shelf.ts';
import { to } from './trouble.ts';
import { widenDay } from './wider.ts';

const DAY = days(1);

/** From when on each tier takes samples; what is older than raw goes into the others. */
export interface Floors {
  readonly raw: EpochMs;
  readonly minute: EpochMs;
  readonly hour: EpochMs;
}

/** Where a crash may come between; for tests, which let it come. */
export type Stage =
  | 'raw filed' // a raw file is committed; more may follow
  | 'late merged' // the same of a rollup file that took late samples
  | 'all filed' // everything is in files, nobody knows yet
  | 'mark kept' // the book knows
  | 'minutes written' // of an hour, or a part of its series
  | 'hours written' // the same, and the raw file does not know yet
  | 'marks kept' // of a raw file that is given up, with where raw begins without it
  | 'file removed'; // the file is gone, and the book may not know

export interface FilingOptions {
  readonly folder: string;
  readonly shelf: Shelf;
  readonly pace: Pace;
  readonly reached: (stage: Stage) => void;
  /** A row of rollups could not be read when late samples were to be merged with it. */
  readonly onDamagedRow: (path: string) => void;
}

/** How many samples went where. */
export interface Filed {
  readonly raw: number;
  readonly late: number;
}

/**
 * Puts a segment into the files it belongs to, one transaction for each, which keeps with it up to which row of the log
 * it has everything. Done again after a crash it passes over the files that have it. Throws FileTrouble.
 */
export async function fileSegment(segment: Segment, floors: Floors, options: FilingOptions): Promise<Filed> {
  const { batch } = segment;
  const sorted = sortedOrder(batch);
  const work = { ...options, segment, batch, sorted, floors };
  let raw = 0;
  for (const day of daysOf(work, floors)) raw += await fileDay(work, day, floors);
  let late = 0;
  const spans = lateSpans(work, floors);
  for (const tier of ['minute', 'hour'] as const) late = await mergeLate(work, tier, spans, floors[tier]);
  return { raw, late };
}

interface Work extends FilingOptions {
  readonly segment: Segment;
  readonly batch: Batch;
  readonly sorted: SortedOrder;
  readonly floors: Floors;
}

function daysOf({ batch, sorted }: Work, floors: Floors): EpochMs[] {
  const whole = { from: floors.raw, to: Number.POSITIVE_INFINITY };
  return periodsOf(batch, sorted, whole, dayAt).map(({ from }) => epochMs(from));
}

function dayAt(time: number): { readonly from: number; readonly to: number } {
  const day = dayOf(time);
  return { from: day, to: day + DAY };
}

async function fileDay(work: Work, day: EpochMs, floors: Floors): Promise<number> {
  const { segment, batch, sorted, shelf, pace } = work;
  const runs = runsWithin(batch, sorted, Math.max(day, floors.raw), day + DAY);
  if (shelf.filedFrom(day, segment.log, segment.upTo) === undefined) {
    const file = shelf.rawFor(day);
    await inTransaction(file, file.at.path, async () => {
      for (const { series, from, to: end } of runs) {
        const name = segment.catalog.name(series);
        if (name !== undefined) to(file.at.path, () => file.add(name, batch, sorted.order, from, end));
        if (pace.due) await pace.rest();
      }
      to(file.at.path, () => file.mark(segment.log, segment.upTo, Math.max(0, floors.raw))); // see lateSpans
    });
    work.reached('raw filed');
    shelf.touched(day);
  }
  return samplesIn(runs);
}

interface Span {
  readonly from: EpochMs;
  readonly to: EpochMs;
}

/**
 * Times of samples that raw does not take any more, day by day. Where a day has the segment already, from before a
 * crash, it counts from when on it took samples then: the floor may have risen since.
 */
function lateSpans({ batch, sorted, shelf, segment }: Work, floors: Floors): Span[] {
  const late = { from: floors.hour, to: floors.raw };
  return periodsOf(batch, sorted, late, dayAt).flatMap(({ from, to: end }) => {
    const day = epochMs(from);
    const filedFrom = shelf.filedFrom(day, segment.log, segment.upTo) ?? floors.raw;
    const until = epochMs(Math.min(end, filedFrom, floors.raw));
    return until > day ? [{ from: day, to: until }] : [];
  });
}

async function mergeLate(
  work: Work,
  tier: RollupTier,
  spans: readonly Span[],
  floor: EpochMs,
): Promise<number> {
  const { folder, batch, sorted } = work;
  const byFile = new Map<string, { readonly time: EpochMs; readonly runs: SeriesRun[] }>();
  for (const span of spans) {
    const from = epochMs(Math.max(span.from, floor));
    const runs = runsWithin(batch, sorted, from, span.to);
    if (runs.length === 0) continue;
    const { path } = fileAt(folder, tier, from);
    const known = byFile.get(path);
    if (known === undefined) byFile.set(path, { time: from, runs });
    else known.runs.push(...runs);
  }
  let samples = 0;
  for (const { time, runs } of byFile.values()) {
    await mergeRuns(work, tier, runs, time);
    samples += samplesIn(runs);
  }
  return samples;
}

async function mergeRuns(
  work: Work,
  tier: RollupTier,
  runs: readonly SeriesRun[],
  time: EpochMs,
): Promise<void> {
  const { segment, batch, sorted, shelf, pace } = work;
  const file = shelf.rollup(tier, time);
  if (to(file.path, () => file.filedRow(segment.log)) >= segment.upTo) return;
  await inTransaction(file, file.path, async () => {
    for (const { series, from, to: end } of runs) {
      const name = segment.catalog.name(series);
      const rollups = rollUp(batch, sorted.order, from, end, TIER_WIDTH[tier]);
      const lost = name === undefined ? [] : to(file.path, () => file.mergeInto(name, rollups));
      for (const start of lost) mend(work, file, name, start);
      if (pace.due) await pace.rest();
    }
    to(file.path, () => file.mark(segment.log, segment.upTo));
  });
  work.reached('late merged');
}

/** A row of hours can be made again from minutes, which have the late samples already; one of minutes from nothing. */
function mend(work: Work, file: RollupFile, name: PointName | undefined, start: EpochMs): void {
  const { shelf, onDamagedRow, floors } = work;
  onDamagedRow(file.path);
  if (name === undefined || file.tier === 'minute' || !shelf.hasRollup('minute', start)) return;
  widenDay(name, start, { minutes: shelf.rollup('minute', start), hours: file, floor: floors.hour });
}

interface Transactional {
  begin(): void;
  commit(): void;
  rollback(): void;
}

async function inTransaction(file: Transactional, path: string, write: () => Promise<void>): Promise<void> {
  to(path, () => file.begin());
  try {
    await write();
    to(path, () => file.commit());
  } catch (error) {
    file.rollback();
    throw error;
  }
}

function samplesIn(runs: readonly SeriesRun[]): number {
  return runs.reduce((sum, { from, to: end }) => sum + end - from, 0);
}
