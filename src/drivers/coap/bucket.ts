const BURST = 2; // seconds of the rate that may come at once, ours

/** So many a second, and some seconds of that at once. */
export class Bucket {
  #level: number;
  #at = Number.NEGATIVE_INFINITY;
  readonly #rate: number;

  constructor(rate: number) {
    this.#rate = rate;
    this.#level = rate * BURST;
  }

  /** False where less than `cost` is left; nothing is taken then. */
  take(now: number, cost = 1): boolean {
    const passed = this.#at === Number.NEGATIVE_INFINITY ? 0 : now - this.#at;
    this.#at = now;
    this.#level = Math.min(this.#rate * BURST, this.#level + (passed * this.#rate) / 1_000);
    if (this.#level < cost) return false;
    this.#level -= cost;
    return true;
  }
}
