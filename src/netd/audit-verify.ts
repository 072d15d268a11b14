import { existsSync, readFileSync } from 'node:fs';
import { type AuditRecord, auditFile, FIRST, hashOf, KEPT, recordOf } from './audit.ts';

export interface Verified {
  readonly records: number;
  /** Older ones were given up: the chain is known from this number on. */
  readonly from: number;
  /** The hash of the newest record; noted elsewhere, it shows later whether the end was cut off. */
  readonly head: string;
  /** `audit.1.jsonl:17: ...`; empty where every record follows from the one before. */
  readonly problems: readonly string[];
  readonly last: readonly AuditRecord[];
}

const MOST_PROBLEMS = 20;
const SHOWN = 20;

/** Reads the whole chain of the audit in this folder. */
export function verifyAudit(folder: string): Verified {
  const problems: string[] = [];
  const last: AuditRecord[] = [];
  let before: AuditRecord | undefined;
  let from = 0;
  let records = 0;
  for (let age = KEPT; age >= 0; age -= 1) {
    const path = auditFile(folder, age);
    if (!existsSync(path)) continue;
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
      last.push(record);
      if (last.length > SHOWN) last.shift();
    }
    if (rest !== '' && age > 0) problems.push(`${path}:${lines.length + 1}: is only a part of a record`);
  }
  return { records, from, head: before?.hash ?? FIRST, problems, last };
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
