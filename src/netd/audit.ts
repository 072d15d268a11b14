import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { errorText } from '../core/errors.ts';
import { type Duration, mebibytes, seconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { lockOf } from './lock.ts';

// Who asked for what, and what came of it: one JSON object a line, each with the hash of the one before.

export const AUDIT = 'audit.jsonl';
export const AUDIT_LOCK = 'audit.lock';
/** Some ten thousand records a file; what is older than all of them is given up. */
export const LARGEST = mebibytes(4);
export const KEPT = 8;
const PATIENCE: Duration = seconds(5);
/** A record is a few hundred bytes: the last one is in here. */
const TAIL = 65_536;
const LONGEST_TEXT = 300;
const DOMAIN = 'sluice firewall audit 1\n';
export const FIRST = '0'.repeat(64);

export interface Who {
  readonly uid: number;
  readonly user: string;
  /** By which way: `socket`, `command line`, or `netd` and `guard` where those acted by themselves. */
  readonly via: 'socket' | 'command line' | 'netd' | 'guard';
  /** On behalf of whom, as the asker says: not proven. */
  readonly person?: string;
}

export interface Deed {
  readonly verb: string;
  readonly outcome: 'intended' | 'done' | 'failed' | 'refused';
  readonly change?: string;
  /** SHA-256 of the rules as nft takes them. */
  readonly rules?: string;
  readonly device?: string;
  readonly detail?: string;
}

export interface AuditRecord extends Deed, Who {
  readonly seq: number;
  readonly time: string;
  /** Records that could not be written before this one. */
  readonly lost?: number;
  readonly previous: string;
  readonly hash: string;
}

/** What a roll back is that nobody asked for. */
export const takenBack = (change: string, why = 'nobody confirmed'): Deed => ({
  verb: 'rollback',
  outcome: 'done',
  change,
  detail: why,
});

export const auditFile = (folder: string, age = 0): string =>
  join(folder, age === 0 ? AUDIT : `audit.${age}.jsonl`);

export function hashOf(record: Omit<AuditRecord, 'hash'>): string {
  return createHash('sha256').update(DOMAIN).update(JSON.stringify(record)).digest('hex');
}

/** Of one gateway, in the folder of its rules. Several processes write to it, one at a time. */
export class Audit {
  readonly #folder: string;
  #lost = 0;

  constructor(folder: string) {
    this.#folder = folder;
  }

  /** Undefined when the record is on the disk; otherwise why not: whoever asks decides what that forbids. */
  async record(who: Who, deed: Deed): Promise<string | undefined> {
    try {
      const lock = await lockOf(this.#folder, PATIENCE, {
        name: AUDIT_LOCK,
        taken: 'others write to the audit all the time',
      });
      try {
        this.#append(who, deed);
      } finally {
        lock[Symbol.dispose]();
      }
      this.#lost = 0;
      return undefined;
    } catch (error) {
      this.#lost += 1;
      return errorText(error);
    }
  }

  #append(who: Who, deed: Deed): void {
    const path = auditFile(this.#folder);
    const file = openSync(path, 'a+', 0o600);
    let size: number;
    try {
      const last = lastOf(file);
      ({ size } = last);
      const before = last.record ?? this.#older();
      const record = {
        seq: (before?.seq ?? 0) + 1,
        time: new Date().toISOString(),
        ...who,
        ...bounded(deed),
        ...(this.#lost > 0 && { lost: this.#lost }),
        previous: before?.hash ?? FIRST,
      };
      // What somebody gave as a name or reason is read on terminals too.
      const line = Buffer.from(`${visible(JSON.stringify({ ...record, hash: hashOf(record) }))}\n`);
      // What a power cut or a full disk left of a record is no record.
      if (last.torn) ftruncateSync(file, size);
      try {
        for (let done = 0; done < line.length; ) done += writeSync(file, line, done);
        fsyncSync(file);
      } catch (error) {
        ftruncateSync(file, size);
        throw error;
      }
      size += line.length;
    } finally {
      closeSync(file);
    }
    if (size >= LARGEST) this.#rotate();
  }

  /** The chain goes on in a new file: its first record names the last one of the old. */
  #older(): AuditRecord | undefined {
    const path = auditFile(this.#folder, 1);
    if (!existsSync(path)) return undefined;
    const file = openSync(path, 'r');
    try {
      return lastOf(file).record;
    } finally {
      closeSync(file);
    }
  }

  #rotate(): void {
    const isThere = (age: number): boolean => existsSync(auditFile(this.#folder, age));
    // Where the machine stopped between two names there is a gap, which is filled before anything is given up.
    let free = 1;
    while (free < KEPT && isThere(free)) free += 1;
    for (let age = free - 1; age >= 0; age -= 1)
      renameSync(auditFile(this.#folder, age), auditFile(this.#folder, age + 1));
  }
}

function bounded(deed: Deed): Deed {
  const { detail } = deed;
  return detail === undefined ? deed : { ...deed, detail: detail.slice(0, LONGEST_TEXT) };
}

interface Last {
  readonly record: AuditRecord | undefined;
  /** Bytes of the file that are whole lines. */
  readonly size: number;
  readonly torn: boolean;
}

function lastOf(file: number): Last {
  const { size } = fstatSync(file);
  const from = Math.max(0, size - TAIL);
  const bytes = Buffer.alloc(size - from);
  readSync(file, bytes, 0, bytes.length, from);
  const end = bytes.lastIndexOf('\n') + 1;
  const before = end < 2 ? 0 : bytes.lastIndexOf('\n', end - 2) + 1;
  const record = recordOf(bytes.toString('utf8', before, end));
  return { record, size: from + end, torn: end < bytes.length };
}

/** Undefined where it is none: then a new chain begins, and whoever verifies sees that. */
export function recordOf(line: string): AuditRecord | undefined {
  try {
    const json: unknown = JSON.parse(line);
    return isRecord(json) ? json : undefined;
  } catch {
    return undefined;
  }
}

function isRecord(json: unknown): json is AuditRecord {
  if (typeof json !== 'object' || json === null) return false;
  return 'seq' in json && typeof json.seq === 'number' && 'hash' in json && typeof json.hash === 'string';
}
