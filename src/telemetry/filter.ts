import { type Batch, type BatchBuilder, BOOLEAN, NOTHING, NUMBER, TEXT } from '../core/batch.ts';
import { BAD } from '../core/quality.ts';
import type { EpochMs } from '../core/units.ts';
import type { PointConfig } from '../config/config.ts';
import { isPolled } from './presence.ts';

/** How a change of a number is judged. */
const ANY_CHANGE = 0; // no deadband: whatever differs from the reported value passes
const ABSOLUTE = 1; // width in the unit of the point; percent of span arrives as a width
const OF_VALUE = 2; // width is a share of the reported value

/** What `due` has to look after. */
const NONE = 0;
const CANDIDATE = 1; // a change that came too early
const BAD_POINT = 2; // nothing arrives from a dead device, but who subscribes later has to hear that it is dead

/**
 * Report by exception: what was last said of each point, as columns over the index of the point. Owned by whoever
 * calls `report` and `due`; nobody else changes it.
 */
export interface Filter {
  readonly published: Uint8Array;
  readonly kinds: Uint8Array;
  readonly widths: Float64Array;
  readonly minIntervals: Float64Array;
  readonly heartbeats: Float64Array;
  /** Age of the last report, ms, from which on a sample is a heartbeat whatever it says. */
  readonly repeatAfter: Float64Array;
  readonly forms: Uint8Array;
  readonly values: Float64Array;
  readonly qualities: Uint8Array;
  readonly reasons: Uint8Array;
  readonly texts: Map<number, string>;
  /** Time of the sample that was reported last; NaN before the first. */
  readonly times: Float64Array;
  /** Time from which the minimum interval counts. */
  readonly paces: Float64Array;
  readonly pending: Uint8Array;
  /** Time of the gateway of the last `due`, and before which the next one has nothing to do. */
  lookedAt: number;
  nextDue: number;
  /** Time of the gateway at which a pending point is reported; NaN until `due` has seen it. */
  readonly dueTimes: Float64Array;
  readonly candidateTimes: Float64Array;
  readonly candidateValues: Float64Array;
  readonly candidateForms: Uint8Array;
  readonly candidateTexts: Map<number, string>;
}

export function createFilter(points: readonly PointConfig[]): Filter {
  const { length } = points;
  const filter: Filter = {
    published: new Uint8Array(length),
    kinds: new Uint8Array(length),
    widths: new Float64Array(length),
    minIntervals: new Float64Array(length),
    heartbeats: new Float64Array(length),
    repeatAfter: new Float64Array(length),
    forms: new Uint8Array(length).fill(NOTHING),
    values: new Float64Array(length),
    qualities: new Uint8Array(length),
    reasons: new Uint8Array(length),
    texts: new Map(),
    times: new Float64Array(length).fill(Number.NaN),
    paces: new Float64Array(length).fill(Number.NaN),
    pending: new Uint8Array(length),
    lookedAt: Number.NEGATIVE_INFINITY,
    nextDue: Number.NEGATIVE_INFINITY,
    dueTimes: new Float64Array(length).fill(Number.NaN),
    candidateTimes: new Float64Array(length),
    candidateValues: new Float64Array(length),
    candidateForms: new Uint8Array(length),
    candidateTexts: new Map(),
  };
  points.forEach((point, i) => {
    const { deadband, minInterval, heartbeat } = point.report;
    filter.published[i] = point.published ? 1 : 0;
    filter.minIntervals[i] = minInterval;
    filter.heartbeats[i] = heartbeat > 0 ? heartbeat : Number.POSITIVE_INFINITY;
    filter.repeatAfter[i] = isPolled(point)
      ? lastTickWithin(filter.heartbeats[i] ?? 0, point.every)
      : (filter.heartbeats[i] ?? 0);
    if (deadband === undefined) return;
    filter.kinds[i] = deadband.kind === 'value-percent' ? OF_VALUE : ABSOLUTE;
    filter.widths[i] = deadband.kind === 'value-percent' ? deadband.percent / 100 : deadband.width;
  });
  return filter;
}

/**
 * Samples of a poll come every period, give or take some milliseconds. The one at the last tick within the heartbeat
 * carries it: the next one would come too late, and whether a sample is a millisecond early must not double a wait.
 */
function lastTickWithin(heartbeat: number, every: number): number {
  return heartbeat === Number.POSITIVE_INFINITY ? heartbeat : (Math.floor(heartbeat / every) - 0.5) * every;
}

/**
 * Passes on what is worth telling, in order:
 *  - the first sample of a point, every change of quality, reason or form, at once;
 *  - a number that differs from the last reported one by more than the deadband (without one: at all); a boolean or a
 *    text that differs; not before the minimum interval is over, until when the newest such sample is kept for `due`;
 *  - any sample when the last report is a heartbeat old, or would be before the next poll.
 * Points that are not published are dropped. Times are those of the samples.
 */
export function report(filter: Filter, batch: Batch, into: BatchBuilder): void {
  const { count, points, times, values, forms, qualities, reasons } = batch;
  for (let i = 0; i < count; i++) {
    const point = points[i] ?? 0;
    if (filter.published[point] !== 1) continue;
    const time = times[i] ?? 0;
    const value = values[i] ?? 0;
    const form = forms[i] ?? NOTHING;
    const last = filter.times[point] ?? Number.NaN;

    if (
      Number.isNaN(last) ||
      qualities[i] !== filter.qualities[point] ||
      reasons[i] !== filter.reasons[point] ||
      form !== filter.forms[point]
    ) {
      send(filter, batch, i, into);
      continue;
    }
    if (time < last) rebase(filter, point, time);
    if (time - (filter.times[point] ?? 0) >= (filter.repeatAfter[point] ?? 0)) {
      send(filter, batch, i, into);
      continue;
    }
    if (!changed(filter, point, form, value, batch.texts)) {
      // Back to what was reported: a change that waits for its interval has not stayed.
      if (filter.pending[point] === CANDIDATE) forgetCandidate(filter, point);
      continue;
    }
    if (time - (filter.paces[point] ?? 0) >= (filter.minIntervals[point] ?? 0)) {
      send(filter, batch, i, into);
    } else {
      hold(filter, point, time, form, value, batch.texts);
    }
  }
}

/**
 * What time alone makes worth telling; call it about as often as batches are committed. Reports changes whose
 * minimum interval is over, with the time of their sample, and repeats what is bad once per heartbeat, with the
 * time `now`: a dead device sends nothing that could carry a heartbeat. A good value is never repeated.
 */
export function due(filter: Filter, now: EpochMs, into: BatchBuilder): void {
  const { pending, dueTimes } = filter;
  const isEarly = now < filter.nextDue && now >= filter.lookedAt;
  filter.lookedAt = now;
  if (isEarly) return;
  let nextDue = Number.POSITIVE_INFINITY;
  for (let point = 0; point < pending.length; point++) {
    if (pending[point] === NONE) continue;
    const longest = longestWait(filter, point);
    const at = dueTimes[point] ?? Number.NaN;
    // First seen, or the clock of the gateway was set back: times of devices say nothing about our time.
    if (Number.isNaN(at) || at - now > longest) {
      dueTimes[point] = now + longest;
      nextDue = Math.min(nextDue, now + longest);
      continue;
    }
    if (now < at) {
      nextDue = Math.min(nextDue, at);
      continue;
    }
    if (pending[point] === BAD_POINT) {
      into.addBad(point, now, filter.reasons[point] ?? 0);
      dueTimes[point] = now + longest;
      nextDue = Math.min(nextDue, now + longest);
      filter.times[point] = now;
      filter.paces[point] = now;
    } else {
      release(filter, point, into);
    }
  }
  filter.nextDue = nextDue;
}

function longestWait(filter: Filter, point: number): number {
  if (filter.pending[point] === BAD_POINT) return filter.heartbeats[point] ?? 0;
  const waited = (filter.candidateTimes[point] ?? 0) - (filter.paces[point] ?? 0);
  return Math.max(0, (filter.minIntervals[point] ?? 0) - waited);
}

function changed(
  filter: Filter,
  point: number,
  form: number,
  value: number,
  texts: readonly string[],
): boolean {
  if (form === TEXT) return texts[value] !== filter.texts.get(point);
  const reported = filter.values[point] ?? 0;
  if (form !== NUMBER) return value !== reported;
  const kind = filter.kinds[point];
  if (kind === ANY_CHANGE) return value !== reported;
  const width = filter.widths[point] ?? 0;
  return Math.abs(value - reported) > (kind === OF_VALUE ? width * Math.abs(reported) : width);
}

function send(filter: Filter, batch: Batch, i: number, into: BatchBuilder): void {
  const point = batch.points[i] ?? 0;
  const time = batch.times[i] ?? 0;
  const form = batch.forms[i] ?? NOTHING;
  const quality = batch.qualities[i] ?? BAD;
  const text = form === TEXT ? (batch.texts[batch.values[i] ?? 0] ?? '') : '';
  if (filter.pending[point] === CANDIDATE) forgetCandidate(filter, point);
  filter.forms[point] = form;
  filter.values[point] = batch.values[i] ?? 0;
  filter.qualities[point] = quality;
  filter.reasons[point] = batch.reasons[i] ?? 0;
  filter.times[point] = time;
  filter.paces[point] = time;
  filter.pending[point] = quality === BAD ? BAD_POINT : NONE;
  if (quality === BAD) filter.nextDue = Number.NEGATIVE_INFINITY;
  filter.dueTimes[point] = Number.NaN;
  if (form === TEXT) filter.texts.set(point, text);
  append(filter, point, time, form, filter.values[point] ?? 0, text, into);
}

function append(
  filter: Filter,
  point: number,
  time: number,
  form: number,
  value: number,
  text: string,
  into: BatchBuilder,
): void {
  const quality = filter.qualities[point] ?? BAD;
  const reason = filter.reasons[point] ?? 0;
  if (form === NUMBER) into.addNumber(point, time, value, quality, reason);
  else if (form === BOOLEAN) into.addBoolean(point, time, value !== 0, quality, reason);
  else if (form === TEXT) into.addText(point, time, text, quality, reason);
  else into.addBad(point, time, reason);
}

function hold(
  filter: Filter,
  point: number,
  time: number,
  form: number,
  value: number,
  texts: readonly string[],
): void {
  if (filter.pending[point] !== CANDIDATE) {
    filter.pending[point] = CANDIDATE;
    filter.nextDue = Number.NEGATIVE_INFINITY;
    filter.dueTimes[point] = Number.NaN;
  }
  filter.candidateTimes[point] = time;
  filter.candidateValues[point] = value;
  filter.candidateForms[point] = form;
  if (form === TEXT) filter.candidateTexts.set(point, texts[value] ?? '');
}

function release(filter: Filter, point: number, into: BatchBuilder): void {
  const time = filter.candidateTimes[point] ?? 0;
  const form = filter.candidateForms[point] ?? NOTHING;
  const value = filter.candidateValues[point] ?? 0;
  const text = filter.candidateTexts.get(point) ?? '';
  forgetCandidate(filter, point);
  filter.values[point] = value;
  if (form === TEXT) filter.texts.set(point, text);
  filter.times[point] = time;
  // Reported when the interval was over, not when it was measured: the next interval begins there.
  filter.paces[point] = (filter.paces[point] ?? 0) + (filter.minIntervals[point] ?? 0);
  append(filter, point, time, form, value, text, into);
}

function forgetCandidate(filter: Filter, point: number): void {
  filter.pending[point] = NONE;
  filter.dueTimes[point] = Number.NaN;
  if (filter.candidateForms[point] === TEXT) filter.candidateTexts.delete(point);
}

/** Times went back, because a clock was set: intervals count from here, or the point would be silent until then. */
function rebase(filter: Filter, point: number, time: number): void {
  filter.times[point] = time;
  filter.paces[point] = Math.min(filter.paces[point] ?? time, time);
}
