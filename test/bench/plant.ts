/** What a scenario polls: every endpoint is one TCP port with `units` units of `points` float32 input registers each. */
export interface Plant {
  readonly endpoints: number;
  readonly units: number;
  readonly points: number;
  /** Period of every point, in milliseconds. */
  readonly every: number;
}

// A value tells who gave it and when: number = point + 1,000 × ((tick + 160 × device) mod 16,000), sent as number / 64.
// The number stays below 2^24, so that a float32 carries it exactly (IEEE 754, 24 bits of significand); the division
// gives it a fraction, as measurements have one. Neighbouring devices are 16 s apart, so that a value that was
// attributed to the wrong device looks far too old or too young.
const POINTS = 1_000;
const TICKS = 16_000;
const TICK_MS = 100;
const TICKS_BETWEEN_DEVICES = 160;
const FRACTION = 64;
export const LIMITS = { points: POINTS, devices: TICKS / TICKS_BETWEEN_DEVICES } as const;

/** The value of a point at a moment (milliseconds since 1970). */
export function valueOf(device: number, point: number, at: number): number {
  const tick = (Math.floor(at / TICK_MS) + TICKS_BETWEEN_DEVICES * device) % TICKS;
  return (point + POINTS * tick) / FRACTION;
}

/**
 * How long before `sampledAt` the slave gave this value, in milliseconds, to a tick of 100 ms; undefined where the value
 * belongs to another point or was never given by the slave. A value of another device comes out as seconds away.
 */
export function heldFor(value: number, device: number, point: number, sampledAt: number): number | undefined {
  // The decimal text may be the shortest that still means the same float32.
  const number = Math.fround(value) * FRACTION;
  if (!Number.isInteger(number) || number < 0 || number % POINTS !== point) return undefined;
  const tick = (number - point) / POINTS - TICKS_BETWEEN_DEVICES * device;
  const ticks = (((Math.floor(sampledAt / TICK_MS) - tick) % TICKS) + TICKS) % TICKS;
  return (ticks > TICKS / 2 ? ticks - TICKS : ticks) * TICK_MS;
}

export function valuesPerSecond({ endpoints, units, points, every }: Plant): number {
  return (endpoints * units * points * 1_000) / every;
}

/** Devices count through the endpoints, units count from 1. */
export function deviceIndex(plant: Plant, endpoint: number, unit: number): number {
  return endpoint * plant.units + unit - 1;
}

export const deviceName = (device: number): string => `meter-${device}`;
export const pointName = (point: number): string => `p${point}`;

/** The number in `meter-12` or `p12`; NaN where it is another name. */
export function indexIn(name: string): number {
  return Number(/^(?:meter-|p)(\d+)$/.exec(name)?.[1] ?? Number.NaN);
}
