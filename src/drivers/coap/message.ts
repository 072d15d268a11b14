/** Message types, RFC 7252, 3. */
export const CON = 0;
export const NON = 1;
export const ACK = 2;
export const RST = 3;

/** Codes are `class << 5 | detail`, RFC 7252, 3 and 12.1. */
export const EMPTY = 0;
export const GET = 1;
export const POST = 2;
export const PUT = 3;
export const code = (text: string): number => (Number(text.slice(0, 1)) << 5) | Number(text.slice(2));
export const codeText = (value: number): string =>
  `${value >> 5}.${(value & 31).toString().padStart(2, '0')}`;
export const isRequest = (value: number): boolean => value > 0 && value < 32;
/** Success, client error, server error; class 3 is reserved. */
export const isResponse = (value: number): boolean =>
  value >> 5 === 2 || value >> 5 === 4 || value >> 5 === 5;

export const MAX_TOKEN = 8; // bytes, RFC 7252, 3
export const MAX_PAYLOAD = 1024; // bytes, RFC 7252, 4.6: no path MTU is known
const VERSION = 1;
const PAYLOAD_MARKER = 0xff;
const MAX_OPTION_NUMBER = 65_535; // RFC 7252, 12.2
const MAX_OPTIONS = 64; // ours: a path of 20 segments and a query fit three times
const ONE_MORE_BYTE = 13; // RFC 7252, 3.1
const TWO_MORE_BYTES = 14;
const BASE_ONE = 13;
const BASE_TWO = 269;

export interface CoapOption {
  readonly number: number;
  readonly value: Uint8Array;
}

export interface Message {
  readonly type: number;
  readonly code: number;
  /** Message ID, 16 bits. */
  readonly id: number;
  readonly token: Uint8Array;
  /** By ascending number; equal numbers in the order of the wire. */
  readonly options: readonly CoapOption[];
  readonly payload: Uint8Array;
}

/** `ignore`: say nothing. `reject`: answer RST with this id, the sender waits for an acknowledgement. */
export type Decoded =
  | { readonly kind: 'message'; readonly message: Message }
  | { readonly kind: 'ignore' }
  | { readonly kind: 'reject'; readonly id: number };

const IGNORE: Decoded = { kind: 'ignore' };
const NOTHING = new Uint8Array(0);

/** One datagram, strictly: RFC 7252, 3, 4.1 to 4.3. The message shares the memory of the datagram. Never throws. */
export function decode(datagram: Uint8Array): Decoded {
  const [first, coded, high, low] = datagram;
  if (first === undefined || coded === undefined || high === undefined || low === undefined) return IGNORE;
  if (first >> 6 !== VERSION) return IGNORE;
  const type = (first >> 4) & 3;
  const id = (high << 8) | low;
  const wrong: Decoded = type === CON ? { kind: 'reject', id } : IGNORE;
  const tokenLength = first & 15;
  if (coded === EMPTY) {
    if (datagram.length !== 4 || tokenLength !== 0 || type === NON) return wrong;
    return {
      kind: 'message',
      message: { type, code: EMPTY, id, token: NOTHING, options: [], payload: NOTHING },
    };
  }
  if (type === RST) return IGNORE; // a reset is empty, 4.2
  const start = 4 + tokenLength;
  if (tokenLength > MAX_TOKEN || datagram.length < start) return wrong;
  if (!isRequest(coded) && !isResponse(coded)) return wrong;
  const options: CoapOption[] = [];
  const end = decodeOptions(datagram, start, options);
  if (end < 0) return wrong;
  const token = datagram.subarray(4, start);
  const message = { type, code: coded, id, token, options, payload: datagram.subarray(end) };
  return { kind: 'message', message };
}

/** Fills `options`; the offset of the payload, or -1 where the bytes are no options. */
function decodeOptions(datagram: Uint8Array, start: number, options: CoapOption[]): number {
  let at = start;
  let number = 0;
  while (at < datagram.length) {
    const head = datagram[at] ?? 0;
    at += 1;
    if (head === PAYLOAD_MARKER) return at < datagram.length ? at : -1; // a marker without payload, 3
    const delta = extended(datagram, at, head >> 4);
    if (delta < 0) return -1;
    at += extraBytes(head >> 4);
    const length = extended(datagram, at, head & 15);
    if (length < 0) return -1;
    at += extraBytes(head & 15);
    number += delta;
    if (number > MAX_OPTION_NUMBER || at + length > datagram.length || options.length === MAX_OPTIONS)
      return -1;
    options.push({ number, value: datagram.subarray(at, at + length) });
    at += length;
  }
  return at;
}

const extraBytes = (nibble: number): number =>
  nibble === ONE_MORE_BYTE ? 1 : nibble === TWO_MORE_BYTES ? 2 : 0;

function extended(datagram: Uint8Array, at: number, nibble: number): number {
  if (nibble < ONE_MORE_BYTE) return nibble;
  if (nibble > TWO_MORE_BYTES || at + extraBytes(nibble) > datagram.length) return -1;
  const byte = datagram[at] ?? 0;
  return nibble === ONE_MORE_BYTE ? BASE_ONE + byte : BASE_TWO + ((byte << 8) | (datagram[at + 1] ?? 0));
}

/** The datagram of a message. Options may come in any order; equal numbers keep theirs. */
export function encode(message: Message): Buffer {
  const options = [...message.options].sort((a, b) => a.number - b.number);
  const head = 4 + message.token.length;
  const room = options.reduce((sum, { value }) => sum + 5 + value.length, head + 1 + message.payload.length);
  const datagram = Buffer.allocUnsafe(room);
  datagram[0] = (VERSION << 6) | (message.type << 4) | message.token.length;
  datagram[1] = message.code;
  datagram.writeUInt16BE(message.id, 2);
  datagram.set(message.token, 4);
  let at = head;
  let number = 0;
  for (const option of options) {
    const start = at;
    at += 1;
    const [delta, afterDelta] = shortened(datagram, at, option.number - number);
    const [length, afterLength] = shortened(datagram, afterDelta, option.value.length);
    datagram[start] = (delta << 4) | length;
    datagram.set(option.value, afterLength);
    at = afterLength + option.value.length;
    number = option.number;
  }
  if (message.payload.length > 0) {
    datagram[at] = PAYLOAD_MARKER;
    datagram.set(message.payload, at + 1);
    at += 1 + message.payload.length;
  }
  return datagram.subarray(0, at);
}

/** Writes what does not fit the nibble; the nibble and the next free offset. */
function shortened(datagram: Buffer, at: number, value: number): [nibble: number, next: number] {
  if (value < BASE_ONE) return [value, at];
  if (value < BASE_TWO) return [ONE_MORE_BYTE, datagram.writeUInt8(value - BASE_ONE, at)];
  return [TWO_MORE_BYTES, datagram.writeUInt16BE(value - BASE_TWO, at)];
}

/** ACK or RST without anything else. */
export function emptyMessage(type: typeof ACK | typeof RST, id: number): Buffer {
  return Buffer.from([(VERSION << 6) | (type << 4), EMPTY, id >> 8, id & 255]);
}
