import { basename } from 'node:path';
import type { Completeness, Tier } from '../../core/history.ts';
import type { PointName } from '../../core/point.ts';
import { GOOD, REASONS } from '../../core/quality.ts';
import { type EpochMs, days, epochMs, hours } from '../../core/units.ts';
import { TIER_WIDTH } from '../../telemetry/chart-plan.ts';
import {
  type Evidence,
  type Lost,
  type RecordedRun,
  type Told,
  Witness,
  gapsOf,
  goingOn,
  shareOf,
  silenceOf,
} from '../../telemetry/completeness.ts';
import { type Span, joined, outside, within } from '../../telemetry/spans.ts';
import type { Run } from './book.ts';
import type { Coverage } from './coverage.ts';
import type { Unreadable } from './handles.ts';
import type { Chronicle, Query } from './query.ts';
import type { Slice } from './raw-source.ts';
import { type Tail, nameKey } from './tail.ts';

/** Most samples have another one so shortly before. */
const SHORT_LOOK = hours(1);
const DAY = days(1);

export interface CompletenessOptions {
  readonly span: Span;
  readonly query: Query;
  readonly coverage: Coverage;
  readonly book: Chronicle;
  readonly tail: Tail;
  readonly unreadable: readonly Unreadable[];
  readonly now: EpochMs;
  /** The gateway runs now, whatever its last sign of life was. */
  readonly isRunning: boolean;
}

/** A run, and how to ask what it recorded. */
interface KnownRun extends Span {
  /** It may still go on. */
  readonly isLatest: boolean;
  readonly period: (name: PointName) => RecordedRun['period'];
}

/** Finds the gaps of one series after the other in a span of time. */
export class GapFinder {
  readonly #options: CompletenessOptions;
  readonly #runs: readonly KnownRun[];
  readonly #outages: readonly Told[];
  /** Pieces of the span whose raw samples are gone. */
  readonly #lost: readonly Lost[];

  constructor(options: CompletenessOptions) {
    this.#options = options;
    this.#runs = runsOf(options);
    this.#outages = outagesOf(options);
    this.#lost = lostOf(options);
  }

  /** `name` is an index into the names of the query. */
  completeness(name: number): Completeness | undefined {
    const { span, query, coverage, now } = this.#options;
    const series = query.names[name];
    if (series === undefined) return undefined;
    const runs = this.#runs.map(({ from, to, isLatest, period }) => {
      const run = { from, to, period: period(series) };
      return isLatest ? goingOn(run, to, now) : run;
    });
    const pieces = [
      ...outside(this.#lost, span).map((piece) => this.#fromRaw(name, runs, piece)),
      ...this.#lost.map((piece) => this.#fromRollups(name, runs, piece)),
    ];
    const gaps = gapsOf({
      ...span,
      covered: joined(pieces.flatMap(({ covered }) => covered)),
      silent: pieces.flatMap(({ silent }) => silent).sort((a, b) => a.from - b.from),
      runs,
      outages: this.#outages,
      lost: pieces.flatMap(({ lost }) => lost).sort((a, b) => a.from - b.from),
      left: (time) => coverage.finest(time),
    });
    return { name: series, share: shareOf(gaps, span), gaps };
  }

  #fromRaw(name: number, runs: readonly RecordedRun[], piece: Span): Piece {
    const { query, now } = this.#options;
    const witness = new Witness(runs, now);
    const before = this.#lastBefore(name, runs, piece.from);
    if (before !== undefined) witness.add(before.time, before.isGood, before.detail);
    // What stands at the end is known only when the next sample is, or is late.
    const beyond = Math.max(0, ...runs.map(({ period }) => silenceOf(period ?? TIER_WIDTH.raw)));
    for (const { batch, from, to } of query.raw.read(name, piece.from, epochMs(piece.to + beyond)))
      for (let i = from; i < to; i++) {
        const isGood = batch.qualities[i] === GOOD;
        witness.add(batch.times[i] ?? 0, isGood, isGood ? '' : (REASONS[batch.reasons[i] ?? 0] ?? ''));
      }
    const { covered, silent } = witness.finish();
    return { covered: within(covered, piece), silent: toldWithin(silent, piece), lost: [] };
  }

  /** The sample that stands at the begin; what is older than its run says nothing. */
  #lastBefore(name: number, runs: readonly RecordedRun[], time: EpochMs): Before | undefined {
    const { raw } = this.#options.query;
    const run = runs.find(({ from, to }) => from <= time && to > time);
    const begin = run?.from ?? epochMs(time - SHORT_LOOK);
    const near = epochMs(Math.max(begin, time - SHORT_LOOK));
    const found = lastOf(raw.read(name, near, time));
    if (found !== undefined) return found;
    for (const day of raw.days(begin, near).toReversed()) {
      const older = lastOf(raw.read(name, epochMs(Math.max(begin, day)), epochMs(Math.min(near, day + DAY))));
      if (older !== undefined) return older;
    }
    return undefined;
  }

  /** Raw samples of the piece are gone: buckets say when there were some, and how many were good. */
  #fromRollups(name: number, runs: readonly RecordedRun[], piece: Lost): Piece {
    const { left } = piece;
    if (left === undefined || left === 'raw') return { covered: [], silent: [], lost: [piece] };
    const there: Span[] = [];
    const silent: Told[] = [];
    const width = TIER_WIDTH[left];
    const longest = Math.max(width, ...runs.map(({ period }) => silenceOf(period ?? TIER_WIDTH.raw)));
    const begin = epochMs(Math.floor(piece.from / width) * width); // the bucket in which the piece begins
    for (const { start, count, good } of this.#options.query.rollups.read(left, name, begin, piece.to)) {
      const end = epochMs(start + width);
      const last = there.at(-1);
      // Samples that come less often than buckets leave some of them empty.
      const from = last !== undefined && start - last.to < longest ? last.to : start;
      there.push({ from, to: end });
      if (good < count)
        silent.push({
          from: start,
          to: epochMs(start + Math.round((width * (count - good)) / count)),
          detail: `${count - good} of ${count} samples of the ${left}`,
        });
    }
    const kept = within(joined(there), piece).map(({ from, to }) => ({ ...piece, from, to }));
    return { covered: [], silent: toldWithin(silent, piece), lost: kept };
  }
}

interface Before {
  readonly time: number;
  readonly isGood: boolean;
  readonly detail: string;
}

function lastOf(slices: Iterable<Slice>): Before | undefined {
  let found: Before | undefined;
  for (const { batch, from, to } of slices) {
    const last = to - 1;
    if (last < from) continue;
    const detail = REASONS[batch.reasons[last] ?? 0] ?? '';
    found = { time: batch.times[last] ?? 0, isGood: batch.qualities[last] === GOOD, detail };
  }
  return found;
}

interface Piece extends Evidence {
  readonly lost: readonly Lost[];
}

function toldWithin(told: readonly Told[], piece: Span): Told[] {
  return told.flatMap((one) => within([one], piece).map(({ from, to }) => ({ ...one, from, to })));
}

/** Runs of the book, and of the tail those that it does not have yet; the latest one may still go on. */
function runsOf({ book, tail, span, now, isRunning }: CompletenessOptions): KnownRun[] {
  const stored = book.runs(epochMs(0), epochMs(Number.MAX_SAFE_INTEGER));
  const known = new Set(stored.map(({ started }) => started));
  const runs: KnownRun[] = stored.map((run) => ({
    from: run.started,
    to: run.ended,
    isLatest: false,
    period: periodIn(book, run),
  }));
  for (const { time, recorded } of tail.starts())
    if (!known.has(time))
      runs.push({ from: time, to: time, isLatest: false, period: (name) => recorded.get(nameKey(name)) });
  const last = runs.at(-1);
  const alive = isRunning ? now : Math.min(tail.alive() ?? 0, now);
  if (last !== undefined)
    runs[runs.length - 1] = { ...last, to: epochMs(Math.max(alive, last.to)), isLatest: true };
  return parted(runs.filter(({ from, to }) => from < span.to && to >= span.from - DAY));
}

/** Runs overlap where the clock was set back: what was recorded last counts. */
function parted(runs: readonly KnownRun[]): KnownRun[] {
  const found: KnownRun[] = [];
  for (const run of runs.toSorted((a, b) => a.from - b.from)) {
    const firstAfter = found.findLastIndex(({ to }) => to <= run.from) + 1;
    const overlapped = found.splice(firstAfter);
    found.push(
      ...overlapped
        .map((other) => ({ ...other, to: run.from, isLatest: false }))
        .filter(({ from, to }) => from < to),
      run,
      ...overlapped
        .map((other) => ({ ...other, from: other.from > run.to ? other.from : run.to }))
        .filter(({ from, to }) => from < to),
    );
  }
  return found;
}

function periodIn(book: Chronicle, { id }: Run): KnownRun['period'] {
  return (name) => book.period(id, name);
}

function outagesOf({ book, tail, span }: CompletenessOptions): Told[] {
  const all = [...book.outages(span.from, span.to), ...tail.outages()];
  const told: Told[] = [];
  for (const { from, to, reason } of all.toSorted((a, b) => a.from - b.from)) {
    const begin = epochMs(Math.max(from, told.at(-1)?.to ?? from));
    if (to >= begin) told.push({ from: begin, to: epochMs(to + 1), detail: reason });
  }
  return told;
}

/** Pieces of the span without raw samples, cut where another reason or another tier begins. */
function lostOf({ book, coverage, unreadable, span }: CompletenessOptions): Lost[] {
  const drops = book.drops(span.from, span.to).filter(({ tier }) => tier === 'raw');
  const borders = [drops, coverage.lost('minute'), coverage.lost('hour'), unreadable]
    .flat()
    .flatMap(({ from, to }) => [from, to])
    .sort((a, b) => a - b);
  const left = (time: EpochMs): Tier | undefined => coverage.finest(time);
  const why = (time: EpochMs): Pick<Lost, 'reason' | 'detail'> => {
    const broken = unreadable.find(({ at, from, to }) => at.tier === 'raw' && from <= time && to > time);
    if (broken !== undefined)
      return { reason: 'store', detail: `${basename(broken.at.path)}: ${broken.because}` };
    const drop = drops.findLast(({ from, to }) => from <= time && to > time);
    switch (drop?.reason) {
      case 'damaged':
        return { reason: 'store', detail: `${drop.file} was damaged` };
      case 'quota':
        return { reason: 'quota', detail: drop.file };
      case 'disk full':
        return { reason: 'quota', detail: `${drop.file}, the disk was full` };
      default:
        return { reason: 'retention', detail: drop?.file ?? '' };
    }
  };
  return coverage.lost('raw').flatMap(({ from, to }) => {
    const cuts = [from, ...new Set(borders.filter((time) => time > from && time < to)), to];
    return cuts
      .slice(0, -1)
      .map((begin, i) => ({ from: begin, to: cuts[i + 1] ?? to, ...why(begin), left: left(begin) }));
  });
}
