import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Database, makeDatabase } from '../open.ts';

/**
 * Makes a database with its tables where there is none. It gets its name when it is complete and on the disk: nobody
 * ever sees one without tables, and no power cut takes the name away again.
 */
export function makeInPlace(path: string, pageBytes: number, make: (db: Database) => void): void {
  if (existsSync(path)) return;
  mkdirSync(dirname(path), { recursive: true });
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
