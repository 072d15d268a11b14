import { join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import type { AuditRecord } from '../netd/audit.ts';
import { type Verified, verifyAudit } from '../netd/audit-verify.ts';
import { gatewayOf, loadGateway } from './load.ts';

/** Verifies the chain and prints the last records; exit status 0 where each follows from the one before, and none is missing. */
export async function runAudit(file: string, json: boolean): Promise<number> {
  const { data } = gatewayOf(await loadGateway(file));
  const verified = verifiedIn(join(data, 'segmentation'));
  process.stdout.write(json ? `${JSON.stringify(verified)}\n` : forPerson(verified));
  return verified.problems.length === 0 ? 0 : 1;
}

function verifiedIn(folder: string): Verified {
  try {
    return verifyAudit(folder);
  } catch (error) {
    throw new SluiceError('SETUP', `cannot read the audit in ${folder}: ${errorText(error)}`, {
      cause: error,
      remedy: 'run this as root',
    });
  }
}

function forPerson({ records, from, head, problems, last }: Verified): string {
  if (records === 0 && problems.length === 0)
    return 'there is no record: nothing was ever changed or refused here\n';
  const chain =
    problems.length === 0
      ? `${records} records from number ${from} on, each follows from the one before; the newest has the hash\n${head}`
      : `somebody or something had a hand in it:\n${problems.map((one) => `  ${visible(one)}`).join('\n')}`;
  return `${last.map(lineOf).join('')}${chain}\n`;
}

function lineOf({ time, user, uid, person, via, verb, outcome, ...what }: AuditRecord): string {
  const { change, device, detail, lost } = what;
  const words = [
    time,
    `${user}(${uid})${person === undefined ? '' : ` for ${person}`}`,
    via,
    verb,
    outcome,
    change,
    device,
    detail,
    ...(lost === undefined ? [] : [`(${lost} before it could not be written)`]),
  ];
  return `${visible(words.filter((word) => word !== undefined).join(' '))}\n`;
}
