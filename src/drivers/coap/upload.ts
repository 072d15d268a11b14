import { blockOf, blockOption, blockSize } from './block.ts';
import { code, type CoapOption, type Message } from './message.ts';
import { BLOCK1, BLOCK2, ETAG, OBSERVE, SIZE1, SIZE2, uintOf, uintOption } from './options.ts';
import { EXCHANGE_LIFETIME } from './recent.ts';
import type { Peer } from './transport.ts';

export const MAX_UPLOAD = 16 * 1024; // bytes, ours: a SenML pack of some 400 records
const MAX_UNFINISHED = 64; // ours: together at most 1 MiB
const MAX_UNFINISHED_PER_ADDRESS = 4; // ours; whatever ports it uses, so that no device pushes out the bodies of others
const RESERVED_SZX = 7; // RFC 7959, 2.2

export type Upload =
  | { readonly kind: 'whole'; readonly payload: Uint8Array; readonly options: readonly CoapOption[] }
  | { readonly kind: 'answer'; readonly code: number; readonly options: readonly CoapOption[] };

interface Unfinished {
  readonly address: string;
  readonly parts: Uint8Array[];
  length: number;
  until: number;
}

const answer = (text: string, ...options: CoapOption[]): Upload => ({
  kind: 'answer',
  code: code(text),
  options,
});

/** Bodies that arrive block by block: RFC 7959, 2.5. Bounded in bytes, number and time; the oldest goes first. */
export class Uploads {
  /** Bodies that were given up because too many were unfinished. */
  abandoned = 0;
  readonly #unfinished = new Map<string, Unfinished>();

  get size(): number {
    return this.#unfinished.size;
  }

  /** What a request brings. */
  accept(message: Message, sender: Peer, now: number): Upload {
    this.expire(now);
    const announced = uintOf(message, SIZE1) ?? 0;
    const block = blockOf(message, BLOCK1);
    if (announced > MAX_UPLOAD || message.payload.length > MAX_UPLOAD) return tooLarge();
    if (block === undefined) return { kind: 'whole', payload: message.payload, options: [] };
    const size = blockSize(block.szx);
    if (block.szx === RESERVED_SZX) return answer('4.00');
    if (block.more ? message.payload.length !== size : message.payload.length > size) return answer('4.00');

    const echo = blockOption(BLOCK1, block);
    const key = keyOf(message, sender);
    if (block.num === 0) this.#unfinished.delete(key); // a new first block replaces the body, 2.5
    if (block.num === 0 && !block.more) return { kind: 'whole', payload: message.payload, options: [echo] };
    const body = block.num === 0 ? this.#begin(key, sender.address) : this.#unfinished.get(key);
    if (body === undefined || body.length !== block.num * size) return answer('4.08', echo);
    if (body.length + message.payload.length > MAX_UPLOAD) {
      this.#unfinished.delete(key);
      return tooLarge(echo);
    }
    body.parts.push(Uint8Array.from(message.payload)); // a copy: the datagram's memory is larger than the block
    body.length += message.payload.length;
    body.until = now + EXCHANGE_LIFETIME;
    if (block.more) return answer('2.31', echo);
    this.#unfinished.delete(key);
    return { kind: 'whole', payload: Buffer.concat(body.parts, body.length), options: [echo] };
  }

  /** Gives up what nobody went on with. */
  expire(now: number): void {
    for (const [key, { until }] of this.#unfinished) if (until <= now) this.#unfinished.delete(key);
  }

  #begin(key: string, address: string): Unfinished {
    const mine = [...this.#unfinished].filter(([, body]) => body.address === address);
    const [oldest] = mine.length >= MAX_UNFINISHED_PER_ADDRESS ? (mine[0] ?? []) : [];
    if (oldest !== undefined) this.#abandon(oldest);
    if (this.#unfinished.size >= MAX_UNFINISHED) {
      const [first] = this.#unfinished.keys();
      if (first !== undefined) this.#abandon(first);
    }
    const body: Unfinished = { address, parts: [], length: 0, until: 0 };
    this.#unfinished.set(key, body);
    return body;
  }

  #abandon(key: string): void {
    this.#unfinished.delete(key);
    this.abandoned += 1;
  }
}

const tooLarge = (...options: CoapOption[]): Upload =>
  answer('4.13', ...options, uintOption(SIZE1, MAX_UPLOAD));

/** No part of the cache key: RFC 7959, 2.5 and RFC 7252, 5.4.6 (NoCacheKey), besides what changes per block. */
const NOT_IN_KEY = new Set([BLOCK1, BLOCK2, SIZE1, SIZE2, OBSERVE, ETAG]);

/** RFC 9175, 3.3: sender, method and the options, Request-Tag included; never the token. */
function keyOf(message: Message, { address, port }: Peer): string {
  const options = message.options
    .filter(({ number }) => !NOT_IN_KEY.has(number))
    .map(({ number, value }) => `${number}=${Buffer.from(value).toString('hex')}`);
  return [address, port, message.code, ...options].join(' ');
}
