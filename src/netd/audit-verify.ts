import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import {
  type AuditRecord, AUDIT_LOCK, auditFile, FIRST, hashOf, KEPT, LARGEST, recordOf,
} from './audit.ts'; // biome-ignore format: one line reads better
import { readWhole } from './durable.ts';
import { unsealed } from './sealed.ts';
import { digest } from './state.ts';

export interface Verified {
  readonly records: number;
  /** Older ones were given up: the chain is known from this number on; 0 where there is no record. */
  readonly from: number;
  /** The hash of the newest record; noted elsewhere, it shows later whether the end was cut off. */
  readonly head: string;
  /** `audit.1.jsonl:17: ...`; empty where every record follows from the one before, and none is missing. */
  readonly problems: readonly string[];
  readonly last: readonly AuditRecord[];
}

const MOST_PROBLEMS = 20;
const SHOWN = 20;

/** What is written in this folder only by what is in the audit before: with it and no record, the audit is gone. */
const TRACES = [
  AUDIT_LOCK,
  'confirmed.json',
  'candidate.json',
  'quarantine.json',
  'island.json',
  'drift.json',
] as const;

/** Reads the whole chain of the audit in this folder. Throws where it may not be read. */
export function verifyAudit(folder: string): Verified {
  // A file that may not be looked for is not one that is missing.
  const names = namesIn(folder);
  const problems: string[] = [];
  const last: AuditRecord[] = [];
  let before: AuditRecord | undefined;
  let from = 0;
  let records = 0;
  const files = agesOf(names).map((age) => ({ age, path: auditFile(folder, age) }));
  const confirmed = confirmedIn(folder);
  let isConfirmed = false;
  for (const { age, path } of files) {
    const lines = readFileSync(path, 'utf8').split('\n');
    const rest = lines.pop();
    for (const [i, line] of lines.entries()) {
      const record = recordOf(line);
      const problem = record === undefined ? 'is no record' : problemOf(record, before);
      if (problem !== undefined && problems.length < MOST_PROBLEMS)
        problems.push(`${path}:${i + 1}: ${problem}`);
      if (record === undefined) continue;
      if (records === 0) from = record.seq;
      records += 1;
      before = record;
      isConfirmed ||= record.rules === confirmed && isConfirming(record);
      last.push(record);
      if (last.length > SHOWN) last.shift();
    }
    if (rest !== '' && age > 0) problems.push(`${path}:${lines.length + 1}: is only a part of a record`);
  }
  const trace = TRACES.find((name) => names.includes(name));
  if (records === 0 && trace !== undefined)
    problems.push(`there is no record, though ${join(folder, trace)} shows that something was done`);
  if (from > 1 && !isGivenUp(files)) {
    problems.push(
      `records 1 to ${from - 1} are missing, and there was room for them: older ones are given up once ${KEPT} files of ${LARGEST} bytes are full`,
    );
  }
  if (from === 1 && confirmed !== undefined && !isConfirmed)
    problems.push(`no record tells who confirmed the rules in ${join(folder, 'confirmed.json')}`);
  return { records, from, head: before?.hash ?? FIRST, problems, last };
}

/** A confirmation, also one that was killed at it; or that the confirmed rules were applied again, which is no change. */
function isConfirming({ verb, outcome, change }: AuditRecord): boolean {
  if (verb === 'confirm') return outcome === 'intended' || outcome === 'done';
  return verb === 'apply' && outcome === 'done' && change === undefined;
}

function namesIn(folder: string): readonly string[] {
  try {
    return readdirSync(folder);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
    throw error;
  }
}

/** Of the files of the audit, oldest first. */
const agesOf = (names: readonly string[]): number[] =>
  Array.from({ length: KEPT + 1 }, (_, i) => KEPT - i).filter((age) =>
    names.includes(basename(auditFile('', age))),
  );

/** Undefined also where it is damaged, which status tells. */
function confirmedIn(folder: string): string | undefined {
  const text = readWhole(join(folder, 'confirmed.json'));
  const rules = text === undefined ? undefined : unsealed(text);
  return rules === undefined ? undefined : digest(rules.document);
}

interface AuditFile {
  readonly age: number;
  readonly path: string;
}

const isFull = ({ path }: AuditFile): boolean => statSync(path).size >= LARGEST;

/**
 * The oldest file goes when the newest is full and there are as many full ones as are kept. One that lost its first
 * records is shorter. Where the machine stopped between two of the names one of them is missing, and the newest is full.
 */
function isGivenUp(files: readonly AuditFile[]): boolean {
  return files.filter(isFull).length >= KEPT && files.every((one) => one.age === 0 || isFull(one));
}

function problemOf(record: AuditRecord, before: AuditRecord | undefined): string | undefined {
  const { hash, ...rest } = record;
  if (hashOf(rest) !== hash) return `record ${record.seq} is not as it was written`;
  if (before === undefined)
    return record.seq === 1 && record.previous !== FIRST ? 'what was before record 1 is missing' : undefined;
  if (record.seq !== before.seq + 1) return `record ${record.seq} follows ${before.seq}`;
  return record.previous === before.hash
    ? undefined
    : `record ${record.seq} does not follow from ${before.seq}`;
}
