import { statSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import Sqlite from 'better-sqlite3';
import { SluiceError } from '../core/errors.ts';

export type Database = Sqlite.Database;

const PAGE_BYTES = 4096; // a small commit writes 13 KiB at 4 KiB pages, 37 KiB at 16 KiB pages
const BUSY_MILLISECONDS = 1_000; // a person with a shell on the file may hold a lock for a moment
const READER_CACHE_KIB = 256; // many are open at a time, and the kernel keeps the pages anyway; the default is 2 MiB
const MAX_WAL_PAGES = 4_000;
const MAX_WAL_BYTES = 67_108_864;
const SYNCHRONOUS_FULL = 2;

/** The write-ahead log may take this much beside the database before it is copied back. */
export function walBytes(limit: number): number {
  return Math.min(MAX_WAL_BYTES, Math.floor(limit / 4));
}

/** The log is copied back when it is about this long. */
function checkpointPages(limit: number, pageBytes = PAGE_BYTES): number {
  return Math.min(MAX_WAL_PAGES, Math.max(64, Math.floor(walBytes(limit) / 2 / pageBytes)));
}

/** What copying the log back may need, with a large transaction at its end. */
export function spareBytes(limit: number): number {
  return checkpointPages(limit) * PAGE_BYTES * 1.5;
}

/**
 * Opens the file for writing: WAL with an fsync for every commit. `limit` is what the file and its log may take
 * together. SQLite's own errors come through; `isTrouble` and `isDamage` sort them.
 */
export function openForWriting(file: string, limit: number, pageBytes = PAGE_BYTES): Database {
  try {
    return opened(file, limit, 'NORMAL', pageBytes);
  } catch (error) {
    // A full disk has no room for the index that is shared with other processes. Without it nobody else can read
    // along, but what waits can be delivered.
    if (sqliteCode(error)?.startsWith('SQLITE_IOERR_SHM') !== true) throw error;
    return opened(file, limit, 'EXCLUSIVE', pageBytes);
  }
}

function opened(file: string, limit: number, locking: 'NORMAL' | 'EXCLUSIVE', pageBytes: number): Database {
  const db = new Sqlite(file, { timeout: BUSY_MILLISECONDS });
  try {
    db.pragma(`locking_mode = ${locking}`);
    db.pragma(`page_size = ${pageBytes}`);
    db.pragma('journal_mode = WAL');
    // The binding is compiled so that WAL databases run at NORMAL, which loses acknowledged rows on a power cut.
    db.pragma('synchronous = FULL');
    limitLog(db, limit, pageBytes);
    db.pragma('user_version'); // the first that needs the index: where there is no room for it that is met here
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

/** Loads what is loaded with the first database: a process that gives up rights may not be able to any more. */
export function loadSqlite(): void {
  new Sqlite(':memory:').close();
}

/** A new file, complete and on the disk when this returns. It is one without a log: `openForWriting` gives it one. */
export function makeDatabase(file: string, pageBytes: number, make: (db: Database) => void): void {
  const db = new Sqlite(file);
  try {
    db.pragma(`page_size = ${pageBytes}`);
    db.pragma('synchronous = FULL');
    make(db);
  } finally {
    db.close();
  }
}

/**
 * Opens the file for reading, beside whoever writes it. Throws where there is none. A transaction that a power cut left
 * half done, as at the moment of sealing, has to be rolled back before anybody can read, and only who may write can.
 */
export function openForReading(file: string): Database {
  try {
    return openedForReading(file);
  } catch (error) {
    if (sqliteCode(error) !== 'SQLITE_READONLY_ROLLBACK') throw error;
    rollBack(file);
    return openedForReading(file);
  }
}

function openedForReading(file: string): Database {
  const db = new Sqlite(file, { readonly: true, fileMustExist: true, timeout: BUSY_MILLISECONDS });
  try {
    db.pragma(`cache_size = -${READER_CACHE_KIB}`);
    db.pragma('temp_store = MEMORY'); // what is sorted for an answer needs no room on a disk
    db.pragma('user_version'); // the first that reads the file
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

function rollBack(file: string): void {
  const db = new Sqlite(file, { fileMustExist: true, timeout: BUSY_MILLISECONDS });
  try {
    db.pragma('user_version');
  } finally {
    db.close();
  }
}

/** The log is kept as short as a file of this limit has it. */
export function limitLog(db: Database, limit: number, pageBytes = PAGE_BYTES): void {
  db.pragma(`wal_autocheckpoint = ${checkpointPages(limit, pageBytes)}`);
  db.pragma(`journal_size_limit = ${walBytes(limit)}`);
}

/** Nobody else can read along: it was opened on a full disk. */
export function isExclusive(db: Database): boolean {
  return db.pragma('locking_mode', { simple: true }) === 'exclusive';
}

/**
 * Copies the log back, so that it takes no room and can be used again from its start. False where that is not possible
 * now, which costs nothing: the log stays. A copy that found no room half way would have taken what there was of it.
 */
export function copiedBack(db: Database): boolean {
  try {
    db.pragma('busy_timeout = 0'); // who reads it may go on: the next time is soon
    if (growthOf(db) > freeBeside(db)) return false;
    return db.pragma('wal_checkpoint(TRUNCATE)', { simple: true }) === 0; // the first column: busy
  } catch (error) {
    if (!isTrouble(error)) throw error;
    return false;
  } finally {
    db.pragma(`busy_timeout = ${BUSY_MILLISECONDS}`);
  }
}

/** What the file grows by when its log is copied back. */
function growthOf(db: Database): number {
  const [pages, size] = ['page_count', 'page_size'].map((name) => Number(db.pragma(name, { simple: true })));
  return (pages ?? 0) * (size ?? 0) - statSync(db.name).size;
}

function freeBeside(db: Database): number {
  const { bavail, bsize } = statfsSync(dirname(db.name));
  return bavail * bsize;
}

/**
 * Makes it one self-contained file that needs no log and no shared memory, and that a read-only directory can serve.
 * False where somebody else has it open: it stays as it is.
 */
export function sealed(db: Database): boolean {
  try {
    db.pragma('busy_timeout = 0'); // it can be tried again any time
    if (db.pragma('wal_checkpoint(TRUNCATE)', { simple: true }) !== 0) return false; // the first column: busy
    return db.pragma('journal_mode = DELETE', { simple: true }) === 'delete';
  } catch (error) {
    if (sqliteCode(error)?.startsWith('SQLITE_BUSY') === true) return false;
    throw error;
  }
}

/** Whoever only asks whether it is held keeps it from being taken for a moment. */
const LOOKED_AT_MILLISECONDS = 100;

/**
 * Takes the kernel's lock on a file, which is made where it is missing; undefined where another process has it. It is
 * given back by the function, or by the end of the process, however that comes.
 */
export function lockFile(file: string): (() => void) | undefined {
  const db = new Sqlite(file, { timeout: LOOKED_AT_MILLISECONDS });
  try {
    db.pragma('journal_mode = DELETE'); // WAL would let a second one in as a reader
    db.exec('BEGIN EXCLUSIVE');
    return () => db.close();
  } catch (error) {
    db.close();
    if (sqliteCode(error)?.startsWith('SQLITE_BUSY') === true) return undefined;
    throw error;
  }
}

/** Does somebody hold the lock on it? False also where this user cannot know. */
export function isLocked(file: string): boolean {
  try {
    const db = new Sqlite(file, { readonly: true, fileMustExist: true, timeout: 0 });
    try {
      db.prepare('SELECT count(*) FROM sqlite_schema').get();
      return false;
    } finally {
      db.close();
    }
  } catch (error) {
    return sqliteCode(error)?.startsWith('SQLITE_BUSY') === true;
  }
}

/** Call after the first write: only then SQLite has settled what `synchronous` is. */
export function assertDurable(db: Database): void {
  const synchronous = db.pragma('synchronous', { simple: true });
  const mode = db.pragma('journal_mode', { simple: true });
  if (synchronous === SYNCHRONOUS_FULL && mode === 'wal') return;
  throw new SluiceError(
    'STORE_FAILED',
    `${db.name} would lose acknowledged samples on a power cut: synchronous is ${String(synchronous)}, not FULL (2), journal mode ${String(mode)}`,
    {
      remedy:
        'put the data directory on a local file system that supports shared memory (not a network share)',
    },
  );
}

/** The code of an error that SQLite reported, such as SQLITE_FULL; undefined for any other error. */
export function sqliteCode(error: unknown): string | undefined {
  return error instanceof Sqlite.SqliteError ? error.code : undefined;
}

/** For a file that SQLite can read and that is not what it should be: `isDamage` holds for it. */
export function damaged(message: string): Error {
  return new Sqlite.SqliteError(message, 'SQLITE_NOTADB');
}

/** For a disk that SQLite itself did not complain about: `isFull` holds for it. */
export function noRoom(message: string): Error {
  return new Sqlite.SqliteError(message, 'SQLITE_FULL');
}

/** Is the file itself broken, so that trying again cannot help? */
export function isDamage(error: unknown): boolean {
  const code = sqliteCode(error) ?? '';
  return code.startsWith('SQLITE_CORRUPT') || code === 'SQLITE_NOTADB' || code === 'SQLITE_IOERR_SHORT_READ';
}

/** Is there no room left on the disk? */
export function isFull(error: unknown): boolean {
  const code = sqliteCode(error);
  if (code !== undefined) return code === 'SQLITE_FULL' || code === 'SQLITE_IOERR_SHMSIZE';
  return error instanceof Error && 'code' in error && error.code === 'ENOSPC';
}

/** A disk that is full, read-only or failing, or a file that somebody else holds: it may go away by itself. */
export function isTrouble(error: unknown): boolean {
  if (sqliteCode(error) !== undefined) return true;
  if (!(error instanceof Error) || !('code' in error)) return false;
  return typeof error.code === 'string' && /^E[A-Z]+$/.test(error.code); // ENOSPC, EROFS, EIO, … of the side file
}
