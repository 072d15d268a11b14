import { Tag } from 'cbor2';
import type { PointValue } from '../../core/batch.ts';
import { reasonCode } from '../../core/quality.ts';
import type { CoapSource, PointConfig } from '../../config/config.ts';
import { scaled, scalingOf } from '../scaling.ts';

const NOT_A_NUMBER = reasonCode('not a number');
const BAD_ENCODING = reasonCode('bad encoding');
const OUT_OF_RANGE = reasonCode('out of range');
const DECIMAL_FRACTION = 4; // tag, RFC 8949, 3.4.4
const UNSIGNED_BIGNUM = 2;
const NEGATIVE_BIGNUM = 3;

/** A value, not a document: many times what Modbus can carry, and nothing that fills the outbox. */
const MAX_TEXT = 4_096;

/** Where a value lives in a payload, and what it is. */
export interface Place {
  readonly pointer: string | undefined;
  readonly record: string | undefined;
  readonly type: CoapSource['type'];
  /** value = raw × scale + offset. */
  readonly scale: number;
  readonly offset: number;
}

export function placeOf(point: PointConfig, { pointer, record, type }: CoapSource): Place {
  return { pointer, record, type, scale: point.scale, offset: point.offset };
}

/** One way to read each digit: an engine that backtracks would try all the others on a text that is nearly a number. */
const NUMBER = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,4})?$/;
const WHOLE = /^[+-]?\d{16,400}$/;
const TRUE = /^(?:true|on|1)$/i;
const FALSE = /^(?:false|off|0)$/i;

/** Text as the declared type; undefined where it is none. */
export function fromText(whole: string, type: Place['type']): unknown {
  if (type === 'string') return whole;
  const text = whole.trim();
  if (type === 'bool') return TRUE.test(text) ? true : FALSE.test(text) ? false : undefined;
  if (/^[+-]?(?:nan|inf(?:inity)?)$/i.test(text)) return Number.NaN;
  if (!NUMBER.test(text)) return undefined;
  return WHOLE.test(text) && !Number.isSafeInteger(Number(text))
    ? BigInt(text.replace('+', ''))
    : Number(text);
}

/** A raw value as the declared type, scaled; or the reason why it is none. */
export function typed(
  raw: unknown,
  { type, scale, offset }: Place,
): PointValue | { readonly reason: number } {
  if (type === 'string') {
    if (typeof raw !== 'string') return { reason: OUT_OF_RANGE };
    if (raw.length > MAX_TEXT) return { reason: OUT_OF_RANGE };
    return raw.isWellFormed() ? raw : { reason: BAD_ENCODING }; // half a surrogate pair has no UTF-8
  }
  if (type === 'bool') {
    if (typeof raw === 'boolean') return raw;
    return raw === 0 || raw === 1 ? raw === 1 : { reason: OUT_OF_RANGE };
  }
  const whole = bigintOf(raw);
  const plain = scale === 1 && offset === 0;
  // a wrong value is worse than none: digits beyond 2^53 travel as text
  if (whole !== undefined && plain) return whole.toString();
  const number = asNumber(raw);
  if (number === undefined) return { reason: OUT_OF_RANGE };
  if (!Number.isFinite(number)) return { reason: NOT_A_NUMBER };
  const value = plain ? number : scaled(number, scalingOf(scale, offset));
  return Number.isFinite(value) ? value : { reason: OUT_OF_RANGE };
}

/** An integer that a number cannot hold exactly. */
function bigintOf(raw: unknown): bigint | undefined {
  if (typeof raw === 'bigint') return raw;
  if (!(raw instanceof Tag) || !(raw.contents instanceof Uint8Array)) return undefined;
  const tag = Number(raw.tag);
  if (tag !== UNSIGNED_BIGNUM && tag !== NEGATIVE_BIGNUM) return undefined;
  const magnitude = BigInt(`0x${Buffer.from(raw.contents).toString('hex') || '0'}`);
  return tag === UNSIGNED_BIGNUM ? magnitude : -1n - magnitude;
}

/** A number of JSON or CBOR, a decimal fraction (tag 4) and a bignum included. */
export function asNumber(raw: unknown): number | undefined {
  if (typeof raw === 'number') return raw;
  const whole = bigintOf(raw);
  if (whole !== undefined) return Number(whole);
  if (!(raw instanceof Tag) || Number(raw.tag) !== DECIMAL_FRACTION || !Array.isArray(raw.contents))
    return undefined;
  const [exponent, mantissa, ...more] = raw.contents as readonly unknown[];
  const digits = typeof mantissa === 'number' ? mantissa : bigintOf(mantissa);
  if (more.length > 0 || digits === undefined || !Number.isInteger(exponent)) return undefined;
  return Number.isInteger(Number(digits)) ? Number(`${digits}e${String(exponent)}`) : undefined;
}
