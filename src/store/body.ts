import { deflateSync, inflateSync } from 'node:zlib';
import type { Lane, Message } from '../core/outbox.ts';

const LEVEL = 1; // telemetry text shrinks 15 times at level 1, 20 times at 6 for three times the work
const MIN_ROOM_BYTES = 64; // of zlib in Node
const MAX_ROOM_BYTES = 16_384;
const NEWLINE = 10;
const SPACE = 32;
const LIVE_PREFIX = 'telemetry/';
const HISTORY_PREFIX = 'history/';

/**
 * For what zlib makes of a text, which then fits into one piece: the 16 KiB of Node's default take as long to make as a
 * few samples take to compress, and stay as long as the result does.
 */
export function roomFor(text: Buffer): number {
  return Math.min(MAX_ROOM_BYTES, Math.max(MIN_ROOM_BYTES, text.length));
}

/** zlib, or the text itself where that is not longer: what `sqlar_uncompress` of the stock shell takes. */
export function packed(text: Buffer): Buffer {
  const small = deflateSync(text, { level: LEVEL, chunkSize: roomFor(text) });
  return small.length < text.length ? small : text;
}

/** Throws where the body is damaged (zlib ends with a checksum) or not as long as it should be. */
export function unpacked(body: Buffer, length: number): Buffer {
  if (body.length === length) return body;
  // One piece of the right size, instead of many of 16 KiB that are put together afterwards.
  const chunkSize = Math.max(MIN_ROOM_BYTES, length + 1);
  const text = inflateSync(body, { maxOutputLength: length + 1, chunkSize });
  if (text.length !== length) throw new Error(`a body of ${text.length} bytes where ${length} were stored`);
  return text;
}

/** The messages of a row's text; in the lane `history`, `telemetry/x` becomes `history/x`. No payload is copied. */
export function messagesOf(text: Buffer, lane: Lane): Message[] {
  const messages: Message[] = [];
  for (let at = 0; at < text.length; ) {
    const end = text.indexOf(NEWLINE, at);
    const stop = end < 0 ? text.length : end;
    const space = text.indexOf(SPACE, at);
    if (space > at && space < stop) {
      const topic = text.toString('utf8', at, space);
      messages.push({ topic: inLane(topic, lane), payload: text.subarray(space + 1, stop) });
    }
    at = stop + 1;
  }
  return messages;
}

function inLane(topic: string, lane: Lane): string {
  if (lane === 'live' || !topic.startsWith(LIVE_PREFIX)) return topic;
  return HISTORY_PREFIX + topic.slice(LIVE_PREFIX.length);
}
