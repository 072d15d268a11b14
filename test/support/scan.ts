import { type Clock, systemClock } from '../../src/core/clock.ts';
import type { Scan } from '../../src/drivers/driver.ts';

/** A run of a poll outside a runner: nothing has a tick, so samples carry the time of their arrival. */
export function scan(clock: Clock = systemClock, signal = new AbortController().signal): Scan {
  return { signal, stamp: () => clock.now() };
}
