import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync, utimesSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { appendEnd, appendFile, appendText } from '../../src/backup/archive.ts';
import { type Backup, type BackupOptions, makeBackup } from '../../src/backup/backup.ts';
import { MANIFEST, SUMS, type StoredFile, manifestText, sumsText } from '../../src/backup/manifest.ts';
import { restoreBackup } from '../../src/backup/restore.ts';
import { type Verified, openArchive, verifyArchive } from '../../src/backup/verify.ts';
import { PartialFile } from '../../src/cli/partial-file.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { silentLog } from '../../src/core/log.ts';
import {
  check,
  isDamaged,
  isHeld,
  isSealed,
  reserveNumbers,
  snapshot,
} from '../../src/store/history/snapshot.ts';
import { type Database, openForReading, openForWriting } from '../../src/store/open.ts';
import { openStore } from '../../src/store/store.ts';

export const databases = { snapshot, isSealed, check, isDamaged, isHeld };

interface Teardown {
  teardown(after: () => unknown): void;
}

export function folderOf(t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'backup-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

const LIMIT = 64 * 1_048_576;

/** A database of schema 1 with `rows` rows; sealed as the history seals a finished file, or still open for writing. */
export function makeDatabase(file: string, rows: number, sealed = true): Database | undefined {
  mkdirSync(dirname(file), { recursive: true });
  const db = openForWriting(file, LIMIT);
  db.exec('CREATE TABLE row(id INTEGER PRIMARY KEY, text TEXT) STRICT; PRAGMA user_version = 1');
  const insert = db.prepare<[string]>('INSERT INTO row(text) VALUES(?)');
  db.transaction(() => {
    for (let i = 1; i <= rows; i++) insert.run(`row ${i} of ${file}`);
  })();
  if (!sealed) return db;
  db.pragma('journal_mode = DELETE');
  db.close();
  utimesSync(file, 1_700_000_000, 1_700_000_000);
  return undefined;
}

/** A small data folder: a store that has numbered a little, and a file of each tier. */
export function makeData(folder: string, rows = 20): void {
  mkdirSync(folder, { recursive: true });
  openStore({ file: join(folder, 'telemetry.db'), limit: LIMIT, log: silentLog }).close();
  for (const name of [
    'raw/2026-11-24.db',
    'raw/2026-11-25.db',
    'raw/2026-11-25.2.db',
    'minute/2026-11-24.db',
  ])
    makeDatabase(join(folder, name), rows);
  makeDatabase(join(folder, 'hour/2026-11.db'), rows);
  const book = makeDatabase(join(folder, 'history.db'), rows, false);
  book?.exec(
    "CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER) STRICT; INSERT INTO meta VALUES('filed:7', 1000)",
  );
  book?.close();
  mkdirSync(join(folder, 'identity'));
}

export async function backUp(
  folder: string,
  path: string,
  more: Partial<Pick<BackupOptions, 'databases' | 'advance' | 'signal' | 'patience'>> = {},
): Promise<Backup> {
  const draft = await PartialFile.create(path);
  try {
    const backup = await makeBackup({
      folder,
      gateway: 'test-site',
      sluice: '0.1.0',
      made: new Date(),
      draft,
      draftPath: draft.partial,
      scratch: `${draft.partial}.snapshot`,
      databases,
      signal: new AbortController().signal,
      ...more,
    });
    await draft.finish();
    return backup;
  } catch (error) {
    await draft.discard();
    throw error;
  }
}

/** Where `restore` moves what is there. */
export function asideFor(folder: string): string {
  return `${folder}.before-restore-20261126T101112131Z`;
}

export async function restore(path: string, folder: string, force = false): Promise<Verified> {
  await using file = await openArchive(path);
  mkdirSync(folder, { recursive: true });
  return await restoreBackup({
    file,
    folder,
    aside: asideFor(folder),
    force,
    databases,
    assertFits: () => {},
    reserveNumbers: (staged, made) =>
      reserveNumbers({
        telemetry: join(staged, 'telemetry.db'),
        before: join(folder, 'telemetry.seq'),
        sinceThen: Date.now() - made.getTime() + 1_000,
        into: join(staged, 'telemetry.seq'),
      }),
    signal: new AbortController().signal,
  });
}

export async function verified(path: string): Promise<Verified> {
  await using file = await openArchive(path);
  return await verifyArchive(file);
}

/** Verifies bytes that are in no file, as fast as a loop over their positions needs it. */
export async function verifiedBytes(bytes: Buffer): Promise<Verified> {
  return verifyArchive({
    stat: async () => ({ size: bytes.length }),
    read: async (into, offset, length, position) => {
      const bytesRead = bytes.copy(into, offset, position, Math.min(bytes.length, position + length));
      return { bytesRead };
    },
  });
}

/** Every file below a folder with its content, so that two can be compared. */
export function contentOf(folder: string): Map<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  return new Map(names.map((name) => [name.slice(folder.length + 1), readFileSync(name, 'base64')]));
}

export function rowsIn(file: string): number {
  const db = openForReading(file);
  try {
    return db.prepare<[], number>('SELECT count(*) FROM row').pluck().get() ?? 0;
  } finally {
    db.close();
  }
}

/** What a person is told when `work` is refused. */
export async function refusal(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    return `${error.message}; ${error.remedy ?? ''}`;
  }
  return 'nothing was refused';
}

interface Forgery {
  readonly files: readonly { readonly name: string; readonly path: string; readonly schema?: number }[];
  /** Replaces keys of the manifest. */
  readonly manifest?: Readonly<Record<string, unknown>>;
}

/** An archive as our own writer writes it, with right sums, whatever it holds. */
export async function forge(path: string, { files, manifest = {} }: Forgery): Promise<string> {
  const draft = await PartialFile.create(path);
  const made = new Date();
  const stored: StoredFile[] = [];
  for (const { name, path, schema = 1 } of files) {
    const { size: bytes } = statSync(path);
    stored.push({ name, schema, ...(await appendFile(draft, { name, bytes, path, made }, () => {})) });
  }
  const honest = {
    gateway: 'test-site',
    made: made.toISOString(),
    sluice: '0.1.0',
    files: stored,
    leftOut: [],
  };
  const said: unknown = { ...JSON.parse(manifestText(honest)), ...manifest };
  const { sha256 } = await appendText(draft, MANIFEST, JSON.stringify(said), made);
  await appendText(draft, SUMS, sumsText(stored, sha256), made);
  await appendEnd(draft);
  await draft.finish();
  return path;
}
