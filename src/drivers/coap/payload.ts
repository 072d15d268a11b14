import { decode as decodeCbor, type DecodeOptions, encode as encodeCbor, Tag } from 'cbor2';
import type { PointValue } from '../../core/batch.ts';
import { reasonCode } from '../../core/quality.ts';
import type { CoapSource } from '../../config/config.ts';
import { resolveSenml, type SenmlRecord } from './senml.ts';

/** Content-Formats, RFC 7252, 12.3 and RFC 8428, 12.3. */
export const TEXT_PLAIN = 0;
export const JSON_FORMAT = 50;
export const CBOR_FORMAT = 60;
export const SENML_JSON = 110;
export const SENML_CBOR = 112;

type Format = Exclude<CoapSource['format'], 'auto'>;
const FORMATS: ReadonlyMap<number, Format> = new Map([
  [TEXT_PLAIN, 'text'],
  [JSON_FORMAT, 'json'],
  [CBOR_FORMAT, 'cbor'],
  [SENML_JSON, 'senml-json'],
  [SENML_CBOR, 'senml-cbor'],
]);

/** The Content-Format of a declared format; undefined for `auto`. */
export function contentFormat(format: CoapSource['format']): number | undefined {
  for (const [number, name] of FORMATS) if (name === format) return number;
  return undefined;
}

/** How a payload is to be read: as declared, otherwise as its Content-Format says; undefined where that is foreign. */
export function formatOf(declared: CoapSource['format'], number: number | undefined): Format | undefined {
  if (declared !== 'auto') return declared;
  return FORMATS.get(number ?? TEXT_PLAIN);
}

/** A payload that was decoded once, for all points that live in it. */
export type Content =
  | { readonly kind: 'text'; readonly text: string }
  | { readonly kind: 'tree'; readonly root: unknown }
  | { readonly kind: 'pack'; readonly records: readonly SenmlRecord[] }
  | { readonly kind: 'wrong'; readonly why: string };

/** One sample in the making; `time` in ms since 1970 where the device gave one. A reason stands for no value. */
export type Reading =
  | {
      readonly ok: true;
      readonly value: PointValue;
      readonly time: number | undefined;
      readonly unit: string | undefined;
    }
  | { readonly ok: false; readonly reason: number; readonly time: number | undefined };

const MAX_DEPTH = 16; // ours: levels of a JSON or CBOR payload
const CBOR_RULES: DecodeOptions = {
  maxDepth: MAX_DEPTH,
  preferMap: true, // keys of any type, and none of them reaches a prototype
  rejectDuplicateKeys: true, // RFC 8949, 5.6: which one counts would be a guess
  ignoreGlobalTags: true, // no Date, RegExp or Set out of a device's hands
};
const DECIMAL_FRACTION = 4; // tag, RFC 8949, 3.4.4
const SELF_DESCRIBED = 55_799; // tag, RFC 8949, 3.4.6
const UNSIGNED_BIGNUM = 2;
const NEGATIVE_BIGNUM = 3;

const BAD_ENCODING = reasonCode('bad encoding');
const NO_SUCH_VALUE = reasonCode('no such value');
const NOT_A_NUMBER = reasonCode('not a number');
const OUT_OF_RANGE = reasonCode('out of range');

const utf8 = new TextDecoder('utf-8', { fatal: true });

/** Decodes a payload of at most `MAX_BODY` bytes. Never throws. `now` in ms stands for relative SenML times. */
export function open(format: Format, payload: Uint8Array, now: number): Content {
  try {
    switch (format) {
      case 'text':
        return { kind: 'text', text: utf8.decode(payload) };
      case 'json':
        return { kind: 'tree', root: parseJson(utf8.decode(payload)) };
      case 'cbor':
        return { kind: 'tree', root: unwrapped(decodeCbor(payload, CBOR_RULES)) };
      case 'senml-json':
        return packOf(parseJson(utf8.decode(payload)), now);
      case 'senml-cbor':
        return packOf(unwrapped(decodeCbor(payload, CBOR_RULES)), now);
      default:
        return format satisfies never;
    }
  } catch {
    return { kind: 'wrong', why: `not decodable as ${format}` };
  }
}

function packOf(pack: unknown, now: number): Content {
  const resolved = resolveSenml(pack, now, asNumber);
  return resolved.ok ? { kind: 'pack', records: resolved.records } : { kind: 'wrong', why: resolved.why };
}

/** Whole numbers beyond 2^53 keep their digits as bigint; nesting is bounded before the parser recurses. */
function parseJson(text: string): unknown {
  let depth = 0;
  for (const [bracket] of text.replace(/"(?:[^"\\]|\\.)*"/gs, '').matchAll(/[[\]{}]/g)) {
    depth += bracket === '[' || bracket === '{' ? 1 : -1;
    if (depth > MAX_DEPTH) throw new RangeError('too deep');
  }
  if (!/\d{16}/.test(text)) return JSON.parse(text) as unknown;
  return JSON.parse(text, (_key: string, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? '')
      ? BigInt(context?.source ?? '')
      : value,
  ) as unknown;
}

const unwrapped = (root: unknown): unknown =>
  root instanceof Tag && Number(root.tag) === SELF_DESCRIBED ? root.contents : root;

export type Place = Pick<CoapSource, 'pointer' | 'record' | 'type'> & {
  readonly scale: number;
  readonly offset: number;
};

/**
 * What the payload says about one point, oldest first: one reading, or several where a SenML pack carries its history.
 */
export function readings(content: Content, place: Place): readonly Reading[] {
  switch (content.kind) {
    case 'wrong':
      return [bad(BAD_ENCODING)];
    case 'text':
      return [converted(fromText(content.text, place), place)];
    case 'tree': {
      const raw = at(content.root, place.pointer ?? '');
      return [raw === undefined || raw === null ? bad(NO_SUCH_VALUE) : converted(raw, place)];
    }
    case 'pack': {
      const name = place.record ?? onlyName(content.records);
      const records = content.records.filter((record) => record.name === name);
      if (records.length === 0) return [bad(NO_SUCH_VALUE)];
      return records.map((record) => converted(record.value ?? record.sum, place, record.time, record.unit));
    }
    default:
      return content satisfies never;
  }
}

function onlyName(records: readonly SenmlRecord[]): string | undefined {
  const first = records[0]?.name;
  return records.every(({ name }) => name === first) ? first : undefined;
}

/** The value at a JSON pointer, RFC 6901; undefined where there is none. In CBOR a key `7` may be text or a number. */
export function at(root: unknown, pointer: string): unknown {
  if (pointer === '') return root;
  if (!pointer.startsWith('/')) return undefined;
  let here = root;
  for (const part of pointer.slice(1).split('/')) {
    const token = part.replaceAll('~1', '/').replaceAll('~0', '~');
    const isIndex = /^(0|[1-9]\d{0,9})$/.test(token);
    if (Array.isArray(here)) here = isIndex ? (here[Number(token)] as unknown) : undefined;
    else if (here instanceof Map) {
      here =
        here.has(token) || !isIndex ? (here.get(token) as unknown) : (here.get(Number(token)) as unknown);
    } else if (typeof here === 'object' && here !== null && Object.hasOwn(here, token)) {
      here = Reflect.get(here, token);
    } else return undefined;
  }
  return here;
}

const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?$/;
const WHOLE = /^[+-]?\d{16,400}$/;
const TRUE = /^(?:true|on|1)$/i;
const FALSE = /^(?:false|off|0)$/i;

/** Text as the declared type; undefined where it is none. */
function fromText(whole: string, { type }: Place): unknown {
  if (type === 'string') return whole;
  const text = whole.trim();
  if (type === 'bool') return TRUE.test(text) ? true : FALSE.test(text) ? false : undefined;
  if (/^[+-]?(?:nan|inf(?:inity)?)$/i.test(text)) return Number.NaN;
  if (!NUMBER.test(text)) return undefined;
  return WHOLE.test(text) && !Number.isSafeInteger(Number(text))
    ? BigInt(text.replace('+', ''))
    : Number(text);
}

function converted(raw: unknown, place: Place, time?: number, unit?: string): Reading {
  if (raw === undefined) return bad(BAD_ENCODING, time);
  const value = typed(raw, place);
  return typeof value === 'object' ? bad(value.reason, time) : { ok: true, value, time, unit };
}

function typed(raw: unknown, { type, scale, offset }: Place): PointValue | { readonly reason: number } {
  if (type === 'string') return typeof raw === 'string' ? raw : { reason: OUT_OF_RANGE };
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
  const value = plain ? number : number * scale + offset;
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

const bad = (reason: number, time?: number): Reading => ({ ok: false, reason, time });

/** Digits that survive the way back through a scale: 0.3 / 0.1 is 2.9999999999999996. */
const RAW_DIGITS = 14;

/** The payload of a write: the inverse of `readings`. Undefined where the value does not fit the point. */
export function payloadOf(format: Format, place: Place, value: PointValue): Uint8Array | undefined {
  const raw = rawOf(place, value);
  if (raw === undefined) return undefined;
  switch (format) {
    case 'text':
      return Buffer.from(typeof raw === 'boolean' ? (raw ? '1' : '0') : String(raw));
    case 'json':
      return Buffer.from(JSON.stringify(nested(place.pointer, raw)));
    case 'cbor':
      return encodeCbor(nested(place.pointer, raw));
    case 'senml-json':
      return Buffer.from(
        JSON.stringify([{ ...(place.record === undefined ? {} : { n: place.record }), [label(raw)]: raw }]),
      );
    case 'senml-cbor': {
      const fields = new Map<number, unknown>(place.record === undefined ? [] : [[0, place.record]]);
      fields.set(typeof raw === 'number' ? 2 : typeof raw === 'string' ? 3 : 4, raw);
      return encodeCbor([fields]);
    }
    default:
      return format satisfies never;
  }
}

function rawOf({ type, scale, offset }: Place, value: PointValue): PointValue | undefined {
  if (type === 'bool') return typeof value === 'boolean' ? value : undefined;
  if (type === 'string') return typeof value === 'string' ? value : undefined;
  if (typeof value !== 'number') return undefined;
  const raw =
    scale === 1 && offset === 0 ? value : Number(((value - offset) / scale).toPrecision(RAW_DIGITS));
  return Number.isFinite(raw) ? raw : undefined;
}

const label = (raw: PointValue): string =>
  typeof raw === 'number' ? 'v' : typeof raw === 'string' ? 'vs' : 'vb';

/** `/a/b` and 1 make {"a":{"b":1}}. */
function nested(pointer: string | undefined, raw: PointValue): unknown {
  const parts = pointer === undefined || pointer === '' ? [] : pointer.slice(1).split('/');
  return parts.reduceRight<unknown>(
    (inner, part) => ({ [part.replaceAll('~1', '/').replaceAll('~0', '~')]: inner }),
    raw,
  );
}
