import type { Clock } from '../../src/core/clock.ts';
import { type Duration, epochMs, milliseconds } from '../../src/core/units.ts';

interface Sleeper {
  readonly at: number;
  readonly wake: () => void;
}

/** A clock that a test winds by hand; sleepers wake in the order of their time. */
export class HandClock implements Clock {
  #now: number;
  /** The wall clock was set by so much. */
  #ahead = 0;
  #sleepers: Sleeper[] = [];

  constructor(start = 1_795_516_800_000) {
    this.#now = start;
  }

  now = () => epochMs(this.#now + this.#ahead);
  elapsed = () => milliseconds(this.#now);
  get sleeping(): number {
    return this.#sleepers.length;
  }

  async sleep(duration: Duration, signal?: AbortSignal): Promise<void> {
    signal?.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const sleeper = { at: this.#now + duration, wake: resolve };
    const abort = (): void => {
      this.#sleepers = this.#sleepers.filter((other) => other !== sleeper);
      reject(signal?.reason);
    };
    this.#sleepers.push(sleeper);
    signal?.addEventListener('abort', abort, { once: true });
    try {
      await promise;
    } finally {
      // A signal outlives many sleeps.
      signal?.removeEventListener('abort', abort);
    }
  }

  /** Somebody sets the wall clock; no time passes, and no sleeper wakes. */
  set(time: number): void {
    this.#ahead = time - this.#now;
  }

  /** Winds forward, waking one sleeper after the other and letting each run before the next. */
  async advance(duration: Duration): Promise<void> {
    const end = this.#now + duration;
    for (;;) {
      await settle();
      const next = this.#sleepers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (next === undefined) break;
      this.#sleepers = this.#sleepers.filter((other) => other !== next);
      this.#now = Math.max(this.#now, next.at);
      next.wake();
    }
    this.#now = end;
    await settle();
  }
}

/** Lets everything run that can run without time passing. */
export async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
}
