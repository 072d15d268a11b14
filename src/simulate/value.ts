import type { ModbusSource, PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';

/** Digits that any float32 keeps; a signal needs no more. */
const FLOAT_DIGITS = 6;
/** Digits of a scaled value: the noise of a multiplication lies behind them. */
const SCALED_DIGITS = 12;

export interface RawLimits {
  readonly low: number;
  readonly high: number;
}

const UNLIMITED: RawLimits = { low: -Number.MAX_VALUE, high: Number.MAX_VALUE };
const LIMITS: Partial<Record<ModbusSource['type'], RawLimits>> = {
  int16: { low: -(2 ** 15), high: 2 ** 15 - 1 },
  uint16: { low: 0, high: 2 ** 16 - 1 },
  int32: { low: -(2 ** 31), high: 2 ** 31 - 1 },
  uint32: { low: 0, high: 2 ** 32 - 1 },
  int64: { low: Number.MIN_SAFE_INTEGER, high: Number.MAX_SAFE_INTEGER },
  uint64: { low: 0, high: Number.MAX_SAFE_INTEGER },
  bcd16: { low: 0, high: 9_999 },
  bcd32: { low: 0, high: 99_999_999 },
};

export function kindOf({ source }: PointConfig): 'number' | 'bool' | 'string' {
  if (source.kind === 'coap') return source.type;
  if (source.type === 'bool' || source.bit !== undefined) return 'bool';
  return source.type === 'string' ? 'string' : 'number';
}

/** What the registers of a point can hold, before scale and offset. */
export function rawLimits({ source }: PointConfig): RawLimits {
  return source.kind === 'modbus' ? (LIMITS[source.type] ?? UNLIMITED) : UNLIMITED;
}

/** The value nearest to `value` that the wire can carry. */
export function onWire(point: PointConfig, value: number): number {
  const raw = rawOf(point, value);
  return Number((raw * point.scale + point.offset).toPrecision(SCALED_DIGITS)) + 0;
}

/** What stands on the wire for a value, before it becomes registers or digits. */
export function rawOf({ source, scale, offset }: PointConfig, value: number): number {
  const raw = (value - offset) / scale;
  const limits = source.kind === 'modbus' ? LIMITS[source.type] : undefined;
  if (limits === undefined) return Number(raw.toPrecision(FLOAT_DIGITS));
  return Math.min(limits.high, Math.max(limits.low, Math.round(raw)));
}

/** Registers of a value as the wire has them, for a point that is neither a bit nor in a bit table. */
export function registersOf(point: PointConfig, source: ModbusSource, value: PointValue): readonly number[] {
  const bytes = new DataView(new ArrayBuffer(source.length * 2));
  if (source.type === 'string') putText(bytes, String(value));
  else putNumber(bytes, source.type, typeof value === 'number' ? rawOf(point, value) : Number(value));
  const words = Array.from({ length: source.length }, (_, i) => bytes.getUint16(i * 2));
  const swapped = source.order === 'BADC' || source.order === 'DCBA' ? words.map(swapBytes) : words;
  // Order is that of a number's registers; the characters of a text are written from left to right.
  const turned = source.type !== 'string' && (source.order === 'CDAB' || source.order === 'DCBA');
  return turned ? swapped.toReversed() : swapped;
}

/** Where a bit of a register lies in the register as the wire has it. */
export function bitMask({ bit = 0, order }: ModbusSource): number {
  const mask = 1 << bit;
  return order === 'BADC' || order === 'DCBA' ? swapBytes(mask) : mask;
}

function putNumber(bytes: DataView, type: ModbusSource['type'], raw: number): void {
  switch (type) {
    case 'float32':
      bytes.setFloat32(0, raw);
      break;
    case 'float64':
      bytes.setFloat64(0, raw);
      break;
    case 'int64':
    case 'uint64':
      bytes.setBigInt64(0, BigInt(raw));
      break;
    case 'int32':
    case 'uint32':
      bytes.setInt32(0, raw);
      break;
    case 'bcd16':
      bytes.setUint16(0, Number.parseInt(raw.toFixed(0), 16));
      break;
    case 'bcd32':
      bytes.setUint32(0, Number.parseInt(raw.toFixed(0), 16));
      break;
    default: // int16, uint16, and a whole register as a switch
      bytes.setInt16(0, raw);
  }
}

function putText(bytes: DataView, text: string): void {
  for (const [i, byte] of new TextEncoder().encode(text).entries()) {
    if (i < bytes.byteLength) bytes.setUint8(i, byte);
  }
}

function swapBytes(word: number): number {
  return ((word & 0xff) << 8) | (word >>> 8);
}
