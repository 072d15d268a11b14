import type { Clock } from '../../core/clock.ts';
import type { Duration } from '../../core/units.ts';
import type { FrameSink } from './framing.ts';
import { MASK_WRITE_REGISTER, READ_INPUT_REGISTERS, viewOf, WRITE_MULTIPLE_REGISTERS } from './pdu.ts';
import type { Wire } from './wire.ts';

// Modbus over Serial Line V1.02
const MAX_FRAME = 256; // 2.5.1.1
const CRC_BYTES = 2;
const CRC_START = 0xffff; // 2.5.1.2, with the reflected polynomial below
const CRC_POLYNOMIAL = 0xa001;
const EXCEPTION_FRAME = 5;
const ECHO_FRAME = 8; // unit, function, four bytes, CRC
const MASK_ECHO_FRAME = 10;
/** A frame that answers nothing that is waiting. */
const NOBODY = -1;

/** Table of the CRC-16 of a serial line (V1.02, 2.5.1.2 and appendix B). */
const CRC_TABLE = Uint16Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ CRC_POLYNOMIAL : crc >>> 1;
  return crc;
});

/** CRC-16 of the bytes from 0 up to `end`. */
export function crc16(view: DataView, end: number): number {
  let crc = CRC_START;
  for (let i = 0; i < end; i++) crc = (crc >>> 8) ^ (CRC_TABLE[(crc ^ view.getUint8(i)) & 0xff] ?? 0);
  return crc;
}

/** Bytes of a request: unit, PDU, CRC with the low byte first. */
export function rtuFrame(unit: number, pdu: Uint8Array): Uint8Array {
  const frame = new Uint8Array(1 + pdu.length + CRC_BYTES);
  frame[0] = unit;
  frame.set(pdu, 1);
  const view = viewOf(frame);
  view.setUint16(1 + pdu.length, crc16(view, 1 + pdu.length), true);
  return frame;
}

/**
 * RTU frames in a TCP stream, as serial device servers carry them: one request at a time and no transaction id. The
 * end of a reply is known from its function code; a wrong CRC drops everything that was received. A late reply cannot
 * be told from the right one where unit and shape are equal: a unit that owes a reply is not asked again before it was
 * silent for a whole time-out, while its neighbours go on (their replies carry another unit). One per line: a serial
 * server hands a late reply to the next connection too.
 */
export class RtuWire implements Wire {
  readonly #clock: Clock;
  readonly #bytes = new Uint8Array(MAX_FRAME);
  readonly #view = viewOf(this.#bytes);
  readonly #quarantine = new Map<number, { until: number; readonly silence: Duration }>();
  #held = 0;
  #unit = NOBODY;
  #transaction = NOBODY;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  frame(transaction: number, unit: number, pdu: Uint8Array): Uint8Array {
    this.#held = 0;
    this.#unit = unit;
    this.#transaction = transaction;
    return rtuFrame(unit, pdu);
  }

  push(chunk: DataView, length: number, sink: FrameSink): boolean {
    this.#prolong();
    for (let at = 0; at < length; at++) {
      if (this.#held === MAX_FRAME) this.#held = 0;
      this.#bytes[this.#held++] = chunk.getUint8(at);
      const size = this.#size();
      if (size < 0) this.#held = 0;
      if (size > 0 && this.#held === size) this.#complete(size, sink);
    }
    return true;
  }

  blocks(unit: number): boolean {
    if (this.#transaction !== NOBODY) return true; // two requests at a time could swap their replies
    const quarantine = this.#quarantine.get(unit);
    if (quarantine === undefined) return false;
    if (quarantine.until > this.#clock.elapsed()) return true;
    this.#quarantine.delete(unit);
    return false;
  }

  missed(unit: number, timeout: Duration): void {
    this.#transaction = NOBODY;
    this.#quarantine.set(unit, { until: this.#clock.elapsed() + timeout, silence: timeout });
  }

  #complete(size: number, sink: FrameSink): void {
    this.#held = 0;
    const end = size - CRC_BYTES;
    if (crc16(this.#view, end) !== this.#view.getUint16(end, true)) return;
    // A reply of another unit leaves the timer of this request running (V1.02, 2.4.1).
    const mine = this.#view.getUint8(0) === this.#unit;
    const transaction = mine ? this.#transaction : NOBODY;
    if (mine) this.#transaction = NOBODY;
    sink.frame(transaction, this.#view, 0, end);
  }

  /** Bytes of the frame that is arriving; 0 while unknown, negative where it can be no reply to anything we ask. */
  #size(): number {
    if (this.#held < 2) return 0;
    const code = this.#view.getUint8(1);
    if (code > 0x80) return EXCEPTION_FRAME;
    if (code === 0 || code > MASK_WRITE_REGISTER) return -1;
    if (code === MASK_WRITE_REGISTER) return MASK_ECHO_FRAME;
    if (code > WRITE_MULTIPLE_REGISTERS) return -1;
    if (code > READ_INPUT_REGISTERS) return ECHO_FRAME;
    if (this.#held < 3) return 0;
    const size = 3 + this.#view.getUint8(2) + CRC_BYTES;
    return size <= MAX_FRAME ? size : -1;
  }

  /** Whatever is heard, the silence that the quarantine waits for begins anew. */
  #prolong(): void {
    const now = this.#clock.elapsed();
    for (const quarantine of this.#quarantine.values()) {
      if (quarantine.until > now) quarantine.until = now + quarantine.silence;
    }
  }
}
