import { type Duration, milliseconds } from '../core/units.ts';

/** Milliseconds of each unit; a year has 365 days, because retention needs no calendar. */
const UNITS = new Map([
  ['ms', 1],
  ['s', 1_000],
  ['m', 60_000],
  ['h', 3_600_000],
  ['d', 86_400_000],
  ['y', 365 * 86_400_000],
]);

/** A whole number and one unit. Thirteen digits are a century in milliseconds, and exact in a double. */
export const DURATION = /^(\d{1,13})(ms|s|m|h|d|y)$/;
export const DURATION_EXAMPLES = 'a whole number with a unit, such as 250ms, 5s, 10m, 12h, 7d or 5y';

/** Longest duration that means anything here: a century. */
export const LONGEST = milliseconds(100 * 365 * 86_400_000);

/** `250ms 5s 10m 12h 7d 5y`; undefined where the text is something else. */
export function parseDuration(text: string): Duration | undefined {
  const [, amount = '', unit = ''] = DURATION.exec(text) ?? [];
  const length = Number(amount) * (UNITS.get(unit) ?? Number.NaN);
  return length <= LONGEST ? milliseconds(length) : undefined;
}

/** The same in the largest unit that leaves a whole number. */
export function formatDuration(duration: Duration): string {
  if (duration === 0) return '0s';
  let best = `${duration}ms`;
  for (const [unit, length] of UNITS) {
    if (duration % length === 0) best = `${duration / length}${unit}`;
  }
  return best;
}
