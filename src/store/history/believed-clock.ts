import { type Duration, type EpochMs, milliseconds } from '../../core/units.ts';

/**
 * What is known of the time. A clock that jumps by more than a day is believed only after the gateway has run a day
 * with it, over restarts: a wrong one must not delete history.
 */
export interface ClockState {
  /** The time as it went on before the jump. */
  readonly line: EpochMs;
  /** The clock at the last look. */
  readonly wall: EpochMs;
  /** How long the gateway has run since the jump. */
  readonly run: Duration;
}

/** `newest` is the end of what is kept, for a gateway whose book is lost. */
export function newClock(wall: EpochMs, _newest?: EpochMs): ClockState {
  return { line: wall, wall, run: milliseconds(0) };
}

/** One look, `elapsed` after the last one by a clock that never steps; 0 at the start of the process. */
export function look(_state: ClockState, wall: EpochMs, _elapsed: Duration): ClockState {
  return newClock(wall);
}

/** The earlier of what it may be: nothing is deleted for its age on a doubtful clock. */
export function believed({ line, wall }: ClockState): EpochMs {
  return line < wall ? line : wall;
}

/** The later of what it may be: nothing that may be of the present is taken for the future. */
export function horizon({ line, wall }: ClockState): EpochMs {
  return line > wall ? line : wall;
}
