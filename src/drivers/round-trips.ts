/** Buckets of an eighth of an octave from 0.1 ms to about 100 s: a percentile is at most 9 % off. */
const PER_OCTAVE = 8;
const SHORTEST = 0.1;
const BUCKETS = 20 * PER_OCTAVE;

/** Beyond this many the counts are halved, so that the percentile follows the last hours and not the last year. */
const MOST_COUNTED = 8_192;

/** Round-trip times of one unit in constant memory. */
export class RoundTrips {
  readonly #buckets = new Uint16Array(BUCKETS);
  #counted = 0;
  /** Milliseconds; NaN before the first. */
  last = Number.NaN;

  add(time: number): void {
    this.last = time;
    const bucket = Math.ceil(Math.log2(Math.max(time, SHORTEST) / SHORTEST) * PER_OCTAVE);
    const at = Math.min(bucket, BUCKETS - 1);
    this.#buckets[at] = (this.#buckets[at] ?? 0) + 1;
    if (++this.#counted > MOST_COUNTED) this.#halve();
  }

  /** Upper end of the bucket that holds the share `p` (0 to 1) of the times, in ms; NaN before the first. */
  percentile(p: number): number {
    let left = Math.ceil(this.#counted * p);
    if (left === 0) return Number.NaN;
    for (let i = 0; i < BUCKETS; i++) {
      left -= this.#buckets[i] ?? 0;
      if (left <= 0) return SHORTEST * 2 ** (i / PER_OCTAVE);
    }
    return SHORTEST * 2 ** (BUCKETS / PER_OCTAVE);
  }

  #halve(): void {
    this.#counted = 0;
    for (let i = 0; i < BUCKETS; i++) {
      const half = (this.#buckets[i] ?? 0) >> 1;
      this.#buckets[i] = half;
      this.#counted += half;
    }
  }
}
