import type { Batch } from '../core/batch.ts';
import type { PointName } from '../core/point.ts';
import { type EncodedRow, MessageEncoder, eventLine } from '../telemetry/encode.ts';
import { packed } from './body.ts';
import type { NewRow } from './journal.ts';
import { EVENT, TELEMETRY } from './schema.ts';

/** What is committed together, and who waits for it. */
export interface Group {
  readonly kind: number;
  readonly rows: readonly NewRow[];
  /** Text, in bytes. */
  readonly bytes: number;
  readonly samples: number;
  readonly appends: readonly number[];
}

/** While the disk refuses: about as much text as three minutes of 1,000 samples/s. */
export const MAX_WAITING_BYTES = 16_777_216;
const MAX_TRANSACTION_BYTES = 4_194_304;

/** What was taken over and is not on disk: samples being collected, and groups that have their numbers. */
export class Waiting {
  readonly #encoder: MessageEncoder;
  #appends: number[] = [];
  #events: { readonly id: number; readonly line: string }[] = [];
  #groups: Group[] = [];
  #bytes = 0;

  constructor(points: readonly PointName[]) {
    this.#encoder = new MessageEncoder(points);
  }

  get bytes(): number {
    return this.#bytes + this.#encoder.bytes;
  }

  get collected(): number {
    return this.#encoder.bytes;
  }

  get empty(): boolean {
    return this.#groups.length === 0 && this.#appends.length === 0 && this.#events.length === 0;
  }

  /** Throws RangeError where the batch names a point that does not exist. */
  add(id: number, batch: Batch): void {
    this.#encoder.add(batch);
    this.#appends.push(id);
  }

  addEvent(id: number, topic: string, payload: string): void {
    this.#events.push({ id, line: eventLine(topic, payload) });
  }

  /** Gives everything collected its numbers, from `seq`; returns the number after the last. */
  seal(seq: number): number {
    let next = seq;
    if (this.#appends.length > 0) {
      const rows = this.#encoder.take(seq).map(telemetryRow);
      next = (rows.at(-1)?.lastSeq ?? seq - 1) + 1;
      this.#push(TELEMETRY, rows, this.#appends);
      this.#appends = [];
    }
    if (this.#events.length > 0) {
      const text = Buffer.from(this.#events.map(({ line }) => line).join(''));
      const numbers = { firstSeq: next, lastSeq: next - 1, messages: this.#events.length, samples: 0 };
      const row = { kind: EVENT, text, body: packed(text), ...numbers };
      this.#push(
        EVENT,
        [row],
        this.#events.map(({ id }) => id),
      );
      this.#events = [];
    }
    return next;
  }

  /** The oldest groups, for one transaction of about `most` bytes of text; one where there is any. */
  oldest(most: number = MAX_TRANSACTION_BYTES): readonly Group[] {
    let bytes = 0;
    let count = 0;
    for (const group of this.#groups) {
      bytes += group.bytes;
      if (count > 0 && bytes > most) break;
      count++;
    }
    return this.#groups.slice(0, count);
  }

  /** The first number that waits, or undefined. */
  firstSeq(): number | undefined {
    return this.#groups.find(({ kind }) => kind === TELEMETRY)?.rows[0]?.firstSeq;
  }

  /** They are on disk. */
  remove(groups: readonly Group[]): void {
    const done = new Set(groups);
    this.#groups = this.#groups.filter((group) => !done.has(group));
    this.#bytes = this.#groups.reduce((sum, group) => sum + group.bytes, 0);
  }

  /** Gives up the oldest telemetry, events last, until about `bytes` remain. Call `seal` before. */
  giveUp(bytes: number): readonly Group[] {
    const given: Group[] = [];
    let left = this.#bytes;
    for (const kind of [TELEMETRY, EVENT])
      for (const group of this.#groups) {
        if (left <= bytes) break;
        if (group.kind !== kind) continue;
        given.push(group);
        left -= group.bytes;
      }
    this.remove(given);
    return given;
  }

  /** Nobody is there to keep it for. Returns who waited, and the samples. */
  clear(): { readonly appends: readonly number[]; readonly samples: number } {
    const appends = [...this.#appends, ...this.#events.map(({ id }) => id)];
    const samples = this.#encoder.samples;
    this.#encoder.clear();
    this.#appends = [];
    this.#events = [];
    return { appends, samples };
  }

  #push(kind: number, rows: readonly NewRow[], appends: readonly number[]): void {
    const bytes = rows.reduce((sum, { text }) => sum + text.length, 0);
    const samples = rows.reduce((sum, row) => sum + row.samples, 0);
    this.#groups.push({ kind, rows, bytes, samples, appends });
    this.#bytes += bytes;
  }
}

function telemetryRow({ body, ...numbers }: EncodedRow): NewRow {
  return { kind: TELEMETRY, text: body, body: packed(body), ...numbers };
}
