import { readFileSync } from 'node:fs';
import { join } from 'node:path';

// By which connection whoever asks came to this machine. sshd says so in SSH_CONNECTION, which sudo takes away: then it
// stands in the environment of a process that started this one. Where it does not, the kernel numbers logins. It keeps
// nobody from doing anything: it notices a mistake.

/** sudo, a shell, a multiplexer and a few more. */
const MOST_ANCESTORS = 64;
const INIT = 1;
/** (uint32) -1: whoever started this never logged in (audit.h, AUDIT_SID_UNSET). */
const UNSET = '4294967295';
/** netd takes no longer one. */
const LONGEST = 200;
const VARIABLE = 'SSH_CONNECTION';

/** Undefined where it cannot be known: nobody came by ssh, and the kernel counts no logins. */
export function askingSession(proc = '/proc'): string | undefined {
  const found = ofAncestors(proc) ?? auditSession(proc);
  return found?.slice(0, LONGEST);
}

/** This process is the first of them. Those of others can be read by root alone. */
function ofAncestors(proc: string): string | undefined {
  let pid = 'self';
  for (let step = 0; step < MOST_ANCESTORS; step += 1) {
    const environment = read(join(proc, pid, 'environ'))?.split('\0') ?? [];
    const connection = environment
      .find((one) => one.startsWith(`${VARIABLE}=`))
      ?.slice(VARIABLE.length + 1)
      .trim();
    if (connection !== undefined && connection !== '') return connection;
    const parent = parentOf(read(join(proc, pid, 'stat')) ?? '');
    if (parent === undefined || parent <= INIT) return undefined;
    pid = String(parent);
  }
  return undefined;
}

/** The fourth field; the second is a name in parentheses, which may have any character in it (proc(5)). */
function parentOf(stat: string): number | undefined {
  const parent = Number(
    stat
      .slice(stat.lastIndexOf(')') + 1)
      .trim()
      .split(' ')[1],
  );
  return Number.isInteger(parent) ? parent : undefined;
}

function auditSession(proc: string): string | undefined {
  const id = read(join(proc, 'self', 'sessionid'))?.trim() ?? '';
  return /^\d+$/.test(id) && id !== UNSET ? `login ${id}` : undefined;
}

function read(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}
