import type { Duration } from '../core/units.ts';

export interface Rate {
  readonly perSecond: number;
  /** So many at once after a rest. */
  readonly burst: number;
}

/**
 * Faster than a person and than a slow control loop, slower than a flow gone wild: set-points often live in memory
 * that wears out with every write, and every write delays the polls of its line.
 */
export const WRITES_PER_DEVICE: Rate = { perSecond: 5, burst: 20 };

interface Bucket {
  readonly tokens: number;
  readonly at: Duration;
}

/** A token bucket per device. */
export class WriteRate {
  readonly #rate: Rate;
  readonly #buckets = new Map<string, Bucket>();

  constructor(rate: Rate = WRITES_PER_DEVICE) {
    this.#rate = rate;
  }

  /** Takes one write of this device; false where there is none left. `elapsed` never steps back. */
  take(device: string, elapsed: Duration): boolean {
    const { perSecond, burst } = this.#rate;
    const { tokens, at } = this.#buckets.get(device) ?? { tokens: burst, at: elapsed };
    const now = Math.min(burst, tokens + ((elapsed - at) / 1_000) * perSecond);
    const allowed = now >= 1;
    this.#buckets.set(device, { tokens: allowed ? now - 1 : now, at: elapsed });
    return allowed;
  }
}
