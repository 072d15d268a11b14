import { type Batch, BatchBuilder } from '../../core/batch.ts';
import type { ChartQuery, Completeness, HistoryQuery, LastSample, Trace } from '../../core/history.ts';
import type { Log } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import { type EpochMs, days, epochMs } from '../../core/units.ts';
import { ChartBuilder } from '../../telemetry/chart.ts';
import { type ChartPlan, TIER_WIDTH, planChart, planTier } from '../../telemetry/chart-plan.ts';
import { type Rollup, fuller, merge, rollUp } from '../../telemetry/rollup.ts';
import type { Span } from '../../telemetry/spans.ts';
import { openBeside } from './beside.ts';
import { GapFinder } from './completeness.ts';
import { copyRow } from './copy-row.ts';
import { Coverage, type Segment } from './coverage.ts';
import { filesIn } from './files.ts';
import { Handles } from './handles.ts';
import { lastSamples } from './last.ts';
import { NameIndex } from './name-index.ts';
import { type Chronicle, Query } from './query.ts';
import type { RollupTier } from './rollup-file.ts';
import type { Tail } from './tail.ts';

const DAY = days(1);
/** Rows of a batch of a stream: some hundred kilobytes. */
const BATCH_ROWS = 16_384;
/** At the files for one series, where some are given up meanwhile: each look takes what is left as it is then. */
const MOST_LOOKS = 5;

export interface ReaderOptions {
  /** `gateway.data`. */
  readonly folder: string;
  readonly tail: Tail;
  /** What was recorded when, and what was given up; it may be another one after it was found damaged. */
  readonly book: () => Chronicle;
  readonly log: Log;
  /** The clock on the wall; a test winds its own. */
  readonly now?: () => EpochMs;
  /** Does the gateway run, for all that is known beside its signs of life? */
  readonly isRunning?: (() => boolean) | undefined;
  /** Hears of each file that cannot be read, or not all of it, once. */
  readonly onUnreadable?: (path: string, error: unknown) => void;
  /** Closes tail and book where nobody else does. */
  readonly onClose?: () => void;
}

/**
 * Answers questions about the past from the files of the history and the tail. Reads only: the historian uses it in
 * its thread, a command in another process beside a running gateway. A file that cannot be read is told once and left
 * out; a tail that cannot be read throws what SQLite says.
 */
export class Reader {
  readonly #options: ReaderOptions;
  readonly #handles: Handles;
  readonly #index: NameIndex;

  constructor(options: ReaderOptions) {
    this.#options = options;
    this.#handles = new Handles(options.log, options.onUnreadable);
    this.#index = new NameIndex(options.folder, this.#handles);
  }

  /** Every series that matches, sorted by name; also of points that are not configured any more. */
  names(points: readonly string[]): readonly PointName[] {
    this.#handles.tryAgain();
    this.#options.tail.refresh();
    return this.#index.matching(points, this.#options.tail.names());
  }

  /** Series that are in files and are not among the names, because there are too many. */
  get namesLeftOut(): number {
    return this.#index.leftOut;
  }

  history(query: ChartQuery): readonly Trace[] {
    return [...this.traces(query)];
  }

  /** The same one by one, so that a thread can do something else in between. A series without samples has none. */
  *traces({ points, from, to, width, tier }: ChartQuery): Generator<Trace, void, void> {
    const names = this.names(points);
    if (!(from < to) || names.length === 0) return;
    const plan =
      tier === undefined
        ? planChart({ from, to }, width, this.#coverage({ from, to }).floors)
        : planTier({ from, to }, width, tier);
    const look = (): { readonly query: Query; readonly segments: readonly Segment[] } => {
      const query = this.#query(names, plan);
      return {
        query,
        segments: this.#coverage(plan).segments(plan, plan.tier === 'raw' ? [] : query.dirty(plan)),
      };
    };
    const chart = new ChartBuilder(plan);
    const traces = answers(names, look, ({ query, segments }, i, name) => {
      for (const segment of segments) addSegment(chart, query, i, segment, plan);
      return chart.take(name);
    });
    for (const trace of traces) if (trace.starts.length > 0) yield trace;
  }

  last(points: readonly string[]): readonly LastSample[] {
    const names = this.names(points);
    return lastSamples(names, { ...this.#options, handles: this.#handles, now: this.#now });
  }

  /** UTC day by UTC day, series by series. Between two batches nothing is open that could hold up a writer. */
  samples({ points, from, to }: HistoryQuery): {
    readonly names: readonly PointName[];
    readonly batches: Generator<Batch, void, void>;
  } {
    const names = this.names(points);
    return { names, batches: batchesOf(this.#query(names, { from, to }), { from, to }) };
  }

  completeness(query: HistoryQuery): readonly Completeness[] {
    return [...this.gaps(query)];
  }

  /** The same series by series, so that a thread can do something else in between. What is still to come is no gap. */
  *gaps({ points, from, to }: HistoryQuery): Generator<Completeness, void, void> {
    const now = this.#now;
    const names = this.names(points);
    const span = { from, to: to < now ? to : now };
    if (!(span.from < span.to) || names.length === 0) return;
    const look = (): { readonly query: Query; readonly finder: GapFinder } => {
      const query = this.#query(names, { from: epochMs(from - DAY), to: now });
      const finder = new GapFinder({
        span,
        query,
        coverage: this.#coverage(span),
        book: this.#options.book(),
        tail: this.#options.tail,
        unreadable: this.#handles.unreadable(),
        now,
        isRunning: this.#options.isRunning?.() ?? false,
      });
      return { query, finder };
    };
    for (const found of answers(names, look, ({ finder }, name) => finder.completeness(name)))
      if (found !== undefined) yield found;
  }

  /** Closes the handle of a file that is about to be sealed, removed or set aside. */
  forget(file: string, isGone: boolean): void {
    this.#handles.forget(file, isGone);
  }

  close(): void {
    this.#handles.close();
    this.#options.onClose?.();
  }

  get #now(): EpochMs {
    return this.#options.now?.() ?? epochMs(Date.now());
  }

  /** What is gone of a span. */
  #coverage({ from, to }: Span): Coverage {
    const { folder } = this.#options;
    const book = this.#options.book();
    return new Coverage({
      from,
      to,
      floor: book.floor,
      drops: book.drops(from, to),
      unreadable: this.#handles.unreadable(),
      rawDays: filesIn(folder, 'raw').map((at) => at.from),
    });
  }

  #query(names: readonly PointName[], { from, to }: Span): Query {
    const { folder, tail, book } = this.#options;
    return new Query({ folder, tail, floor: book().floor, handles: this.#handles, names, from, to });
  }
}

/** One answer for each name. Where a file is given up meanwhile, `look` takes in what is left of it now. */
function* answers<Seen extends { readonly query: Query }, T>(
  names: readonly PointName[],
  look: () => Seen,
  answer: (seen: Seen, name: number, series: PointName) => T,
): Generator<T, void, void> {
  let seen = look();
  for (const [name, series] of names.entries()) {
    let found = answer(seen, name, series);
    for (let looks = 1; seen.query.isOver && looks < MOST_LOOKS; looks++) {
      seen = look();
      found = answer(seen, name, series);
    }
    yield found;
  }
}

function addSegment(
  chart: ChartBuilder,
  { raw, rollups }: Query,
  name: number,
  { source, from, to, isPartial }: Segment,
  { step, tier }: ChartPlan,
): void {
  if (isPartial === true && tier !== 'raw')
    for (const rollup of fullest({ raw, rollups }, name, tier, { from, to })) chart.addRollup(rollup);
  else if (source === 'raw')
    for (const slice of raw.read(name, from, to)) chart.addSamples(slice.batch, slice.from, slice.to);
  else rollups.chart(source, name, { from, to }, step, chart);
}

/** Of each bucket what has more samples: raw as far as it can be read, or what was rolled up before. */
function fullest(
  { raw, rollups }: Pick<Query, 'raw' | 'rollups'>,
  name: number,
  tier: RollupTier,
  { from, to }: Span,
): Rollup[] {
  const readable = new Map<EpochMs, Rollup>();
  for (const slice of raw.read(name, from, to)) {
    const order = Uint32Array.from({ length: slice.batch.count }, (_, i) => i);
    for (const rollup of rollUp(slice.batch, order, slice.from, slice.to, TIER_WIDTH[tier])) {
      const before = readable.get(rollup.start);
      readable.set(rollup.start, before === undefined ? rollup : merge(before, rollup));
    }
  }
  return fuller([...readable.values()], [...rollups.read(tier, name, from, to)]);
}

function* batchesOf({ raw, names }: Query, { from, to }: Span): Generator<Batch, void, void> {
  const collected = new BatchBuilder();
  for (const day of raw.days(from, to)) {
    const [begin, end] = [epochMs(Math.max(from, day)), epochMs(Math.min(to, day + DAY))];
    for (const name of names.keys())
      for (const slice of raw.readDay(day, name, begin, end)) {
        for (let i = slice.from; i < slice.to; i++) copyRow(slice.batch, i, name, collected);
        if (collected.count < BATCH_ROWS) continue;
        const batch = collected.take();
        if (batch !== undefined) yield batch;
      }
  }
  const rest = collected.take();
  if (rest !== undefined) yield rest;
}

export interface BesideOptions extends Pick<ReaderOptions, 'folder' | 'log' | 'onUnreadable'> {
  /** Does a gateway run there now? Where nobody asks, its last sign of life counts. */
  readonly isRunning?: () => boolean;
}

/**
 * For another process than the gateway's; throws SluiceError where there is no history, where it may not be read, and
 * where a newer Sluice wrote a file of it. `onUnreadable` hears of what is missing from the answers.
 */
export function openReader({ folder, log, onUnreadable = () => {}, isRunning }: BesideOptions): Reader {
  const { tail, book } = openBeside(folder, log, onUnreadable);
  const onClose = (): void => {
    tail.close();
    book.close();
  };
  return new Reader({ folder, log, tail, book: () => book, onUnreadable, onClose, isRunning });
}
