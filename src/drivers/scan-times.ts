import { type EpochMs, epochMs } from '../core/units.ts';
import type { Schedule } from './schedule.ts';
import type { WallTime } from './wall-time.ts';

/**
 * What an answer may take, from the tick on, to carry the time of the tick: a tenth of the period, as for a poll that is
 * late, and for slow ones a quarter of a second, because a wrong time is worse than an uneven one. Below 5 ms the wall
 * clock is no better (see `WallTime`).
 */
const IN_TIME_SHARE = 0.1;
const IN_TIME_MOST = 250;
const IN_TIME_LEAST = 5;

/** Rounding puts the begin of a poll just before its own tick. */
const ROUNDING = 0.01;

/**
 * Which time samples of a poll carry. All that a scan reads belongs to its tick: the times of a healthy point are then
 * exactly a period apart, which a history keeps for nothing, and points of one scan can be compared. What comes later
 * than that is true to itself and carries the time at which it came.
 */
export class ScanTimes {
  readonly #schedule: Schedule;
  readonly #wall: WallTime;
  /** Per poll: the latest time that was given, of `Clock.elapsed`. Samples of a point never go back to a tick before. */
  readonly #given: Float64Array;

  constructor(schedule: Schedule, wall: WallTime, polls: number) {
    this.#schedule = schedule;
    this.#wall = wall;
    this.#given = new Float64Array(polls).fill(Number.NEGATIVE_INFINITY);
  }

  /** For the answers to a poll that begins at `started`; to be called when an answer has arrived. */
  stamp(poll: number, started: number): () => EpochMs {
    const period = this.#schedule.periodOf(poll);
    const origin = this.#schedule.originOf(poll);
    const ticks = Math.floor((started + ROUNDING - origin) / period);
    const tick = origin + ticks * period;
    const until = tick > (this.#given[poll] ?? 0) ? tick + inTime(period) : Number.NEGATIVE_INFINITY;
    return () => {
      const now = this.#wall.follow();
      if (now > until) return this.#give(poll, now);
      this.#give(poll, tick);
      // Rounded once: from tick to tick exactly the period passes.
      return epochMs(this.#wall.at(origin) + ticks * period);
    };
  }

  /** For what the gateway itself has to say of a poll, such as that nothing came: the time at which it is said. */
  now(poll: number): EpochMs {
    return this.#give(poll, this.#wall.follow());
  }

  #give(poll: number, elapsed: number): EpochMs {
    this.#given[poll] = Math.max(this.#given[poll] ?? 0, elapsed);
    return this.#wall.at(elapsed);
  }
}

function inTime(period: number): number {
  return Math.min(Math.max(IN_TIME_SHARE * period, IN_TIME_LEAST), IN_TIME_MOST);
}
