import { type Duration, type EpochMs, days, epochMs, milliseconds } from '../../core/units.ts';

/** A gateway may be off overnight, or its clock be set by a few hours: that is nothing to doubt. */
const DOUBTFUL = days(1);
/** A clock with which the gateway has run so long is believed, whatever it says. */
const PROVEN = days(1);

/**
 * What is known of the time. A clock that jumps by more than a day is believed only after the gateway has run a day
 * with it, counted over restarts: a wrong one must not delete history.
 */
export interface ClockState {
  /** The time as it went on, without the jump. */
  readonly line: EpochMs;
  /** The clock at the last look. */
  readonly wall: EpochMs;
  /** How long the gateway has run since the last jump. */
  readonly run: Duration;
}

/** `newest` is the end of what is kept, for a gateway whose book is lost: its clock need not be right. */
export function newClock(wall: EpochMs, newest: EpochMs = wall): ClockState {
  return settled({ line: newest, wall, run: milliseconds(0) });
}

/** One look, `elapsed` after the last one by a clock that never steps; 0 at the start of the process. */
export function look(state: ClockState, wall: EpochMs, elapsed: Duration): ClockState {
  const jumped = Math.abs(wall - state.wall - elapsed) > DOUBTFUL;
  const run = milliseconds(jumped ? 0 : state.run + elapsed);
  return settled({ line: epochMs(state.line + elapsed), wall, run });
}

function settled({ line, wall, run }: ClockState): ClockState {
  const isBelieved = Math.abs(wall - line) <= DOUBTFUL || run >= PROVEN;
  return { line: isBelieved ? wall : line, wall, run };
}

/** The earlier of what it may be: nothing is deleted for its age on a doubtful clock. */
export function believed({ line, wall }: ClockState): EpochMs {
  return line < wall ? line : wall;
}

/** The later of what it may be: nothing that may be of the present is taken for the future. */
export function horizon({ line, wall }: ClockState): EpochMs {
  return line > wall ? line : wall;
}
