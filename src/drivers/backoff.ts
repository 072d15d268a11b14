/** Waits of a unit that does not answer, in multiples of its base; the last one repeats. */
const UNIT_STEPS = [1.5, 3, 6, 12];

/**
 * The base of a unit is what one failed attempt cost. 12 times that, less jitter, keeps one dead unit below a tenth of
 * the time of its line, whatever its time-out is. The floor is for failures that cost nothing, such as a wrong echo.
 */
const UNIT_BASE_LEAST = 500;

/** Nobody stands beside a plant for longer than this to see whether the new fuse helped. */
const UNIT_WAIT_MOST = 60_000;

/** Devices that fell silent together, as after a power cut, must not be tried together for ever. */
const JITTER = 0.2;

/** Endpoints: a restarted controller takes 10 to 60 s, and a refused connect costs next to nothing. */
const RECONNECT_FIRST = 500;
const RECONNECT_MOST = 60_000;

/**
 * An endpoint that lets us in and then says nothing, such as a bridge with its bus cut: nobody is hammered who is asked
 * again, and a bus that is mended is a bus that all its units come back on.
 */
const RECONNECT_MUTE_MOST = 10_000;

/** A number from 0 to 1, as `Math.random`. */
export type Random = () => number;

/** Wait in ms before attempt number `failures` (from 1) of a unit whose failed attempt took `cost` ms. */
export function unitWait(failures: number, cost: number, random: Random): number {
  const step = UNIT_STEPS[Math.min(failures, UNIT_STEPS.length) - 1] ?? 1;
  return jittered(Math.min(step * Math.max(cost, UNIT_BASE_LEAST), UNIT_WAIT_MOST), random);
}

/** Wait in ms before connect number `failures` (from 1) after a loss: 0.5 s, 1 s, 2 s … 60 s, or 10 s where it was `mute`. */
export function reconnectWait(failures: number, random: Random, mute = false): number {
  const exponent = Math.min(failures - 1, 16);
  const most = mute ? RECONNECT_MUTE_MOST : RECONNECT_MOST;
  return jittered(Math.min(RECONNECT_FIRST * 2 ** exponent, most), random);
}

function jittered(wait: number, random: Random): number {
  return wait * (1 + JITTER * (2 * random() - 1));
}
