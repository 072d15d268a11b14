import type { ModbusSource, PointConfig } from '../../config/config.ts';
import type { PointValue } from '../../core/batch.ts';
import { SluiceError } from '../../core/errors.ts';
import { swapsOf } from './decode.ts';
import { isBitTable, viewOf } from './pdu.ts';
import { scaled, scalingOf, unscaled } from '../scaling.ts';

/** What has to be written for a value: one coil, some registers, or one bit of a register. */
export type Encoded =
  | { readonly kind: 'coil'; readonly on: boolean }
  | { readonly kind: 'registers'; readonly values: readonly number[] }
  | { readonly kind: 'bit'; readonly mask: number; readonly on: boolean };

interface Range {
  readonly low: number;
  readonly high: number;
}

const RANGES: Readonly<Record<'int16' | 'uint16' | 'int32' | 'uint32' | 'bcd16' | 'bcd32', Range>> = {
  int16: { low: -(2 ** 15), high: 2 ** 15 - 1 },
  uint16: { low: 0, high: 2 ** 16 - 1 },
  int32: { low: -(2 ** 31), high: 2 ** 31 - 1 },
  uint32: { low: 0, high: 2 ** 32 - 1 },
  bcd16: { low: 0, high: 9_999 },
  bcd32: { low: 0, high: 99_999_999 },
};

/**
 * The registers or bits that hold `value`. Throws DEVICE_REFUSED with reason `out of range` where the declared type
 * cannot hold exactly this value: nothing is wrapped, cut or rounded, apart from the precision of a float.
 */
export function encodeValue(point: PointConfig, source: ModbusSource, value: PointValue): Encoded {
  if (!isBitTable(source.table) && source.bit === undefined && source.type !== 'bool') {
    return { kind: 'registers', values: registersOf(point, source, value) };
  }
  if (typeof value !== 'boolean') throw refusal(point, value, 'it takes true or false');
  if (isBitTable(source.table)) return { kind: 'coil', on: value };
  if (source.bit === undefined) return { kind: 'registers', values: [value ? 1 : 0] };
  const bit = swapsOf(source.order).little ? source.bit ^ 8 : source.bit;
  return { kind: 'bit', mask: 1 << bit, on: value };
}

function registersOf(point: PointConfig, source: ModbusSource, value: PointValue): readonly number[] {
  const bytes = new Uint8Array(source.length * 2);
  const view = viewOf(bytes);
  switch (source.type) {
    case 'string':
      bytes.set(charactersOf(point, source, value));
      return wordsOf(view, source.length, { little: swapsOf(source.order).little, reversed: false });
    case 'int16':
      view.setInt16(0, wholeNumber(point, value, RANGES.int16));
      break;
    case 'uint16':
      view.setUint16(0, wholeNumber(point, value, RANGES.uint16));
      break;
    case 'int32':
      view.setInt32(0, wholeNumber(point, value, RANGES.int32));
      break;
    case 'uint32':
      view.setUint32(0, wholeNumber(point, value, RANGES.uint32));
      break;
    case 'bcd16':
      view.setUint16(0, digitsOf(wholeNumber(point, value, RANGES.bcd16)));
      break;
    case 'bcd32':
      view.setUint32(0, digitsOf(wholeNumber(point, value, RANGES.bcd32)));
      break;
    case 'float32':
      view.setFloat32(0, float32Of(point, value));
      break;
    case 'float64':
      view.setFloat64(0, float64Of(point, value));
      break;
    case 'int64':
    case 'uint64':
      view.setBigUint64(0, BigInt.asUintN(64, wholeBigInt(point, source.type, value)));
      break;
    default:
      throw refusal(point, value, `a ${source.type} is no register`);
  }
  return wordsOf(view, source.length, swapsOf(source.order));
}

/** The raw whole number that reads back as exactly this value. */
function wholeNumber(point: PointConfig, value: PointValue, { low, high }: Range): number {
  const number = numberOf(point, value);
  const scaling = scalingOf(point.scale, point.offset);
  const raw = Math.round(unscaled(number, scaling)) + 0;
  if (scaled(raw, scaling) !== number) {
    throw refusal(point, value, `it moves in steps of ${point.scale}, from ${point.offset}`);
  }
  if (raw < low || raw > high) {
    const ends = [scaled(low, scaling), scaled(high, scaling)].toSorted((a, b) => a - b);
    throw refusal(point, value, `its registers hold ${ends[0]} to ${ends[1]}`);
  }
  return raw;
}

/** 64 bit: a number within 2^53, or the digits of any whole number as text where the point is not scaled. */
function wholeBigInt(point: PointConfig, type: 'int64' | 'uint64', value: PointValue): bigint {
  const plain = point.scale === 1 && point.offset === 0;
  const raw =
    typeof value === 'string' && plain && /^-?\d{1,20}$/.test(value)
      ? BigInt(value)
      : BigInt(wholeNumber(point, value, { low: Number.MIN_SAFE_INTEGER, high: Number.MAX_SAFE_INTEGER }));
  const fits = type === 'int64' ? BigInt.asIntN(64, raw) === raw : BigInt.asUintN(64, raw) === raw;
  if (!fits) throw refusal(point, value, `its registers hold an ${type}`);
  return raw;
}

function float32Of(point: PointConfig, value: PointValue): number {
  const exact = unscaled(numberOf(point, value), scalingOf(point.scale, point.offset));
  const raw = Math.fround(exact);
  if (!Number.isFinite(raw)) throw refusal(point, value, 'its registers hold a float32, at most 3.4e38');
  if (raw === 0 && exact !== 0) throw refusal(point, value, 'it is too small for a float32');
  return raw;
}

function float64Of(point: PointConfig, value: PointValue): number {
  const raw = unscaled(numberOf(point, value), scalingOf(point.scale, point.offset));
  if (!Number.isFinite(raw)) throw refusal(point, value, 'its registers hold a float64');
  return raw;
}

function numberOf(point: PointConfig, value: PointValue): number {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw refusal(point, value, 'it takes a number');
}

function digitsOf(value: number): number {
  return Number.parseInt(String(value), 16);
}

/** UTF-8, filled up with NUL. A NUL within or a blank at the end would not read back. */
function charactersOf(point: PointConfig, source: ModbusSource, value: PointValue): Uint8Array {
  if (typeof value !== 'string') throw refusal(point, value, 'it takes a text');
  if (!value.isWellFormed()) throw refusal(point, value, 'half a character does not read back');
  if (/\0| $/.test(value)) throw refusal(point, value, 'a NUL, or a blank at the end, does not read back');
  const bytes = new TextEncoder().encode(value);
  if (bytes.length > source.characters) {
    throw refusal(
      point,
      value,
      `it is ${bytes.length} bytes long and the registers hold ${source.characters}`,
    );
  }
  return bytes;
}

function wordsOf(
  view: DataView,
  length: number,
  { little, reversed }: { readonly little: boolean; readonly reversed: boolean },
): readonly number[] {
  const words = Array.from({ length }, (_, word) => view.getUint16(word * 2, little));
  return reversed ? words.toReversed() : words;
}

function refusal(point: PointConfig, value: PointValue, why: string): SluiceError {
  const shown = typeof value === 'string' ? JSON.stringify(value) : String(value);
  return new SluiceError('DEVICE_REFUSED', `${point.device}/${point.name} cannot take ${shown}: ${why}`, {
    reason: 'out of range',
    remedy: 'send a value that the point can hold',
  });
}
