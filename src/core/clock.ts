import { setTimeout as wait } from 'node:timers/promises';
import { type Duration, type EpochMs, epochMs, milliseconds } from './units.ts';

/** The only source of time on a data path, so that a test can wind it by hand. */
export interface Clock {
  /** Wall clock, UTC. May step when the system clock is set. */
  now(): EpochMs;
  /** Milliseconds of a clock that never steps; only differences mean anything. */
  elapsed(): Duration;
  /** Resolves after `duration`; rejects with the signal's reason when it is aborted first. */
  sleep(duration: Duration, signal?: AbortSignal): Promise<void>;
}

/** What a timer of Node takes; a longer one fires at once, and warns each time. */
const LONGEST_TIMER = 2 ** 31 - 1;

export const systemClock: Clock = {
  now: () => epochMs(Date.now()),
  elapsed: () => milliseconds(performance.now()),
  sleep: async (duration, signal) => {
    signal?.throwIfAborted();
    try {
      let left: number = duration;
      for (; left > LONGEST_TIMER; left -= LONGEST_TIMER) await wait(LONGEST_TIMER, undefined, { signal });
      await wait(left, undefined, signal ? { signal } : {});
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  },
};
