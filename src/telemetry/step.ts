/** Ticks without a sample that a chunk spans; a longer hole begins a new chunk. */
export const MAX_MISSED = 60;

/** Distances from which a rhythm is guessed; what it costs is counted over all. */
const LOOKED_AT = 512;

// What an element costs beyond its value, in characters before compression; only comparisons matter.
const BRACKETS = 3;
const MISSED_TICK = 3;
const NEW_CHUNK = 100;

/**
 * The distance between samples that makes the shortest text of times[0..count), sorted; 0 where they follow no rhythm
 * and each is told by its distance from the first.
 */
export function findStep(times: Float64Array, count: number): number {
  if (count < 2) return 0;
  const first = distance(times, 1);
  let same = 1;
  while (same < count - 1 && distance(times, same + 1) === first) same++;
  if (same === count - 1) return first;
  return cheapest(times, count, candidates(times, count));
}

function distance(times: Float64Array, i: number): number {
  return (times[i] ?? 0) - (times[i - 1] ?? 0);
}

function candidates(times: Float64Array, count: number): number[] {
  const major = majority(times, count);
  if (major !== undefined) return [major];
  const sorted = new Float64Array(Math.min(count - 1, LOOKED_AT));
  for (let i = 0; i < sorted.length; i++) sorted[i] = distance(times, i + 1);
  sorted.sort();
  // Times that jitter around a rhythm of round numbers have it in the middle, but hardly ever exactly.
  const median = sorted[sorted.length >> 1] ?? 0;
  return [...new Set([mostCommon(sorted), median, rounded(median, 2), rounded(median, 1)])];
}

/** The distance that more than half of the samples have (Boyer and Moore). */
function majority(times: Float64Array, count: number): number | undefined {
  let candidate = 0;
  let votes = 0;
  for (let i = 1; i < count; i++) {
    const found = distance(times, i);
    if (votes === 0) candidate = found;
    votes += found === candidate ? 1 : -1;
  }
  let same = 0;
  for (let i = 1; i < count; i++) if (distance(times, i) === candidate) same++;
  return same * 2 > count - 1 ? candidate : undefined;
}

function mostCommon(sorted: Float64Array): number {
  let best = 0;
  let most = 0;
  let same = 0;
  for (let i = 0; i < sorted.length; i++) {
    same = sorted[i] === sorted[i - 1] ? same + 1 : 1;
    if (same <= most) continue;
    most = same;
    best = sorted[i] ?? 0;
  }
  return best;
}

function rounded(value: number, digits: number): number {
  return Number(value.toPrecision(digits));
}

function cheapest(times: Float64Array, count: number, steps: readonly number[]): number {
  let best = 0;
  let least = costWithout(times, count);
  for (const step of steps) {
    const cost = step > 0 ? costWith(times, count, step) : Infinity;
    if (cost >= least) continue;
    least = cost;
    best = step;
  }
  return best;
}

function costWithout(times: Float64Array, count: number): number {
  let cost = 0;
  for (let i = 0; i < count; i++) cost += residualCost((times[i] ?? 0) - (times[0] ?? 0));
  return cost;
}

function costWith(times: Float64Array, count: number, step: number): number {
  let cost = 0;
  let start = times[0] ?? 0;
  let next = 0;
  for (let i = 0; i < count; i++) {
    const offset = (times[i] ?? 0) - start;
    const tick = tickOf(offset, step);
    const missed = tick - next;
    if (missed < 0 || missed > MAX_MISSED) {
      cost += NEW_CHUNK;
      start = times[i] ?? 0;
      next = 1;
    } else {
      cost += missed * MISSED_TICK + residualCost(offset - tick * step);
      next = tick + 1;
    }
  }
  return cost;
}

/** The tick that is nearest to an offset from the first sample. */
export function tickOf(offset: number, step: number): number {
  return Math.floor(offset / step + 0.5);
}

function residualCost(residual: number): number {
  if (residual === 0) return 0;
  const size = Math.abs(residual);
  if (size < 10) return BRACKETS + 1;
  if (size < 100) return BRACKETS + 2;
  if (size < 10_000) return BRACKETS + 4;
  return BRACKETS + 6;
}
