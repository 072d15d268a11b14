import type { Clock } from '../../core/clock.ts';
import { milliseconds } from '../../core/units.ts';

/**
 * Rings when a state machine has something to do. Sleeps once per machine, not once per request: an earlier due time
 * cuts the sleep short, a later one is noticed on waking.
 */
export class Alarm {
  readonly #clock: Clock;
  readonly #ring: (now: number) => void;
  #due = Number.POSITIVE_INFINITY;
  #asleep: { readonly until: number; readonly wake: AbortController } | undefined;

  constructor(clock: Clock, ring: (now: number) => void) {
    this.#clock = clock;
    this.#ring = ring;
  }

  /** Rings at `due` (ms of `Clock.elapsed`), once; Infinity for never. */
  set(due: number): void {
    this.#due = due;
    if (due < (this.#asleep?.until ?? Number.POSITIVE_INFINITY)) {
      this.#asleep?.wake.abort();
      void this.#sleep(due);
    }
  }

  /** Holds no timer any more, until it is set again. */
  stop(): void {
    this.#due = Number.POSITIVE_INFINITY;
    this.#asleep?.wake.abort();
    this.#asleep = undefined;
  }

  async #sleep(until: number): Promise<void> {
    const asleep = { until, wake: new AbortController() };
    this.#asleep = asleep;
    try {
      await this.#clock.sleep(milliseconds(Math.max(0, until - this.#clock.elapsed())), asleep.wake.signal);
    } catch {
      return; // woken: an earlier time or none at all
    }
    if (this.#asleep !== asleep) return;
    this.#asleep = undefined;
    const now = this.#clock.elapsed();
    const due = this.#due;
    if (due > now) this.set(due);
    else {
      this.#due = Number.POSITIVE_INFINITY;
      this.#ring(now);
    }
  }
}
