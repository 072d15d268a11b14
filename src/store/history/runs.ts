import type { Batch } from '../../core/batch.ts';
import type { SeriesRun, SortedOrder } from '../../telemetry/chunk.ts';

/** The first place in order[from..to), which is sorted by time, whose row is not before `time`. */
export function firstAt(
  batch: Batch,
  order: Uint32Array,
  run: Pick<SeriesRun, 'from' | 'to'>,
  time: number,
): number {
  let { from, to } = run;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if ((batch.times[order[middle] ?? 0] ?? 0) < time) from = middle + 1;
    else to = middle;
  }
  return from;
}

/** The part of each run with times in [from, to); runs without one are left out, and so is what was refused. */
export function runsWithin(
  batch: Batch,
  { order, runs }: SortedOrder,
  from: number,
  to: number,
): SeriesRun[] {
  const found: SeriesRun[] = [];
  for (const run of runs) {
    if (run.series === 0) continue;
    const first = firstAt(batch, order, run, from);
    const last = firstAt(batch, order, run, to);
    if (first < last) found.push({ series: run.series, from: first, to: last });
  }
  return found;
}

/** Begins of the periods that have samples with times in [from, to), oldest first; `periodOf` says where one ends. */
export function periodsOf(
  batch: Batch,
  { order, runs }: SortedOrder,
  { from, to }: { readonly from: number; readonly to: number },
  periodOf: (time: number) => { readonly from: number; readonly to: number },
): { readonly from: number; readonly to: number }[] {
  const found = new Map<number, { readonly from: number; readonly to: number }>();
  for (const run of runs) {
    if (run.series === 0) continue;
    for (let at = firstAt(batch, order, run, from); at < run.to; ) {
      const time = batch.times[order[at] ?? 0] ?? 0;
      if (time >= to) break;
      const period = periodOf(time);
      found.set(period.from, period);
      at = firstAt(batch, order, { from: at, to: run.to }, period.to);
    }
  }
  return [...found.values()].sort((a, b) => a.from - b.from);
}
