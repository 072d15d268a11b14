import type { PointName } from '../../core/point.ts';
import { type EpochMs, epochMs, hours, milliseconds } from '../../core/units.ts';
import { type Buckets, ChartBuilder } from '../../telemetry/chart.ts';
import { TIER_WIDTH } from '../../telemetry/chart-plan.ts';
import { type Rollup, merge, rollUp } from '../../telemetry/rollup.ts';
import type { Span } from '../../telemetry/spans.ts';
import { type HistoryFile, fileAt, filesIn } from './files.ts';
import type { Handles } from './handles.ts';
import type { RollupTier } from './rollup-file.ts';
import type { TailSamples } from './tail-samples.ts';
import { nameKey } from './tail.ts';

const HOUR = hours(1);

export interface RollupSourceOptions {
  readonly folder: string;
  readonly handles: Handles;
  readonly names: readonly PointName[];
  readonly tail: TailSamples;
  /** Identity of the log that the tail is of. */
  readonly log: number;
  /** Are samples of the tail of this time to be merged with what is rolled up? */
  readonly isLate: (time: EpochMs) => boolean;
  /** Were they filed and rolled up since the tail was looked at? */
  readonly isTaken: (time: EpochMs) => boolean;
}

/** Rollups of files, together with samples of the tail that came too late for raw files. */
export class RollupSource {
  readonly #options: RollupSourceOptions;
  readonly #files = new Map<RollupTier, readonly HistoryFile[]>();

  constructor(options: RollupSourceOptions) {
    this.#options = options;
  }

  files(tier: RollupTier): readonly HistoryFile[] {
    const known = this.#files.get(tier) ?? filesIn(this.#options.folder, tier);
    this.#files.set(tier, known);
    return known;
  }

  /** Buckets of a name that begin in [from, to), in the order of time. */
  *read(tier: RollupTier, name: number, from: EpochMs, to: EpochMs): Generator<Rollup, void, void> {
    for (const at of this.#periods(tier, name, from, to)) yield* this.#readFile(tier, at, name, from, to);
  }

  /** The same into a chart. What is whole buckets of a file comes from the cache. */
  chart(tier: RollupTier, name: number, { from, to }: Span, step: number, chart: ChartBuilder): void {
    for (const at of this.#periods(tier, name, from, to)) {
      const begin = epochMs(Math.max(from, at.from));
      const end = epochMs(Math.min(to, at.to));
      const whole = {
        from: epochMs(Math.ceil(begin / step) * step),
        to: epochMs(Math.floor(end / step) * step),
      };
      const buckets = whole.from < whole.to ? this.#reduced(tier, at, name, step) : undefined;
      if (buckets === undefined) {
        this.#addTo(chart, tier, at, name, { from: begin, to: end });
        continue;
      }
      this.#addTo(chart, tier, at, name, { from: begin, to: whole.from });
      chart.addBuckets(buckets, whole.from, whole.to);
      this.#addTo(chart, tier, at, name, { from: whole.to, to: end });
    }
  }

  #addTo(chart: ChartBuilder, tier: RollupTier, at: HistoryFile, name: number, { from, to }: Span): void {
    if (from >= to) return;
    const wanted = this.#options.names[name];
    if (wanted === undefined) return;
    if (this.#late(name, { from, to }, 0).length > 0) {
      for (const rollup of this.#readFile(tier, at, name, from, to)) chart.addRollup(rollup);
      return;
    }
    this.#options.handles.rollup(at, (file) =>
      file.each(wanted, from, to, (rollup) => chart.addRollup(rollup)),
    );
  }

  /** All of a file as a chart of this step; undefined where it is not made of whole buckets, or not complete. */
  #reduced(tier: RollupTier, at: HistoryFile, name: number, step: number): Buckets | undefined {
    const { handles, names } = this.#options;
    const wanted = names[name];
    if (wanted === undefined || at.from % step !== 0 || at.to % step !== 0) return undefined;
    if (this.#late(name, at, 0).length > 0) return undefined;
    const key = `${at.path} ${step} ${nameKey(wanted)}`;
    return handles.rollup(at, (file) => {
      const origin = { file, version: file.version };
      const known = handles.charts.get(key, origin);
      if (known !== undefined) return known;
      const damaged = file.damagedRows;
      const reduced = new ChartBuilder({ tier, step: milliseconds(step), from: at.from, to: at.to });
      file.each(wanted, at.from, at.to, (rollup) => reduced.addRollup(rollup));
      const buckets = reduced.takeBuckets();
      if (file.damagedRows === damaged) handles.charts.set(key, origin, buckets);
      return buckets;
    });
  }

  #readFile(tier: RollupTier, at: HistoryFile, name: number, from: EpochMs, to: EpochMs): readonly Rollup[] {
    const { handles, names, tail, log } = this.#options;
    const wanted = names[name];
    if (wanted === undefined) return [];
    const span = { from: Math.max(from, at.from), to: Math.min(to, at.to) };
    if (this.#late(name, span, 0).length === 0)
      return handles.rollup(at, (file) => file.read(wanted, from, to)) ?? [];
    const { mark, stored } = handles.rollup(at, (file) => {
      for (;;) {
        const before = file.filedRow(log);
        const found = file.read(wanted, from, to);
        if (file.filedRow(log) === before) return { mark: before, stored: found }; // nothing was merged meanwhile
      }
    }) ?? { mark: 0, stored: [] };
    const late = this.#late(name, span, mark);
    const taken = this.#takenHours(late);
    const others = taken.size === 0 ? stored : stored.filter(({ start }) => !taken.has(hourOf(start)));
    return merged(others, rollUp(tail.batch, late, 0, late.length, TIER_WIDTH[tier]));
  }

  /** Files that are there, and those that samples of the tail would make. */
  #periods(tier: RollupTier, name: number, from: EpochMs, to: EpochMs): readonly HistoryFile[] {
    const there = this.files(tier).filter((at) => at.from < to && at.to > from);
    const late = this.#late(name, { from, to }, 0);
    if (late.length === 0) return there;
    const periods = new Map(there.map((at) => [at.from, at]));
    for (const row of late) {
      const at = fileAt(this.#options.folder, tier, this.#timeOf(row));
      if (!periods.has(at.from)) periods.set(at.from, at);
    }
    return [...periods.values()].sort((a, b) => a.from - b.from);
  }

  #late(name: number, { from, to }: { from: number; to: number }, mark: number): Uint32Array {
    const { tail, isLate } = this.#options;
    const rows = tail.rows(name, from, to, mark);
    return rows.length === 0 ? rows : rows.filter((row) => isLate(this.#timeOf(row)));
  }

  /** Hours in which the tail is counted, and not what is rolled up. */
  #takenHours(late: Uint32Array): Set<number> {
    const touched = new Set<number>();
    for (const row of late) touched.add(hourOf(this.#timeOf(row)));
    return new Set([...touched].filter((hour) => this.#options.isTaken(epochMs(hour))));
  }

  #timeOf(row: number): EpochMs {
    const time: number = this.#options.tail.batch.times[row] ?? 0;
    return epochMs(time);
  }
}

function hourOf(time: EpochMs): number {
  return Math.floor(time / HOUR) * HOUR;
}

function merged(stored: readonly Rollup[], late: readonly Rollup[]): Rollup[] {
  const byStart = new Map(stored.map((rollup) => [rollup.start, rollup]));
  for (const rollup of late) {
    const known = byStart.get(rollup.start);
    byStart.set(rollup.start, known === undefined ? rollup : merge(known, rollup));
  }
  return [...byStart.values()].sort((a, b) => a.start - b.start);
}
