import { CON, type CoapOption, encode, type Message } from './message.ts';
import type { MessageIds } from './message-ids.ts';

// Transmission parameters, RFC 7252, 4.8 and 4.8.2, in milliseconds
const ACK_TIMEOUT = 2_000;
const ACK_RANDOM_FACTOR = 1.5;
const MAX_RETRANSMIT = 4;
export const MAX_TRANSMIT_WAIT = 93_000;
const NSTART = 1;

const MAX_REQUESTS = 256; // ours: waiting requests of one endpoint, far more than its points

export interface ExchangeRequest {
  readonly code: number;
  readonly options: readonly CoapOption[];
  readonly payload?: Uint8Array;
  /** Longest wait for the answer, ms; never longer than MAX_TRANSMIT_WAIT. */
  readonly limit: number;
  /** The token of an observation; a fresh one where it is left out. */
  readonly token?: Uint8Array;
}

export type Outcome =
  | { readonly kind: 'response'; readonly message: Message }
  | { readonly kind: 'reset' } // the endpoint does not want the message
  | { readonly kind: 'timeout' }
  | { readonly kind: 'not understood'; readonly option: number } // a critical option of the response
  | { readonly kind: 'lost' } // the socket failed
  | { readonly kind: 'full' } // too many requests wait
  | { readonly kind: 'given up' }; // by the asker

/** One request on its way; `done` is called once. */
export interface Pending {
  /** Its token as text. */
  readonly key: string;
  readonly token: Uint8Array;
  readonly request: ExchangeRequest;
  readonly done: (outcome: Outcome) => void;
  readonly deadline: number;
  state: 'queued' | 'sent' | 'acknowledged';
  /** Message ID, from `sent` on. */
  id: number;
  datagram: Uint8Array;
  /** Present pause between two copies, ms. */
  timeout: number;
  sentTimes: number;
  /** When the next copy is due. */
  again: number;
}

const NO_BYTES = new Uint8Array(0);

/** The confirmable requests of one endpoint: a queue, one of them on the wire, retransmitted until acknowledged. */
export class Requests {
  /** Copies that were sent. */
  retransmissions = 0;
  readonly #pending = new Map<string, Pending>();
  readonly #ids: MessageIds;
  readonly #random: () => number;
  readonly #send: (datagram: Uint8Array) => void;

  constructor(ids: MessageIds, random: () => number, send: (datagram: Uint8Array) => void) {
    this.#ids = ids;
    this.#random = random;
    this.#send = send;
  }

  get size(): number {
    return this.#pending.size;
  }

  /** Undefined where too many wait already, or one with this token. */
  add(
    request: ExchangeRequest,
    token: Uint8Array,
    now: number,
    done: (outcome: Outcome) => void,
  ): Pending | undefined {
    const key = keyOf(token);
    if (this.#pending.size >= MAX_REQUESTS || this.#pending.has(key)) return undefined;
    const pending: Pending = {
      key,
      token,
      request,
      done,
      deadline: now + Math.min(request.limit, MAX_TRANSMIT_WAIT),
      state: 'queued',
      id: -1,
      datagram: NO_BYTES,
      timeout: 0,
      sentTimes: 0,
      again: Number.POSITIVE_INFINITY,
    };
    this.#pending.set(key, pending);
    this.start(now);
    return pending;
  }

  /** The one that waits for an acknowledgement with this message ID. */
  bySentId(id: number): Pending | undefined {
    for (const pending of this.#pending.values()) {
      if (pending.state === 'sent' && pending.id === id) return pending;
    }
    return undefined;
  }

  byToken(key: string): Pending | undefined {
    return this.#pending.get(key);
  }

  /** The response comes by itself: RFC 7252, 5.2.2. */
  acknowledge(pending: Pending, now: number): void {
    pending.state = 'acknowledged';
    pending.again = Number.POSITIVE_INFINITY;
    this.start(now);
  }

  /** Ends a request, if it is still on its way. */
  settle(pending: Pending, outcome: Outcome, now: number): void {
    if (this.#pending.get(pending.key) !== pending) return;
    this.#pending.delete(pending.key);
    pending.done(outcome);
    this.start(now);
  }

  /** Ends all that wait, without starting others. */
  settleAll(outcome: Outcome): void {
    const all = Array.from(this.#pending.values());
    this.#pending.clear();
    for (const pending of all) pending.done(outcome);
  }

  /** Retransmits and gives up what is due. */
  tick(now: number): void {
    for (const pending of this.#pending.values()) {
      if (pending.deadline <= now) this.settle(pending, { kind: 'timeout' }, now);
      else if (pending.again <= now) this.#again(pending, now);
    }
    this.start(now);
  }

  get nextDue(): number {
    let due = Number.POSITIVE_INFINITY;
    let isQueued = false;
    let isOutstanding = false;
    for (const { deadline, again, state } of this.#pending.values()) {
      due = Math.min(due, deadline, again);
      isQueued ||= state === 'queued';
      isOutstanding ||= state === 'sent';
    }
    if (isQueued && !isOutstanding) due = Math.min(due, this.#ids.freeAt); // it waits for a message ID
    return due;
  }

  /** Sends the next ones, as many as may be outstanding (RFC 7252, 4.7). */
  start(now: number): void {
    let outstanding = 0;
    for (const { state } of this.#pending.values()) if (state === 'sent') outstanding += 1;
    for (const pending of this.#pending.values()) {
      if (outstanding >= NSTART) return;
      if (pending.state !== 'queued') continue;
      const id = this.#ids.take(now);
      if (id === undefined) return;
      outstanding += 1;
      const { code, options, payload = NO_BYTES } = pending.request;
      pending.state = 'sent';
      pending.id = id;
      pending.datagram = encode({ type: CON, code, id, token: pending.token, options, payload });
      pending.timeout = ACK_TIMEOUT * (1 + this.#random() * (ACK_RANDOM_FACTOR - 1));
      pending.again = now + pending.timeout;
      pending.sentTimes = 1;
      this.#send(pending.datagram);
    }
  }

  #again(pending: Pending, now: number): void {
    if (pending.sentTimes > MAX_RETRANSMIT) {
      this.settle(pending, { kind: 'timeout' }, now);
      return;
    }
    this.retransmissions += 1;
    pending.sentTimes += 1;
    pending.timeout *= 2;
    pending.again = now + pending.timeout;
    this.#send(pending.datagram);
  }
}

/** A token as key of a map. */
export const keyOf = (token: Uint8Array): string =>
  Buffer.from(token.buffer, token.byteOffset, token.length).toString('latin1');
