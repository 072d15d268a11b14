import type { PointName } from '../../core/point.ts';
import type { EpochMs } from '../../core/units.ts';
import type { Rollup } from '../../telemetry/rollup.ts';

export type RollupTier = 'minute' | 'hour';

/**
 * One file of rollups: `minute/YYYY-MM-DD.db`, whose rows hold a UTC hour of a series each, or `hour/YYYY-MM.db`, whose
 * rows hold a UTC day. Whatever is written stands between `begin` and `commit`.
 */
export class RollupFile {
  readonly path: string;
  readonly tier: RollupTier;

  constructor(path: string, tier: RollupTier) {
    this.path = path;
    this.tier = tier;
  }

  /** Makes the file where it is missing, and takes a sealed one up again. Refuses a file of a newer Sluice. */
  static openForWriting(path: string, tier: RollupTier): RollupFile {
    return new RollupFile(path, tier);
  }

  static openForReading(path: string, tier: RollupTier): RollupFile {
    return new RollupFile(path, tier);
  }

  begin(): void {}
  commit(): void {}
  rollback(): void {}

  /** The buckets of the UTC hour that begins at `hour` are these and no others (of either tier). */
  replace(_name: PointName, _hour: EpochMs, _rollups: readonly Rollup[]): void {}

  /** Late samples: buckets that exist already are merged with these, others added. */
  mergeInto(_name: PointName, _rollups: readonly Rollup[]): void {}

  /** Rows of this log up to `row` are in, as far as they were merged into this file. */
  mark(_log: number, _row: number): void {}

  /** 0 where nothing of this log was. */
  filedRow(_log: number): number {
    return 0;
  }

  /** Buckets that begin in [from, to), in time order. */
  read(_name: PointName, _from: EpochMs, _to: EpochMs): Rollup[] {
    return [];
  }

  /** Every series that the file has. */
  names(): readonly PointName[] {
    return [];
  }

  /** Start of the newest row of any series, or undefined; an hour of the minute tier, a day of the hour tier. */
  newestRow(): EpochMs | undefined {
    return undefined;
  }

  /** Nothing more is expected: closes it as one file that stands alone, readable on read-only media. */
  seal(): void {}

  close(): void {}
}
