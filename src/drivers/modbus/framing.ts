import { viewOf } from './pdu.ts';

// MBAP header, Modbus Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3.
const HEADER = 6; // transaction id, protocol id, length; what follows is counted by length
const PROTOCOL = 0;
const MIN_REPLY_LENGTH = 3; // unit, function and at least one byte: no reply is shorter
/** Unit and function: requests such as 7, 11, 12 and 17 have nothing else (Application Protocol V1.1b3, 6). */
export const MIN_REQUEST_LENGTH = 2;
/** Bytes of the shortest request, header and all. */
export const SHORTEST_REQUEST = HEADER + MIN_REQUEST_LENGTH;
const MAX_LENGTH = 254; // unit and a PDU of 253 bytes (Application Protocol V1.1b3, 4.1)
const MAX_FRAME = HEADER + MAX_LENGTH;

export interface FrameSink {
  /**
   * One complete frame: the unit is at `start`, the PDU from start + 1 up to `end`. The bytes belong to the framer
   * and change after the call.
   */
  frame(transaction: number, view: DataView, start: number, end: number): void;
}

/** Bytes of a request on the wire. */
export function mbapFrame(transaction: number, unit: number, pdu: Uint8Array): Uint8Array {
  const frame = Buffer.allocUnsafe(HEADER + 1 + pdu.length);
  frame.writeUInt16BE(transaction, 0);
  frame.writeUInt16BE(PROTOCOL, 2);
  frame.writeUInt16BE(pdu.length + 1, 4);
  frame[6] = unit;
  frame.set(pdu, 7);
  return frame;
}

/**
 * Cuts a TCP stream into frames, however it is fragmented or merged. The first header that cannot be one ends it: in
 * a stream that has lost its place no later byte can be believed, so the connection has to go.
 */
export class MbapFramer {
  readonly #partial = new Uint8Array(MAX_FRAME);
  readonly #partialView = viewOf(this.#partial);
  readonly #shortest: number;
  #held = 0;
  #broken = false;

  constructor(shortest = MIN_REPLY_LENGTH) {
    this.#shortest = shortest;
  }

  /** Bytes of a frame that is not complete yet. */
  get held(): number {
    return this.#held;
  }

  /** Takes the first `length` bytes of `chunk`; false where the stream is broken, from then on for ever. */
  push(chunk: DataView, length: number, sink: FrameSink): boolean {
    let at = 0;
    while (!this.#broken && this.#held > 0 && at < length) at = this.#complete(chunk, at, length, sink);
    while (!this.#broken && at < length) {
      const size = this.#sizeAt(chunk, at, length);
      if (size < 0 || at + size > length) break;
      sink.frame(chunk.getUint16(at), chunk, at + HEADER, at + size);
      at += size;
    }
    if (this.#broken) return false;
    for (; at < length; at++) this.#partial[this.#held++] = chunk.getUint8(at);
    return true;
  }

  /** Adds to a frame that began in an earlier chunk; returns the place where the next one begins. */
  #complete(chunk: DataView, from: number, length: number, sink: FrameSink): number {
    let at = from;
    let size = this.#sizeAt(this.#partialView, 0, this.#held);
    while (at < length && (size < 0 || this.#held < size) && !this.#broken) {
      this.#partial[this.#held++] = chunk.getUint8(at++);
      if (size < 0) size = this.#sizeAt(this.#partialView, 0, this.#held);
    }
    if (!this.#broken && this.#held === size) {
      this.#held = 0;
      sink.frame(this.#partialView.getUint16(0), this.#partialView, HEADER, size);
    }
    return at;
  }

  /** Bytes of the frame that begins at `at`; -1 while its header is not complete or cannot be one. */
  #sizeAt(view: DataView, at: number, end: number): number {
    if (end - at < HEADER) return -1;
    const length = view.getUint16(at + 4);
    if (view.getUint16(at + 2) === PROTOCOL && length >= this.#shortest && length <= MAX_LENGTH) {
      return HEADER + length;
    }
    this.#broken = true;
    return -1;
  }
}
