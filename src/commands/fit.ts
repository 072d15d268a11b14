import type { ModbusSource, ModbusType, PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';
import { type Decision, type Refusal, refusal } from './refusal.ts';

const ALLOWED: Decision = { allowed: true };
const FLOAT32_MAX = 3.402_823_466_385_288_6e38;
/** What the multiplication and addition of a scaled value may cost in a double, relative to the raw number. */
const SCALING_ERROR = 1e-9;

interface Whole {
  readonly low: bigint;
  readonly high: bigint;
}

const WHOLE: Partial<Record<ModbusType, Whole>> = {
  int16: { low: -(2n ** 15n), high: 2n ** 15n - 1n },
  uint16: { low: 0n, high: 2n ** 16n - 1n },
  int32: { low: -(2n ** 31n), high: 2n ** 31n - 1n },
  uint32: { low: 0n, high: 2n ** 32n - 1n },
  int64: { low: -(2n ** 63n), high: 2n ** 63n - 1n },
  uint64: { low: 0n, high: 2n ** 64n - 1n },
  bcd16: { low: 0n, high: 9_999n },
  bcd32: { low: 0n, high: 99_999_999n },
};

/** What a point takes, whatever the protocol. */
export function kindOf({ source }: PointConfig): 'number' | 'bool' | 'string' {
  if (source.kind === 'coap') return source.type;
  if (source.type === 'bool' || source.bit !== undefined) return 'bool';
  return source.type === 'string' ? 'string' : 'number';
}

/** Has the value the type of the point, and can the wire hold it exactly (a float: as closely as a float can)? */
export function fits(point: PointConfig, value: PointValue): Decision {
  const { source } = point;
  switch (kindOf(point)) {
    case 'bool':
      return typeof value === 'boolean' ? ALLOWED : wrongType(point, value, 'true or false');
    case 'string':
      if (typeof value !== 'string') return wrongType(point, value, 'a text');
      return source.kind === 'modbus' ? textFits(point, source, value) : ALLOWED;
    default:
      return source.kind === 'modbus' ? numberFits(point, source, value) : plainNumber(point, value);
  }
}

/** Limits of the configuration, in the unit of the point, both ends included. */
export function withinLimits(point: PointConfig, value: PointValue): Decision {
  const { min, max, unit = '' } = point;
  if (min === undefined && max === undefined) return ALLOWED;
  const number = typeof value === 'string' && kindOf(point) === 'number' ? Number(value) : value;
  if (typeof number !== 'number') return ALLOWED;
  if ((min === undefined || number >= min) && (max === undefined || number <= max)) return ALLOWED;
  const range = [min === undefined ? '' : `from ${min}`, max === undefined ? '' : `up to ${max}`]
    .filter((part) => part !== '')
    .join(' ');
  return refusal('outside limits', `${nameOf(point)} takes values ${range} ${unit}`.trimEnd());
}

/** The whole number that digits mean; undefined where the value is none. */
export function wholeOf(value: PointValue): bigint | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? BigInt(value) : undefined;
  // Longer than the digits of 2^64 is no register's number.
  return typeof value === 'string' && /^-?\d{1,20}$/.test(value) ? BigInt(value) : undefined;
}

/** 64-bit integers without scale travel as decimal text where a JSON number could not hold them. */
export function isPlain64({ source, scale, offset }: PointConfig): boolean {
  return (
    source.kind === 'modbus' &&
    (source.type === 'int64' || source.type === 'uint64') &&
    scale === 1 &&
    offset === 0
  );
}

export function rawOf({ scale, offset }: PointConfig, value: number): number {
  return (value - offset) / scale;
}

function numberFits(point: PointConfig, source: ModbusSource, value: PointValue): Decision {
  const whole = WHOLE[source.type];
  if (whole === undefined) return floatFits(point, source, value);
  if (isPlain64(point)) {
    const digits = wholeOf(value);
    if (digits !== undefined) return between(point, digits, whole);
    if (typeof value === 'string') return wrongType(point, value, 'a whole number');
  }
  if (typeof value !== 'number') return wrongType(point, value, 'a number');
  const raw = rawOf(point, value);
  const nearest = Math.round(raw);
  if (!Number.isFinite(raw)) return outOfRange(point, whole);
  if (Math.abs(raw - nearest) > SCALING_ERROR * Math.max(1, Math.abs(raw))) {
    const step = point.scale === 1 ? 'whole numbers' : `steps of ${Math.abs(point.scale)}`;
    return refusal('out of range', `${nameOf(point)} takes ${step}, so ${value} would be rounded`);
  }
  if (isPlain64(point) || !Number.isSafeInteger(nearest)) {
    return BigInt(nearest) > whole.high || BigInt(nearest) < whole.low
      ? outOfRange(point, whole)
      : refusal(
          'out of range',
          `${value} is beyond 2^53, where JSON numbers lose digits; send the digits as a text`,
        );
  }
  return between(point, BigInt(nearest), whole);
}

function floatFits(point: PointConfig, source: ModbusSource, value: PointValue): Decision {
  if (typeof value !== 'number') return wrongType(point, value, 'a number');
  const raw = rawOf(point, value);
  const held = source.type === 'float32' ? Math.fround(raw) : raw;
  if (Number.isFinite(held)) return ALLOWED;
  const most = source.type === 'float32' ? FLOAT32_MAX : Number.MAX_VALUE;
  return refusal(
    'out of range',
    `${nameOf(point)} is a ${source.type} and holds at most ${most * Math.abs(point.scale)}`,
  );
}

function plainNumber(point: PointConfig, value: PointValue): Decision {
  if (typeof value !== 'number') return wrongType(point, value, 'a number');
  return Number.isFinite(rawOf(point, value))
    ? ALLOWED
    : refusal('out of range', `${nameOf(point)} cannot hold ${value}`);
}

function textFits(point: PointConfig, source: ModbusSource, value: string): Decision {
  const bytes = new TextEncoder().encode(value).length;
  if (bytes > source.characters) {
    return refusal('out of range', `${nameOf(point)} holds ${source.characters} bytes of text, not ${bytes}`);
  }
  // Registers are filled up with NUL or blanks: neither would be told from the filling when it is read back.
  if (/\0| $/.test(value)) {
    return refusal('out of range', `${nameOf(point)} cannot hold a NUL, nor a blank at the end of a text`);
  }
  return value.isWellFormed()
    ? ALLOWED
    : refusal('out of range', 'the text holds half a character (lone surrogate)');
}

function between(point: PointConfig, raw: bigint, whole: Whole): Decision {
  return raw >= whole.low && raw <= whole.high ? ALLOWED : outOfRange(point, whole);
}

function outOfRange(point: PointConfig, { low, high }: Whole): Refusal {
  const { scale, offset } = point;
  const [from, to] =
    scale === 1 && offset === 0 ? [low, high] : [Number(low) * scale + offset, Number(high) * scale + offset];
  return refusal(
    'out of range',
    `${nameOf(point)} holds ${from < to ? from : to} to ${from < to ? to : from}`,
  );
}

function wrongType(point: PointConfig, value: PointValue, takes: string): Refusal {
  const found = typeof value === 'string' ? 'a text' : typeof value === 'number' ? 'a number' : String(value);
  return refusal('wrong type', `${nameOf(point)} takes ${takes}, not ${found}`);
}

function nameOf({ device, name }: PointConfig): string {
  return `${device}/${name}`;
}
