import type { Batch, BatchBuilder } from '../core/batch.ts';
import { BAD, reasonCode } from '../core/quality.ts';
import type { Duration, EpochMs } from '../core/units.ts';
import type { PointConfig } from '../config/config.ts';

/** A point not heard for this many of its periods is stale. */
const SILENT_PERIODS = 3;

/** Batches arrive a few times a second; below this, fast points would turn stale between two of them. */
const SHORTEST_SILENCE = 1_000;

/**
 * Where longer than this passed between two calls of `stale`, it was us who did not listen (a stopped process, a
 * busy disk): the rest is no silence of a device, or every point would turn stale at once.
 */
const LONGEST_ABSENCE = 1_000;

const STALE = reasonCode('stale');
const NOT_HEARD_YET = reasonCode('not heard yet');

/** Who was heard when, as columns over the index of the point. */
export interface Staleness {
  /** `Clock.elapsed` of the last call. */
  calledAt: number;
  /** Sum of the times in which nobody listened, ms. */
  absent: number;
  /** Time in which somebody listened, ms of `Clock.elapsed` less `absent`. */
  listened: number;
  /** Nobody can turn stale before this moment of `listened`. */
  nextAt: number;
  /** Longest normal silence, ms. */
  readonly limits: Float64Array;
  /** `listened` when the last sample was taken. */
  readonly heardAt: Float64Array;
  readonly everHeard: Uint8Array;
  /** The point is known to be bad, be it by us: nothing new to tell. */
  readonly bad: Uint8Array;
}

/** `elapsed` is `Clock.elapsed`: silence is measured on a clock that never steps. */
export function createStaleness(points: readonly PointConfig[], elapsed: Duration): Staleness {
  const { length } = points;
  return {
    calledAt: elapsed,
    absent: 0,
    listened: elapsed,
    nextAt: elapsed,
    limits: Float64Array.from(points, ({ every }) => Math.max(SILENT_PERIODS * every, SHORTEST_SILENCE)),
    heardAt: new Float64Array(length).fill(elapsed),
    everHeard: new Uint8Array(length),
    bad: new Uint8Array(length),
  };
}

/** Whatever a driver or the runner said of a point counts, bad samples too; the time of the sample does not matter. */
export function heard(staleness: Staleness, batch: Batch): void {
  const { heardAt, everHeard, bad, limits, listened } = staleness;
  for (let i = 0; i < batch.count; i++) {
    const point = batch.points[i] ?? 0;
    const isBad = batch.qualities[i] === BAD ? 1 : 0;
    if (isBad === 0 && bad[point] === 1) {
      staleness.nextAt = Math.min(staleness.nextAt, listened + (limits[point] ?? 0));
    }
    heardAt[point] = listened;
    everHeard[point] = 1;
    bad[point] = isBad;
  }
}

/**
 * Turns points bad, once, that were not heard for three of their periods: `stale`, or `not heard yet` where there was
 * nothing since the start. They recover with their next sample. Call it as often as batches are taken, at least once
 * a second and right before `heard`; it looks at the points only when one of them may have fallen silent.
 */
export function stale(staleness: Staleness, elapsed: Duration, now: EpochMs, into: BatchBuilder): void {
  const { limits, heardAt, everHeard, bad } = staleness;
  staleness.absent += Math.max(0, elapsed - staleness.calledAt - LONGEST_ABSENCE);
  staleness.calledAt = elapsed;
  const listened = elapsed - staleness.absent;
  staleness.listened = listened;
  if (listened <= staleness.nextAt) return;
  let nextAt = Number.POSITIVE_INFINITY;
  for (let point = 0; point < limits.length; point++) {
    if (bad[point] === 1) continue;
    const until = (heardAt[point] ?? 0) + (limits[point] ?? 0);
    if (listened <= until) {
      nextAt = Math.min(nextAt, until);
    } else {
      bad[point] = 1;
      into.addBad(point, now, everHeard[point] === 1 ? STALE : NOT_HEARD_YET);
    }
  }
  staleness.nextAt = nextAt;
}
