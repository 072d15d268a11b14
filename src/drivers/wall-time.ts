import type { Clock } from '../core/clock.ts';
import { type EpochMs, epochMs } from '../core/units.ts';

/**
 * How far the wall clock may run away before it is followed, ms: more than reading two clocks one after the other and
 * whole milliseconds make of it, less than anybody who compares two devices would notice.
 */
const TOLERANCE = 5;

/** Between two readings of the clocks a process may be put to sleep; where longer than this passed, they say nothing. */
const ONE_MOMENT = 1;

/**
 * The wall time of moments of the clock that never steps. While both clocks run alike, equal distances stay equal to
 * the millisecond. A wall clock that was set is followed at once; one that is slewed, in steps of `TOLERANCE`.
 */
export class WallTime {
  readonly #clock: Clock;
  /** Wall time less `Clock.elapsed`. */
  #offset: number;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.#offset = clock.now() - clock.elapsed();
  }

  /** Looks whether the wall clock was set. Returns `Clock.elapsed`. */
  follow(): number {
    const before = this.#clock.elapsed();
    const offset = this.#clock.now() - before;
    if (Math.abs(offset - this.#offset) <= TOLERANCE) return before;
    if (this.#clock.elapsed() - before <= ONE_MOMENT) this.#offset = offset;
    return before;
  }

  /** As of the last `follow`. */
  at(elapsed: number): EpochMs {
    return epochMs(Math.round(elapsed + this.#offset));
  }
}
