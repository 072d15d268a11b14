/** Lifetimes of a message ID, RFC 7252, 4.8.2. */
export const EXCHANGE_LIFETIME = 247_000; // ms
export const NON_LIFETIME = 145_000; // ms

const ENTRY_COST = 160; // bytes of a map entry with its object, measured with 100,000 entries and rounded up

interface Entry {
  readonly until: number;
  readonly answer: Uint8Array | undefined;
}

/**
 * Messages of one endpoint that were heard lately, with the answer each got (RFC 7252, 4.2, 4.5). Bounded by the
 * bytes it really takes; the oldest goes first, and is counted. A duplicate is a byte-identical datagram: retransmission
 * is defined so, and a device that restarts and counts its message IDs from 0 again must not be taken for an echo.
 */
export class Recent {
  forgotten = 0;
  #bytes = 0;
  readonly #limit: number;
  readonly #entries = new Map<number, Entry>();

  constructor(limitBytes: number) {
    this.#limit = limitBytes;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** Bytes taken, about. */
  get bytes(): number {
    return this.#bytes;
  }

  static key(id: number, datagram: Uint8Array, port = 0): number {
    // FNV-1a, 32 bits; with the id 48 bits, which a number holds exactly
    let hash = 0x811c9dc5 ^ port;
    for (const byte of datagram) hash = Math.imul(hash ^ byte, 0x01000193);
    return id * 0x1_0000_0000 + (hash >>> 0);
  }

  /** What was answered to this very message; undefined where it is new. */
  find(key: number, now: number): { readonly answer: Uint8Array | undefined } | undefined {
    const entry = this.#entries.get(key);
    return entry !== undefined && entry.until > now ? entry : undefined;
  }

  remember(key: number, until: number, answer: Uint8Array | undefined): void {
    this.#drop(key);
    this.#entries.set(key, { until, answer });
    this.#bytes += cost(answer);
    for (const oldest of this.#entries.keys()) {
      if (this.#bytes <= this.#limit) break;
      this.#drop(oldest);
      this.forgotten += 1;
    }
  }

  /** Forgets what is over, from the oldest on. */
  expire(now: number): void {
    for (const [key, entry] of this.#entries) {
      if (entry.until > now) break;
      this.#drop(key);
    }
  }

  #drop(key: number): void {
    const entry = this.#entries.get(key);
    if (entry === undefined) return;
    this.#entries.delete(key);
    this.#bytes -= cost(entry.answer);
  }
}

const cost = (answer: Uint8Array | undefined): number => ENTRY_COST + (answer?.byteLength ?? 0);
