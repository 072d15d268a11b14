import { BatchBuilder } from '../../core/batch.ts';
import type { PointName } from '../../core/point.ts';
import { type EpochMs, epochMs, hours } from '../../core/units.ts';
import { sortedOrder } from '../../telemetry/chunk.ts';
import { TIER_WIDTH } from '../../telemetry/chart-plan.ts';
import { type Rollup, fuller, rollUp } from '../../telemetry/rollup.ts';
import type { Floors, Stage } from './filing.ts';
import type { Pace } from './pace.ts';
import { type RawFile, readChunk } from './raw-file.ts';
import type { RollupFile, RollupTier } from './rollup-file.ts';
import { firstAt } from './runs.ts';
import { type Shelf, type Source, type TouchedHour, dayOf } from './shelf.ts';
import { nameKey } from './tail.ts';
import { to } from './trouble.ts';
import { widenDay } from './wider.ts';

const HOUR = hours(1);
/** What is written is committed after so long, so that filing never waits for an hour of many samples. */
const PORTION_MILLISECONDS = 2_000;

export interface RollingOptions {
  /** `gateway.data`. */
  readonly folder: string;
  readonly shelf: Shelf;
  readonly pace: Pace;
  readonly floors: Floors;
  readonly reached: (stage: Stage) => void;
  /** Something else may be done now; false: leave the rest of the hour for later. */
  readonly between: () => Promise<boolean>;
  /** A row of rollups could not be read when it was to be changed. */
  readonly onDamagedRow: (path: string) => void;
  /** A chunk that cannot be read is passed over. */
  readonly onBroken: (path: string, error: unknown) => void;
}

/**
 * Computes the rollups of an hour from all its raw samples, for the series that were touched. They replace what was
 * there, so that doing it again changes nothing. False where it was left half done. Throws FileTrouble.
 */
export async function rollUpHour(touched: TouchedHour, options: RollingOptions): Promise<boolean> {
  const sources = options.shelf.sources(touched);
  try {
    const upTo = new Map<RawFile, number>();
    for (const source of sources)
      if (source.touched !== undefined) upTo.set(source.file, source.touched.upTo);
    if (!(await new HourWork(touched.hour, sources, options).run())) return false;
    options.shelf.rolled(touched, upTo);
    return true;
  } finally {
    for (const source of sources) source.close();
  }
}

/** The same for every series, touched or not: a file of rollups was lost. */
export async function rollUpAgain(hour: TouchedHour, options: RollingOptions): Promise<boolean> {
  const sources = options.shelf.sources(hour);
  try {
    const whole = sources.map((source) => {
      const series = to(source.file.at.path, () => source.file.series()).map(({ id }) => id);
      return { ...source, touched: { hour: hour.hour, upTo: 0, series } };
    });
    return await new HourWork(hour.hour, whole, options).run();
  } finally {
    for (const source of sources) source.close();
  }
}

/** A part of the day, with its own numbers of series. */
interface Numbered {
  readonly file: RawFile;
  readonly ids: ReadonlyMap<string, number>;
}

class HourWork {
  readonly #hour: EpochMs;
  readonly #options: RollingOptions;
  readonly #sources: readonly Numbered[];
  readonly #names: readonly PointName[];
  readonly #builder = new BatchBuilder();
  readonly #targets: readonly (readonly [RollupTier, RollupFile])[];
  /** Raw is not known to be complete for this hour: it must not take away from what is there. */
  readonly #doubtful: boolean;

  constructor(hour: EpochMs, sources: readonly Source[], options: RollingOptions) {
    this.#hour = hour;
    this.#options = options;
    const names = new Map<string, PointName>();
    this.#sources = sources.map(({ file, touched }) => {
      const wanted = new Set(touched?.series);
      const ids = new Map<string, number>();
      for (const series of to(file.at.path, () => file.series())) {
        const key = nameKey(series);
        ids.set(key, series.id);
        if (wanted.has(series.id)) names.set(key, series);
      }
      return { file, ids };
    });
    this.#names = [...names.values()];
    const { shelf, floors } = options;
    this.#doubtful = hour < floors.raw;
    this.#targets = (['minute', 'hour'] as const)
      .filter((tier) => hour >= floors[tier])
      .map((tier) => [tier, shelf.rollup(tier, hour)] as const);
  }

  async run(): Promise<boolean> {
    const { pace, between } = this.#options;
    this.#begin();
    let since = performance.now();
    try {
      for (const name of this.#names) {
        this.#rollUpSeries(name);
        if (pace.due) await pace.rest();
        if (performance.now() - since < PORTION_MILLISECONDS) continue;
        this.#commit();
        if (!(await between())) return false;
        this.#begin();
        since = performance.now();
      }
      this.#commit();
      return true;
    } catch (error) {
      for (const [, file] of this.#targets) file.rollback();
      throw error;
    }
  }

  #begin(): void {
    for (const [, file] of this.#targets) to(file.path, () => file.begin());
  }

  #commit(): void {
    for (const [tier, file] of this.#targets) {
      to(file.path, () => file.commit());
      this.#options.reached(tier === 'minute' ? 'minutes written' : 'hours written');
    }
  }

  #rollUpSeries(name: PointName): void {
    this.#read(name);
    const batch = this.#builder.peek();
    const { order } = sortedOrder(batch);
    const whole = { from: 0, to: batch.count };
    const from = firstAt(batch, order, whole, this.#hour);
    const end = firstAt(batch, order, whole, this.#hour + HOUR);
    for (const [tier, file] of this.#targets) {
      const rollups = rollUp(batch, order, from, end, TIER_WIDTH[tier]);
      const known = this.#doubtful ? fuller(rollups, this.#stored(file, name)) : rollups;
      if (!to(file.path, () => file.replace(name, this.#hour, known))) this.#mendDay(file, name);
    }
    this.#builder.clear();
  }

  /** The hours of the day could not be read: minutes have them, of those that were written a moment ago too. */
  #mendDay(file: RollupFile, name: PointName): void {
    const { floors, onDamagedRow } = this.#options;
    onDamagedRow(file.path);
    const minutes = this.#targets.find(([tier]) => tier === 'minute')?.[1];
    if (minutes !== undefined)
      widenDay(name, dayOf(this.#hour), { minutes, hours: file, floor: floors.hour });
  }

  #stored(file: RollupFile, name: PointName): Rollup[] {
    const end = this.#hour + HOUR;
    return file.read(name, this.#hour, epochMs(end));
  }

  #read(name: PointName): void {
    const key = nameKey(name);
    for (const { file, ids } of this.#sources) {
      const id = ids.get(key);
      if (id === undefined) continue;
      const chunks = to(file.at.path, () => file.chunks(id, this.#hour, epochMs(this.#hour + HOUR)));
      // In the order of filing: it tells samples of the same time apart.
      for (const chunk of chunks.toSorted((a, b) => a.id - b.id))
        try {
          readChunk(chunk, 0, this.#builder);
        } catch (error) {
          this.#options.onBroken(file.at.path, error);
        }
    }
  }
}
