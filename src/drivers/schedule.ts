/**
 * When which poll is due: a fixed grid per poll on a clock that never steps, so nothing drifts, and a heap of the next
 * ticks, so one timer serves a whole line. A tick that could not be used is skipped and counted, never queued.
 * All times are milliseconds of `Clock.elapsed`.
 */
export class Schedule {
  readonly #periods: Float64Array;
  readonly #places: Float64Array;
  readonly #origins: Float64Array;
  /** Number of the next tick on the grid of the poll. */
  readonly #ticks: Float64Array;
  readonly #due: Float64Array;
  /** Polls as a binary heap: earliest first, of equals the one planned first. */
  readonly #heap: Int32Array;
  #begun = false;

  /** `places[i]`, from 0 to 1, is the place of poll i within its period. */
  constructor(periods: readonly number[], places: readonly number[]) {
    this.#periods = Float64Array.from(periods);
    this.#places = Float64Array.from(places);
    this.#origins = new Float64Array(periods.length);
    this.#ticks = new Float64Array(periods.length);
    this.#due = new Float64Array(periods.length);
    this.#heap = Int32Array.from(periods.keys());
  }

  /**
   * The line is connected. The first time the grids are laid from `now` on, and polls of long periods are read once
   * soon as well. After a pause every poll is due at once, and the ticks of the pause are not missed ones.
   */
  begin(now: number): void {
    for (let i = 0; i < this.#due.length; i++) {
      const period = this.#periods[i] ?? 0;
      const place = this.#places[i] ?? 0;
      if (this.#begun) {
        const current = Math.floor((now - (this.#origins[i] ?? 0)) / period);
        this.#ticks[i] = Math.max(this.#ticks[i] ?? 0, current + 1);
        this.#due[i] = now;
      } else {
        this.#origins[i] = now + place * period;
        this.#due[i] = now + place * Math.min(period, FIRST_READ_WITHIN);
      }
    }
    this.#begun = true;
    this.#heapify();
  }

  /** The poll that is due first, or -1 where there are none. */
  get first(): number {
    return this.#heap[0] ?? -1;
  }

  /** When the first poll is due; Infinity where there are none. */
  get nextDue(): number {
    const first = this.first;
    return first < 0 ? Number.POSITIVE_INFINITY : this.dueOf(first);
  }

  dueOf(poll: number): number {
    return this.#due[poll] ?? Number.POSITIVE_INFINITY;
  }

  periodOf(poll: number): number {
    return this.#periods[poll] ?? 0;
  }

  /** A tick of the poll's grid; the others are whole periods away. */
  originOf(poll: number): number {
    return this.#origins[poll] ?? 0;
  }

  /** Uses the tick of the first poll and moves it to its next one. Returns how many ticks passed unused. */
  advance(now: number): number {
    const poll = this.first;
    if (poll < 0) return 0;
    const origin = this.#origins[poll] ?? 0;
    const period = this.#periods[poll] ?? 0;
    const next = this.#ticks[poll] ?? 0;
    const current = Math.floor((now - origin) / period);
    const isOnGrid = this.dueOf(poll) >= origin + next * period;
    // Always forward, also where rounding puts `now` just below the tick that was due.
    const tick = Math.max(isOnGrid ? next + 1 : next, current + 1);
    this.#ticks[poll] = tick;
    this.#due[poll] = origin + tick * period;
    this.#sink(0);
    return Math.max(0, current - next);
  }

  /** Brings polls forward to `at`, once, without moving their grids. */
  soon(polls: Iterable<number>, at: number): void {
    for (const poll of polls) this.#due[poll] = Math.min(this.dueOf(poll), at);
    this.#heapify();
  }

  #heapify(): void {
    for (let at = (this.#heap.length >> 1) - 1; at >= 0; at--) this.#sink(at);
  }

  #sink(from: number): void {
    const heap = this.#heap;
    const poll = heap[from] ?? 0;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && this.#before(heap[child + 1] ?? 0, heap[child] ?? 0)) child++;
      if (!this.#before(heap[child] ?? 0, poll)) break;
      heap[at] = heap[child] ?? 0;
      at = child;
    }
    heap[at] = poll;
  }

  #before(a: number, b: number): boolean {
    const difference = this.dueOf(a) - this.dueOf(b);
    return difference < 0 || (difference === 0 && a < b);
  }
}

/** A point with a period of an hour should not wait for its first value until the hour is over. */
const FIRST_READ_WITHIN = 1_000;

/**
 * Places in the period for the polls of all lines: units follow one another evenly within a line, and lines are
 * shifted against each other. Polls of one unit share a place: they go out back to back, as one cycle.
 */
export function placeInPeriod(line: number, lines: number, unit: number, units: number): number {
  return (unit + line / lines) / units;
}
