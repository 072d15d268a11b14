import type { Consumer, Lane, Row } from '../core/outbox.ts';
import type { Bytes } from '../core/units.ts';
import { messagesOf } from './body.ts';
import type { Link } from './link.ts';
import type { Reply, Request, Rows, Unread } from './protocol.ts';

/** The gateway's end of a consumer; its place is kept in the store's thread. */
export class StoredConsumer implements Consumer {
  readonly name: string;
  readonly #link: Link<Request, Reply>;
  #unread: Unread = { live: false, history: false };
  #waiters = new Set<() => void>();
  /** Acknowledgements of this turn of the event loop; they travel together. */
  #acknowledged: Record<Lane, number[]> = { live: [], history: [] };
  #flushing = false;

  constructor(name: string, link: Link<Request, Reply>) {
    this.name = name;
    this.#link = link;
  }

  async rewind(): Promise<void> {
    this.flush();
    const reply = await this.#link.ask((id) => ({ type: 'rewind', id, name: this.name }));
    if (reply.type === 'unread') this.update(reply.unread);
  }

  async read(lane: Lane, limit: Bytes): Promise<readonly Row[]> {
    this.flush();
    const reply = await this.#link.ask((id) => ({ type: 'read', id, name: this.name, lane, limit }));
    if (reply.type !== 'rows') return [];
    this.update(reply.unread);
    return rowsOf(reply.rows, lane);
  }

  acknowledge(lane: Lane, row: number): void {
    this.#acknowledged[lane].push(row);
    if (this.#flushing) return;
    this.#flushing = true;
    setImmediate(() => this.flush());
  }

  async more(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    if (this.#unread.live || this.#unread.history) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const abort = (): void => reject(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    this.#waiters.add(resolve);
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', abort);
      this.#waiters.delete(resolve);
    }
  }

  /** Sends the acknowledgements that were collected. */
  flush(): void {
    this.#flushing = false;
    for (const lane of ['live', 'history'] as const) {
      const rows = this.#acknowledged[lane];
      if (rows.length === 0) continue;
      this.#acknowledged[lane] = [];
      this.#link.post({ type: 'acknowledge', name: this.name, lane, rows });
    }
  }

  /** There are new rows. */
  grown(): void {
    this.update({ ...this.#unread, live: true });
  }

  /** What the store's thread knew when it answered; replies and `grown` come in its order. */
  update(unread: Unread): void {
    this.#unread = unread;
    if (!unread.live && !unread.history) return;
    for (const wake of this.#waiters) wake();
  }
}

function rowsOf({ ids, texts }: Rows, lane: Lane): Row[] {
  return texts.map(({ buffer, byteOffset, length }, i) => ({
    id: ids[i] ?? 0,
    messages: messagesOf(Buffer.from(buffer, byteOffset, length), lane),
  }));
}
