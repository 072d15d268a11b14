import type { Batch } from '../core/batch.ts';
import { type EncodedRow, MessageEncoder, eventLine } from '../telemetry/encode.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { packed } from './body.ts';
import type { NewRow } from './journal.ts';
import type { LogRow } from './log-table.ts';
import { Recording } from './recording.ts';
import { EVENT, TELEMETRY } from './schema.ts';
import type { RecordedPoint } from './series.ts';

/** What is committed together, and who waits for it. */
export interface Group {
  readonly kind: 'telemetry' | 'events' | 'samples';
  readonly rows: readonly NewRow[];
  /** Rows of the sample log. */
  readonly log: readonly LogRow[];
  /** What it takes in memory, about. */
  readonly bytes: number;
  readonly samples: number;
  readonly appends: readonly number[];
  /** Times of the samples, where they are known. */
  readonly from: EpochMs;
  readonly to: EpochMs;
}

/** While the disk refuses: about as much text as three minutes of 1,000 samples/s. */
export const MAX_WAITING_BYTES = 16_777_216;
const UNKNOWN = epochMs(0);
const MAX_TRANSACTION_BYTES = 4_194_304;

/** What was taken over and is not on disk: samples being collected, and groups that have their numbers. */
export class Waiting {
  readonly #encoder: MessageEncoder;
  readonly #recording: Recording;
  #appends: number[] = [];
  #events: { readonly id: number; readonly line: string }[] = [];
  #groups: Group[] = [];
  #bytes = 0;

  constructor(points: readonly RecordedPoint[], seriesOf: Uint32Array<ArrayBuffer>) {
    this.#encoder = new MessageEncoder(points);
    this.#recording = new Recording(seriesOf);
  }

  get bytes(): number {
    return this.#bytes + this.collected;
  }

  get collected(): number {
    return this.#encoder.bytes + this.#recording.bytes;
  }

  /** Messages that are being collected, as text. */
  get text(): number {
    return this.#encoder.bytes;
  }

  get empty(): boolean {
    const { length } = this.#groups;
    return length === 0 && this.#appends.length === 0 && this.#events.length === 0 && this.#recording.empty;
  }

  /** Of what `seal` gave rows of the sample log. */
  get sampleBytes(): number {
    return this.#groups.reduce((sum, { kind, bytes }) => (kind === 'samples' ? sum + bytes : sum), 0);
  }

  /** Throws RangeError where the batch names a point that does not exist. */
  add(id: number, batch: Batch): void {
    this.#encoder.add(batch);
    this.#appends.push(id);
  }

  /** For the sample log. Throws RangeError where the batch names a point that does not exist. */
  addSamples(id: number, batch: Batch): void {
    this.#recording.add(id, batch);
  }

  addEvent(id: number, topic: string, payload: string): void {
    this.#events.push({ id, line: eventLine(topic, payload) });
  }

  /** Gives everything collected its numbers, from `seq`; returns the number after the last. */
  seal(seq: number, time: number): number {
    let next = seq;
    if (this.#appends.length > 0) {
      const rows = this.#encoder.take(seq).map(telemetryRow);
      next = (rows.at(-1)?.lastSeq ?? seq - 1) + 1;
      this.#push('telemetry', rows, this.#appends);
      this.#appends = [];
    }
    if (this.#events.length > 0) {
      const text = Buffer.from(this.#events.map(({ line }) => line).join(''));
      const numbers = { firstSeq: next, lastSeq: next - 1, messages: this.#events.length, samples: 0 };
      const row = { kind: EVENT, text, body: packed(text), ...numbers };
      this.#push(
        'events',
        [row],
        this.#events.map(({ id }) => id),
      );
      this.#events = [];
    }
    if (!this.#recording.empty) {
      const { rows: log, ids: appends, from, to } = this.#recording.take(time);
      const bytes = log.reduce((sum, { body }) => sum + body.length, 0);
      const samples = log.reduce((sum, row) => sum + row.samples, 0);
      this.#add({ kind: 'samples', rows: [], log, bytes, samples, appends, from, to });
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
    return this.#groups.find(({ kind }) => kind === 'telemetry')?.rows[0]?.firstSeq;
  }

  /** They are on disk. */
  remove(groups: readonly Group[]): void {
    const done = new Set(groups);
    this.#groups = this.#groups.filter((group) => !done.has(group));
    this.#bytes = this.#groups.reduce((sum, group) => sum + group.bytes, 0);
  }

  /** Gives up the oldest, events last, until about `bytes` remain. Call `seal` before. */
  giveUp(bytes: number): readonly Group[] {
    const given: Group[] = [];
    let left = this.#bytes;
    for (const events of [false, true])
      for (const group of this.#groups) {
        if (left <= bytes) break;
        if ((group.kind === 'events') !== events) continue;
        given.push(group);
        left -= group.bytes;
      }
    this.remove(given);
    return given;
  }

  /** Gives up the newest samples for the sample log, until what is left of them takes `bytes`. Call `seal` before. */
  giveUpSamples(bytes: number): readonly Group[] {
    const given: Group[] = [];
    let taken = 0;
    for (const group of this.#groups) {
      if (group.kind !== 'samples') continue;
      taken += group.bytes;
      if (taken > bytes) given.push(group);
    }
    if (given.length > 0) this.remove(given);
    return given;
  }

  /** Nobody is there to keep messages for. Returns who waited, and the samples. */
  clear(): { readonly appends: readonly number[]; readonly samples: number } {
    const appends = [...this.#appends, ...this.#events.map(({ id }) => id)];
    const samples = this.#encoder.samples;
    this.#encoder.clear();
    this.#appends = [];
    this.#events = [];
    return { appends, samples };
  }

  #push(kind: 'telemetry' | 'events', rows: readonly NewRow[], appends: readonly number[]): void {
    const bytes = rows.reduce((sum, { text }) => sum + text.length, 0);
    const samples = rows.reduce((sum, row) => sum + row.samples, 0);
    this.#add({ kind, rows, log: [], bytes, samples, appends, from: UNKNOWN, to: UNKNOWN });
  }

  #add(group: Group): void {
    this.#groups.push(group);
    this.#bytes += group.bytes;
  }
}

function telemetryRow({ body, ...numbers }: EncodedRow): NewRow {
  return { kind: TELEMETRY, text: body, body: packed(body), ...numbers };
}
