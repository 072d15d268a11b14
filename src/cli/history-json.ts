import type { Completeness, HistoryQuery, LastSample, Trace } from '../core/history.ts';
import type { PointName } from '../core/point.ts';
import { QUALITIES, REASONS } from '../core/quality.ts';
import type { Missing } from './left-out.ts';

/** What could not be read; asked for when the answer is whole. */
type Missed = () => readonly Missing[];

const pretty = (value: unknown): string => `${JSON.stringify(value, undefined, 2)}\n`;

export function names(found: readonly PointName[], missed: Missed): string {
  return pretty({ points: found, leftOut: missed() });
}

export function last(samples: readonly LastSample[], missed: Missed): string {
  return pretty({
    samples: samples.map(({ name, time, value, quality, reason }) => ({
      ...name,
      time,
      value,
      quality: QUALITIES[quality],
      ...(reason === 0 ? {} : { reason: REASONS[reason] }),
    })),
    leftOut: missed(),
  });
}

export function* charts(
  { from, to }: HistoryQuery,
  traces: Iterable<Trace>,
  missed: Missed,
): Generator<string> {
  yield* list({ from, to }, traces, missed, (trace) => ({
    ...trace.name,
    tier: trace.tier,
    step: trace.step,
    buckets: Array.from(trace.starts, (start, i) => bucketOf(trace, start, i)),
  }));
}

export function* completeness(
  { from, to }: HistoryQuery,
  found: Iterable<Completeness>,
  missed: Missed,
): Generator<string> {
  yield* list({ from, to }, found, missed, ({ name, share, gaps }) => ({ ...name, share, gaps }));
}

/** One object, whose list of points is written point by point. */
function* list<T>(
  head: object,
  items: Iterable<T>,
  missed: Missed,
  shown: (item: T) => object,
): Generator<string> {
  yield `${JSON.stringify(head).slice(0, -1)},"points":[`;
  let between = '\n';
  for (const item of items) {
    yield between + JSON.stringify(shown(item));
    between = ',\n';
  }
  yield `\n],"leftOut":${JSON.stringify(missed())}}\n`;
}

/** NaN, where there is no number, is null in JSON. */
function bucketOf(trace: Trace, start: number, i: number): object {
  const text = trace.texts.get(i);
  return {
    start,
    count: trace.counts[i],
    good: trace.goods[i],
    bad: trace.bads[i],
    min: trace.mins[i],
    max: trace.maxes[i],
    mean: trace.means[i],
    deviation: trace.deviations[i],
    first: text?.[0] ?? trace.firsts[i],
    firstTime: trace.firstTimes[i],
    last: text?.[1] ?? trace.lasts[i],
    lastTime: trace.lastTimes[i],
    changes: trace.changes[i],
  };
}
