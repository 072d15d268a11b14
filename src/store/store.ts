import type { Log } from '../core/log.ts';
import type { Needs } from './cursor.ts';
import { setAside } from './damage.ts';
import { type Gap, withGap } from './gaps.ts';
import { StoreFile, finishMove } from './file.ts';
import { type Dropped, Journal, type NewRow, type StoredRow, pagesOf } from './journal.ts';
import { type LogRow, LogTable } from './log-table.ts';
import {
  type Database,
  assertDurable,
  isDamage,
  isFull,
  isTrouble,
  limitLog,
  openForWriting,
  spareBytes,
  walBytes,
} from './open.ts';
import { type Entry, Places } from './places.ts';
import { union } from './ranges.ts';
import { Reservation } from './reservation.ts';
import { prepareSchema } from './schema.ts';
import type { RecordedPoint } from './series.ts';
import { SpareRoom } from './spare.ts';

export interface StoreOptions {
  readonly file: string;
  /** What the outbox may take, with the write-ahead log and the spare room, in bytes. */
  readonly limit: number;
  /** What the sample log may take beside it. */
  readonly sampleLog?: number;
  readonly points?: readonly RecordedPoint[];
  readonly log: Log;
}

/** What a store goes on with that takes the place of another one of this run. */
export interface Earlier {
  readonly seriesOf?: Uint32Array<ArrayBuffer>;
  /** The file is a copy of that of the other one. */
  readonly copied?: boolean;
  readonly survivors?: Survivors;
}

/** What one transaction writes. */
export interface Content {
  readonly rows: readonly NewRow[];
  readonly log: readonly LogRow[];
  readonly gaps: readonly Gap[];
}

export interface Committed {
  readonly rows: readonly StoredRow[];
  readonly droppedMessages: number;
  /** The trim was cut short; another commit should follow soon. */
  readonly more: boolean;
  /** What the rows take in the file, in bytes. */
  readonly added: number;
  /** What rows took that nobody needed any more. */
  readonly delivered: number;
  /** What the outbox may still take. */
  readonly room: number;
}

/** What survives the file itself when it is found damaged while running. */
export interface Survivors {
  readonly nextSeq: number;
  readonly firstWaiting: number;
  /** Rows of the new file count on from here: an acknowledgement of an old row must not meet a new one. */
  readonly head: number;
  /** The same of the sample log: what the history says of rows of the old one must not meet new ones. */
  readonly logHead: number;
  readonly consumers: ReadonlyMap<string, Entry>;
}

interface Beside {
  readonly earlier: Earlier;
  readonly reservation: Reservation;
  readonly spare: SpareRoom;
}

const SLACK_BYTES = 65_536; // tree pages, cursors, a gap row
/** What a limit that was lowered makes a single commit drop. */
const DROP_AT_ONCE_BYTES = 67_108_864;
const SEQ_MARGIN = 300; // gap messages that a commit may add to the numbers already given

/** The database with its side file: journal, consumers, sequence, sample log. One thread, one connection. */
export class Store {
  readonly journal: Journal;
  readonly places: Places;
  readonly samples: LogTable;
  readonly file: StoreFile;
  nextSeq = 1;
  /** For the reservation: see `Reserved`. */
  #onDisk = { from: 1, kept: 1 };
  readonly #db: Database;
  readonly #sampleLog: number;
  #limit: number;
  readonly #reservation: Reservation;
  readonly #spare: SpareRoom;
  /** Tells every consumer of this run that an older file was lost; kept until the next start. */
  #lossRow: number | undefined;
  /** The log was copied back for want of room, and nothing was committed since: doing it again would gain nothing. */
  #copiedBack = false;
  readonly #saveSeq;
  readonly #lowestSeq;

  constructor(db: Database, options: StoreOptions, { earlier, reservation, spare }: Beside) {
    const { limit, sampleLog = 0, points = [] } = options;
    this.#db = db;
    this.#spare = spare;
    this.#limit = limit;
    this.#sampleLog = sampleLog;
    this.#reservation = reservation;
    this.file = new StoreFile(db);
    this.journal = new Journal(db);
    this.places = new Places(db);
    const { seriesOf: given, copied: started = false } = earlier;
    this.samples = new LogTable(db, points, { given, started });
    this.#saveSeq = db.prepare<[number]>("INSERT OR REPLACE INTO meta(key, value) VALUES('next_seq', ?)");
    this.#lowestSeq = db.prepare<[], number>('SELECT first_seq FROM journal ORDER BY id LIMIT 1').pluck();
  }

  /** Reads what is on disk and settles the sequence; `lost` says that the file before this one was set aside. */
  load(lost: boolean, survivors: Survivors | undefined, now: number): void {
    this.journal.load();
    this.samples.load();
    this.places.load();
    if (survivors !== undefined) this.#take(survivors);
    const gap = this.#settleSequence(lost, survivors, now);
    try {
      this.commit({ rows: [], log: [], gaps: gap === undefined ? [] : [gap] }, now);
    } catch (error) {
      // What is on disk can be delivered, and what comes is bounded, although the disk takes nothing at the moment.
      if (gap !== undefined || !isTrouble(error) || isDamage(error)) throw error;
    }
    if (gap !== undefined) this.#lossRow = this.journal.head;
  }

  /** On disk with the next commit. */
  addConsumer(name: string, note: string, since: number): void {
    const loss = this.#lossRow;
    const live = this.journal.head;
    this.places.add(name, { note, since, live, events: loss === undefined ? [] : [[loss - 1, loss]] });
  }

  /**
   * One transaction: rows, samples, gaps to tell, acknowledgements, trim, quota, sequence. Returns after the fsync.
   * Throws what SQLite or the file system says, with nothing changed.
   */
  commit({ rows, log, gaps }: Content, now: number): Committed {
    const { from, kept } = this.#onDisk;
    const lowest = Math.min(this.#lowestSeq.get() ?? kept, kept);
    this.#reservation.cover(this.nextSeq + SEQ_MARGIN, { from, kept: lowest });
    let result: Committed;
    let seq = this.nextSeq;
    this.journal.save();
    this.samples.save();
    try {
      this.#db.exec('BEGIN IMMEDIATE');
      const trimmed = this.journal.trim(this.#needed());
      const filed = this.samples.trim();
      const dropped = this.#makeRoom(rows);
      const told = dropped.gaps.reduce(withGap, [...gaps]);
      const left = this.journal.taken;
      const stored: StoredRow[] = [];
      for (const row of rows) stored.push(this.journal.insert(row, now));
      if (told.length > 0) {
        stored.push(this.journal.insertGaps(told, seq, now));
        seq += told.length;
      }
      this.samples.write(log, now);
      this.places.write();
      this.#saveSeq.run(seq);
      const { room } = this;
      this.#db.exec('COMMIT');
      result = {
        room,
        rows: stored,
        droppedMessages: dropped.messages,
        more: trimmed.more || filed.more || dropped.more,
        added: this.journal.taken - left,
        delivered: trimmed.bytes,
      };
    } catch (error) {
      this.#rollback();
      throw error;
    }
    this.samples.committed();
    this.places.committed();
    this.#copiedBack = false;
    this.nextSeq = seq;
    this.#onDisk = { from: seq, kept: seq };
    if (this.file.written()) assertDurable(this.#db); // only after the first write SQLite has settled what it does
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

  /** Is anything of the consumers or of the run not on disk yet? */
  get dirty(): boolean {
    return this.samples.dirty || this.places.dirty;
  }

  /** What telemetry and events may still take before the oldest goes. */
  get room(): number {
    const outbox = this.file.usedBytes - Math.min(this.samples.taken, this.#sampleLog);
    return this.#limit - walBytes(this.#limit) - spareBytes(this.#limit) - outbox;
  }

  /** What the outbox may take from now on; the excess goes with the next commits. */
  get limit(): number {
    return this.#limit;
  }

  set limit(limit: number) {
    this.#limit = limit;
    limitLog(this.#db, limit);
    this.#spare.want(spareBytes(limit));
    this.#spare.take();
  }

  /** The write-ahead log is twice as long as it should ever be. */
  get logTooLong(): boolean {
    return this.file.logBytes > 2 * walBytes(this.#limit);
  }

  /**
   * Gives the spare room up, for a full disk: where something was delivered, whose place is then used again, or for the
   * moment that it takes to copy a long log back, which cannot be done without room and gives all of it back. Never
   * for new samples that nobody takes: they would soon fill the spare room too. False where nothing was gained.
   */
  useSpareRoom(): boolean {
    const delivered = this.journal.trimmable(this.#needed());
    if (!delivered && (this.#copiedBack || this.file.logBytes <= SLACK_BYTES)) return false;
    const released = this.#spare.release();
    if (released === 0) return false;
    const copied = this.file.checkpoint();
    if (delivered) return true;
    this.#copiedBack = true;
    this.#spare.restore(released);
    return copied;
  }

  /** Goes on where `before`, of which this is a copy, stopped. */
  continueFrom(before: Store): void {
    this.nextSeq = before.nextSeq;
    this.places.continueFrom(before.places);
    this.samples.continueFrom(before.samples);
  }

  get hasSpareRoom(): boolean {
    return this.#spare.complete;
  }

  takeSpareRoom(): void {
    this.#spare.take();
  }

  close(): void {
    if (!this.file.open) return;
    this.file.checkpoint();
    this.#db.close();
  }

  #take({ consumers, head, logHead }: Survivors): void {
    this.journal.continueAfter(head);
    this.samples.jump(logHead);
    for (const [name, { note, since }] of consumers)
      this.places.add(name, { note, since, live: head, events: [] });
  }

  #needed(): Needs {
    const needed = this.places.needed();
    const loss = this.#lossRow;
    if (loss === undefined) return needed;
    return { ...needed, events: union([[loss - 1, loss], ...needed.events]) };
  }

  #makeRoom(rows: readonly NewRow[]): { messages: number; gaps: readonly Gap[]; more: boolean } {
    const incoming = rows.reduce((sum, { body }) => sum + pagesOf(body.length), SLACK_BYTES);
    const over = incoming - this.room;
    if (over <= 0) return { messages: 0, gaps: [], more: false };
    const most = incoming + DROP_AT_ONCE_BYTES;
    return { ...this.journal.dropOldest(Math.min(over, most), this.#limit), more: over > most };
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
      if (stored !== undefined) this.samples.jump();
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
    this.samples.restore();
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
export function openStore(options: StoreOptions, earlier: Earlier = {}): Store {
  const { file, limit, log } = options;
  const { survivors } = earlier;
  const reservation = new Reservation(file.replace(/(\.db)?$/, '.seq'));
  const spare = new SpareRoom(file.replace(/(\.db)?$/, '.spare'), spareBytes(limit));
  for (let lost = survivors !== undefined; ; lost = true) {
    let db: Database | undefined;
    try {
      finishMove(file);
      db = openForWriting(file, limit);
      prepare(db, spare);
      const store = new Store(db, options, { earlier, reservation, spare });
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

/** An older file grows a little; on a full disk in the place of the spare room. */
function prepare(db: Database, spare: SpareRoom): void {
  try {
    prepareSchema(db);
  } catch (error) {
    if (!isFull(error) || spare.release() === 0) throw error;
    prepareSchema(db);
  }
}
