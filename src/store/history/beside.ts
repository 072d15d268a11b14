import { accessSync, constants, existsSync } from 'node:fs';
import { join } from 'node:path';
import { SluiceError, errorText } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import { isDamage, openForReading, sqliteCode } from '../open.ts';
import { SCHEMA_VERSION } from '../schema.ts';
import { openBookForReading } from './book.ts';
import { TIERS, filesIn } from './files.ts';
import { LogTail } from './log-tail.ts';
import { refuseNewer } from './make-file.ts';
import type { Chronicle } from './query.ts';
import { RAW_VERSION } from './raw-schema.ts';
import { ROLLUP_VERSION } from './rollup-schema.ts';
import { type Tail, noTimes } from './tail.ts';

/** Hears of a file that cannot be read, or not all of it. */
export type OnUnreadable = (path: string, error: unknown) => void;

/** The first schema of telemetry.db that has a sample log. */
const WITH_SAMPLE_LOG = 3;

/** What another process than the gateway's reads beside the files. */
export interface Beside {
  readonly tail: Tail;
  readonly book: Chronicle & { close(): void };
}

/**
 * Opens log and book of a data folder. What is damaged is told and counts as empty: the files have the rest. Throws
 * SluiceError where there is no history at all, where this user may not read it, and where a newer Sluice wrote it.
 */
export function openBeside(folder: string, log: Log, onUnreadable: OnUnreadable = () => {}): Beside {
  const telemetry = join(folder, 'telemetry.db');
  const history = join(folder, 'history.db');
  const tiers = ['raw', 'minute', 'hour'].map((tier) => join(folder, tier));
  if (!mayRead(folder)) throw forbidden(folder, 'permission denied');
  if (![telemetry, history, ...tiers].some((path) => existsSync(path)))
    throw new SluiceError('SETUP', `there is no history in ${folder}`, {
      remedy: 'check gateway.data; the folder is filled by the first run of the gateway',
    });
  for (const path of tiers)
    if (existsSync(path) && !mayRead(path)) throw forbidden(folder, 'permission denied');
  refuseNewerFiles(folder);
  const open = <T>(file: string, opened: () => T | undefined, otherwise: T): T => {
    try {
      return opened() ?? otherwise;
    } catch (error) {
      if (!isDamage(error)) throw isForbidden(error) ? forbidden(folder, errorText(error), error) : error;
      log.error('a file of the history is damaged and is left out', { file, because: errorText(error) });
      onUnreadable(file, error);
      return otherwise;
    }
  };
  return {
    tail: open(telemetry, () => tailOf(folder, telemetry, log, onUnreadable), NO_TAIL),
    book: open(history, () => openBookForReading(history), NO_BOOK),
  };
}

/** Before anything is said: what is in such a file would be missing from the answer. */
function refuseNewerFiles(folder: string): void {
  for (const tier of TIERS)
    for (const { path } of filesIn(folder, tier))
      try {
        refuseNewer(path, tier === 'raw' ? RAW_VERSION : ROLLUP_VERSION);
      } catch (error) {
        if (error instanceof SluiceError) throw error;
        // Gone, or not to be read: whoever needs what is in it meets that again, and tells it.
      }
}

function tailOf(folder: string, file: string, log: Log, onUnreadable: OnUnreadable): Tail | undefined {
  if (!existsSync(file)) return undefined;
  const version = versionOf(file);
  if (version > SCHEMA_VERSION)
    throw new SluiceError(
      'STORE_FAILED',
      `${file} was written by a newer Sluice (its schema is ${version}, this one reads ${SCHEMA_VERSION})`,
      { remedy: 'use that version of sluice' },
    );
  if (version < WITH_SAMPLE_LOG) return undefined;
  const tail = new LogTail(folder, log, onUnreadable);
  tail.refresh();
  return tail;
}

function versionOf(file: string): number {
  const db = openForReading(file);
  try {
    return Number(db.pragma('user_version', { simple: true }));
  } finally {
    db.close();
  }
}

/** May this user look into the folder? */
function mayRead(folder: string): boolean {
  try {
    accessSync(folder, constants.R_OK | constants.X_OK);
    return true;
  } catch (error) {
    return !(error instanceof Error && 'code' in error && error.code === 'EACCES');
  }
}

/** A file in use is read with the help of a second one, which a reader has to make where no writer has it open. */
function isForbidden(error: unknown): boolean {
  const code = sqliteCode(error) ?? '';
  return code.startsWith('SQLITE_CANTOPEN') || code.startsWith('SQLITE_READONLY') || code === 'SQLITE_PERM';
}

function forbidden(folder: string, because: string, cause?: unknown): SluiceError {
  return new SluiceError('SETUP', `this user may not read the history in ${folder} (${because})`, {
    cause,
    remedy:
      'run the command as the user that the gateway runs as; a member of its group can read while the gateway runs',
  });
}

const NO_TAIL: Tail = {
  log: 0,
  refresh: () => {},
  names: () => [],
  samples: () => [],
  last: (names) => ({ since: undefined, times: noTimes(names.length) }),
  alive: () => undefined,
  starts: () => [],
  outages: () => [],
  close: () => {},
};

const NO_BOOK: Beside['book'] = {
  floor: undefined,
  runs: () => [],
  outages: () => [],
  drops: () => [],
  period: () => undefined,
  close: () => {},
};
