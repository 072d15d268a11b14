import { existsSync, readdirSync, rmSync, statSync, statfsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { SluiceError, errorText } from '../core/errors.ts';
import { type Advance, type Content, type Draft, appendEnd, appendFile, appendText } from './archive.ts';
import type { Databases } from './databases.ts';
import {
  MANIFEST,
  SUMS,
  isDatabase,
  type LeftOut,
  type StoredFile,
  manifestText,
  sumsText,
} from './manifest.ts';
import { openArchive, verifyArchive } from './verify.ts';

const TELEMETRY = 'telemetry.db';
/**
 * In this order. What the sample log of telemetry.db holds and is filed later is in the copies of the day files too,
 * and the mark in each of them tells which rows to skip; what a raw file says is rolled up is in the rollups that are
 * copied after it; and history.db, whose copy has no marks, knows of every file that retention took meanwhile.
 */
const TIERS = ['raw', 'minute', 'hour'] as const;
const HISTORY = 'history.db';
/** Beside the files: headers, manifest, and what a gateway writes in the meantime. */
const ROOM_BESIDE = 16_777_216;
/** A person with a shell on a file, or another backup, is done with it by then; a lock that was forgotten is not. */
const PATIENCE_MS = 20_000;
/** Between two tries; SQLite itself waits a second in each. */
const AGAIN_MS = 100;

export interface BackupOptions {
  /** `gateway.data`. */
  readonly folder: string;
  readonly gateway: string;
  readonly sluice: string;
  readonly made: Date;
  readonly draft: Draft;
  /** Where `draft` is, to read it again. */
  readonly draftPath: string;
  /** A name for one copy of a database at a time, on the same disk as the draft. */
  readonly scratch: string;
  readonly databases: Databases;
  /** Bytes of databases that are written, then those that are read back. */
  readonly advance?: Advance;
  /** How long a file may be held by somebody else before the backup fails. */
  readonly patience?: number;
  readonly signal: AbortSignal;
}

export interface Backup {
  readonly files: readonly StoredFile[];
  readonly leftOut: readonly LeftOut[];
}

/** What a backup would hold now, in bytes. */
export function backupBytes(folder: string): number {
  return [TELEMETRY, ...TIERS.flatMap((tier) => filesOf(folder, tier)), HISTORY]
    .map((name) => sizeOf(join(folder, name)))
    .reduce((sum, bytes) => sum + bytes, 0);
}

/**
 * Writes a whole archive of the databases below `folder`, and reads it back. Throws the reason of the signal. A file
 * that is damaged is left out and told, because a backup that cannot be restored is none; one that cannot be read for
 * any other reason may be sound, and a backup without it must not look like one.
 */
export async function makeBackup(options: BackupOptions): Promise<Backup> {
  const { folder, draft, made, signal } = options;
  if (!existsSync(join(folder, TELEMETRY)))
    throw new SluiceError('SETUP', `there is nothing to back up in ${folder}`, {
      remedy: 'name the configuration of a gateway that has run',
    });
  assertRoom(options);
  const files: StoredFile[] = [];
  const leftOut: LeftOut[] = [];
  const take = async (name: string): Promise<void> => {
    signal.throwIfAborted();
    const before = draft.bytes;
    try {
      files.push({ name, ...(await patiently(options, name)) });
    } catch (error) {
      if (signal.aborted) throw error;
      if (name === TELEMETRY) throw told(error, name);
      const gone = !existsSync(join(folder, name)); // retention was quicker
      if (!gone && !options.databases.isDamaged(error)) throw told(error, name);
      await draft.back(before);
      if (!gone) leftOut.push({ name, why: errorText(error) });
    }
  };
  await take(TELEMETRY);
  for (const tier of TIERS) for (const name of filesOf(folder, tier)) await take(name);
  if (existsSync(join(folder, HISTORY))) await take(HISTORY);

  const { gateway, sluice } = options;
  const text = manifestText({ gateway, made: made.toISOString(), sluice, files, leftOut });
  const { sha256 } = await appendText(draft, MANIFEST, text, made);
  await appendText(draft, SUMS, sumsText(files, sha256), made);
  await appendEnd(draft);
  await readBack(options);
  return { files, leftOut };
}

async function patiently(options: BackupOptions, name: string): Promise<Omit<StoredFile, 'name'>> {
  const { draft, databases, signal, patience = PATIENCE_MS } = options;
  const before = draft.bytes;
  for (const until = performance.now() + patience; ; ) {
    try {
      return await copied(options, name);
    } catch (error) {
      if (!databases.isHeld(error) || performance.now() >= until) throw error;
      await draft.back(before);
      await pause(AGAIN_MS);
      signal.throwIfAborted();
    }
  }
}

/** What the file system says of a file is no bug of ours. */
function told(error: unknown, name: string): unknown {
  if (error instanceof SluiceError || !(error instanceof Error) || !('code' in error)) return error;
  return new SluiceError('STORE_FAILED', `cannot read ${name}: ${errorText(error)}`, {
    cause: error,
    remedy:
      'run the command as the user that the gateway runs as, and look what the kernel says of this disk',
  });
}

async function copied(options: BackupOptions, name: string): Promise<Content & { readonly schema: number }> {
  const { folder, databases, draft } = options;
  const file = join(folder, name);
  const before = statOf(file);
  if (before !== undefined && databases.isSealed(file)) {
    const schema = databases.check(file, name);
    const start = draft.bytes;
    const untouched = (): boolean => statOf(file)?.mark === before.mark && databases.isSealed(file);
    try {
      const content = await appended(options, name, file, before.bytes);
      if (untouched()) return { ...content, schema };
    } catch (error) {
      if (options.signal.aborted || untouched()) throw error;
    }
    await draft.back(start); // late samples went into it while it was copied
  }
  const { scratch } = options;
  removeCopy(scratch);
  try {
    databases.snapshot(file, scratch);
    const schema = databases.check(scratch, name);
    return { ...(await appended(options, name, scratch, sizeOf(scratch))), schema };
  } finally {
    removeCopy(scratch);
  }
}

/** With what a copy that was broken off leaves beside it: SQLite would take it for a part of the next one. */
export function removeCopy(path: string): void {
  for (const end of ['', '-journal', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true });
}

async function appended(options: BackupOptions, name: string, path: string, bytes: number): Promise<Content> {
  const { draft, made, signal, advance } = options;
  return appendFile(draft, { name, bytes, path, made }, (more) => {
    signal.throwIfAborted();
    advance?.(more);
  });
}

/** A disk that does not give back what it took, and a second backup into the same file, are found now and not in a year. */
async function readBack({ draftPath, advance, signal }: BackupOptions): Promise<void> {
  await using file = await openArchive(draftPath);
  await verifyArchive(file, advance, signal);
}

function assertRoom({ folder, scratch }: BackupOptions): void {
  const needed = backupBytes(folder) + largestOpen(folder) + ROOM_BESIDE;
  const { bavail, bsize } = statfsSync(dirname(scratch));
  const left = bavail * bsize;
  if (left >= needed) return;
  throw new SluiceError(
    'SETUP',
    `the backup needs about ${megabytes(needed)} and there are ${megabytes(left)} left in ${dirname(scratch)}`,
    { remedy: 'make room there, or name a file on another disk' },
  );
}

/** A file that is written is copied to the scratch file first. */
function largestOpen(folder: string): number {
  const names = [TELEMETRY, ...TIERS.flatMap((tier) => filesOf(folder, tier))];
  return Math.max(
    ...names
      .filter((name) => name === TELEMETRY || existsSync(join(folder, `${name}-wal`)))
      .map((name) => sizeOf(join(folder, name))),
  );
}

export function megabytes(bytes: number): string {
  return `${Math.ceil(bytes / 1_000_000)} MB`;
}

function filesOf(folder: string, tier: string): string[] {
  if (!existsSync(join(folder, tier))) return [];
  return readdirSync(join(folder, tier))
    .map((name) => `${tier}/${name}`)
    .filter(isDatabase)
    .sort();
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function statOf(file: string): { readonly bytes: number; readonly mark: string } | undefined {
  const found = statSync(file, { bigint: true, throwIfNoEntry: false });
  if (found === undefined) return undefined;
  const { size, ino, mtimeNs, ctimeNs } = found;
  return { bytes: Number(size), mark: [size, ino, mtimeNs, ctimeNs].join() };
}
