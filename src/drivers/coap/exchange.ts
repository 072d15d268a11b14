import { randomBytes } from 'node:crypto';
import {
  ACK,
  CON,
  type CoapOption,
  decode,
  EMPTY,
  emptyMessage,
  encode,
  isRequest,
  type Message,
  NON,
  RST,
} from './message.ts';
import { MessageIds } from './message-ids.ts';
import { KNOWN_IN_RESPONSE, understood } from './options.ts';
import { EXCHANGE_LIFETIME, NON_LIFETIME, Recent } from './recent.ts';

// Transmission parameters, RFC 7252, 4.8 and 4.8.2, in milliseconds
export const ACK_TIMEOUT = 2_000;
export const ACK_RANDOM_FACTOR = 1.5;
export const MAX_RETRANSMIT = 4;
export const MAX_TRANSMIT_WAIT = 93_000;
const NSTART = 1;

const TOKEN_BYTES = 8; // at least 32 random bits without DTLS, RFC 7252, 5.3.1
const MAX_REQUESTS = 256; // ours: waiting requests of one endpoint, far more than its points
const RECENT_LIMIT = 64 * 1024; // bytes, ours: 400 messages of one endpoint

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

interface Pending {
  readonly key: string;
  readonly request: ExchangeRequest;
  readonly done: (outcome: Outcome) => void;
  readonly deadline: number;
  state: 'queued' | 'sent' | 'acknowledged';
  id: number;
  datagram: Uint8Array;
  timeout: number;
  sentTimes: number;
  again: number;
}

export interface ExchangeOptions {
  /** Hands a datagram to the socket. */
  readonly send: (datagram: Uint8Array) => void;
  /** 0 to 1, for back-off and first message ID. */
  readonly random: () => number;
  readonly token?: () => Uint8Array;
}

/** Counters of what came and was not an answer. */
export interface ExchangeCounters {
  malformed: number;
  duplicates: number;
  unmatched: number;
  retransmissions: number;
}

/**
 * The client's message layer toward one endpoint: RFC 7252, 4 and 5. A state machine without clock or socket: it is
 * told what arrived and what time it is (ms that never step), and calls `send` and the `done` of each request, the
 * latter exactly once. `nextDue` says when `tick` has something to do.
 */
export class Exchange {
  readonly counters: ExchangeCounters = {
    malformed: 0,
    duplicates: 0,
    unmatched: 0,
    retransmissions: 0,
  };
  readonly #send: (datagram: Uint8Array) => void;
  readonly #random: () => number;
  readonly #token: () => Uint8Array;
  readonly #ids: MessageIds;
  readonly #recent = new Recent(RECENT_LIMIT);
  readonly #pending = new Map<string, Pending>();
  readonly #listeners = new Map<string, (message: Message, now: number) => void>();
  /** Requests of an observation that a notification answered before the ACK came: RFC 7252, 5.2.2. */
  readonly #overtaken = new Map<string, number>();

  constructor(options: ExchangeOptions) {
    this.#send = options.send;
    this.#random = options.random;
    this.#token = options.token ?? (() => randomBytes(TOKEN_BYTES));
    this.#ids = new MessageIds(options.random() * 65_536);
  }

  /** Requests that wait for an answer. */
  get size(): number {
    return this.#pending.size;
  }

  /** Everything that is remembered: for tests that nothing leaks. */
  get remembered(): number {
    return this.#recent.size + this.#overtaken.size + this.#listeners.size + this.#pending.size;
  }

  newToken(): Uint8Array {
    return this.#token();
  }

  /** Starts a confirmable request; `done` is called once. The function returned gives it up. */
  request(request: ExchangeRequest, now: number, done: (outcome: Outcome) => void): () => void {
    const token = request.token ?? this.#token();
    const key = keyOf(token);
    if (this.#pending.size >= MAX_REQUESTS || this.#pending.has(key)) {
      done({ kind: 'full' });
      return () => {};
    }
    const pending: Pending = {
      key,
      request: { ...request, token },
      done,
      deadline: now + Math.min(request.limit, MAX_TRANSMIT_WAIT),
      state: 'queued',
      id: -1,
      datagram: NO_DATAGRAM,
      timeout: 0,
      sentTimes: 0,
      again: Number.POSITIVE_INFINITY,
    };
    this.#overtaken.delete(key);
    this.#pending.set(key, pending);
    this.#start(now);
    return () => {
      if (this.#pending.get(key) === pending) this.#settle(pending, { kind: 'given up' }, now);
    };
  }

  /** A message that nobody waits for: sent once, non-confirmable. */
  tell(code: number, options: readonly CoapOption[], token: Uint8Array, now: number): void {
    const id = this.#ids.take(now);
    if (id !== undefined) this.#send(encode({ type: NON, code, id, token, options, payload: NO_DATAGRAM }));
  }

  /** Notifications with this token go to `listener`, which has them before they are acknowledged. */
  listen(token: Uint8Array, listener: (message: Message, now: number) => void): void {
    this.#listeners.set(keyOf(token), listener);
  }

  unlisten(token: Uint8Array): void {
    this.#listeners.delete(keyOf(token));
    this.#overtaken.delete(keyOf(token));
  }

  /** A datagram of the endpoint; the caller has checked address and port of its sender (RFC 7252, 5.3.2). */
  receive(datagram: Uint8Array, now: number): void {
    const decoded = decode(datagram);
    if (decoded.kind !== 'message') {
      this.counters.malformed += 1;
      if (decoded.kind === 'reject') this.#send(emptyMessage(RST, decoded.id));
      return;
    }
    const { message } = decoded;
    switch (message.type) {
      case ACK:
        this.#acknowledged(message, now);
        break;
      case RST:
        this.#reset(message, now);
        break;
      default:
        this.#heard(message, datagram, now);
    }
    this.#start(now);
  }

  /** Retransmits and gives up what is due. */
  tick(now: number): void {
    for (const pending of this.#pending.values()) {
      if (pending.deadline <= now) this.#settle(pending, { kind: 'timeout' }, now);
      else if (pending.again <= now) this.#again(pending, now);
    }
    this.#recent.expire(now);
    this.#start(now);
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

  /** The socket failed: nothing that waits will be answered. */
  fail(now: number): void {
    const all = Array.from(this.#pending.values());
    for (const pending of all) this.#settle(pending, { kind: 'lost' }, now, false);
    this.#overtaken.clear();
  }

  #start(now: number): void {
    let outstanding = 0;
    for (const { state } of this.#pending.values()) if (state === 'sent') outstanding += 1;
    for (const pending of this.#pending.values()) {
      if (outstanding >= NSTART) return; // RFC 7252, 4.7
      if (pending.state !== 'queued') continue;
      const id = this.#ids.take(now);
      if (id === undefined) return;
      outstanding += 1;
      const { code, options, payload = NO_DATAGRAM, token = NO_DATAGRAM } = pending.request;
      pending.state = 'sent';
      pending.id = id;
      pending.datagram = encode({ type: CON, code, id, token, options, payload });
      pending.timeout = ACK_TIMEOUT * (1 + this.#random() * (ACK_RANDOM_FACTOR - 1));
      pending.again = now + pending.timeout;
      pending.sentTimes = 1;
      this.#send(pending.datagram);
    }
  }

  #again(pending: Pending, now: number): void {
    if (pending.sentTimes > MAX_RETRANSMIT) {
      this.#settle(pending, { kind: 'timeout' }, now);
      return;
    }
    this.counters.retransmissions += 1;
    pending.sentTimes += 1;
    pending.timeout *= 2;
    pending.again = now + pending.timeout;
    this.#send(pending.datagram);
  }

  #bySentId(id: number): Pending | undefined {
    for (const pending of this.#pending.values())
      if (pending.state === 'sent' && pending.id === id) return pending;
    return undefined;
  }

  #acknowledged(message: Message, now: number): void {
    const pending = this.#bySentId(message.id);
    if (message.code === EMPTY) {
      if (pending === undefined) this.counters.unmatched += 1;
      else {
        pending.state = 'acknowledged'; // the response comes by itself, 5.2.2
        pending.again = Number.POSITIVE_INFINITY;
      }
      return;
    }
    // an ACK is never answered: what does not fit is ignored (4.2), and the request goes on
    const key = keyOf(message.token);
    if (isRequest(message.code)) this.counters.unmatched += 1;
    else if (pending !== undefined && pending.key === key) this.#respond(pending, message, now);
    else if (this.#overtaken.get(key) === message.id) {
      this.#overtaken.delete(key);
      this.#notify(key, message, now);
    } else this.counters.unmatched += 1;
  }

  #reset(message: Message, now: number): void {
    const pending = this.#bySentId(message.id);
    if (pending === undefined) this.counters.unmatched += 1;
    else this.#settle(pending, { kind: 'reset' }, now);
  }

  /** CON or NON: a separate response, a notification, a ping or nothing for us. */
  #heard(message: Message, datagram: Uint8Array, now: number): void {
    const confirmable = message.type === CON;
    const key = Recent.key(message.id, datagram);
    const before = this.#recent.find(key, now);
    if (before !== undefined) {
      this.counters.duplicates += 1;
      if (before.answer !== undefined) this.#send(before.answer);
      return;
    }
    const taken = message.code !== EMPTY && !isRequest(message.code) && this.#deliver(message, now);
    if (!taken) this.counters.unmatched += 1;
    const answer = confirmable ? emptyMessage(taken ? ACK : RST, message.id) : undefined;
    this.#recent.expire(now);
    this.#recent.remember(key, now + (confirmable ? EXCHANGE_LIFETIME : NON_LIFETIME), answer);
    if (answer !== undefined) this.#send(answer);
  }

  /** True where somebody waited for the message and can understand it. */
  #deliver(message: Message, now: number): boolean {
    const key = keyOf(message.token);
    const pending = this.#pending.get(key);
    if (pending !== undefined && pending.state !== 'queued') {
      if (pending.state === 'sent' && this.#listeners.has(key)) this.#overtaken.set(key, pending.id);
      return this.#respond(pending, message, now);
    }
    return this.#notify(key, message, now);
  }

  #notify(key: string, message: Message, now: number): boolean {
    const listener = this.#listeners.get(key);
    if (listener === undefined) return false;
    const checked = understood(message, KNOWN_IN_RESPONSE);
    if (checked.ok) listener(checked.message, now);
    return checked.ok;
  }

  #respond(pending: Pending, message: Message, now: number): boolean {
    const checked = understood(message, KNOWN_IN_RESPONSE);
    if (checked.ok) this.#settle(pending, { kind: 'response', message: checked.message }, now);
    else this.#settle(pending, { kind: 'not understood', option: checked.option }, now);
    return checked.ok;
  }

  #settle(pending: Pending, outcome: Outcome, now: number, goOn = true): void {
    this.#pending.delete(pending.key);
    pending.done(outcome);
    if (goOn) this.#start(now);
  }
}

const NO_DATAGRAM = new Uint8Array(0);
const keyOf = (token: Uint8Array): string =>
  Buffer.from(token.buffer, token.byteOffset, token.length).toString('latin1');
