import type { Batch, PointValue } from './batch.ts';
import type { PointName } from './point.ts';
import type { Bytes, Duration, EpochMs } from './units.ts';

/** Where a chart came from. */
export type Tier = 'raw' | 'minute' | 'hour';

/**
 * One series as a chart: columns over buckets in time order. Bucket i covers [starts[i], starts[i] + step), aligned to
 * the epoch; a bucket without samples is left out, so that a gap stays a gap. A line through first, min, max and last
 * of buckets as wide as a pixel is, pixel by pixel, the line through all samples (M4).
 *
 * Booleans count as 0 and 1: their mean is the share of true. Where a bucket has no number, NaN stands in `mins`,
 * `maxes`, `means`, `deviations`, `firsts` and `lasts`; strings are in `texts`.
 */
export interface Trace {
  readonly name: PointName;
  readonly tier: Tier;
  readonly step: Duration;
  readonly starts: Float64Array<ArrayBuffer>;
  /** Samples of any quality. */
  readonly counts: Float64Array<ArrayBuffer>;
  readonly goods: Float64Array<ArrayBuffer>;
  readonly bads: Float64Array<ArrayBuffer>;
  readonly mins: Float64Array<ArrayBuffer>;
  readonly maxes: Float64Array<ArrayBuffer>;
  readonly means: Float64Array<ArrayBuffer>;
  /** Of the population: the root of the mean square distance from the mean. */
  readonly deviations: Float64Array<ArrayBuffer>;
  readonly firsts: Float64Array<ArrayBuffer>;
  /** When the first and the last value came: a line from bucket to bucket begins and ends there. */
  readonly firstTimes: Float64Array<ArrayBuffer>;
  readonly lasts: Float64Array<ArrayBuffer>;
  readonly lastTimes: Float64Array<ArrayBuffer>;
  /** How often a value differed from the one before it in the same bucket. */
  readonly changes: Float64Array<ArrayBuffer>;
  /** First and last value as text, by index of the bucket, where one of them is a string. */
  readonly texts: ReadonlyMap<number, readonly [first: string, last: string]>;
}

export interface LastSample {
  readonly name: PointName;
  readonly time: EpochMs;
  /** Null where the quality is bad. */
  readonly value: PointValue | null;
  readonly quality: number;
  readonly reason: number;
}

/**
 * Why samples are missing. `filter off`: the configuration of that time did not have the point, or kept it out of the
 * history. `quota` and `retention`: they were there and were given up; rollups may be left. `store`: the disk was full,
 * failing or too slow, or a file was damaged. `unknown`: the gateway ran and nothing came, and nothing says why.
 */
export type GapReason =
  | 'device silent'
  | 'gateway down'
  | 'filter off'
  | 'quota'
  | 'retention'
  | 'store'
  | 'unknown';

/** No good sample of the series stands for this time. */
export interface HistoryGap {
  readonly from: EpochMs;
  readonly to: EpochMs;
  readonly reason: GapReason;
  /** For people: the reason of the bad samples, what was full, the file that was damaged. */
  readonly detail: string;
  /** The finest that is left of this time. */
  readonly left: Tier | undefined;
}

export interface Completeness {
  readonly name: PointName;
  /** Share of the time, 0 to 1, that is in no gap. */
  readonly share: number;
  readonly gaps: readonly HistoryGap[];
}

export interface HistoryQuery {
  /** `device/point` patterns with `*`. */
  readonly points: readonly string[];
  readonly from: EpochMs;
  /** Exclusive. */
  readonly to: EpochMs;
}

export interface ChartQuery extends HistoryQuery {
  /** At most so many buckets; the width of the chart in pixels. */
  readonly width: number;
  /** Left out: the coarsest tier that serves the width. */
  readonly tier?: Tier;
}

/** What the gateway remembers. Nothing here can hold up what is being recorded. */
export interface History {
  /** Every series that matches, also of points that are not configured any more. */
  names(points: readonly string[]): Promise<readonly PointName[]>;
  history(query: ChartQuery): Promise<readonly Trace[]>;
  last(points: readonly string[]): Promise<readonly LastSample[]>;
  /**
   * Every sample in [from, to), UTC day by UTC day, series by series, in time order within them. `points[i]` of a batch
   * is an index into `names`. One batch at a time is in memory.
   */
  samples(query: HistoryQuery): {
    readonly names: readonly PointName[];
    readonly batches: AsyncIterable<Batch>;
  };
  completeness(query: HistoryQuery): Promise<readonly Completeness[]>;
  state(): Promise<HistoryState>;
}

/** Figures for status, metrics and page. */
export interface HistoryState {
  /** Samples that are in files of the history, since the start. */
  readonly samplesFiled: number;
  /** Samples in memory that no file has yet. They are in the sample log. */
  readonly samplesWaiting: number;
  /** Samples that went into rollups only, because the raw files of their day are gone. */
  readonly samplesLate: number;
  /** Samples whose own time is outside of everything that is kept. */
  readonly samplesRefused: number;
  readonly oldestRaw: EpochMs | undefined;
  readonly oldestMinute: EpochMs | undefined;
  readonly oldestHour: EpochMs | undefined;
  /** Everything below `gateway.data`. */
  readonly bytes: Bytes;
  readonly quota: Bytes;
  readonly filesDropped: number;
  /** Questions that were turned away because too many waited for an answer. */
  readonly questionsRefused: number;
  /** Series that are in files and that nobody can ask for: there are too many names. */
  readonly namesLeftOut: number;
  /** How far behind the sample log the files are. */
  readonly behind: Duration;
  readonly failing: string | null;
}
