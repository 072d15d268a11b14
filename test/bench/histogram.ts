/** Counts durations in buckets of one millisecond, so that millions of them cost nothing to keep. */
export class Histogram {
  #buckets = new Uint32Array(1_024);
  #count = 0;
  #max = 0;

  get count(): number {
    return this.#count;
  }

  /** A negative duration means two clocks disagree by less than a bucket; it counts as zero. */
  add(ms: number, weight = 1): void {
    const bucket = Math.max(0, Math.round(ms));
    if (bucket >= this.#buckets.length) {
      const wider = new Uint32Array(Math.max(bucket + 1, this.#buckets.length * 2));
      wider.set(this.#buckets);
      this.#buckets = wider;
    }
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + weight;
    this.#count += weight;
    this.#max = Math.max(this.#max, bucket);
  }

  /** The duration that `share` (0 to 1) of all durations do not exceed; 0 where there are none. */
  quantile(share: number): number {
    const rank = Math.ceil(this.#count * share);
    let seen = 0;
    for (let bucket = 0; bucket < this.#buckets.length; bucket++) {
      seen += this.#buckets[bucket] ?? 0;
      if (seen >= rank && seen > 0) return bucket;
    }
    return 0;
  }

  /** How many durations are longer than `ms`. */
  above(ms: number): number {
    return this.#buckets.subarray(Math.round(ms) + 1).reduce((sum, n) => sum + n, 0);
  }

  spread(): Spread {
    return { count: this.#count, p50: this.quantile(0.5), p99: this.quantile(0.99), max: this.#max };
  }
}

/** In milliseconds. */
export interface Spread {
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}
