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

export const systemClock: Clock = {
  now: () => epochMs(Date.now()),
  elapsed: () => milliseconds(performance.now()),
  sleep: async (duration, signal) => {
    signal?.throwIfAborted();
    try {
      await wait(duration, undefined, signal ? { signal } : {});
    } catch (error) {
      signal?.throwIfAborted();
      throw error;
    }
  },
};
