import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  statfsSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { setAside } from './damage.ts';
import { type Database, copiedBack, isExclusive, isTrouble, walBytes } from './open.ts';

/** The open database as files of a folder. */
export class StoreFile {
  readonly name: string;
  /** Nobody else can read along: it was opened on a full disk. */
  readonly exclusive: boolean;
  readonly #db: Database;
  readonly #pageBytes: number;
  readonly #inode: number | undefined;
  /** What is open, since the first write. */
  #files: readonly { readonly path: string; readonly inode: number | undefined }[] | undefined;

  constructor(db: Database) {
    this.#db = db;
    this.name = db.name;
    this.exclusive = isExclusive(db);
    this.#pageBytes = Number(db.pragma('page_size', { simple: true }));
    this.#inode = inodeOf(this.name);
  }

  get open(): boolean {
    return this.#db.open;
  }

  /** After the first write the log exists. Returns whether this was it. */
  written(): boolean {
    if (this.#files !== undefined) return false;
    this.#files = [this.name, `${this.name}-wal`].map((path) => ({ path, inode: inodeOf(path) }));
    return true;
  }

  /** Somebody took the open files out of the folder: a restart would find nothing of what is in them. */
  get removed(): boolean {
    return this.#files?.some(({ path, inode }) => inodeOf(path) !== inode) ?? false;
  }

  /**
   * Somebody reads it for so long that its log cannot be used again from its start, and is longer than it should ever
   * be. Nobody reads a file that nobody else can open.
   */
  heldUp(limit: number): boolean {
    return !this.exclusive && this.logBytes > walBytes(limit) && !copiedBack(this.#db);
  }

  /** Pages in use and pages that will be used again, in bytes, by this transaction too. */
  get bytes(): number {
    return Number(this.#db.pragma('page_count', { simple: true })) * this.#pageBytes;
  }

  get usedBytes(): number {
    return this.bytes - Number(this.#db.pragma('freelist_count', { simple: true })) * this.#pageBytes;
  }

  get logBytes(): number {
    return statSync(`${this.name}-wal`, { throwIfNoEntry: false })?.size ?? 0;
  }

  /** Free bytes of the disk. */
  get spaceLeft(): number {
    const { bavail, bsize } = statfsSync(dirname(this.name));
    return bavail * bsize;
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
   * Writes everything into a new file in its place, and closes: what was removed is there again, free pages are gone,
   * and whoever still reads the old file does so alone. Another file that lies in its place is set aside. Throws, with
   * the database open and nothing changed, where the copy cannot be written.
   */
  moveToCopy(): void {
    const copy = `${this.name}.new`;
    rmSync(copy, { force: true });
    try {
      this.#db.prepare<[string]>('VACUUM INTO ?').run(copy);
      syncFile(copy);
    } catch (error) {
      rmSync(copy, { force: true });
      throw error;
    }
    const found = inodeOf(this.name);
    if (found !== undefined && found !== this.#inode) setAside(this.name, new Date());
    renameSync(copy, readyOf(this.name));
    syncFile(dirname(this.name)); // from here on the copy counts, whatever happens
    try {
      finishMove(this.name);
    } catch (error) {
      rmSync(readyOf(this.name), { force: true }); // it would be older than what is committed from now on
      throw error;
    }
    this.#db.close();
  }
}

/**
 * Puts a complete copy in the place of the database, also one that a power cut left half way. A log that stayed behind
 * belongs to the old file; replayed into the new one it would destroy it, so it goes first.
 */
export function finishMove(file: string): void {
  rmSync(`${file}.new`, { force: true }); // one that was not complete
  if (!existsSync(readyOf(file))) return;
  for (const path of [`${file}-wal`, `${file}-shm`]) rmSync(path, { force: true });
  renameSync(readyOf(file), file);
  syncFile(dirname(file));
}

function readyOf(file: string): string {
  return `${file}.ready`;
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
