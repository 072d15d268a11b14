import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import type { Batch } from '../../src/core/batch.ts';
import type { Consumer, Lane, Message, Outbox, OutboxState, Row } from '../../src/core/outbox.ts';
import { type Bytes, mebibytes, milliseconds } from '../../src/core/units.ts';

interface Place {
  note: string;
  readonly since: number;
  /** Rows up to this one are none of this consumer's business. */
  readonly start: number;
  readonly acknowledged: Set<number>;
  handedOut: Set<number>;
  /** Rows above are live. */
  boundary: number;
}

type Entry =
  | { readonly row: number; readonly messages: readonly (readonly [string, string])[] }
  | { readonly consumer: string; readonly note: string; readonly start: number; readonly since: number }
  | { readonly acknowledge: string; readonly id: number }
  | { readonly forget: string };

/**
 * The outbox of the core contract without SQLite, for tests of whoever reads it. With a file it survives kill -9:
 * each change is appended as one line before anybody hears of it.
 */
export class MemoryOutbox implements Outbox {
  readonly #rows = new Map<number, Row>();
  readonly #places = new Map<string, Place>();
  readonly #file: string | undefined;
  #last = 0;
  #wake: (() => void)[] = [];
  /** Calls of `read`, to see that nobody reads in a hurry for nothing. */
  reads = 0;
  /** `more` says yes though there is nothing, as an outbox in trouble does. */
  promising = false;

  constructor(file?: string) {
    this.#file = file;
    if (file === undefined || !existsSync(file)) return;
    for (const line of readFileSync(file, 'utf8').split('\n')) {
      if (line.endsWith('}')) this.#apply(JSON.parse(line));
    }
    for (const place of this.#places.values()) place.boundary = this.#last;
  }

  append(_batch: Batch): Promise<void> {
    return Promise.reject(new Error('tests add messages'));
  }

  async appendEvent(topic: string, payload: string): Promise<void> {
    this.add([[topic, payload]]);
  }

  /** One row; its id. Topics as in the live lane: `telemetry/meter-main`. */
  add(messages: readonly (readonly [string, string])[]): number {
    const row = this.#last + 1;
    this.#record({ row, messages });
    const sleepers = this.#wake;
    this.#wake = [];
    for (const wake of sleepers) wake();
    return row;
  }

  async consumer(name: string, note = ''): Promise<Consumer> {
    const existing = this.#places.get(name);
    if (existing === undefined || existing.note !== note) {
      const since = existing?.since ?? Date.now();
      this.#record({ consumer: name, note, start: existing?.start ?? this.#last, since });
    }
    return this.#handle(name);
  }

  async consumers() {
    return [...this.#places].map(([name, { note, since }]) => ({ name, note, since }));
  }

  async forget(name: string): Promise<void> {
    if (this.#places.has(name)) this.#record({ forget: name });
  }

  /** Rows that this consumer has not acknowledged. */
  waiting(name: string): number {
    const place = this.#places.get(name);
    return place === undefined ? 0 : this.#last - place.start - place.acknowledged.size;
  }

  async state(): Promise<OutboxState> {
    return {
      rows: this.#rows.size,
      bytes: 0,
      nextSeq: this.#last + 1,
      commits: this.#last,
      samplesCommitted: 0,
      samplesLost: 0,
      messagesDropped: 0,
      samplesRecorded: 0,
      samplesUnrecorded: 0,
      failing: null,
      limit: mebibytes(64),
      bytesPerSecond: 0,
      holdsFor: undefined,
      messagesWaiting: 0,
      drainsIn: milliseconds(0),
    };
  }

  async close(): Promise<void> {}

  #handle(name: string): Consumer {
    const place = () => {
      const found = this.#places.get(name);
      if (found === undefined) throw new Error(`${name} was forgotten`);
      return found;
    };
    // Ascending, so that what waits and belongs to the live lane comes before what is new.
    const unread = (lane: Lane): number[] => {
      const { start, boundary, acknowledged, handedOut } = place();
      const ids: number[] = [];
      for (let id = start + 1; id <= this.#last; id++) {
        const itsLane = id <= boundary && isTelemetry(this.#rows.get(id)) ? 'history' : 'live';
        if (itsLane === lane && !acknowledged.has(id) && !handedOut.has(id)) ids.push(id);
      }
      return ids;
    };
    return {
      name,
      rewind: async () => {
        place().boundary = this.#last;
        place().handedOut = new Set();
      },
      read: async (lane: Lane, limit: Bytes) => {
        this.reads++;
        await new Promise((resolve) => setImmediate(resolve));
        const rows: Row[] = [];
        let size = 0;
        for (const id of unread(lane)) {
          const row = this.#rows.get(id);
          if (row === undefined || size >= limit) break;
          place().handedOut.add(id);
          rows.push(lane === 'live' ? row : { id, messages: row.messages.map(asHistory) });
          size += row.messages.reduce((sum, { payload }) => sum + payload.length, 0);
        }
        return rows;
      },
      acknowledge: (_lane, id) => {
        if (this.#places.has(name)) this.#record({ acknowledge: name, id });
      },
      more: async (signal) => {
        if (this.promising) return;
        while (unread('live').length === 0 && unread('history').length === 0) {
          signal.throwIfAborted();
          await new Promise<void>((resolve, reject) => {
            const stop = () => reject(signal.reason);
            signal.addEventListener('abort', stop, { once: true });
            this.#wake.push(() => {
              signal.removeEventListener('abort', stop);
              resolve();
            });
          });
        }
      },
    };
  }

  #record(entry: Entry): void {
    if (this.#file !== undefined) appendFileSync(this.#file, `${JSON.stringify(entry)}\n`);
    this.#apply(entry);
  }

  #apply(entry: Entry): void {
    if ('row' in entry) {
      const messages = entry.messages.map(([topic, text]) => ({ topic, payload: Buffer.from(text) }));
      this.#rows.set(entry.row, { id: entry.row, messages });
      this.#last = entry.row;
    } else if ('consumer' in entry) {
      const existing = this.#places.get(entry.consumer);
      if (existing !== undefined) existing.note = entry.note;
      else {
        this.#places.set(entry.consumer, {
          note: entry.note,
          since: entry.since,
          start: entry.start,
          acknowledged: new Set(),
          handedOut: new Set(),
          boundary: entry.start,
        });
      }
    } else if ('acknowledge' in entry) {
      this.#places.get(entry.acknowledge)?.acknowledged.add(entry.id);
    } else {
      this.#places.delete(entry.forget);
    }
  }
}

function isTelemetry(row: Row | undefined): boolean {
  return row?.messages.some(({ topic }) => topic.startsWith('telemetry/')) ?? false;
}

function asHistory(message: Message): Message {
  return message.topic.startsWith('telemetry/')
    ? { topic: `history/${message.topic.slice('telemetry/'.length)}`, payload: message.payload }
    : message;
}
