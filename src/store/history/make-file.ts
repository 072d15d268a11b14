import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { SluiceError } from '../../core/errors.ts';
import { finishMove } from '../file.ts';
import { type Database, isFull, makeDatabase, noRoom } from '../open.ts';
import { type HistoryFile, filesIn, pathsOf } from './files.ts';
import { FileTrouble, causeOf, to } from './trouble.ts';

// The header of a database (file format of SQLite, 1.3).
const HEADER_BYTES = 100;
const WRITE_VERSION = 18;
const WITHOUT_LOG = 1;
const USER_VERSION = 60;

/**
 * Makes a database with its tables where there is none. It gets its name when it is complete and on the disk: nobody
 * ever sees one without tables, and no power cut takes the name away again.
 */
export function makeInPlace(path: string, pageBytes: number, make: (db: Database) => void): void {
  if (existsSync(path)) return;
  const made = mkdirSync(dirname(path), { recursive: true });
  if (made !== undefined) syncFolder(dirname(made));
  const draft = `${path}.new`;
  for (const left of [draft, `${draft}-journal`]) rmSync(left, { force: true });
  try {
    makeDatabase(draft, pageBytes, make);
    // A log that was left behind belongs to a file that is gone; replayed into this one it would destroy it.
    for (const left of [`${path}-wal`, `${path}-shm`]) rmSync(left, { force: true });
    renameSync(draft, path);
  } catch (error) {
    rmSync(draft, { force: true });
    throw error;
  }
  syncFolder(dirname(path));
  if (made !== undefined) syncFolder(dirname(made));
}

/** A new file; none is left where the disk has no room for all that belongs to it: nobody could read it. */
export function begun<File extends { readonly exclusive: boolean; close(): void }>(
  at: HistoryFile,
  make: () => File,
): File {
  let file: File | undefined;
  try {
    file = make();
    if (file.exclusive) throw new FileTrouble(at.path, noRoom('no room for the index that is shared'));
    return file;
  } catch (error) {
    file?.close();
    if (isFull(causeOf(error))) for (const path of pathsOf(at)) rmSync(path, { force: true });
    throw error;
  }
}

/** Copies that were to take the place of files, before anything reads these. */
export function finishMoves(folder: string, book: string): void {
  const rollups = [...filesIn(folder, 'minute'), ...filesIn(folder, 'hour')].map(({ path }) => path);
  for (const path of [...rollups, book]) to(path, () => finishMove(path));
}

/** What was renamed, made or removed in it stays so after a power cut. */
export function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * Throws where the file was written by a newer Sluice. Looks before SQLite does: opening for writing would change it
 * already. Files made by `makeInPlace` say so from their beginning.
 */
export function refuseNewer(path: string, version: number): void {
  const header = headerOf(path);
  const found = header?.readUInt32BE(USER_VERSION) ?? 0;
  if (!isDatabase(header) || found <= version) return;
  throw new SluiceError(
    'STORE_FAILED',
    `${path} was written by a newer Sluice (its schema is ${found}, this one reads ${version})`,
    { remedy: 'install that version again, or move the file away' },
  );
}

/** Needs no log beside it: it was sealed, or never written. */
export function isSealed(path: string): boolean {
  const header = headerOf(path);
  return isDatabase(header) && header?.[WRITE_VERSION] === WITHOUT_LOG;
}

function isDatabase(header: Buffer | undefined): boolean {
  return header?.toString('latin1', 0, 16) === 'SQLite format 3\0';
}

/** Undefined where the file is shorter. */
function headerOf(path: string): Buffer | undefined {
  const header = Buffer.alloc(HEADER_BYTES);
  const file = openSync(path, 'r');
  try {
    return readSync(file, header, 0, HEADER_BYTES, 0) === HEADER_BYTES ? header : undefined;
  } finally {
    closeSync(file);
  }
}
