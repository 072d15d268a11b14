import { code, type CoapOption, type Message } from './message.ts';
import { BLOCK2, CONTENT_FORMAT, ETAG, SIZE2, uintOf, uintOption, valueOf } from './options.ts';

export const MAX_BODY = 64 * 1024; // bytes, ours: a SenML pack of some 1,500 records
const MAX_RESTARTS = 3; // ours: a body that changes more often is not read
const RESERVED_SZX = 7; // RFC 7959, 2.2
const CONTENT = code('2.05');
const CHANGES = 'a body that changes faster than it can be read';

export interface Block {
  readonly num: number;
  readonly more: boolean;
  readonly szx: number;
}

/** A Block1 or Block2 value: zero to three bytes, RFC 7959, 2.2. */
export function blockOf(message: Message, option: number): Block | undefined {
  const value = uintOf(message, option);
  return value === undefined ? undefined : { num: value >> 4, more: (value & 8) !== 0, szx: value & 7 };
}

export const blockSize = (szx: number): number => 1 << (szx + 4);

export const blockOption = (option: number, { num, more, szx }: Block): CoapOption =>
  uintOption(option, num * 16 + (more ? 8 : 0) + szx);

export interface Body {
  readonly payload: Uint8Array;
  /** Content-Format number, RFC 7252, 12.3. */
  readonly format: number | undefined;
}

export type Step =
  | { readonly kind: 'done'; readonly body: Body }
  | { readonly kind: 'ask'; readonly options: readonly CoapOption[] } // the next block, or the first one again
  | { readonly kind: 'refused'; readonly code: number }
  | { readonly kind: 'wrong'; readonly what: string };

/** Puts the blocks of one response together: RFC 7959, 2.4. Every answer goes in; the step says how to go on. */
export class BodyReader {
  #parts: Uint8Array[] = [];
  #length = 0;
  #szx = -1;
  #etag = '';
  #format: number | undefined;
  #restarts = 0;

  accept(message: Message): Step {
    if (message.code >> 5 !== 2) {
      // 4.08 in the middle: the server no longer holds the body (2.9.2)
      if (this.#length > 0 && message.code === code('4.08')) return this.#restart();
      return { kind: 'refused', code: message.code };
    }
    if (message.code !== CONTENT) return wrong(`a response of another kind than 2.05`);
    if ((uintOf(message, SIZE2) ?? 0) > MAX_BODY) return wrong(`a body larger than ${MAX_BODY} bytes`);
    const block = blockOf(message, BLOCK2);
    const etag = Buffer.from(valueOf(message, ETAG) ?? []).toString('hex');
    const format = uintOf(message, CONTENT_FORMAT);
    if (block === undefined) {
      if (this.#length > 0 && etag === this.#etag) return wrong('no Block2 option in the middle of a body');
      return { kind: 'done', body: { payload: message.payload, format } };
    }
    if (block.szx === RESERVED_SZX) return wrong('a reserved block size');
    const size = blockSize(block.szx);
    if (block.more ? message.payload.length !== size : message.payload.length > size) {
      return wrong(`a block of ${message.payload.length} bytes where ${size} were announced`);
    }
    if (block.num === 0) {
      if (this.#length > 0) this.#restarts += 1; // not what was asked for: a new first block replaces the rest
      if (this.#restarts > MAX_RESTARTS) return wrong(CHANGES);
      this.#begin(etag, format);
    } else if (this.#length > 0 && (etag !== this.#etag || format !== this.#format)) {
      return this.#restart();
    }
    if (block.num * size !== this.#length) return wrong(`block ${block.num} out of order`);
    if (this.#szx >= 0 && block.szx > this.#szx) return wrong('a block larger than it was asked for');
    if (this.#length + message.payload.length > MAX_BODY)
      return wrong(`a body larger than ${MAX_BODY} bytes`);
    this.#szx = block.szx;
    this.#parts.push(message.payload);
    this.#length += message.payload.length;
    if (!block.more) return { kind: 'done', body: { payload: joined(this.#parts, this.#length), format } };
    const num = this.#length / size;
    return { kind: 'ask', options: [blockOption(BLOCK2, { num, more: false, szx: block.szx })] };
  }

  #begin(etag: string, format: number | undefined): void {
    this.#parts = [];
    this.#length = 0;
    this.#szx = -1;
    this.#etag = etag;
    this.#format = format;
  }

  /** The representation changed between two blocks. */
  #restart(): Step {
    this.#restarts += 1;
    if (this.#restarts > MAX_RESTARTS) return wrong(CHANGES);
    this.#begin('', undefined);
    return { kind: 'ask', options: [] };
  }
}

const wrong = (what: string): Step => ({ kind: 'wrong', what });

function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts, length);
}
