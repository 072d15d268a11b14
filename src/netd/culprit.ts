import { closeSync, openSync, readSync } from 'node:fs';
import { type EpochMs, epochMs } from '../core/units.ts';

/** Whoever made a generation of the rules, as far as it could be found out before it ended. */
export interface Culprit {
  readonly generation: number;
  readonly at: EpochMs;
  /** In the first PID namespace; undefined where nft did not say. */
  readonly pid: number | undefined;
  /** Fifteen characters, as the kernel knows it. */
  readonly name: string | undefined;
  /** Its command line, where it still lived. */
  readonly command: string | undefined;
  readonly uid: number | undefined;
  /** Name alone: what is behind it on its command line is none of our business. */
  readonly parent: string | undefined;
}

/** Enough for a command; programs pass whole files on theirs. */
const LONGEST_COMMAND = 200;
const LONGEST_READ = 4_096;
/** The name of a process is its own choice, brackets and all; it has fifteen characters. */
const LINE = /^# new generation (\d+)(?: by process (\d+) \((.{0,15}?)\)?)?$/s;

/** What a line of `nft monitor` says; undefined where it tells of no generation. */
export function culpritOf(line: string): Culprit | undefined {
  const [, generation, pid, name] = LINE.exec(line) ?? [];
  if (generation === undefined) return undefined;
  return {
    generation: Number(generation),
    at: epochMs(Date.now()),
    pid: pid === undefined ? undefined : Number(pid),
    name,
    ...lifeOf(pid, name),
  };
}

const DEAD = { command: undefined, uid: undefined, parent: undefined };

/** Most have ended by now. A number that somebody else has since is told by its name. */
function lifeOf(
  pid: string | undefined,
  name: string | undefined,
): Pick<Culprit, 'command' | 'uid' | 'parent'> {
  if (pid === undefined || read(`/proc/${pid}/comm`)?.trimEnd() !== name) return DEAD;
  const status = read(`/proc/${pid}/status`) ?? '';
  const [, uid] = /^Uid:\s+(\d+)/m.exec(status) ?? [];
  const [, parent] = /^PPid:\s+([1-9]\d*)/m.exec(status) ?? [];
  const command = read(`/proc/${pid}/cmdline`)?.replaceAll('\0', ' ').trim().slice(0, LONGEST_COMMAND);
  return {
    command: command === '' ? undefined : command,
    uid: uid === undefined ? undefined : Number(uid),
    parent: parent === undefined ? undefined : read(`/proc/${parent}/comm`)?.trimEnd(),
  };
}

function read(path: string): string | undefined {
  try {
    const file = openSync(path, 'r');
    try {
      const bytes = Buffer.alloc(LONGEST_READ);
      return bytes.toString('utf8', 0, readSync(file, bytes));
    } finally {
      closeSync(file);
    }
  } catch {
    return undefined;
  }
}

/** `nft, process 4711 of user 0, started by ansible: nft flush ruleset`. */
export function culpritText({ pid, name, command, uid, parent }: Culprit): string {
  if (pid === undefined) return 'a process that nft did not name';
  const user = uid === undefined ? '' : ` of user ${uid}`;
  const from = parent === undefined ? '' : `, started by ${parent}`;
  return `${name ?? 'unknown'}, process ${pid}${user}${from}${command === undefined ? '' : `: ${command}`}`;
}
