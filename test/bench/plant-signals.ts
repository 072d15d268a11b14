import { shortestFloat32 } from '../../src/drivers/modbus/float32.ts';

/** What a point of a plant looks like, one value a second. */
export interface SignalKind {
  readonly name: string;
  /** Of the points of a plant, in percent; together 100. */
  readonly share: number;
  readonly form: 'number' | 'boolean';
  /** Comes as a float32; a store of numbers would hold `Math.fround` of it. */
  readonly float32: boolean;
  readonly unit: string;
  /** The values of one point, second by second; booleans are 0 and 1. */
  readonly start: (random: () => number) => () => number;
}

const DAY = 86_400;

/** Ten kinds: 27 % temperatures, 13 % flow and pressure, 15 % counters, 20 % switches, 10 % setpoints, 15 % drives; 27 % float32. */
export const SIGNAL_KINDS: readonly SignalKind[] = [
  kind('temperature', 21, '°C', (random) =>
    wandering(random, { middle: 22, day: 3, unrest: 0.01, noise: 0.04 }, 0.1),
  ),
  float32('temperature-float', 6, '°C', (random) =>
    wandering(random, { middle: 58, day: 4, unrest: 0.02, noise: 0.03 }, 0.01),
  ),
  float32('pressure', 7, 'bar', (random) =>
    wandering(random, { middle: 5.2, day: 0.2, unrest: 0.004, noise: 0.01 }, 0),
  ),
  float32('flow', 6, 'm³/h', (random) =>
    wandering(random, { middle: 12, day: 3, unrest: 0.03, noise: 0.05 }, 0),
  ),
  kind('energy', 8, 'kWh', (random) => counter(random, 60 / 3_600, 0.001)),
  kind('strokes', 7, 'strokes', (random) => counter(random, 0.4, 1)),
  { ...kind('switch', 20, '', switching), form: 'boolean' },
  kind('setpoint', 10, '°C', setpoint),
  kind('speed', 7, '1/min', (random) =>
    wandering(random, { middle: 1_480, day: 4, unrest: 0.2, noise: 0.6 }, 1),
  ),
  float32('current', 8, 'A', (random) =>
    wandering(random, { middle: 24, day: 6, unrest: 0.02, noise: 0.02 }, 0.01),
  ),
];

function kind(name: string, share: number, unit: string, start: SignalKind['start']): SignalKind {
  return { name, share, unit, start, form: 'number', float32: false };
}

function float32(name: string, share: number, unit: string, start: SignalKind['start']): SignalKind {
  return { ...kind(name, share, unit, start), float32: true };
}

interface Band {
  readonly middle: number;
  /** Swing over a day. */
  readonly day: number;
  /** Step of a slow random walk that is drawn back to the middle. */
  readonly unrest: number;
  /** Of the measurement, one standard deviation. */
  readonly noise: number;
}

/** `resolution` 0: everything that a float32 carries. */
function wandering(random: () => number, band: Band, resolution: number): () => number {
  const phase = random() * 2 * Math.PI;
  let walk = 0;
  let second = 0;
  return () => {
    walk = walk * 0.9995 + normal(random) * band.unrest;
    const day = band.day * Math.sin((2 * Math.PI * second++) / DAY + phase);
    const value = band.middle + day + walk + normal(random) * band.noise;
    return resolution === 0 ? shortestFloat32(Math.fround(value)) : rounded(value, resolution);
  };
}

/** Grows with a load that changes every few minutes. */
function counter(random: () => number, rate: number, resolution: number): () => number {
  let counted = 1_000 + random() * 90_000;
  let load = 1;
  return () => {
    if (random() < 1 / 300) load = random() < 0.2 ? 0 : 0.5 + random();
    counted += rate * load * (0.6 + 0.8 * random());
    return rounded(Math.floor(counted / resolution) * resolution, resolution);
  };
}

function switching(random: () => number): () => number {
  let on = random() < 0.5 ? 1 : 0;
  return () => {
    if (random() < 1 / 180) on = 1 - on;
    return on;
  };
}

function setpoint(random: () => number): () => number {
  let value = rounded(40 + random() * 40, 0.5);
  return () => {
    if (random() < 1 / 7_200) value = rounded(40 + random() * 40, 0.5);
    return value;
  };
}

/** Without the noise of the multiplication: 234 × 0.1 is 23.4. */
function rounded(value: number, resolution: number): number {
  return Number((Math.round(value / resolution) * resolution).toPrecision(12));
}

function normal(random: () => number): number {
  return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

/** The same fractions for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface PlantSignal {
  readonly kind: SignalKind;
  readonly next: () => number;
}

/** So many points in the mix of a plant; point i is the same for the same seed. */
export function plantSignals(points: number, seed = 1): PlantSignal[] {
  const mix = SIGNAL_KINDS.flatMap((of) => Array.from({ length: of.share }, () => of));
  return Array.from({ length: points }, (_, i) => {
    // 37 has no factor in common with 100: a few points are mixed as well as a hundred.
    const of = mix[(i * 37) % mix.length];
    if (of === undefined) throw new Error('no kinds');
    return { kind: of, next: of.start(randomOf(seed * 1_000_003 + i)) };
  });
}
