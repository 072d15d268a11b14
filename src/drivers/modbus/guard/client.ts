import type { Socket } from 'node:net';
import type { Clock } from '../../../core/clock.ts';
import { seconds } from '../../../core/units.ts';
import { type FrameSink, mbapFrame, MbapFramer, MIN_REQUEST_LENGTH } from '../framing.ts';
import { viewOf } from '../pdu.ts';

/** Messaging Guide V1.0b, 4.4.1.2: a server takes up to 16 requests of one connection; more are answered "busy". */
const MOST_PENDING = 16;
const BUSY = 6;
/** Answers that a client does not take: some hundred of the longest. */
const MOST_UNSENT = 65_536;
/** Slower than any HMI asks; keep-alive of the kernel finds those that are gone without a word. */
const IDLE = seconds(300);
/** Longest time between the first and the last byte of a request: what a lost segment takes to come again, and more. */
const LONGEST_FRAME = seconds(10);
const EXCEPTION_FLAG = 0x80;

/** A request of a client, on the way to its answer. */
export interface Asked {
  readonly unit: number;
  readonly pdu: Uint8Array;
  readonly isWanted: () => boolean;
  readonly answer: (pdu: Uint8Array) => void;
  /** The requester hears nothing: that is what a broadcast is answered with. */
  readonly done: () => void;
}

export interface ClientEvents {
  /** Settles with exactly one call of `answer` or `done`. */
  readonly onRequest: (asked: Asked) => void;
  /** What came is no Modbus TCP; the connection is gone. */
  readonly onBroken: () => void;
  readonly onGone: () => void;
}

/** One connection of a client: cuts its stream into requests and gives each its answer. */
export class Client implements FrameSink {
  readonly address: string;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #events: ClientEvents;
  readonly #framer = new MbapFramer(MIN_REQUEST_LENGTH);
  #pending = 0;
  #lastRequest: number;
  #frameSince: number | undefined;
  #ended = false;
  #gone = false;

  constructor(socket: Socket, address: string, deps: { readonly clock: Clock } & ClientEvents) {
    this.address = address;
    this.#socket = socket;
    this.#clock = deps.clock;
    this.#events = deps;
    this.#lastRequest = this.#clock.elapsed();
    socket.on('data', (chunk: Buffer) => this.#received(chunk));
    // A client may have said all it wants to say and still wait for answers.
    socket.on('end', () => {
      this.#ended = true;
      this.#endWhenDone();
    });
    socket.on('error', () => this.close());
    socket.on('close', () => this.close());
  }

  /** Since when nothing was asked. */
  get idleSince(): number {
    return this.#pending > 0 ? Infinity : this.#lastRequest;
  }

  close(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#socket.destroy();
    this.#events.onGone();
  }

  /** Ends what has been silent for too long, or in the middle of a request. */
  sweep(): void {
    const now = this.#clock.elapsed();
    if (this.#pending === 0 && now - this.#lastRequest > IDLE) this.close();
    if (this.#frameSince !== undefined && now - this.#frameSince > LONGEST_FRAME) this.close();
  }

  #received(chunk: Buffer): void {
    if (!this.#framer.push(viewOf(chunk), chunk.length, this)) {
      if (!this.#gone) this.#events.onBroken();
      this.close();
      return;
    }
    this.#frameSince = this.#framer.held === 0 ? undefined : (this.#frameSince ?? this.#clock.elapsed());
  }

  frame(transaction: number, view: DataView, start: number, end: number): void {
    if (this.#gone) return;
    this.#lastRequest = this.#clock.elapsed();
    this.#frameSince = undefined;
    const unit = view.getUint8(start);
    const pdu = new Uint8Array(view.buffer, view.byteOffset + start + 1, end - start - 1).slice();
    if (this.#pending >= MOST_PENDING) {
      this.#send(transaction, unit, exception(pdu, BUSY));
      return;
    }
    this.#pending += 1;
    this.#events.onRequest({
      unit,
      pdu,
      isWanted: () => !this.#gone,
      answer: (answer) => {
        this.#pending -= 1;
        this.#send(transaction, unit, answer);
        this.#endWhenDone();
      },
      done: () => {
        this.#pending -= 1;
        this.#endWhenDone();
      },
    });
  }

  #send(transaction: number, unit: number, pdu: Uint8Array): void {
    if (this.#gone) return;
    this.#socket.write(mbapFrame(transaction, unit, pdu));
    if (this.#socket.writableLength > MOST_UNSENT) this.close();
  }

  #endWhenDone(): void {
    if (this.#ended && this.#pending === 0 && !this.#gone) this.#socket.end();
  }
}

/** PDU of an exception (Application Protocol V1.1b3, 7). */
export function exception(request: Uint8Array, code: number): Uint8Array {
  return Uint8Array.of((request[0] ?? 0) | EXCEPTION_FLAG, code);
}
