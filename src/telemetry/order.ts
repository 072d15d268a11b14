import type { Batch } from '../core/batch.ts';

/** Rows order[from..to) of a batch are those of one series. */
export interface SeriesRun {
  readonly series: number;
  readonly from: number;
  readonly to: number;
}

export interface SortedOrder {
  readonly order: Uint32Array<ArrayBuffer>;
  readonly runs: readonly SeriesRun[];
}

/** Beyond this a table with a place for every number would be larger than the batch. */
const SPARSE = 1_000_000;

/** The rows of a batch by series and then by time; rows of the same time stay in the order in which they came. */
export function sortedOrder(batch: Batch): SortedOrder {
  const order = bySeries(batch);
  const runs: SeriesRun[] = [];
  for (let from = 0; from < order.length; ) {
    const series = seriesAt(batch, order, from);
    let to = from + 1;
    while (to < order.length && seriesAt(batch, order, to) === series) to++;
    sortByTime(batch.times, order, from, to);
    runs.push({ series, from, to });
    from = to;
  }
  return { order, runs };
}

function seriesAt({ points }: Batch, order: Uint32Array, at: number): number {
  return points[order[at] ?? 0] ?? 0;
}

/** A counting sort: two passes, and rows of a series stay in their order. */
function bySeries({ count, points }: Batch): Uint32Array<ArrayBuffer> {
  const order = new Uint32Array(count);
  let highest = 0;
  for (let i = 0; i < count; i++) highest = Math.max(highest, points[i] ?? 0);
  if (highest > SPARSE + count) {
    for (let i = 0; i < count; i++) order[i] = i;
    return order.sort((a, b) => (points[a] ?? 0) - (points[b] ?? 0));
  }
  const places = new Uint32Array(highest + 2);
  for (let i = 0; i < count; i++) {
    const next = (points[i] ?? 0) + 1;
    places[next] = (places[next] ?? 0) + 1;
  }
  for (let s = 1; s < places.length; s++) places[s] = (places[s] ?? 0) + (places[s - 1] ?? 0);
  for (let i = 0; i < count; i++) {
    const series = points[i] ?? 0;
    const place = places[series] ?? 0;
    order[place] = i;
    places[series] = place + 1;
  }
  return order;
}

/** Nearly every series comes in the order of its times. */
function sortByTime(times: Float64Array, order: Uint32Array, from: number, to: number): void {
  let last = Number.NEGATIVE_INFINITY;
  for (let at = from; at < to; at++) {
    const time = times[order[at] ?? 0] ?? 0;
    if (time < last) {
      order.subarray(from, to).sort((a, b) => (times[a] ?? 0) - (times[b] ?? 0));
      return;
    }
    last = time;
  }
}
