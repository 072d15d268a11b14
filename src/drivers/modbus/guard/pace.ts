import type { Clock } from '../../../core/clock.ts';
import { type Duration, milliseconds } from '../../../core/units.ts';

/** A program that tries everything once is done at once; one that never ends takes some hundredth of a core. */
const AT_ONCE = 1_000;
const EVERY = milliseconds(1);
const ALL_OF_IT = AT_ONCE * EVERY;

/**
 * How soon somebody is refused. Whoever asks again at each refusal would keep the process busy that polls the devices; an
 * answer that comes later counts as pending meanwhile, so that the rest is not even read.
 */
export class Pace {
  readonly #clock: Clock;
  /** When the next refusal of an address would be due, had they come one by one. */
  readonly #due = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How long the refusal of a request that came now has to wait. */
  wait(address: string): Duration {
    const now = this.#clock.elapsed();
    const due = Math.max(this.#due.get(address) ?? -Infinity, now - ALL_OF_IT) + EVERY;
    this.#due.set(address, due);
    return milliseconds(Math.max(0, due - now));
  }

  /** Forgets those who have all of it to spend again. */
  sweep(): void {
    const before = this.#clock.elapsed() - ALL_OF_IT;
    for (const [address, due] of this.#due) if (due < before) this.#due.delete(address);
  }
}
