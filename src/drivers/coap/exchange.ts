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
import { type ExchangeRequest, keyOf, type Outcome, type Pending, Requests } from './requests.ts';

const TOKEN_BYTES = 8; // at least 32 random bits without DTLS, RFC 7252, 5.3.1
const RECENT_LIMIT = 64 * 1024; // bytes, ours: 400 messages of one endpoint

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
  };
  readonly #send: (datagram: Uint8Array) => void;
  readonly #token: () => Uint8Array;
  readonly #ids: MessageIds;
  readonly #recent = new Recent(RECENT_LIMIT);
  readonly #requests: Requests;
  readonly #listeners = new Map<string, (message: Message, now: number) => void>();
  /** Requests of an observation that a notification answered before the ACK came: RFC 7252, 5.2.2. */
  readonly #overtaken = new Map<string, number>();

  constructor(options: ExchangeOptions) {
    this.#send = options.send;
    this.#token = options.token ?? (() => randomBytes(TOKEN_BYTES));
    this.#ids = new MessageIds(options.random() * 65_536);
    this.#requests = new Requests(this.#ids, options.random, options.send);
  }

  /** Requests that wait for an answer. */
  get size(): number {
    return this.#requests.size;
  }

  /** Everything that is remembered: for tests that nothing leaks. */
  get remembered(): number {
    return this.#recent.size + this.#overtaken.size + this.#listeners.size + this.#requests.size;
  }

  newToken(): Uint8Array {
    return this.#token();
  }

  /** Starts a confirmable request; `done` is called once. The function returned gives it up. */
  request(request: ExchangeRequest, now: number, done: (outcome: Outcome) => void): () => void {
    const token = request.token ?? this.#token();
    const pending = this.#requests.add(request, token, now, done);
    if (pending === undefined) {
      done({ kind: 'full' });
      return () => {};
    }
    this.#overtaken.delete(pending.key);
    return () => this.#requests.settle(pending, { kind: 'given up' }, now);
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
  }

  /** Retransmits and gives up what is due. */
  tick(now: number): void {
    this.#requests.tick(now);
    this.#recent.expire(now);
  }

  get nextDue(): number {
    return this.#requests.nextDue;
  }

  /** The socket failed: nothing that waits will be answered. */
  fail(): void {
    this.#requests.settleAll({ kind: 'lost' });
    this.#overtaken.clear();
  }

  #acknowledged(message: Message, now: number): void {
    const pending = this.#requests.bySentId(message.id);
    if (message.code === EMPTY) {
      if (pending === undefined) this.counters.unmatched += 1;
      else this.#requests.acknowledge(pending, now);
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
    const pending = this.#requests.bySentId(message.id);
    if (pending === undefined) this.counters.unmatched += 1;
    else this.#requests.settle(pending, { kind: 'reset' }, now);
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
    const pending = this.#requests.byToken(key);
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
    if (checked.ok) this.#requests.settle(pending, { kind: 'response', message: checked.message }, now);
    else this.#requests.settle(pending, { kind: 'not understood', option: checked.option }, now);
    return checked.ok;
  }
}

const NO_DATAGRAM = new Uint8Array(0);
