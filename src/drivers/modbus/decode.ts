import type { ByteOrder, ModbusSource, PointConfig } from '../../config/config.ts';
import type { BatchBuilder } from '../../core/batch.ts';
import { reasonCode } from '../../core/quality.ts';
import { shortestFloat32, withoutNoise } from './float32.ts';
import { isBitTable, viewOf } from './pdu.ts';
import { scaled, type Scaling, scalingOf, UNSCALED } from '../scaling.ts';

const NOT_A_NUMBER = reasonCode('not a number');
const BAD_ENCODING = reasonCode('bad encoding');
const OUT_OF_RANGE = reasonCode('out of range');
const TWO_TO_32 = 2 ** 32;

// What one step does.
const TABLE_BIT = 0;
const REGISTER_BIT = 1;
const REGISTER_BOOL = 2;
const INT16 = 3;
const UINT16 = 4;
const BCD16 = 5;
const INT32 = 6;
const UINT32 = 7;
const FLOAT32 = 8;
const BCD32 = 9;
const INT64 = 10;
const UINT64 = 11;
const FLOAT64 = 12;
const STRING = 13;

const OPERATIONS = {
  int16: INT16,
  uint16: UINT16,
  bcd16: BCD16,
  int32: INT32,
  uint32: UINT32,
  float32: FLOAT32,
  bcd32: BCD32,
  int64: INT64,
  uint64: UINT64,
  float64: FLOAT64,
  string: STRING,
} as const;

/** How one point is taken from the data of a reply; made once per point and place. */
export interface Step {
  readonly point: number;
  readonly operation: number;
  /** Bytes from the first data byte of the reply. */
  readonly at: number;
  /** Bit of the byte or register; bytes of a string. */
  readonly detail: number;
  readonly words: number;
  /** Byte order inside each register; with `reversed` (order of registers) the two swaps of DESIGN 5.1. */
  readonly little: boolean;
  readonly reversed: boolean;
  readonly scaling: Scaling;
}

/** ABCD is big-endian throughout, DCBA little-endian throughout; the other two are big and little by turns. */
export function swapsOf(order: ByteOrder): { readonly little: boolean; readonly reversed: boolean } {
  return { little: order === 'BADC' || order === 'DCBA', reversed: order === 'CDAB' || order === 'DCBA' };
}

/** The step for a point in a reply whose first bit or register is `first`. */
export function stepFor(point: PointConfig, source: ModbusSource, first: number): Step {
  const distance = source.address - first;
  const swaps = swapsOf(source.order);
  if (isBitTable(source.table)) {
    return makeStep(point, TABLE_BIT, distance >> 3, distance & 7, 0, swaps, UNSCALED);
  }
  const at = distance * 2;
  if (source.bit !== undefined) return makeStep(point, REGISTER_BIT, at, source.bit, 1, swaps, UNSCALED);
  if (source.type === 'bool') return makeStep(point, REGISTER_BOOL, at, 0, 1, swaps, UNSCALED);
  const operation = OPERATIONS[source.type];
  if (operation === STRING) {
    return makeStep(point, operation, at, source.characters, source.length, swaps, UNSCALED);
  }
  return makeStep(point, operation, at, 0, source.length, swaps, scalingOf(point.scale, point.offset));
}

function makeStep(
  point: PointConfig,
  operation: number,
  at: number,
  detail: number,
  words: number,
  { little, reversed }: { readonly little: boolean; readonly reversed: boolean },
  scaling: Scaling,
): Step {
  return { point: point.index, operation, at, detail, words, little, reversed, scaling };
}

/**
 * Appends one sample per step. `view` holds the data of an accepted reply from `start`; every step lies within it.
 * Nothing is allocated per value, strings and integers beyond 2^53 apart.
 */
export function decodeInto(
  into: BatchBuilder,
  steps: readonly Step[],
  view: DataView,
  start: number,
  time: number,
): void {
  for (const step of steps) {
    const at = start + step.at;
    switch (step.operation) {
      case TABLE_BIT:
        into.addBoolean(step.point, time, ((view.getUint8(at) >> step.detail) & 1) === 1);
        break;
      case REGISTER_BIT:
        into.addBoolean(step.point, time, ((view.getUint16(at, step.little) >> step.detail) & 1) === 1);
        break;
      case REGISTER_BOOL:
        into.addBoolean(step.point, time, view.getUint16(at) !== 0);
        break;
      case INT16:
        addScaled(into, step, time, view.getInt16(at, step.little));
        break;
      case UINT16:
        addScaled(into, step, time, view.getUint16(at, step.little));
        break;
      case BCD16:
        addDigits(into, step, time, view.getUint16(at, step.little));
        break;
      case STRING:
        addString(into, step, time, view, at);
        break;
      default:
        if (step.little === step.reversed) addWide(into, step, time, view, at, step.little);
        else addWide(into, step, time, straightened(view, at, step), 0, false);
    }
  }
}

function addWide(
  into: BatchBuilder,
  step: Step,
  time: number,
  view: DataView,
  at: number,
  little: boolean,
): void {
  switch (step.operation) {
    case FLOAT32: {
      const value = view.getFloat32(at, little);
      if (!Number.isFinite(value)) into.addBad(step.point, time, NOT_A_NUMBER);
      else if (step.scaling === UNSCALED) into.addNumber(step.point, time, shortestFloat32(value));
      else addFinite(into, step, time, withoutNoise(scaled(shortestFloat32(value), step.scaling)));
      break;
    }
    case INT32:
      addScaled(into, step, time, view.getInt32(at, little));
      break;
    case UINT32:
      addScaled(into, step, time, view.getUint32(at, little));
      break;
    case BCD32:
      addDigits(into, step, time, view.getUint32(at, little));
      break;
    case FLOAT64: {
      const value = view.getFloat64(at, little);
      if (Number.isFinite(value)) addScaled(into, step, time, value);
      else into.addBad(step.point, time, NOT_A_NUMBER);
      break;
    }
    case INT64: {
      const high = view.getInt32(little ? at + 4 : at, little);
      const raw = high * TWO_TO_32 + view.getUint32(little ? at : at + 4, little);
      if (holds(step, raw)) addScaled(into, step, time, raw);
      else into.addText(step.point, time, view.getBigInt64(at, little).toString());
      break;
    }
    default: {
      const high = view.getUint32(little ? at + 4 : at, little);
      const raw = high * TWO_TO_32 + view.getUint32(little ? at : at + 4, little);
      if (holds(step, raw)) addScaled(into, step, time, raw);
      else into.addText(step.point, time, view.getBigUint64(at, little).toString());
    }
  }
}

/**
 * Beyond 2^53 a double does not hold every integer: the digits travel as text. A scaled value is no count any more;
 * it keeps the 53 bits that a double has.
 */
function holds(step: Step, raw: number): boolean {
  return Number.isSafeInteger(raw) || step.scaling !== UNSCALED;
}

function addScaled(into: BatchBuilder, step: Step, time: number, raw: number): void {
  addFinite(into, step, time, scaled(raw, step.scaling));
}

function addFinite(into: BatchBuilder, step: Step, time: number, value: number): void {
  if (Number.isFinite(value)) into.addNumber(step.point, time, value);
  else into.addBad(step.point, time, OUT_OF_RANGE);
}

/** Binary coded decimal: four bits a digit, the most significant first. */
function addDigits(into: BatchBuilder, step: Step, time: number, bits: number): void {
  let value = 0;
  for (let shift = step.words * 16 - 4; shift >= 0; shift -= 4) {
    const digit = (bits >>> shift) & 0xf;
    if (digit > 9) {
      into.addBad(step.point, time, BAD_ENCODING);
      return;
    }
    value = value * 10 + digit;
  }
  addScaled(into, step, time, value);
}

const characters = new Uint8Array(256); // more than a PDU
const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * Two characters a register, the high byte first unless the order swaps bytes; the order of registers is never
 * reversed. Ends at the first NUL; blanks at the end are padding.
 */
function addString(into: BatchBuilder, step: Step, time: number, view: DataView, at: number): void {
  let length = 0;
  for (; length < step.detail; length++) {
    const byte = view.getUint8(at + (step.little ? length ^ 1 : length));
    if (byte === 0) break;
    characters[length] = byte;
  }
  while (length > 0 && characters[length - 1] === 0x20) length--;
  try {
    into.addText(step.point, time, strictUtf8.decode(characters.subarray(0, length)));
  } catch {
    into.addBad(step.point, time, BAD_ENCODING);
  }
}

const straight = viewOf(new Uint8Array(8));

/** The registers of a value with mixed order, as one big-endian number. */
function straightened(view: DataView, at: number, step: Step): DataView {
  for (let word = 0; word < step.words; word++) {
    const place = step.reversed ? step.words - 1 - word : word;
    straight.setUint16(place * 2, view.getUint16(at + word * 2, step.little));
  }
  return straight;
}
