import { constants, lstatSync, mkdirSync, readdirSync, rmSync, statSync, statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SluiceError, errorText } from '../core/errors.ts';
import { type Advance, type Entry, type Source, broken, readThrough } from './archive.ts';
import { megabytes } from './backup.ts';
import type { Databases } from './databases.ts';
import { commit, discardStaged, finishRestore, present, stage, sync } from './swap.ts';
import { type Verified, verifyArchive } from './verify.ts';

/** Beside the files: what the file system needs for itself. */
const ROOM_BESIDE = 16_777_216;
const FILE_MODE = 0o640;
/** A file of ours and no link that somebody put there. */
const NEW_FILE = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
const FOLDER_MODE = 0o750;

export interface CheckOptions {
  readonly file: Source;
  /** A folder of its own, for one database at a time. */
  readonly scratch: string;
  readonly databases: Databases;
  readonly advance?: Advance;
  readonly signal: AbortSignal;
}

export interface RestoreOptions extends Omit<CheckOptions, 'scratch'> {
  /** `gateway.data`, which is locked. */
  readonly folder: string;
  /** What it holds is moved there. */
  readonly aside: string;
  /** May there be something in the folder? */
  readonly force: boolean;
  /** Throws where this backup does not belong here. */
  readonly assertFits: (verified: Verified) => void;
  /** Makes telemetry.seq in the folder of the new files. */
  readonly reserveNumbers: (staged: string, made: Date) => void;
}

/** Verifies a backup as `restoreBackup` does, and leaves nothing behind. */
export async function checkBackup(options: CheckOptions): Promise<Verified> {
  const { file, scratch, databases, advance, signal } = options;
  const verified = await verifyArchive(file, advance, signal);
  for (const [i, entry] of verified.entries.entries()) {
    signal.throwIfAborted();
    const copy = join(scratch, 'check.db');
    assertRoom(scratch, entry.bytes);
    await extract(file, entry, copy, verified.manifest.files[i]?.sha256);
    checkDatabase(databases, copy, entry.name, verified.manifest.files[i]?.schema);
    rmSync(copy);
    advance?.(entry.bytes);
  }
  return verified;
}

/**
 * Puts the databases of a backup in the place of those of the folder. Everything is verified before, and nothing is
 * touched where anything is wrong; the old is moved aside.
 */
export async function restoreBackup(options: RestoreOptions): Promise<Verified> {
  const { file, folder, aside, force, databases, advance, signal } = options;
  const verified = await verifyArchive(file, advance, signal);
  options.assertFits(verified);
  const found = present(folder);
  if (found.length > 0 && !force)
    throw new SluiceError('SETUP', `${folder} holds data already: ${found.join(', ')}`, {
      remedy: 'with --force it is moved aside, and nothing of it is deleted',
    });
  assertOneDisk(folder, found, aside);
  const { manifest, entries, id } = verified;
  try {
    const staged = stage(folder);
    assertRoom(folder, entries.reduce((sum, { bytes }) => sum + bytes, 0) + ROOM_BESIDE);
    for (const [i, entry] of entries.entries()) {
      signal.throwIfAborted();
      const path = join(staged, entry.name);
      mkdirSync(dirname(path), { recursive: true, mode: FOLDER_MODE });
      await extract(file, entry, path, manifest.files[i]?.sha256);
      checkDatabase(databases, path, entry.name, manifest.files[i]?.schema);
      advance?.(entry.bytes);
    }
    options.reserveNumbers(staged, new Date(manifest.made));
    for (const name of readdirSync(staged)) if (!name.includes('.')) sync(join(staged, name));
    signal.throwIfAborted();
    commit(folder, { id, aside });
  } catch (error) {
    discardStaged(folder);
    throw error;
  }
  finishRestore(folder);
  return verified;
}

async function extract(file: Source, entry: Entry, path: string, sha256: string | undefined): Promise<void> {
  try {
    await using copy = await open(path, NEW_FILE, FILE_MODE);
    const sum = await readThrough(file, entry, async (piece) => {
      await copy.writeFile(piece);
    });
    if (sum !== sha256) throw broken(`${entry.name} changes while it is read`);
    await copy.sync();
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw new SluiceError('SETUP', `cannot write ${path}: ${errorText(cause)}`, {
      cause,
      remedy: 'make room on this disk, and check its owner; nothing was touched',
    });
  }
}

function checkDatabase(databases: Databases, path: string, name: string, schema: number | undefined): void {
  if (databases.check(path, name) !== schema)
    throw broken(`the schema of ${name} is not what its manifest says`);
}

function assertRoom(folder: string, needed: number): void {
  const { bavail, bsize } = statfsSync(folder);
  const left = bavail * bsize;
  if (left >= needed) return;
  throw new SluiceError(
    'SETUP',
    `the restore needs ${megabytes(needed)} and there are ${megabytes(left)} left in ${folder}`,
    { remedy: 'make room there first; nothing was touched' },
  );
}

/** Files change places by renaming, which cannot be left half done; that works within one disk only. */
function assertOneDisk(folder: string, found: readonly string[], aside: string): void {
  const disk = statSync(folder).dev;
  const paths = [...found.map((name) => join(folder, name)), dirname(aside)];
  const other = paths.find((path) => lstatSync(path).dev !== disk);
  if (other === undefined) return;
  throw new SluiceError('SETUP', `${other} is on another disk than ${folder}`, {
    remedy: 'unmount it, or restore into an empty folder; nothing was touched',
  });
}
