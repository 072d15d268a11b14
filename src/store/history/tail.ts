import type { BatchBuilder } from '../../core/batch.ts';
import type { PointName } from '../../core/point.ts';
import type { Duration, EpochMs } from '../../core/units.ts';
import type { Outage } from '../../telemetry/sample-log.ts';

/** When the gateway started, and what it set out to record. */
export interface Start {
  readonly time: EpochMs;
  readonly recorded: ReadonlyMap<string /* nameKey */, Duration /* period */>;
}

export interface TailQuery {
  readonly names: readonly PointName[];
  readonly from: EpochMs;
  /** Exclusive. */
  readonly to: EpochMs;
}

/**
 * Where samples come from: those from `at` on, up to the next entry, are of rows of the log up to `row`. A file whose
 * mark is `row` or more has them, if they belong into it.
 */
export interface RowMark {
  readonly at: number;
  readonly row: number;
}

/** How new the newest samples of a tail are, so that files can be asked for newer ones. */
export interface Newest {
  /** Commit of the first row: whatever files have was recorded before. Undefined where no row has samples. */
  readonly since: EpochMs | undefined;
  /** By name, by the clock of the first row; see `RowClock`. -Infinity where there is no sample. */
  readonly times: Float64Array;
}

/**
 * What is in the sample log and not, or not yet, in every file that it belongs to. The historian answers from memory,
 * another process from `telemetry.db`. A query calls `refresh` before it looks into the first file: what is filed
 * while it reads is then in the file, in the tail, or in both, and the mark of the file tells which.
 */
export interface Tail {
  /** Identity of the log that rows and marks are counted in. */
  readonly log: number;
  /** Takes in what is committed now. */
  refresh(): void;
  /** Every series that the log ever had. */
  names(): readonly PointName[];
  /**
   * Appends samples to `into`, which is empty, in the order of the log; `points` are indices into `query.names`.
   * Returns where they come from, `at` ascending.
   */
  samples(query: TailQuery, into: BatchBuilder): readonly RowMark[];
  /**
   * The newest sample of each of these series that has one; `points` are indices into `names`. Newest is the latest time,
   * but what was recorded after the clock was set back is newer than what was before. Of two of the same series in
   * `into` the later counts.
   */
  last(names: readonly PointName[], into: BatchBuilder): Newest;
  /** The last sign of life of the gateway: now in its own process, the newest commit elsewhere. */
  alive(): EpochMs | undefined;
  /** Starts and outages that history.db does not have yet; some that it has do no harm. */
  starts(): readonly Start[];
  outages(): readonly Outage[];
  close(): void;
}

export function noTimes(names: number): Float64Array {
  return new Float64Array(names).fill(Number.NEGATIVE_INFINITY);
}

/** Names contain no space. */
export function nameKey({ device, point, unit }: PointName): string {
  return `${device}/${point} ${unit ?? ''}`;
}
