/**
 * Tells what came later by the order of rows, not by a clock that may be set: times are counted by the clock of the first
 * row, as if it had gone on without ever being set back. Within one setting of the clock that is the order of time, so
 * that samples which come late, with times of their own, displace nothing.
 */
export class RowClock {
  #commit: number | undefined;
  #ahead: number;

  constructor(commit?: number, ahead = 0) {
    this.#commit = commit;
    this.#ahead = ahead;
  }

  /** By how much the clock was set back so far. */
  get ahead(): number {
    return this.#ahead;
  }

  /** The next row, and its commit; returns what has to be added to the times in it. */
  take(commit: number): number {
    if (this.#commit !== undefined && commit < this.#commit) this.#ahead += this.#commit - commit;
    this.#commit = commit;
    return this.#ahead;
  }

  copy(): RowClock {
    return new RowClock(this.#commit, this.#ahead);
  }
}
