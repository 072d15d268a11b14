import type { Socket } from 'node:net';
import type { Clock } from '../../../core/clock.ts';
import { seconds } from '../../../core/units.ts';
import { type FrameSink, mbapFrame, MbapFramer, MIN_REQUEST_LENGTH, SHORTEST_REQUEST } from '../framing.ts';
import { viewOf } from '../pdu.ts';
import type { Asker } from './turns.ts';
import { Unread } from './unread.ts';

/**
 * Messaging Guide V1.0b, 4.4.1.2: a server takes up to 16 requests of one connection. What else it sent is looked at
 * when there is room: an exception at once would only be followed by the next request.
 */
const MOST_PENDING = 16;
/**
 * Beyond it nothing more is read, and TCP slows the client down. Until then reading goes on, so that a client that is
 * gone is seen at once and nothing of what it asked is sent any more: some 340 reads, more than a client means to ask.
 */
export const MOST_UNREAD = 4_096;
/** Pieces of a connection, some ten requests each, before all others have their turn: a flood holds nobody up. */
const PIECES_AT_ONCE = 8;
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
  /** The earliest time at which it may have come. */
  readonly since: number;
  readonly answer: (pdu: Uint8Array) => void;
  /** The requester hears nothing: that is what a broadcast is answered with. */
  readonly done: () => void;
}

export interface ClientEvents {
  /** Settles with exactly one call of `answer` or `done`. */
  readonly onRequest: (asked: Asked, client: Client) => void;
  /** What came is no Modbus TCP; the connection is gone. */
  readonly onBroken: () => void;
  readonly onGone: () => void;
}

/** One connection of a client: cuts its stream into requests and gives each its answer. */
export class Client implements FrameSink, Asker {
  readonly address: string;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #events: ClientEvents;
  readonly #framer = new MbapFramer(MIN_REQUEST_LENGTH);
  readonly #unread = new Unread();
  #isTaking = false;
  #since = 0;
  /** When reading stopped: whatever is read until all is caught up with may be as old. */
  #behindSince: number | undefined;
  #stops = 0;
  #pending = 0;
  #hasAsked = false;
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

  /** Requests that have no answer yet. */
  get pending(): number {
    return this.#pending;
  }

  /** Has it ever sent a whole request? */
  get hasAsked(): boolean {
    return this.#hasAsked;
  }

  /** Since when nothing was asked. */
  get idleSince(): number {
    return this.#pending > 0 ? Infinity : this.#lastRequest;
  }

  /** Reads from now on: the socket came paused. */
  begin(): void {
    if (!this.#gone) this.#socket.resume();
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
    const now = this.#clock.elapsed();
    this.#unread.add(chunk, this.#behindSince ?? now);
    this.#take();
    if (this.#unread.length <= MOST_UNREAD || this.#socket.isPaused()) return;
    this.#behindSince ??= now;
    this.#stops += 1;
    this.#socket.pause();
  }

  /** Looks at what has come, as far as there is room for requests. */
  #take(): void {
    if (this.#isTaking) return;
    this.#isTaking = true;
    for (let pieces = 0; !this.#gone && this.#pending < MOST_PENDING; pieces += 1) {
      if (pieces === PIECES_AT_ONCE) {
        setImmediate(() => {
          this.#isTaking = false;
          this.#take();
        });
        return;
      }
      // So many bytes never end more requests than there is room for.
      const piece = this.#unread.take((MOST_PENDING - this.#pending) * SHORTEST_REQUEST);
      if (piece === undefined) break;
      this.#since = piece.since;
      if (this.#framer.push(viewOf(piece.bytes), piece.bytes.length, this)) continue;
      if (!this.#gone) this.#events.onBroken();
      this.close();
    }
    this.#isTaking = false;
    if (this.#gone) return;
    const isPartial = this.#framer.held > 0 && this.#unread.length === 0;
    this.#frameSince = isPartial ? (this.#frameSince ?? this.#clock.elapsed()) : undefined;
    if (this.#unread.length === 0 && this.#socket.isPaused()) this.#readOn();
    this.#endWhenDone();
  }

  #readOn(): void {
    this.#socket.resume();
    const stops = this.#stops;
    // What waits in the kernel is read in the next turn of the event loop, and stops it once more if it is much.
    const turnIsOver = (): void => {
      if (stops === this.#stops) this.#behindSince = undefined;
    };
    setImmediate(() => setImmediate(turnIsOver));
  }

  frame(transaction: number, view: DataView, start: number, end: number): void {
    if (this.#gone) return;
    this.#hasAsked = true;
    this.#lastRequest = this.#clock.elapsed();
    this.#frameSince = undefined;
    const unit = view.getUint8(start);
    const pdu = new Uint8Array(view.buffer, view.byteOffset + start + 1, end - start - 1).slice();
    this.#pending += 1;
    const settle = (): void => {
      this.#pending -= 1;
      this.#take();
    };
    const answer = (reply: Uint8Array): void => {
      this.#send(transaction, unit, reply);
      settle();
    };
    this.#events.onRequest({ unit, pdu, since: this.#since, answer, done: settle }, this);
  }

  #send(transaction: number, unit: number, pdu: Uint8Array): void {
    if (this.#gone) return;
    this.#socket.write(mbapFrame(transaction, unit, pdu));
    if (this.#socket.writableLength > MOST_UNSENT) this.close();
  }

  #endWhenDone(): void {
    if (this.#ended && this.#pending === 0 && this.#unread.length === 0 && !this.#gone) this.#socket.end();
  }
}

/** PDU of an exception (Application Protocol V1.1b3, 7). */
export function exception(request: Uint8Array, code: number): Uint8Array {
  return Uint8Array.of((request[0] ?? 0) | EXCEPTION_FLAG, code);
}
