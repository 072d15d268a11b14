import type { Log } from '../core/log.ts';
import { Cursor, type Place } from './cursor.ts';
import { setAside } from './damage.ts';
import { type Gap, withGap } from './gaps.ts';
import { Journal, type NewRow, type StoredRow, pagesOf } from './journal.ts';
import { type Database, assertDurable, isDamage, isTrouble, openForWriting, walBytes } from './open.ts';
import { type Range, complement, withRange } from './ranges.ts';
import { Reservation } from './reservation.ts';
import { prepareSchema } from './schema.ts';

export interface StoreOptions {
  readonly file: string;
  /** File and log together, in bytes. */
  readonly limit: number;
  readonly log: Log;
}

export interface Entry {
  note: string;
  readonly since: number;
  readonly cursor: Cursor;
  /** `Place` as it is on disk. */
  saved: string;
}

export interface Committed {
  readonly rows: readonly StoredRow[];
  readonly droppedMessages: number;
  /** The trim was cut short; another commit should follow soon. */
  readonly more: boolean;
}

/** What survives the file itself when it is found damaged while running. */
export interface Survivors {
  readonly nextSeq: number;
  readonly firstWaiting: number;
  readonly consumers: ReadonlyMap<string, Entry>;
}

const SLACK_BYTES = 65_536; // tree pages, cursors, a gap row
const SEQ_MARGIN = 300; // gap messages that a commit may add to the numbers already given

/** The database with its side file: journal, consumers, sequence. One thread, one connection. */
export class Store {
  readonly consumers = new Map<string, Entry>();
  readonly journal: Journal;
  nextSeq = 1;
  #committedSeq = 0;
  readonly #db: Database;
  readonly #limit: number;
  readonly #reservation: Reservation;
  /** Tells every consumer of this run that an older file was lost; kept until the next start. */
  #lossRow: number | undefined;
  readonly #saveConsumer;
  readonly #saveSeq;
  readonly #lowestSeq;

  constructor(db: Database, limit: number, reservation: Reservation) {
    this.#db = db;
    this.#limit = limit;
    this.#reservation = reservation;
    this.journal = new Journal(db);
    this.#saveConsumer = db.prepare<[string, string, number, string, number]>(
      'INSERT OR REPLACE INTO consumer(name, ranges, live, note, since) VALUES(?,?,?,?,?)',
    );
    this.#saveSeq = db.prepare<[number]>("INSERT OR REPLACE INTO meta(key, value) VALUES('next_seq', ?)");
    this.#lowestSeq = db.prepare<[], number>('SELECT first_seq FROM journal ORDER BY id LIMIT 1').pluck();
  }

  /** Reads what is on disk and settles the sequence; `lost` says that the file before this one was set aside. */
  load(lost: boolean, survivors: Survivors | undefined, now: number): void {
    this.journal.load();
    const rows = this.#db
      .prepare<[], { name: string; ranges: string; live: number; note: string; since: number }>(
        'SELECT name, ranges, live, note, since FROM consumer',
      )
      .all();
    for (const { name, ranges, live, note, since } of rows) {
      const place = { ranges: rangesFrom(ranges, live), live };
      this.consumers.set(name, { note, since, cursor: new Cursor(place), saved: JSON.stringify(place) });
    }
    for (const [name, { note, since }] of survivors?.consumers ?? [])
      this.consumers.set(name, { note, since, cursor: new Cursor({ ranges: [], live: 0 }), saved: '' });
    const gap = this.#settleSequence(lost, survivors, now);
    this.commit([], gap === undefined ? [] : [gap], now);
    if (gap !== undefined) this.#lossRow = this.journal.head;
    assertDurable(this.#db);
  }

  addConsumer(name: string, note: string, now: number): Entry {
    const loss = this.#lossRow;
    const ranges: Range[] = loss === undefined ? [] : [[loss - 1, loss]];
    const cursor = new Cursor({ ranges, live: this.journal.head });
    const place = cursor.place();
    const entry = { note, since: now, cursor, saved: JSON.stringify(place) };
    this.#store(name, entry, place);
    this.consumers.set(name, entry);
    return entry;
  }

  replaceNote(name: string, entry: Entry, note: string): void {
    const place = entry.cursor.place();
    this.#store(name, { note, since: entry.since }, place);
    entry.saved = JSON.stringify(place);
    entry.note = note;
  }

  forget(name: string): void {
    this.#db.prepare<[string]>('DELETE FROM consumer WHERE name = ?').run(name);
    this.consumers.delete(name);
  }

  /**
   * One transaction: rows, gaps to tell, acknowledgements, trim, quota, sequence. Returns after the fsync. Throws
   * what SQLite or the file system says, with nothing changed.
   */
  commit(rows: readonly NewRow[], gaps: readonly Gap[], now: number): Committed {
    const kept = Math.min(this.#lowestSeq.get() ?? this.nextSeq, this.nextSeq);
    this.#reservation.cover(this.nextSeq + SEQ_MARGIN, { from: this.#committedSeq, kept });
    const places: [Entry, string][] = [];
    let result: Committed;
    let seq = this.nextSeq;
    this.journal.save();
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      const trimmed = this.journal.trim(complement(this.#needed(), this.journal.head));
      const dropped = this.#makeRoom(rows);
      const told = dropped.gaps.reduce(withGap, [...gaps]);
      const stored: StoredRow[] = [];
      for (const row of rows) stored.push(this.journal.insert(row, now));
      if (told.length > 0) {
        stored.push(this.journal.insertGaps(told, seq, now));
        seq += told.length;
      }
      for (const [name, entry] of this.consumers) {
        const place = entry.cursor.place();
        const text = JSON.stringify(place);
        if (text === entry.saved) continue;
        this.#store(name, entry, place);
        places.push([entry, text]);
      }
      this.#saveSeq.run(seq);
      this.#db.exec('COMMIT');
      result = { rows: stored, droppedMessages: dropped.messages, more: trimmed.more };
    } catch (error) {
      this.#rollback();
      throw error;
    }
    for (const [entry, place] of places) entry.saved = place;
    this.nextSeq = seq;
    this.#committedSeq = seq;
    return result;
  }

  /** Takes a row out whose body cannot be read; returns what has to be told. */
  dropBroken(id: number): readonly Gap[] {
    this.journal.save();
    try {
      return this.#db.transaction(() => this.journal.dropBroken(id).gaps).immediate();
    } catch (error) {
      this.journal.restore();
      throw error;
    }
  }

  /** Is anything acknowledged that is not on disk, or a row there that nobody needs? */
  get dirty(): boolean {
    for (const { cursor, saved } of this.consumers.values())
      if (JSON.stringify(cursor.place()) !== saved) return true;
    return false;
  }

  /** Copies the log back, so that it can be used again from its start. A failure costs nothing: the log stays. */
  checkpoint(): void {
    try {
      this.#db.pragma('wal_checkpoint(TRUNCATE)');
    } catch (error) {
      if (!isTrouble(error)) throw error;
    }
  }

  close(): void {
    this.checkpoint();
    this.#db.close();
  }

  #needed(): Range[] {
    let needed: Range[] = [];
    const add = (range: Range): void => {
      needed = withRange(needed, range);
    };
    for (const { cursor } of this.consumers.values()) cursor.needs().forEach(add);
    if (this.#lossRow !== undefined) add([this.#lossRow - 1, this.#lossRow]);
    return needed;
  }

  #makeRoom(rows: readonly NewRow[]): { messages: number; gaps: readonly Gap[] } {
    const incoming = rows.reduce((sum, { body }) => sum + pagesOf(body.length), SLACK_BYTES);
    const over = this.journal.usedBytes() + incoming - (this.#limit - walBytes(this.#limit));
    return over > 0 ? this.journal.dropOldest(over, this.#limit) : { messages: 0, gaps: [] };
  }

  #settleSequence(lost: boolean, survivors: Survivors | undefined, now: number): Gap | undefined {
    const stored = this.#db
      .prepare<[], number>("SELECT value FROM meta WHERE key = 'next_seq'")
      .pluck()
      .get();
    const reserved = this.#reservation.load();
    if (survivors !== undefined) {
      this.nextSeq = survivors.nextSeq;
      return { from: reserved?.kept ?? 1, to: survivors.firstWaiting - 1, reason: 'store damaged' };
    }
    this.#committedSeq = stored ?? 0;
    if (stored !== undefined && (reserved === undefined || stored >= reserved.from)) {
      this.nextSeq = stored;
      return undefined;
    }
    if (reserved !== undefined) {
      this.nextSeq = reserved.upto;
      const reason = stored === undefined ? (lost ? 'store damaged' : 'store missing') : 'store restored';
      return { from: stored ?? reserved.kept, to: this.nextSeq - 1, reason };
    }
    if (!lost) return undefined;
    // Nothing is left to go by. No gateway has sent a message per millisecond since 1970.
    this.nextSeq = now;
    return { from: 1, to: now - 1, reason: 'store damaged' };
  }

  #store(name: string, { note, since }: { note: string; since: number }, { ranges, live }: Place): void {
    this.#saveConsumer.run(name, JSON.stringify(ranges), live, note, since);
  }

  #rollback(): void {
    this.journal.restore();
    try {
      if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
    } catch {
      // SQLite has rolled back by itself
    }
  }
}

/**
 * Opens the store. A damaged file is set aside and a new one opened: the start never fails for a buffer. Throws
 * STORE_FAILED where a person has to act, and SQLite's or the file system's own error where the disk is in trouble.
 */
export function openStore(options: StoreOptions, survivors?: Survivors): Store {
  const { file, limit, log } = options;
  const reservation = new Reservation(file.replace(/(\.db)?$/, '.seq'));
  for (let lost = survivors !== undefined; ; lost = true) {
    let db: Database | undefined;
    try {
      db = openForWriting(file, limit);
      prepareSchema(db);
      const store = new Store(db, limit, reservation);
      store.load(lost, survivors, Date.now());
      return store;
    } catch (error) {
      db?.close();
      if (!isDamage(error)) throw error;
      log.error('the outbox database is damaged; set aside, a new one is opened', {
        file,
        aside: setAside(file, new Date()),
        found: error instanceof Error ? error.message : String(error),
      });
    }
  }
}

/** What cannot be understood counts as not delivered: duplicates are allowed, loss is not. */
function rangesFrom(text: string, live: number): Range[] {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return [[0, live]];
  }
  if (!Array.isArray(found)) return [[0, live]];
  return found.map((pair: unknown) => (Array.isArray(pair) ? [Number(pair[0]), Number(pair[1])] : [0, live]));
}
