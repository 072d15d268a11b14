import type { Tier } from '../core/history.ts';
import type { Span } from './spans.ts';
import {
  type Duration,
  days,
  type EpochMs,
  epochMs,
  hours,
  milliseconds,
  minutes,
  seconds,
} from '../core/units.ts';

/** Widths of buckets that a person can read on an axis. Beyond the last one they double. */
const STEPS: readonly Duration[] = [
  ...[1, 2, 5, 10, 20, 50, 100, 200, 500].map(milliseconds),
  ...[1, 2, 5, 10, 15, 30].map(seconds),
  ...[1, 2, 5, 10, 15, 30].map(minutes),
  ...[1, 2, 3, 6, 12].map(hours),
  ...[1, 7].map(days),
];

/** More columns than any screen has; it bounds what an answer can take. */
export const MAX_WIDTH = 100_000;

/** The tiers, from the finest to the coarsest, and how wide a bucket of each is. */
export const TIERS: readonly Tier[] = ['raw', 'minute', 'hour'];
export const TIER_WIDTH: Readonly<Record<Tier, Duration>> = {
  raw: milliseconds(1),
  minute: minutes(1),
  hour: hours(1),
};

/** What a chart is made of. */
export interface ChartPlan extends Span {
  readonly tier: Tier;
  readonly step: Duration;
}

/** From when on a tier has everything that ever came. */
export type Floors = Readonly<Record<Tier, EpochMs>>;

/**
 * The tier and the step that give at most `width` buckets over the span, which grows outwards to whole buckets: the
 * coarsest tier that serves the step. Where that does not reach back to the begin, finer ones are reduced to the same
 * buckets; where they do not either, the coarser one that reaches back furthest is used.
 */
export function planChart({ from, to }: Span, width: number, floors: Floors): ChartPlan {
  const natural = tierOf(stepFor({ from, to }, width));
  return planTier({ from, to }, width, reaching(natural, from, floors));
}

/** The same in a tier that was asked for. */
export function planTier({ from, to }: Span, width: number, tier: Tier): ChartPlan {
  const step = stepFor({ from, to }, width, TIER_WIDTH[tier]);
  return {
    tier,
    step,
    from: epochMs(Math.floor(from / step) * step),
    to: epochMs(Math.ceil(to / step) * step),
  };
}

/**
 * The smallest nice step that gives at most `width` buckets, aligned to the epoch. Throws RangeError where from, to or
 * width is no number of use: no step would ever be wide enough.
 */
export function stepFor({ from, to }: Span, width: number, atLeast: Duration = milliseconds(1)): Duration {
  if (!Number.isFinite(from) || !Number.isFinite(to) || Number.isNaN(width))
    throw new RangeError(`no chart from ${from} to ${to} in ${width} buckets`);
  const most = Math.min(MAX_WIDTH, Math.max(1, Math.floor(width)));
  const fits = (step: Duration): boolean => Math.ceil(to / step) - Math.floor(from / step) <= most;
  const found = STEPS.find((step) => step >= atLeast && fits(step));
  if (found !== undefined) return found;
  let step = Math.max(atLeast, STEPS.at(-1) ?? 1);
  while (!fits(milliseconds(step))) step *= 2;
  return milliseconds(step);
}

function tierOf(step: Duration): Tier {
  return TIERS.findLast((tier) => step % TIER_WIDTH[tier] === 0) ?? 'raw';
}

function reaching(natural: Tier, from: EpochMs, floors: Floors): Tier {
  const at = TIERS.indexOf(natural);
  if (TIERS.slice(0, at + 1).some((tier) => floors[tier] <= from)) return natural;
  let best = natural;
  for (const tier of TIERS.slice(at + 1)) {
    if (floors[best] <= from) break;
    if (floors[tier] < floors[best]) best = tier;
  }
  return best;
}
