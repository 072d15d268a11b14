import type { PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { kindOf, onWire, rawLimits } from './value.ts';
import { fraction, hashOf } from './random.ts';

/** Values change once a second, at the full second: whoever reads within it reads the same. Milliseconds. */
export const TICK = 1_000;
/** Counters began here, so that they are high but far from the end of 32 bits. */
const COUNTED_SINCE = Date.UTC(2026, 0, 1);
/** Whole numbers that a double counts exactly. */
const MOST = 2 ** 53;

interface Band {
  readonly middle: number;
  readonly swing: number;
}

const TEMPERATURE = /^(Cel|°C|degC)$/;
/** What runs is warmer than the hall around it. */
const WARM = /oil|flow|return|motor|bearing|feed/;
const WARM_BAND: Band = { middle: 58, swing: 9 };

// The first one that the unit, or else the name, fits. Magnitudes are those of a small plant.
const BANDS: readonly (readonly [unit: RegExp, name: RegExp, band: Band])[] = [
  [/^k?V$/, /voltage/, { middle: 230, swing: 4 }],
  [/^A$/, /current/, { middle: 24, swing: 18 }],
  [/^(W|VA|var)$/, /power$/, { middle: 11_000, swing: 8_500 }],
  [/^k(W|VA|var)$/, /(?!)/, { middle: 11, swing: 8.5 }],
  [/^Hz$/, /frequency/, { middle: 50, swing: 0.08 }],
  [TEMPERATURE, /temp/, { middle: 21, swing: 4 }],
  [/^(%RH|%|\/)$/, /humid|percent/, { middle: 48, swing: 22 }],
  [/^(bar|Pa|kPa|MPa)$/, /pressure/, { middle: 5.2, swing: 0.7 }],
  [/^m$/, /level|height/, { middle: 2.4, swing: 1.1 }],
  [/^mm\/s$/, /velocity|vibration/, { middle: 2.8, swing: 1.9 }],
  [/^(1\/min|rpm)$/, /speed/, { middle: 40, swing: 12 }],
  [/(?!)/, /cos|factor/, { middle: 0.94, swing: 0.05 }],
];
const ANYTHING: Band = { middle: 50, swing: 40 };

/** Counts a second. */
const COUNTERS: readonly (readonly [unit: RegExp, name: RegExp, rate: number])[] = [
  [/^k?Wh$/, /energy/, 0.004],
  [/^h$/, /hours/, 0.6 / 3_600],
  [/^(strokes|parts|cycles)$/, /strokes|count|total|parts|cycles/, 0.4],
  [/^m[3³]$/, /volume/, 0.02],
];

/** The full second at or before `time`. */
export function tickOf(time: number): EpochMs {
  return epochMs(Math.floor(time / TICK) * TICK);
}

/**
 * What a simulated device holds at `time` for a point that nobody wrote to, exactly as the wire carries it (rounded to
 * the register, scale applied). The same for the same second and seed, whoever asks and however often. A writable
 * point holds still until it is written to.
 */
export function signalAt(point: PointConfig, time: EpochMs, seed: number): PointValue {
  const hash = hashOf(`${seed}/${point.device}/${point.name}`);
  const seconds = point.writable ? 0 : tickOf(time) / 1_000;
  switch (kindOf(point)) {
    case 'bool':
      return isOn(hash, seconds);
    case 'string':
      return textOf(point, hash);
    default:
      return onWire(point, numberAt(point, hash, seconds));
  }
}

const MEDIA = ['water', 'oil', 'glycol', 'brine'];

/** On for some minutes, off for some, by a rhythm of its own. */
function isOn(hash: number, seconds: number): boolean {
  const period = 40 + Math.floor(fraction(hash, 0) * 200);
  const on = 0.3 + fraction(hash, 1) * 0.6;
  return (seconds / period + fraction(hash, 2)) % 1 < on;
}

function textOf({ name, source }: PointConfig, hash: number): string {
  const digits = hash.toString(16).padStart(8, '0').toUpperCase();
  const text = /medium|material/.test(name) ? (MEDIA[hash % MEDIA.length] ?? '') : `SN-${digits}`;
  return source.kind === 'modbus' ? text.slice(0, source.characters).trimEnd() : text;
}

function numberAt(point: PointConfig, hash: number, seconds: number): number {
  const rate = counterRate(point);
  if (rate !== undefined && !point.writable) return counterAt(point, hash, seconds, rate);
  const { middle, swing } = bandOf(point);
  return middle + swing * wave(hash, seconds);
}

/** Only grows, and starts again at zero where its registers end, as a real one does. */
function counterAt(point: PointConfig, hash: number, seconds: number, rate: number): number {
  const own = rate * (0.5 + fraction(hash, 3));
  const counted = 1_000 + fraction(hash, 4) * 9_000 + own * (seconds - COUNTED_SINCE / 1_000);
  const { high } = rawLimits(point);
  const raw = Math.floor((counted - point.offset) / Math.abs(point.scale));
  return (raw % Math.min(high + 1, MOST)) * point.scale + point.offset;
}

/** Three swings of different length, together between -1 and 1: a slow drift with some unrest. */
function wave(hash: number, seconds: number): number {
  let sum = 0;
  for (const [i, { from, to, weight }] of SWINGS.entries()) {
    const period = from + (to - from) * fraction(hash, 5 + i);
    sum += weight * Math.sin(2 * Math.PI * (seconds / period + fraction(hash, 10 + i)));
  }
  return sum;
}

/** Seconds. */
const SWINGS = [
  { from: 900, to: 2_400, weight: 0.6 },
  { from: 70, to: 200, weight: 0.3 },
  { from: 7, to: 20, weight: 0.1 },
];

function bandOf(point: PointConfig): Band {
  const { span, min, max, unit = '', name } = point;
  if (span !== undefined) return between(span.low, span.high);
  if (min !== undefined && max !== undefined) return between(min, max);
  if (TEMPERATURE.test(unit) && WARM.test(name)) return WARM_BAND;
  const known = BANDS.find(([ofUnit]) => ofUnit.test(unit)) ?? BANDS.find(([, ofName]) => ofName.test(name));
  return known?.[2] ?? ANYTHING;
}

/** The middle of a range is where a plant runs; its ends are where it stops. */
function between(low: number, high: number): Band {
  return { middle: (low + high) / 2, swing: (high - low) * 0.35 };
}

function counterRate({ unit = '', name }: PointConfig): number | undefined {
  const known =
    COUNTERS.find(([ofUnit]) => ofUnit.test(unit)) ?? COUNTERS.find(([, ofName]) => ofName.test(name));
  return known?.[2];
}
