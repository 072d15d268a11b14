import { closeSync, fsyncSync, openSync, renameSync, rmSync, statSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Log } from '../core/log.ts';
import { Cursor, type Needs } from './cursor.ts';
import { setAside } from './damage.ts';
import { type Gap, withGap } from './gaps.ts';
import { type Dropped, Journal, type NewRow, type StoredRow, pagesOf } from './journal.ts';
import {
  type Database,
  assertDurable,
  isDamage,
  isTrouble,
  openForWriting,
  spareBytes,
  walBytes,
} from './open.ts';
import { type Range, union } from './ranges.ts';
import { Reservation } from './reservation.ts';
import { prepareSchema } from './schema.ts';
import { SpareRoom } from './spare.ts';

export interface StoreOptions {
  readonly file: string;
  /** File, log and spare room together, in bytes. */
  readonly limit: number;
  readonly log: Log;
}

export interface Entry {
  note: string;
  readonly since: number;
  readonly cursor: Cursor;
  /** Place and note as they are on disk, as one text. */
  saved: string;
}

interface StoredConsumer {
  readonly name: string;
  readonly ranges: string;
  readonly events: string;
  readonly live: number;
  readonly note: string;
  readonly since: number;
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
  /** Rows of the new file count on from here: an acknowledgement of an old row must not meet a new one. */
  readonly head: number;
  readonly consumers: ReadonlyMap<string, Entry>;
}

const SLACK_BYTES = 65_536; // tree pages, cursors, a gap row
const SEQ_MARGIN = 300; // gap messages that a commit may add to the numbers already given

/** The database with its side file: journal, consumers, sequence. One thread, one connection. */
export class Store {
  readonly consumers = new Map<string, Entry>();
  readonly journal: Journal;
  nextSeq = 1;
  /** For the reservation: see `Reserved`. */
  #onDisk = { from: 1, kept: 1 };
  readonly #db: Database;
  readonly #limit: number;
  readonly #reservation: Reservation;
  readonly #spare: SpareRoom;
  /** Tells every consumer of this run that an older file was lost; kept until the next start. */
  #lossRow: number | undefined;
  /** What is open, since the first write. */
  #files: readonly { readonly path: string; readonly inode: number | undefined }[] | undefined;
  /** The log was copied back for want of room, and nothing was committed since: doing it again would gain nothing. */
  #copiedBack = false;
  readonly #forgotten = new Set<string>();
  readonly #saveConsumer;
  readonly #deleteConsumer;
  readonly #saveSeq;
  readonly #lowestSeq;

  constructor(db: Database, limit: number, reservation: Reservation, spare: SpareRoom) {
    this.#db = db;
    this.#spare = spare;
    this.#limit = limit;
    this.#reservation = reservation;
    this.journal = new Journal(db);
    this.#saveConsumer = db.prepare<[string, string, string, number, string, number]>(
      'INSERT OR REPLACE INTO consumer(name, ranges, events, live, note, since) VALUES(?,?,?,?,?,?)',
    );
    this.#deleteConsumer = db.prepare<[string]>('DELETE FROM consumer WHERE name = ?');
    this.#saveSeq = db.prepare<[number]>("INSERT OR REPLACE INTO meta(key, value) VALUES('next_seq', ?)");
    this.#lowestSeq = db.prepare<[], number>('SELECT first_seq FROM journal ORDER BY id LIMIT 1').pluck();
  }

  /** Reads what is on disk and settles the sequence; `lost` says that the file before this one was set aside. */
  load(lost: boolean, survivors: Survivors | undefined, now: number): void {
    this.journal.load();
    const rows = this.#db
      .prepare<[], StoredConsumer>('SELECT name, ranges, events, live, note, since FROM consumer')
      .all();
    for (const { name, ranges, events, live, note, since } of rows) {
      const place = { history: rangesFrom(ranges, live), events: rangesFrom(events, live), live };
      const cursor = new Cursor(place);
      const entry = { note, since, cursor, saved: '' };
      entry.saved = placeText(entry);
      this.consumers.set(name, entry);
    }
    if (survivors !== undefined) this.#take(survivors);
    const gap = this.#settleSequence(lost, survivors, now);
    try {
      this.commit([], gap === undefined ? [] : [gap], now);
    } catch (error) {
      // What is on disk can be delivered, and what comes is bounded, although the disk takes nothing at the moment.
      if (gap !== undefined || !isTrouble(error) || isDamage(error)) throw error;
    }
    if (gap !== undefined) this.#lossRow = this.journal.head;
  }

  /** On disk with the next commit. */
  addConsumer(name: string, note: string, now: number): Entry {
    const loss = this.#lossRow;
    const events: Range[] = loss === undefined ? [] : [[loss - 1, loss]];
    const cursor = new Cursor({ history: [], events, live: this.journal.head });
    const entry = { note, since: now, cursor, saved: '' };
    this.consumers.set(name, entry);
    this.#forgotten.delete(name);
    return entry;
  }

  /** On disk with the next commit. */
  forget(name: string): void {
    if (this.consumers.delete(name)) this.#forgotten.add(name);
  }

  /**
   * One transaction: rows, gaps to tell, acknowledgements, trim, quota, sequence. Returns after the fsync. Throws
   * what SQLite or the file system says, with nothing changed.
   */
  commit(rows: readonly NewRow[], gaps: readonly Gap[], now: number): Committed {
    const { from, kept } = this.#onDisk;
    const lowest = Math.min(this.#lowestSeq.get() ?? kept, kept);
    this.#reservation.cover(this.nextSeq + SEQ_MARGIN, { from, kept: lowest });
    const places: [Entry, string][] = [];
    let result: Committed;
    let seq = this.nextSeq;
    this.journal.save();
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      const trimmed = this.journal.trim(this.#needed());
      const dropped = this.#makeRoom(rows);
      const told = dropped.gaps.reduce(withGap, [...gaps]);
      const stored: StoredRow[] = [];
      for (const row of rows) stored.push(this.journal.insert(row, now));
      if (told.length > 0) {
        stored.push(this.journal.insertGaps(told, seq, now));
        seq += told.length;
      }
      for (const [name, entry] of this.consumers) {
        const text = placeText(entry);
        if (text === entry.saved) continue;
        const { history, events, live } = entry.cursor.place();
        const waiting = [JSON.stringify(history), JSON.stringify(events)] as const;
        this.#saveConsumer.run(name, ...waiting, live, entry.note, entry.since);
        places.push([entry, text]);
      }
      for (const name of this.#forgotten) this.#deleteConsumer.run(name);
      this.#saveSeq.run(seq);
      this.#db.exec('COMMIT');
      result = { rows: stored, droppedMessages: dropped.messages, more: trimmed.more };
    } catch (error) {
      this.#rollback();
      throw error;
    }
    for (const [entry, place] of places) entry.saved = place;
    this.#forgotten.clear();
    this.#copiedBack = false;
    this.nextSeq = seq;
    this.#onDisk = { from: seq, kept: seq };
    if (this.#files === undefined) {
      assertDurable(this.#db); // only after the first write SQLite has settled what it does
      this.#files = [this.#db.name, `${this.#db.name}-wal`].map((path) => ({ path, inode: inodeOf(path) }));
    }
    return result;
  }

  /** Takes a row out whose body cannot be read; returns what has to be told. */
  dropBroken(id: number): Dropped {
    this.journal.save();
    try {
      return this.#db.transaction(() => this.journal.dropBroken(id)).immediate();
    } catch (error) {
      this.journal.restore();
      throw error;
    }
  }

  /** Is anything of the consumers not on disk yet? */
  get dirty(): boolean {
    if (this.#forgotten.size > 0) return true;
    for (const entry of this.consumers.values()) if (placeText(entry) !== entry.saved) return true;
    return false;
  }

  /**
   * Copies the log back, so that it can be used again from its start. False where that is not possible, which costs
   * nothing: the log stays.
   */
  checkpoint(): boolean {
    try {
      return this.#db.pragma('wal_checkpoint(TRUNCATE)', { simple: true }) === 0; // the first column: busy
    } catch (error) {
      if (!isTrouble(error)) throw error;
      return false;
    }
  }

  /**
   * Gives the spare room up, for a full disk: where something was delivered, whose place is then used again, or for the
   * moment that it takes to copy a long log back, which cannot be done without room and gives all of it back. Never
   * for new samples that nobody takes: they would soon fill the spare room too. False where nothing was gained.
   */
  useSpareRoom(): boolean {
    const delivered = this.journal.trimmable(this.#needed());
    if (!delivered && (this.#copiedBack || sizeOf(`${this.#db.name}-wal`) <= SLACK_BYTES)) return false;
    const released = this.#spare.release();
    if (released === 0) return false;
    const copied = this.checkpoint();
    if (delivered) return true;
    this.#copiedBack = true;
    this.#spare.restore(released);
    return copied;
  }

  /** Somebody took the open files out of the folder: a restart would find nothing of what is in them. */
  get removed(): boolean {
    return this.#files?.some(({ path, inode }) => inodeOf(path) !== inode) ?? false;
  }

  /** Writes everything into a new file in its place, and closes. Another file that lies there is set aside. */
  putBack(): void {
    const { name } = this.#db;
    const copy = `${name}.new`;
    rmSync(copy, { force: true });
    this.#db.prepare<[string]>('VACUUM INTO ?').run(copy);
    syncFile(copy);
    const found = inodeOf(name);
    if (found !== undefined && found !== this.#files?.[0]?.inode) setAside(name, new Date());
    // A log that stayed behind belongs to the old file; replayed into the new one it would destroy it.
    for (const path of [`${name}-wal`, `${name}-shm`]) rmSync(path, { force: true });
    renameSync(copy, name);
    syncFile(dirname(name));
    this.#db.close();
  }

  /** Goes on where `before`, of which this is a copy, stopped. */
  continueFrom(before: Store): void {
    this.nextSeq = before.nextSeq;
    for (const [name, entry] of before.consumers) this.consumers.set(name, entry);
    for (const name of this.consumers.keys()) if (!before.consumers.has(name)) this.forget(name);
  }

  get hasSpareRoom(): boolean {
    return this.#spare.complete;
  }

  takeSpareRoom(): void {
    this.#spare.take();
  }

  close(): void {
    this.checkpoint();
    this.#db.close();
  }

  #take({ consumers, head }: Survivors): void {
    this.journal.continueAfter(head);
    for (const [name, { note, since }] of consumers)
      this.consumers.set(name, {
        note,
        since,
        cursor: new Cursor({ history: [], events: [], live: head }),
        saved: '',
      });
  }

  #needed(): Needs {
    const all = [...this.consumers.values()].map(({ cursor }) => cursor.needs());
    const loss: Range[] = this.#lossRow === undefined ? [] : [[this.#lossRow - 1, this.#lossRow]];
    return {
      telemetry: union(all.flatMap(({ telemetry }) => telemetry)),
      events: union([...loss, ...all.flatMap(({ events }) => events)]),
    };
  }

  #makeRoom(rows: readonly NewRow[]): { messages: number; gaps: readonly Gap[] } {
    const incoming = rows.reduce((sum, { body }) => sum + pagesOf(body.length), SLACK_BYTES);
    const over =
      this.journal.usedBytes() + incoming - (this.#limit - walBytes(this.#limit) - spareBytes(this.#limit));
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
      this.#onDisk = reserved ?? this.#onDisk;
      const gap = { from: this.#onDisk.kept, to: survivors.firstWaiting - 1, reason: 'store damaged' };
      return gap.to < gap.from ? undefined : gap;
    }
    if (stored !== undefined && (reserved === undefined || stored >= reserved.from)) {
      this.nextSeq = stored;
      this.#onDisk = { from: stored, kept: stored };
      return undefined;
    }
    if (reserved !== undefined) {
      this.nextSeq = reserved.upto;
      this.#onDisk = { from: reserved.from, kept: stored ?? reserved.kept };
      const reason = stored === undefined ? (lost ? 'store damaged' : 'store missing') : 'store restored';
      return { from: this.#onDisk.kept, to: this.nextSeq - 1, reason };
    }
    if (!lost) return undefined;
    // Nothing is left to go by. No gateway has sent a message per millisecond since 1970.
    this.nextSeq = now;
    return { from: 1, to: now - 1, reason: 'store damaged' };
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
  const spare = new SpareRoom(file.replace(/(\.db)?$/, '.spare'), spareBytes(limit));
  for (let lost = survivors !== undefined; ; lost = true) {
    let db: Database | undefined;
    try {
      db = openForWriting(file, limit);
      prepareSchema(db);
      const store = new Store(db, limit, reservation, spare);
      store.load(lost, survivors, Date.now());
      spare.take();
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

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function syncFile(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

function placeText({ cursor, note }: Entry): string {
  return JSON.stringify([cursor.place(), note]);
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
