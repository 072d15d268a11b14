import type { GapReason, HistoryGap, Tier } from '../core/history.ts';
import { type Duration, type EpochMs, epochMs, seconds } from '../core/units.ts';
import { type Span, outside } from './spans.ts';

/** A silence of so many periods is one, and below this it never is; as for staleness, which then tells it. */
const SILENT_PERIODS = 3;
const SHORTEST_SILENCE = seconds(1);
/** A silence is told so much later at most: batches are taken some times a second, commits once. */
const TOLD_WITHIN = seconds(5);

/** From a start of the gateway to its end, or to its last sign of life. */
export interface RecordedRun extends Span {
  /** How often samples were to come; 0 where nobody knows; undefined where the series was not recorded. */
  readonly period: Duration | undefined;
}

/** A piece of time, and what is to be said of it. */
export interface Told extends Span {
  readonly detail: string;
}

export interface Evidence {
  /** A good sample stands for this time. */
  readonly covered: readonly Span[];
  /** The last word was that there is no good one. */
  readonly silent: readonly Told[];
}

/**
 * What the samples of one series say about its time. A good sample stands until the next one, if that comes within
 * three periods, else for one period; one that is not good holds until the next. Neither reaches beyond its run.
 */
export class Witness {
  readonly #runs: readonly RecordedRun[];
  readonly #now: EpochMs;
  readonly #covered: Span[] = [];
  readonly #silent: Told[] = [];
  /** Of the sample before. */
  #time = Number.NaN;
  #isGood = false;
  #detail = '';
  /** The run of the sample before, or the next one. */
  #run = 0;

  /** Runs in time order; `now`: what is not told until then did not happen. */
  constructor(runs: readonly RecordedRun[], now: EpochMs) {
    this.#runs = runs;
    this.#now = now;
  }

  /** Samples come in the order of time. `detail` says why one is not good. */
  add(time: number, isGood: boolean, detail: string): void {
    if (!Number.isNaN(this.#time)) this.#settle(time, isGood, detail);
    this.#beginRun(time, isGood, detail);
    this.#time = time;
    this.#isGood = isGood;
    this.#detail = detail;
  }

  finish(): Evidence {
    if (!Number.isNaN(this.#time)) this.#settle(Number.POSITIVE_INFINITY, false, '');
    return { covered: this.#covered, silent: this.#silent };
  }

  /** What the sample before stands for, now that the next one is known. */
  #settle(next: number, isNextGood: boolean, nextDetail: string): void {
    const [time, run] = [this.#time, this.#runAt(this.#time)];
    const period = run?.period ?? this.#lastPeriod();
    const limit = silenceOf(period);
    const end = Math.min(next, run?.to ?? time + limit);
    if (!this.#isGood) return this.#addSilent(time, end, this.#detail);
    const isOpen = next === Number.POSITIVE_INFINITY && this.#now - time <= limit + TOLD_WITHIN;
    if (period === 0 || isOpen || (isNextGood && next - time <= limit)) return this.#addCovered(time, end);
    const stands = Math.min(end, time + period);
    this.#addCovered(time, stands);
    // What is told to be stale has been silent since it was heard last.
    if (!isNextGood && next - time <= limit + TOLD_WITHIN) this.#addSilent(stands, end, nextDetail);
  }

  /** A run begins before its first sample. */
  #beginRun(time: number, isGood: boolean, detail: string): void {
    const run = this.#runAt(time);
    if (run === undefined || this.#time >= run.from) return;
    const isSoon = run.period === 0 || time - run.from <= silenceOf(run.period ?? seconds(0)) + TOLD_WITHIN;
    if (!isSoon) return;
    if (isGood) this.#addCovered(run.from, time);
    else this.#addSilent(run.from, time, detail);
  }

  #runAt(time: number): RecordedRun | undefined {
    while ((this.#runs[this.#run]?.to ?? Number.POSITIVE_INFINITY) <= time) this.#run++;
    const run = this.#runs[this.#run];
    return run !== undefined && run.from <= time ? run : undefined;
  }

  /** For samples between runs: devices with a clock of their own, or a gateway that died soon after. */
  #lastPeriod(): Duration {
    return this.#runs.findLast(({ period }) => period !== undefined)?.period ?? seconds(0);
  }

  #addCovered(from: number, to: number): void {
    const last = this.#covered.at(-1);
    if (last !== undefined && from <= last.to) {
      if (to > last.to) this.#covered[this.#covered.length - 1] = { from: last.from, to: epochMs(to) };
    } else if (from < to) this.#covered.push({ from: epochMs(from), to: epochMs(to) });
  }

  #addSilent(from: number, to: number, detail: string): void {
    const last = this.#silent.at(-1);
    if (last !== undefined && last.detail === detail && last.to === from)
      this.#silent[this.#silent.length - 1] = { ...last, to: epochMs(to) };
    else if (from < to) this.#silent.push({ from: epochMs(from), to: epochMs(to), detail });
  }
}

/** A run that gave its last sign at `alive` is taken to go on until now, as long as nothing of the series is overdue. */
export function goingOn(run: RecordedRun, alive: EpochMs, now: EpochMs): RecordedRun {
  const overdue = alive + silenceOf(run.period ?? seconds(0)) + TOLD_WITHIN;
  return { ...run, to: now <= overdue ? now : alive };
}

/** A silence that is longer than this is one. */
export function silenceOf(period: Duration): number {
  return Math.max(SILENT_PERIODS * period, SHORTEST_SILENCE);
}

/** Raw samples of a piece of time are gone. */
export interface Lost extends Told {
  readonly reason: GapReason;
  readonly left: Tier | undefined;
}

/** Everything that is known of the time of one series. Lists are in time order, and none overlaps itself. */
export interface Facts extends Span, Evidence {
  readonly runs: readonly RecordedRun[];
  readonly outages: readonly Told[];
  /** Raw samples are gone, and rollups say that there were some, or nothing says anything. */
  readonly lost: readonly Lost[];
  /** The finest tier that has everything of a moment. */
  readonly left: (time: EpochMs) => Tier | undefined;
}

/** Every piece of the span that no good sample stands for, and why; neighbours of one reason are one. */
export function gapsOf(facts: Facts): HistoryGap[] {
  const { silent, runs, outages, lost } = facts;
  const borders = [silent, runs, outages, lost]
    .flat()
    .flatMap(({ from, to }) => [from, to])
    .sort((a, b) => a - b);
  const gaps: HistoryGap[] = [];
  let at = 0;
  for (const { from, to } of outside(facts.covered, facts)) {
    while ((borders[at] ?? Number.POSITIVE_INFINITY) <= from) at++;
    let begin = from;
    for (; (borders[at] ?? Number.POSITIVE_INFINITY) < to; at++) {
      const border = borders[at] ?? to;
      if (border === begin) continue;
      addGap(gaps, { from: begin, to: border, ...reasonAt(facts, begin) });
      begin = border;
    }
    addGap(gaps, { from: begin, to, ...reasonAt(facts, begin) });
  }
  return gaps;
}

/** Share of the span that is in no gap. */
export function shareOf(gaps: readonly HistoryGap[], { from, to }: Span): number {
  const missing = gaps.reduce((sum, gap) => sum + gap.to - gap.from, 0);
  return to > from ? 1 - missing / (to - from) : 1;
}

type Why = Pick<HistoryGap, 'reason' | 'detail' | 'left'>;

function reasonAt(facts: Facts, time: EpochMs): Why {
  const left = facts.left(time);
  const silent = spanAt(facts.silent, time);
  if (silent !== undefined) return { reason: 'device silent', detail: silent.detail, left };
  const lost = spanAt(facts.lost, time);
  if (lost !== undefined && lost.left !== undefined) return whyOf(lost);
  const outage = spanAt(facts.outages, time);
  if (outage !== undefined) return { reason: 'store', detail: outage.detail, left };
  const run = spanAt(facts.runs, time);
  if (run === undefined) return { reason: 'gateway down', detail: '', left };
  if (run.period === undefined) return { reason: 'filter off', detail: '', left };
  return lost === undefined ? { reason: 'unknown', detail: '', left } : whyOf(lost);
}

function whyOf({ reason, detail, left }: Lost): Why {
  return { reason, detail, left };
}

function spanAt<T extends Span>(spans: readonly T[], time: EpochMs): T | undefined {
  let [low, high] = [0, spans.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((spans[middle]?.to ?? 0) <= time) low = middle + 1;
    else high = middle;
  }
  const found = spans[low];
  return found !== undefined && found.from <= time ? found : undefined;
}

const MAX_DETAIL = 120;

function addGap(gaps: HistoryGap[], { from, to, reason, detail, left }: HistoryGap): void {
  const last = gaps.at(-1);
  if (last === undefined || last.to !== from || last.reason !== reason || last.left !== left) {
    gaps.push({ from, to, reason, detail, left });
    return;
  }
  const isNew = detail !== '' && !last.detail.split('; ').includes(detail) && last.detail.length < MAX_DETAIL;
  const both = last.detail === '' ? detail : `${last.detail}; ${detail}`;
  gaps[gaps.length - 1] = { ...last, to, detail: isNew ? both : last.detail };
}
