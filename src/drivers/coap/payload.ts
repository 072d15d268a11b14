import { decode as decodeCbor, type DecodeOptions, Tag } from 'cbor2';
import type { PointValue } from '../../core/batch.ts';
import { reasonCode } from '../../core/quality.ts';
import type { CoapSource } from '../../config/config.ts';
import { resolveSenml, type SenmlRecord } from './senml.ts';
import { asNumber, fromText, type Place, typed } from './typed-value.ts';

/** Content-Formats, RFC 7252, 12.3 and RFC 8428, 12.3. */
export const TEXT_PLAIN = 0;
export const JSON_FORMAT = 50;
export const CBOR_FORMAT = 60;
export const SENML_JSON = 110;
export const SENML_CBOR = 112;

export type Format = Exclude<CoapSource['format'], 'auto'>;
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
const SELF_DESCRIBED = 55_799; // tag, RFC 8949, 3.4.6

const BAD_ENCODING = reasonCode('bad encoding');
const NO_SUCH_VALUE = reasonCode('no such value');

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

/** The deepest nesting of a JSON text, in one walk; of one that is none, a guess. */
function depthOf(text: string): number {
  let [depth, deepest, inString] = [0, 0, false];
  for (let i = 0; i < text.length; i++) {
    const character = text[i];
    if (inString && character === '\\') i++;
    else if (character === '"') inString = !inString;
    else if (inString) continue;
    else if (character === '[' || character === '{') deepest = Math.max(deepest, ++depth);
    else if (character === ']' || character === '}') depth--;
  }
  return deepest;
}

function packOf(pack: unknown, now: number): Content {
  const resolved = resolveSenml(pack, now, asNumber);
  return resolved.ok ? { kind: 'pack', records: resolved.records } : { kind: 'wrong', why: resolved.why };
}

/** Whole numbers beyond 2^53 keep their digits as bigint; nesting is bounded before the parser recurses. */
function parseJson(text: string): unknown {
  if (depthOf(text) > MAX_DEPTH) throw new RangeError('too deep');
  if (!/\d{16}/.test(text)) return JSON.parse(text) as unknown;
  return JSON.parse(text, (_key: string, value: unknown, context?: { source?: string }) =>
    typeof value === 'number' && !Number.isSafeInteger(value) && /^-?\d+$/.test(context?.source ?? '')
      ? BigInt(context?.source ?? '')
      : value,
  ) as unknown;
}

const unwrapped = (root: unknown): unknown =>
  root instanceof Tag && Number(root.tag) === SELF_DESCRIBED ? root.contents : root;

/**
 * What the payload says about one point, oldest first: one reading, or several where a SenML pack carries its history.
 */
export function readings(content: Content, place: Place): readonly Reading[] {
  switch (content.kind) {
    case 'wrong':
      return [bad(BAD_ENCODING)];
    case 'text':
      return [converted(fromText(content.text, place.type), place)];
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

function converted(raw: unknown, place: Place, time?: number, unit?: string): Reading {
  if (raw === undefined) return bad(BAD_ENCODING, time);
  const value = typed(raw, place);
  return typeof value === 'object' ? bad(value.reason, time) : { ok: true, value, time, unit };
}

const bad = (reason: number, time?: number): Reading => ({ ok: false, reason, time });
