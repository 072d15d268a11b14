import { deflateSync, inflateSync } from 'node:zlib';
import type { Lane, Message } from '../core/outbox.ts';

const LEVEL = 1; // telemetry text shrinks 15 times at level 1, 20 times at 6 for three times the work
const NEWLINE = 10;
const SPACE = 32;
const LIVE_PREFIX = 'telemetry/';
const HISTORY_PREFIX = 'history/';

/** zlib, or the text itself where that is not longer: what `sqlar_uncompress` of the stock shell takes. */
export function packed(text: Buffer): Buffer {
  const small = deflateSync(text, { level: LEVEL });
  return small.length < text.length ? small : text;
}

/** Throws where the body is damaged (zlib ends with a checksum) or not as long as it should be. */
export function unpacked(body: Buffer, length: number): Buffer {
  if (body.length === length) return body;
  // One piece of the right size, instead of many of 16 KiB that are put together afterwards.
  const chunkSize = Math.max(64, length + 1);
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
