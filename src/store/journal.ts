import { gapLine } from '../telemetry/encode.ts';
import { packed, unpacked } from './body.ts';
import type { Needs } from './cursor.ts';
import { type Gap, gapsIn, withGap } from './gaps.ts';
import type { Database } from './open.ts';
import { complement, type Range } from './ranges.ts';
import { EVENT, GAP, TELEMETRY } from './schema.ts';

/** A row as it goes into the journal. */
export interface NewRow {
  readonly kind: number;
  readonly text: Buffer;
  /** Compressed; see `packed`. */
  readonly body: Buffer;
  readonly messages: number;
  readonly samples: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
}

export interface StoredRow {
  readonly id: number;
  readonly kind: number;
  readonly text: Buffer;
}

interface Header {
  readonly id: number;
  readonly kind: number;
  readonly firstSeq: number;
  readonly lastSeq: number;
  readonly messages: number;
  readonly size: number;
}

/** What a drop gave up. */
export interface Dropped {
  readonly rows: number;
  readonly messages: number;
  readonly gaps: readonly Gap[];
}

/** What a trim deleted, in bytes of the file; `more` where it stopped before the end. */
export interface Freed {
  readonly bytes: number;
  readonly more: boolean;
}

const PAGE_BYTES = 4096;
const ROW_OVERHEAD_BYTES = 64; // header of the row and its share of the tree
const DROP_SHARE = 0.05; // of the limit: rarely and much rather than a little with every commit
// A commit deletes at most these, so that none waits for the trim of a long outage.
export const TRIM_ROWS = 2_000;
export const TRIM_BYTES = 8_388_608;
/** What a reader wants: telemetry only, everything else, or both. */
export type Wanted = 'all' | 'telemetry' | 'events';
const OF_TELEMETRY = `WHERE kind = ${TELEMETRY}`;
const OF_EVENTS = `WHERE kind <> ${TELEMETRY}`; // by their own index, past the telemetry of a long outage
const HEADERS = 'SELECT id, kind, first_seq AS firstSeq, last_seq AS lastSeq, messages, length(body) AS size';

/** The statements on table `journal`. Everything that writes is called inside the caller's transaction. */
export class Journal {
  readonly #db: Database;
  readonly #insert;
  readonly #between;
  readonly #oldest;
  readonly #header;
  readonly #nextTelemetry;
  readonly #nextEvent;
  readonly #delete;
  readonly #text;
  #rows = 0;
  #bytes = 0;
  #taken = 0;
  #messages = 0;
  #head = 0;
  #saved = { rows: 0, bytes: 0, taken: 0, messages: 0, head: 0 };

  constructor(db: Database) {
    this.#db = db;
    this.#insert = db.prepare<[number, number, number, number, number, number, number, Buffer]>(
      'INSERT INTO journal(kind, time, first_seq, last_seq, messages, samples, len, body) VALUES(?,?,?,?,?,?,?,?)',
    );
    const between = (where: string) =>
      db.prepare<[number, number], { id: number; kind: number; len: number; body: Buffer }>(
        `SELECT id, kind, len, body FROM journal ${where} AND id > ? AND id <= ? ORDER BY id`,
      );
    this.#between = {
      all: between('WHERE true'),
      telemetry: between(OF_TELEMETRY),
      events: between(OF_EVENTS),
    };
    this.#oldest = db.prepare<[number], Header>(`${HEADERS} FROM journal WHERE id > ? ORDER BY id LIMIT 500`);
    this.#header = db.prepare<[number], Header>(`${HEADERS} FROM journal WHERE id = ?`);
    const next = (where: string) =>
      db.prepare<[number, number], Header>(
        `${HEADERS} FROM journal ${where} AND id > ? AND id <= ? ORDER BY id LIMIT 1`,
      );
    this.#nextTelemetry = next(OF_TELEMETRY);
    this.#nextEvent = next(OF_EVENTS);
    this.#delete = db.prepare<[number]>('DELETE FROM journal WHERE id = ?');
    this.#text = db.prepare<[number], { len: number; body: Buffer }>(
      'SELECT len, body FROM journal WHERE id = ?',
    );
  }

  get rows(): number {
    return this.#rows;
  }

  /** Bodies with their overhead. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The pages that these take in the file, in bytes. */
  get taken(): number {
    return this.#taken;
  }

  get messages(): number {
    return this.#messages;
  }

  /** The newest row that was ever written. */
  get head(): number {
    return this.#head;
  }

  /** Reads the whole tree once, which also finds a damaged one. */
  load(): void {
    this.#rows = 0;
    this.#bytes = 0;
    this.#taken = 0;
    this.#messages = 0;
    const headers = this.#db
      .prepare<[], [number, number]>('SELECT length(body), messages FROM journal')
      .raw();
    for (const [size, messages] of headers.iterate()) this.#count(1, size, messages);
    this.#head =
      this.#db.prepare<[], number>("SELECT seq FROM sqlite_sequence WHERE name = 'journal'").pluck().get() ??
      0;
  }

  /** For an empty journal: the first row comes after `head`. */
  continueAfter(head: number): void {
    this.#db.prepare<[number]>("INSERT INTO sqlite_sequence(name, seq) VALUES('journal', ?)").run(head);
    this.#head = head;
  }

  /** Remembers the counters; `restore` goes back to them after a rollback. */
  save(): void {
    this.#saved = {
      rows: this.#rows,
      bytes: this.#bytes,
      taken: this.#taken,
      messages: this.#messages,
      head: this.#head,
    };
  }

  restore(): void {
    this.#rows = this.#saved.rows;
    this.#bytes = this.#saved.bytes;
    this.#taken = this.#saved.taken;
    this.#messages = this.#saved.messages;
    this.#head = this.#saved.head;
  }

  insert(row: NewRow, time: number): StoredRow {
    const { kind, firstSeq, lastSeq, messages, samples, text, body } = row;
    const result = this.#insert.run(kind, time, firstSeq, lastSeq, messages, samples, text.length, body);
    this.#count(1, body.length, messages);
    this.#head = Number(result.lastInsertRowid);
    return { id: this.#head, kind, text };
  }

  /** A row that tells what will not come; one message for each gap, numbered from `seq`. */
  insertGaps(gaps: readonly Gap[], seq: number, time: number): StoredRow {
    const text = Buffer.from(gaps.map((gap, i) => gapLine(seq + i, gap)).join(''));
    const lastSeq = seq + gaps.length - 1;
    const row = {
      kind: GAP,
      text,
      body: packed(text),
      messages: gaps.length,
      samples: 0,
      firstSeq: seq,
      lastSeq,
    };
    return this.insert(row, time);
  }

  /**
   * Rows of the range in order, until their texts take `limit` bytes; at least one where there is any. `broken`
   * names a row whose body cannot be read; the rows before it are returned.
   */
  read(
    [after, upto]: Range,
    limit: number,
    wanted: Wanted,
  ): { rows: StoredRow[]; broken: number | undefined } {
    const rows: StoredRow[] = [];
    let bytes = 0;
    for (const { id, kind, len, body } of this.#between[wanted].iterate(after, upto)) {
      try {
        rows.push({ id, kind, text: unpacked(body, len) });
      } catch {
        return { rows, broken: id };
      }
      bytes += len;
      if (bytes >= limit) break;
    }
    return { rows, broken: undefined };
  }

  /** Is there anything that `trim` would delete? */
  trimmable(needs: Needs): boolean {
    return this.#queues(needs).some(({ next, free }) =>
      free.some(([after, upto]) => next.get(after, upto) !== undefined),
    );
  }

  /** Deletes what lies in none of the ranges, some rows at a time. */
  trim(needs: Needs): Freed {
    let [rows, bytes] = [0, 0];
    for (const { next, free } of this.#queues(needs))
      for (const [after, upto] of free)
        for (let position = after; ; ) {
          if (rows >= TRIM_ROWS || bytes >= TRIM_BYTES) return { bytes, more: true };
          const header = next.get(position, upto);
          if (header === undefined) break;
          this.#remove(header);
          position = header.id;
          rows++;
          bytes += pagesOf(header.size);
        }
    return { bytes, more: false };
  }

  /** Drops one row that cannot be read. */
  dropBroken(id: number): Dropped {
    const header = this.#header.get(id);
    if (header === undefined) return { rows: 0, messages: 0, gaps: [] };
    this.#remove(header);
    const gaps = withGap([], { from: header.firstSeq, to: header.lastSeq, reason: 'row damaged' });
    return { rows: 1, messages: header.messages, gaps };
  }

  /**
   * Gives up the oldest telemetry until at least `bytes` and DROP_SHARE of `limit` are free; events only where no
   * telemetry is left. Gap rows among them are dissolved: what they told is in the gaps that are returned.
   */
  dropOldest(bytes: number, limit: number): Dropped {
    const enough = Math.max(bytes, limit * DROP_SHARE);
    const telemetry = this.#drop(TELEMETRY, enough);
    if (telemetry.freed >= bytes) return telemetry;
    const events = this.#drop(EVENT, enough - telemetry.freed);
    return {
      rows: telemetry.rows + events.rows,
      messages: telemetry.messages + events.messages,
      gaps: events.gaps.reduce(withGap, [...telemetry.gaps]),
    };
  }

  #drop(kind: number, enough: number): Dropped & { readonly freed: number } {
    let gaps: Gap[] = [];
    let [freed, rows, messages, position] = [0, 0, 0, 0];
    while (freed < enough) {
      const headers = this.#oldest.all(position);
      if (headers.length === 0) break;
      for (const header of headers) {
        if (freed >= enough) break;
        position = header.id;
        if (header.kind !== kind && header.kind !== GAP) continue;
        if (header.kind === GAP) gaps = this.#textOf(header.id).reduce(withGap, gaps);
        gaps = withGap(gaps, { from: header.firstSeq, to: header.lastSeq, reason: 'disk quota' });
        if (header.kind === kind) {
          rows++;
          messages += header.messages;
        }
        freed += pagesOf(header.size);
        this.#remove(header);
      }
    }
    return { rows, messages, gaps, freed };
  }

  /** By what is in the rows: where those may be that nobody needs, and how the next one is found. */
  #queues({ telemetry, events }: Needs) {
    return [
      { next: this.#nextTelemetry, free: complement(telemetry, this.#head) },
      { next: this.#nextEvent, free: complement(events, this.#head) },
    ];
  }

  #textOf(id: number): Gap[] {
    const row = this.#text.get(id);
    return row === undefined ? [] : gapsIn(unpacked(row.body, row.len).toString());
  }

  #remove({ id, size, messages }: Header): void {
    this.#delete.run(id);
    this.#count(-1, size, messages);
  }

  #count(sign: 1 | -1, size: number, messages: number): void {
    this.#rows += sign;
    this.#bytes += sign * (size + ROW_OVERHEAD_BYTES);
    this.#taken += sign * pagesOf(size);
    this.#messages += sign * messages;
  }
}

/** Bytes in the file for a body of this size. */
export function pagesOf(size: number): number {
  return size < PAGE_BYTES ? size + ROW_OVERHEAD_BYTES : Math.ceil(size / PAGE_BYTES) * PAGE_BYTES;
}
