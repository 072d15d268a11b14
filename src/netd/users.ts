import { readFileSync } from 'node:fs';
import { SluiceError } from '../core/errors.ts';

// Accounts of this machine as its files say. Those of a directory service are given by their number.

interface Account {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
}

/** Its name, for people; the number where nobody has it. */
export function userName(uid: number): string {
  return accounts().find((account) => account.uid === uid)?.name ?? String(uid);
}

/** Everybody in it, by its own list and as their first group. */
export function membersOf(group: string): readonly number[] {
  const { gid, members } = groupOf(group);
  return accounts().flatMap((one) => (one.gid === gid || members.includes(one.name) ? [one.uid] : []));
}

export function groupOf(group: string): { readonly gid: number; readonly members: readonly string[] } {
  for (const [name = '', , gid = '', members = ''] of rowsOf('/etc/group')) {
    if (name === group) return { gid: Number(gid), members: members.split(',') };
  }
  throw new SluiceError('SETUP', `there is no group ${group} in /etc/group`, {
    remedy: `groupadd --system ${group}`,
  });
}

function accounts(): Account[] {
  return rowsOf('/etc/passwd').map(([name = '', , uid = '', gid = '']) => ({
    name,
    uid: Number(uid),
    gid: Number(gid),
  }));
}

function rowsOf(file: string): string[][] {
  try {
    return readFileSync(file, 'utf8')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => line.split(':'));
  } catch {
    return [];
  }
}
