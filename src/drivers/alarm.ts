import type { Clock } from '../core/clock.ts';
import { pause } from './pause.ts';

/**
 * Wakes its owner at about the earliest moment asked for, with one timer where moments come in order. A wake-up is
 * never taken back: one that comes too early finds nothing to do.
 */
export class Alarm {
  readonly #clock: Clock;
  readonly #wake: () => void;
  /** Moments of the sleeps under way, the earliest last. */
  readonly #armed: number[] = [];

  constructor(clock: Clock, wake: () => void) {
    this.#clock = clock;
    this.#wake = wake;
  }

  /** `moment` is a time of `Clock.elapsed`; Infinity is never. */
  at(moment: number, signal: AbortSignal): void {
    const earliest = this.#armed.at(-1);
    if (moment === Number.POSITIVE_INFINITY || (earliest !== undefined && earliest <= moment)) return;
    this.#armed.push(moment);
    void this.#sleepUntil(moment, signal);
  }

  async #sleepUntil(moment: number, signal: AbortSignal): Promise<void> {
    await pause(this.#clock, moment - this.#clock.elapsed(), signal);
    this.#armed.pop();
    if (!signal.aborted) this.#wake();
  }
}
