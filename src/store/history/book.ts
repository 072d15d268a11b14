import { existsSync } from 'node:fs';
import { errorText } from '../../core/errors.ts';
import type { Tier } from '../../core/history.ts';
import type { Log } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import { type Bytes, type Duration, type EpochMs, days, epochMs, mebibytes } from '../../core/units.ts';
import type { Outage } from '../../telemetry/sample-log.ts';
import { setAside } from '../damage.ts';
import {
  type Database,
  assertDurable,
  copiedBack,
  damaged,
  isDamage,
  openForReading,
  openForWriting,
} from '../open.ts';
import { StoreFile } from '../file.ts';
import { BOOK_TABLES, BOOK_VERSION } from './book-schema.ts';
import { checkTables } from './check-tables.ts';
import { makeInPlace, refuseNewer } from './make-file.ts';
import { RecordedSets } from './recorded.ts';

/** A row of the sample log: entries that came with it are taken once, however often it is replayed. */
export interface LogRow {
  readonly log: number;
  readonly row: number;
}

/** From a start of the gateway to the last time that it is known to have run, or as far as its clock did not jump. */
export interface Run {
  readonly id: number;
  readonly started: EpochMs;
  /** The last sign of life; the end where it was an orderly one. */
  readonly ended: EpochMs;
}

/** A file that was given up. */
export interface DroppedFile {
  readonly tier: Tier;
  /** Relative to `gateway.data`. */
  readonly file: string;
  /** What it covered. */
  readonly from: EpochMs;
  readonly to: EpochMs;
  readonly time: EpochMs;
  readonly reason: 'retention' | 'quota' | 'disk full' | 'damaged';
  readonly bytes: Bytes;
}

export interface BookOptions {
  /** `history.db` below `gateway.data`. */
  readonly file: string;
  readonly log: Log;
  /** Where raw is complete from, for a new book beside files that are there: the end of the newest hour of minutes. */
  readonly floor: () => EpochMs | undefined;
}

const KEPT_RAW = 'floor:age';
const PAGE_BYTES = 4096;
const LIMIT = mebibytes(4);
/** A sign of life that is further away than this belongs to another setting of the clock. */
const JUMP = days(1);
/** What a gateway that crashes every few seconds for a week leaves behind; the oldest go. */
const MAX_ENTRIES = 100_000;

interface StoredRun extends Run {
  readonly log: number;
  readonly row: number;
  readonly recorded: number;
}

/** The history's own memory, `history.db`: what was recorded when, and what was given up. Every change is one commit. */
export class Book {
  /** Where a damaged file was set aside when this one was opened. */
  readonly aside: string | undefined;
  readonly stored: StoreFile;
  readonly #db: Database;
  readonly #sets: RecordedSets;
  readonly #recorded: ReturnType<typeof recordedStatement>;
  /** By run. */
  readonly #setOf = new Map<number, number>();

  constructor(db: Database, aside?: string) {
    this.#db = db;
    this.aside = aside;
    this.stored = new StoreFile(db);
    this.#sets = new RecordedSets(db);
    this.#recorded = recordedStatement(db);
  }

  /** Raw is complete from here on: older samples are in the rollups, wherever they are now. */
  get floor(): EpochMs | undefined {
    const floors = [this.floorOfDropped ?? 0, this.value(KEPT_RAW) ?? 0];
    const floor = Math.max(...floors);
    return floor === 0 ? undefined : epochMs(floor);
  }

  /** Of files that were given up; it only ever rises. */
  get floorOfDropped(): EpochMs | undefined {
    const floor = this.value('floor');
    return floor === undefined ? undefined : epochMs(floor);
  }

  /** Raw keeps nothing older for its age, as the clock is believed now: it may fall again with the clock. */
  keepRawFrom(time: EpochMs): void {
    if (time !== (this.value(KEPT_RAW) ?? 0)) this.setValue(KEPT_RAW, time);
  }

  raiseFloor(floor: EpochMs): void {
    const before = this.floorOfDropped;
    if (before === undefined || floor > before) this.setValue('floor', floor);
  }

  value(key: string): number | undefined {
    return this.#db.prepare<[string], number>('SELECT value FROM meta WHERE key = ?').pluck().get(key);
  }

  setValues(values: Iterable<readonly [key: string, value: number]>): void {
    this.#change(() => {
      for (const [key, value] of values) this.setValue(key, value);
    });
  }

  setValue(key: string, value: number): void {
    this.#db
      .prepare<[string, number]>('INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)')
      .run(key, value);
  }

  /** The gateway started, and set out to record these series. */
  beginRun(
    at: LogRow,
    time: EpochMs,
    recorded: Iterable<readonly [name: PointName, period: Duration]>,
  ): void {
    this.#change(() => {
      const known = this.#db
        .prepare<[number, number]>('SELECT 1 FROM run WHERE log = ? AND row = ?')
        .get(at.log, at.row);
      if (known === undefined) this.#addRun({ ...at, started: time, recorded: this.#sets.idOf(recorded) });
    });
  }

  /**
   * A sign of life of the run that this row of the log belongs to, or else of the latest. Where the clock jumped, the
   * time in between is not part of it; that it stepped back is told from an old sign by the row only.
   */
  alive(time: EpochMs, at?: LogRow): void {
    this.#change(() => {
      const latest = this.#latest(at);
      if (latest === undefined) return;
      const near = this.#db
        .prepare<[number, number, number, number], number>(
          `SELECT id FROM run WHERE log = ? AND row = ? AND started <= ? AND ended >= ? ORDER BY id DESC LIMIT 1`,
        )
        .pluck()
        .get(latest.log, latest.row, time, time - JUMP);
      if (near !== undefined)
        this.#db
          .prepare<[number, number]>('UPDATE run SET ended = max(ended, ?) WHERE id = ?')
          .run(time, near);
      else if (time > latest.ended || (at !== undefined && time < latest.started - JUMP))
        this.#addRun({ ...latest, started: time });
    });
  }

  addOutage(at: LogRow, { from, to, samples, reason }: Outage): void {
    this.#change(() => {
      const { changes, lastInsertRowid } = this.#db
        .prepare<[number, number, number, number, number, string]>(
          'INSERT OR IGNORE INTO outage(log, row, since, until, samples, reason) VALUES (?, ?, ?, ?, ?, ?)',
        )
        .run(at.log, at.row, from, to, samples, reason);
      if (changes > 0) this.#forgetBeyond('outage', Number(lastInsertRowid));
    });
  }

  addDropped({ tier, file, from, to, time, reason, bytes }: DroppedFile): void {
    this.#change(() => {
      const { lastInsertRowid } = this.#db
        .prepare<[string, string, number, number, number, string, number]>(
          'INSERT INTO dropped(tier, file, since, until, time, reason, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)',
        )
        .run(tier, file, from, to, time, reason, bytes);
      this.#forgetBeyond('dropped', Number(lastInsertRowid));
    });
  }

  /** Entries that overlap [from, to), in time order; a run also where it only began or ended there. */
  runs(from: EpochMs, to: EpochMs): readonly Run[] {
    return this.#db
      .prepare<[number, number], Run>(
        'SELECT id, started, ended FROM run WHERE started < ? AND ended >= ? ORDER BY started, id',
      )
      .all(to, from);
  }

  outages(from: EpochMs, to: EpochMs): readonly Outage[] {
    return this.#db
      .prepare<[number, number], Outage>(
        `SELECT since AS "from", until AS "to", samples, reason FROM outage WHERE since < ? AND until >= ?
         ORDER BY since, id`,
      )
      .all(to, from);
  }

  drops(from: EpochMs, to: EpochMs): readonly DroppedFile[] {
    return this.#db
      .prepare<[number, number], DroppedFile>(
        `SELECT tier, file, since AS "from", until AS "to", time, reason, bytes FROM dropped
         WHERE since < ? AND until > ? ORDER BY since, id`,
      )
      .all(to, from);
  }

  /** How often the run set out to record this series; undefined where it did not. */
  period(run: number, name: PointName): Duration | undefined {
    const set = this.#setOf.get(run) ?? this.#recorded.get(run);
    if (set === undefined) return undefined;
    this.#setOf.set(run, set);
    return this.#sets.period(set, name);
  }

  /** What ended before is older than everything that is kept. */
  forget(before: EpochMs): void {
    this.#change(() => {
      this.#db
        .prepare<[number]>('DELETE FROM run WHERE ended < ? AND id < (SELECT max(id) FROM run)')
        .run(before);
      this.#db.prepare<[number]>('DELETE FROM outage WHERE until < ?').run(before);
      this.#db
        .prepare<[number, number]>('DELETE FROM dropped WHERE until < ? OR time < ?')
        .run(before, before);
      this.#sets.forgetUnused();
    });
  }

  /** Somebody reads it for so long that its log grows. */
  get heldUp(): boolean {
    return this.stored.heldUp(LIMIT);
  }

  /** The log takes no more room, where that is possible. */
  copyBack(): void {
    copiedBack(this.#db);
  }

  close(): void {
    this.#db.close();
  }

  #latest(at: LogRow | undefined): StoredRun | undefined {
    const columns = 'SELECT id, log, row, started, ended, recorded FROM run';
    if (at === undefined) return this.#db.prepare<[], StoredRun>(`${columns} ORDER BY id DESC LIMIT 1`).get();
    return this.#db
      .prepare<[number, number], StoredRun>(
        `${columns} WHERE log = ? AND row <= ? ORDER BY row DESC, id DESC LIMIT 1`,
      )
      .get(at.log, at.row);
  }

  #addRun({ log, row, started, recorded }: Omit<StoredRun, 'id' | 'ended'>): void {
    const { lastInsertRowid } = this.#db
      .prepare<[number, number, number, number, number]>(
        'INSERT INTO run(log, row, started, ended, recorded) VALUES (?, ?, ?, ?, ?)',
      )
      .run(log, row, started, started, recorded);
    this.#forgetBeyond('run', Number(lastInsertRowid));
  }

  #forgetBeyond(table: 'run' | 'outage' | 'dropped', newest: number): void {
    this.#db.prepare<[number]>(`DELETE FROM ${table} WHERE id <= ?`).run(newest - MAX_ENTRIES);
  }

  #change(act: () => void): void {
    this.#db.transaction(act).immediate();
  }
}

function recordedStatement(db: Database) {
  return db.prepare<[number], number>('SELECT recorded FROM run WHERE id = ?').pluck();
}

/** Never fails for a damaged file: it is set aside. Refuses a file of a newer Sluice with STORE_FAILED. */
export function openBook({ file, log, floor }: BookOptions): Book {
  try {
    return opened(file, floor);
  } catch (error) {
    if (!isDamage(error)) throw error;
    const aside = setAside(file, new Date());
    const facts = { file, aside, found: errorText(error) };
    log.error('the book of the history is damaged; set aside, a new one is begun', facts);
    return opened(file, floor, aside);
  }
}

function opened(file: string, floor: () => EpochMs | undefined, aside?: string): Book {
  const isNew = !existsSync(file);
  makeInPlace(file, PAGE_BYTES, (db) => db.transaction(() => db.exec(BOOK_TABLES))());
  refuseNewer(file, BOOK_VERSION);
  const db = openForWriting(file, LIMIT);
  try {
    checkTables(db, BOOK_VERSION, 'run');
    // It is small, and what is wrong with it shall not come out in the middle of a night.
    if (db.pragma('quick_check(1)', { simple: true }) !== 'ok') throw damaged(`${file} is damaged`);
    const book = new Book(db, aside);
    const lowest = isNew ? floor() : undefined;
    if (lowest !== undefined) book.raiseFloor(lowest);
    book.setValue('version', BOOK_VERSION);
    assertDurable(db);
    return book;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** For another process; undefined where there is none. */
export function openBookForReading(file: string): Book | undefined {
  if (!existsSync(file)) return undefined;
  refuseNewer(file, BOOK_VERSION);
  const db = openForReading(file);
  try {
    checkTables(db, BOOK_VERSION, 'run');
    return new Book(db);
  } catch (error) {
    db.close();
    throw error;
  }
}
