import type { Duration } from '../core/units.ts';
import { sinceBoot } from './monotonic.ts';

/** So many at once, and one more after each period. */
export class Bucket {
  readonly #size: number;
  readonly #period: Duration;
  #left: number;
  #at: Duration = sinceBoot();

  constructor(size: number, period: Duration) {
    this.#size = size;
    this.#period = period;
    this.#left = size;
  }

  /** False where there was none left. */
  take(): boolean {
    const now = sinceBoot();
    this.#left = Math.min(this.#size, this.#left + (now - this.#at) / this.#period);
    this.#at = now;
    if (this.#left < 1) return false;
    this.#left -= 1;
    return true;
  }
}
