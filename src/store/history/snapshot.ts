import { closeSync, existsSync, openSync, readSync, rmSync, statSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { SluiceError, errorText } from '../../core/errors.ts';
import { mebibytes } from '../../core/units.ts';
import {
  type Database,
  damaged,
  isDamage,
  isFull,
  openForReading,
  openForWriting,
  sqliteCode,
} from '../open.ts';
import { Reservation } from '../reservation.ts';
import { SCHEMA_VERSION } from '../schema.ts';
import { BOOK_VERSION } from './book-schema.ts';
import { inodeOf } from './files.ts';
import { RAW_VERSION } from './raw-schema.ts';
import { ROLLUP_VERSION } from './rollup-schema.ts';

const BOOK = 'history.db';
/** The newest schema that this Sluice reads, by the folder of a file, or by its name where it is in none. */
const NEWEST: Readonly<Record<string, number>> = {
  'telemetry.db': SCHEMA_VERSION,
  raw: RAW_VERSION,
  minute: ROLLUP_VERSION,
  hour: ROLLUP_VERSION,
  [BOOK]: BOOK_VERSION,
};

const COPY_LIMIT = mebibytes(4);
/** A database is replaced at most now and then. */
const MOST_TRIES = 5;
const TRIGGERS = "SELECT 1 FROM sqlite_schema WHERE type = 'trigger'";
const META = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'meta'";
const FORBIDDEN = /^SQLITE_(?:CANTOPEN|READONLY|PERM|AUTH)/;
/** Whoever holds the file lets go of it after a while. */
const HELD = /^SQLITE_(?:BUSY|LOCKED|PROTOCOL)/;
/** A file that was written a moment ago may be written again in the same tick of the clock of the file system. */
const SETTLED_MS = 2_000;
/** The file format, 1.3: bytes 18 and 19 are 1 where the journal is no write-ahead log. */
const MODE_AT = 18;
const NO_WAL = 1;

/**
 * A copy as of one moment, without the free pages, in one file. A writer goes on meanwhile; only its log cannot be
 * used again from the start before the copy is made. `VACUUM INTO` and not the backup interface of SQLite: that one
 * begins anew with every commit of another process, and would never end beside a gateway that records.
 *
 * Throws STORE_FAILED; `isDamaged` and `isHeld` say whether leaving the file out, or waiting, is the answer.
 */
export function snapshot(file: string, copy: string): void {
  // The store may put a copy in the place of telemetry.db meanwhile, first as `.ready` and without the log of the old
  // one: whoever opens that one then sees what was there at the last checkpoint, and nothing newer.
  const ready = `${file}.ready`;
  for (let tries = 0; ; tries++) {
    const before = [inodeOf(file), inodeOf(ready)];
    rmSync(copy, { force: true });
    reading(
      before[1] === undefined ? file : ready,
      (db) => {
        assertOurs(db, nameOf(file));
        db.prepare<[string]>('VACUUM INTO ?').run(copy);
      },
      nameOf(file),
    );
    if (before[0] === inodeOf(file) && before[1] === inodeOf(ready)) break;
    if (tries >= MOST_TRIES) throw new SluiceError('STORE_FAILED', `${file} is replaced again and again`);
  }
  if (basename(file) === BOOK) forgetFiled(copy);
}

/**
 * The book is copied after the files, and knows rows of the log as filed that the copies of some files do not have.
 * Without its marks each file says for itself where it goes on.
 */
function forgetFiled(book: string): void {
  const open = (): Database => openForWriting(book, COPY_LIMIT);
  acting(BOOK, open, (db) => {
    if (db.prepare(META).get() === undefined) throw damaged(`${BOOK} is no book of ours`);
    db.exec("DELETE FROM meta WHERE key LIKE 'filed:%'");
    db.pragma('journal_mode = DELETE'); // one file again
  });
}

/** Is the file whole by itself and left alone, so that copying its bytes is enough? */
export function isSealed(file: string): boolean {
  if (basename(file) === BOOK) return false; // see `forgetFiled`
  if (existsSync(`${file}-wal`) || existsSync(`${file}-journal`)) return false;
  if (Date.now() - statSync(file).mtimeMs < SETTLED_MS) return false;
  const modes = Buffer.alloc(2);
  const source = openSync(file, 'r');
  try {
    readSync(source, modes, 0, modes.length, MODE_AT);
  } finally {
    closeSync(source);
  }
  return modes[0] === NO_WAL && modes[1] === NO_WAL;
}

/**
 * Reads the whole file and returns the version of its schema. Throws STORE_FAILED where it is damaged, of another
 * program or of a newer Sluice; `name` says which of ours it is, such as `raw/2026-11-24.db`.
 */
export function check(file: string, name: string): number {
  return reading(
    file,
    (db) => {
      const found = db.pragma('integrity_check(1)', { simple: true });
      if (found !== 'ok') throw unfit(`${name} is damaged: ${String(found).replace(/^\*{3}.*\*{3}\n/, '')}`);
      const version = assertOurs(db, name);
      if (db.prepare(TRIGGERS).get() !== undefined)
        throw unfit(
          `${name} has a trigger, which would act on what the gateway writes`,
          'no Sluice makes one: find out who did',
        );
      return version;
    },
    name,
  );
}

/** Is it the file itself that is no good, so that the others can be saved without it, and trying again is of no use? */
export function isDamaged(error: unknown): boolean {
  return error instanceof SluiceError && isDamage(error.cause);
}

/** Does somebody else hold the file, for the moment? */
export function isHeld(error: unknown): boolean {
  return error instanceof SluiceError && HELD.test(sqliteCode(error.cause) ?? '');
}

/** Returns the version of the schema. */
function assertOurs(db: Database, name: string): number {
  const version = Number(db.pragma('user_version', { simple: true }));
  const newest = NEWEST[name.split('/')[0] ?? ''] ?? 0;
  if (version > newest)
    throw new SluiceError(
      'STORE_FAILED',
      `${name} was written by a newer Sluice (its schema is ${version}, this one reads ${newest})`,
      { remedy: 'install that version' },
    );
  if (version < 1) throw unfit(`${name} is a database of another program`);
  return version;
}

/** `isDamaged` holds for it. */
function unfit(message: string, remedy?: string): SluiceError {
  return new SluiceError('STORE_FAILED', message, {
    cause: damaged(message),
    ...(remedy === undefined ? {} : { remedy }),
  });
}

/** As `check` is told it: `raw/2026-11-24.db`, `history.db`. */
function nameOf(file: string): string {
  const [folder, name] = [basename(dirname(file)), basename(file)];
  return name in NEWEST ? name : `${folder}/${name}`;
}

export interface RestoredNumbers {
  /** The copy of telemetry.db that is restored. */
  readonly telemetry: string;
  /** telemetry.seq of the folder into which it is restored; need not be there. */
  readonly before: string;
  /** How many messages the gateway may have sent since the copy was made. */
  readonly sinceThen: number;
  /** The new telemetry.seq. */
  readonly into: string;
}

/**
 * Makes the gateway count on above every number that it can have used since the copy was made; it tells the numbers
 * between as a gap, 'store restored'.
 */
export function reserveNumbers({ telemetry, before, sinceThen, into }: RestoredNumbers): void {
  const next = reading(telemetry, (db) =>
    db.prepare<[], number>("SELECT value FROM meta WHERE key = 'next_seq'").pluck().get(),
  );
  const stored = next ?? 1;
  const used = new Reservation(before).load()?.upto ?? 0;
  new Reservation(into).cover(Math.max(used, stored + sinceThen), { from: stored + 1, kept: stored });
}

function reading<T>(file: string, read: (db: Database) => T, name = file): T {
  return acting(name, () => openForReading(file), read);
}

function acting<T>(name: string, open: () => Database, act: (db: Database) => T): T {
  let db: Database | undefined;
  try {
    db = open();
    return act(db);
  } catch (cause) {
    if (sqliteCode(cause) === undefined) throw cause;
    const remedy = remedyFor(cause);
    throw new SluiceError('STORE_FAILED', `cannot read ${name}: ${errorText(cause)}`, {
      cause,
      ...(remedy === undefined ? {} : { remedy }),
    });
  } finally {
    db?.close();
  }
}

function remedyFor(error: unknown): string | undefined {
  if (isDamage(error)) return undefined;
  const code = sqliteCode(error) ?? '';
  if (HELD.test(code)) return 'another program holds it: end that one, or try again later';
  if (isFull(error)) return 'make room there, or name a file on another disk';
  if (code.startsWith('SQLITE_IOERR')) return 'look what the kernel says of this disk (dmesg), and try again';
  return FORBIDDEN.test(code) ? 'run the command as the user that the gateway runs as' : undefined;
}
