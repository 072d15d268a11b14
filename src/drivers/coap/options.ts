import type { CoapOption, Message } from './message.ts';

/** Option numbers, RFC 7252, 12.2; RFC 7641; RFC 7959; RFC 9175. */
export const IF_MATCH = 1;
export const URI_HOST = 3;
export const ETAG = 4;
export const IF_NONE_MATCH = 5;
export const OBSERVE = 6;
export const URI_PORT = 7;
export const LOCATION_PATH = 8;
export const URI_PATH = 11;
export const CONTENT_FORMAT = 12;
export const MAX_AGE = 14;
export const URI_QUERY = 15;
export const HOP_LIMIT = 16;
export const ACCEPT = 17;
export const LOCATION_QUERY = 20;
export const BLOCK2 = 23;
export const BLOCK1 = 27;
export const SIZE2 = 28;
export const PROXY_URI = 35;
export const PROXY_SCHEME = 39;
export const SIZE1 = 60;
export const ECHO = 252;
export const NO_RESPONSE = 258;
export const REQUEST_TAG = 292;

/** Seconds a response is fresh where it says nothing, RFC 7252, 5.10.5. */
export const DEFAULT_MAX_AGE = 60;

interface Shape {
  readonly min: number;
  readonly max: number;
  readonly repeatable: boolean;
}

const shape = (min: number, max: number, repeatable = false): Shape => ({ min, max, repeatable });
/** Lengths in bytes and repeatability, RFC 7252, 5.10 and the RFCs named above. */
const SHAPES = new Map<number, Shape>([
  [IF_MATCH, shape(0, 8, true)],
  [URI_HOST, shape(1, 255)],
  [ETAG, shape(1, 8)], // once in a response; we send none in requests
  [IF_NONE_MATCH, shape(0, 0)],
  [OBSERVE, shape(0, 3)],
  [URI_PORT, shape(0, 2)],
  [LOCATION_PATH, shape(0, 255, true)],
  [URI_PATH, shape(0, 255, true)],
  [CONTENT_FORMAT, shape(0, 2)],
  [MAX_AGE, shape(0, 4)],
  [URI_QUERY, shape(0, 255, true)],
  [HOP_LIMIT, shape(1, 1)],
  [ACCEPT, shape(0, 2)],
  [LOCATION_QUERY, shape(0, 255, true)],
  [BLOCK2, shape(0, 3)],
  [BLOCK1, shape(0, 3)],
  [SIZE2, shape(0, 4)],
  [PROXY_URI, shape(1, 1034)],
  [PROXY_SCHEME, shape(1, 255)],
  [SIZE1, shape(0, 4)],
  [ECHO, shape(1, 40)],
  [NO_RESPONSE, shape(0, 1)],
  [REQUEST_TAG, shape(0, 8, true)],
]);

/** What we understand in a response to our requests. */
export const KNOWN_IN_RESPONSE: ReadonlySet<number> = new Set([
  ETAG, OBSERVE, LOCATION_PATH, CONTENT_FORMAT, MAX_AGE, LOCATION_QUERY, BLOCK2, BLOCK1, SIZE2, SIZE1, ECHO,
]); // biome-ignore format: one list

/** What we understand in a request to us. Conditional requests are not: If-Match is refused as 5.4.1 wants it. */
export const KNOWN_IN_REQUEST: ReadonlySet<number> = new Set([
  URI_HOST, URI_PORT, URI_PATH, CONTENT_FORMAT, URI_QUERY, ACCEPT, BLOCK2, BLOCK1, SIZE2, SIZE1, ECHO, NO_RESPONSE,
  REQUEST_TAG, OBSERVE, MAX_AGE, HOP_LIMIT, PROXY_URI, PROXY_SCHEME,
]); // biome-ignore format: one list

/** Odd numbers are critical, RFC 7252, 5.4.6. */
const isCritical = (number: number): boolean => (number & 1) === 1;

/**
 * The options that count, or the number of a critical one that is not understood: RFC 7252, 5.4.1. A wrong length
 * and a repetition of what may not be repeated are the same as not understood (5.4.3, 5.4.5); elective ones vanish.
 */
export function understood(
  message: Message,
  known: ReadonlySet<number>,
): { readonly ok: true; readonly message: Message } | { readonly ok: false; readonly option: number } {
  let clean = true;
  let before = -1;
  const kept: CoapOption[] = [];
  for (const option of message.options) {
    const { number, value } = option;
    const rule = known.has(number) ? SHAPES.get(number) : undefined;
    const repeated = number === before;
    before = number;
    if (
      rule !== undefined &&
      value.length >= rule.min &&
      value.length <= rule.max &&
      (rule.repeatable || !repeated)
    ) {
      kept.push(option);
      continue;
    }
    if (isCritical(number)) return { ok: false, option: number };
    clean = false;
  }
  return { ok: true, message: clean ? message : { ...message, options: kept } };
}

export const valueOf = (message: Message, number: number): Uint8Array | undefined =>
  message.options.find((option) => option.number === number)?.value;

/** A uint option; zero bytes mean 0, leading zeros are accepted (RFC 7252, 3.2). */
export function uintOf(message: Message, number: number): number | undefined {
  const value = valueOf(message, number);
  return value === undefined ? undefined : value.reduce((sum, byte) => sum * 256 + byte, 0);
}

/** A uint option in its shortest form. */
export function uintOption(number: number, value: number): CoapOption {
  const bytes: number[] = [];
  for (let rest = value; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return { number, value: Uint8Array.from(bytes) };
}

/** Uri-Path and Uri-Query of a path such as `/sensors/level?u=m`, RFC 7252, 6.4. */
export function pathOptions(path: string): CoapOption[] {
  const [way = '', ...queries] = path.split('?');
  const query = queries.join('?');
  const segments = way.split('/').slice(way.startsWith('/') ? 1 : 0);
  const options =
    segments.length === 1 && segments[0] === '' ? [] : segments.map((text) => textOption(URI_PATH, text));
  if (query !== '') options.push(...query.split('&').map((text) => textOption(URI_QUERY, text)));
  return options;
}

function textOption(number: number, text: string): CoapOption {
  return { number, value: Buffer.from(unescaped(text)) };
}

function unescaped(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text; // a lone percent sign stands for itself
  }
}

const utf8 = new TextDecoder('utf-8', { fatal: true });
/** The segments of a request's path, or undefined where they are no UTF-8 (RFC 7252, 3.2). */
export function pathOf(message: Message): readonly string[] | undefined {
  try {
    return message.options.filter(({ number }) => number === URI_PATH).map(({ value }) => utf8.decode(value));
  } catch {
    return undefined;
  }
}
