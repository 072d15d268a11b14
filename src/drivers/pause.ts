import type { Clock } from '../core/clock.ts';
import { milliseconds } from '../core/units.ts';

/** Longest sleep; timers of Node take no more than 24 days. */
const LONGEST = 86_400_000;

/** Sleeps about `wait` ms, at most a day; returns early, without a throw, when the signal is aborted. */
export async function pause(clock: Clock, wait: number, signal: AbortSignal): Promise<void> {
  try {
    // Whole milliseconds, upwards: a timer that fires too early only has to be set again.
    await clock.sleep(milliseconds(Math.min(Math.ceil(Math.max(0, wait)), LONGEST)), signal);
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
