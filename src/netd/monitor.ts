import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import { type Duration, milliseconds, minutes, seconds } from '../core/units.ts';
import { type Culprit, culpritOf } from './culprit.ts';
import { sinceBoot } from './monotonic.ts';
import { nftEnvironment } from './nft.ts';

// Follows `nft monitor`: in its text form, because only that names the process that made a generation.

/** Only the head of a line matters; one with ten thousand elements is a megabyte. */
const HEAD = 300;
const FIRST_AGAIN: Duration = seconds(1);
const LAST_AGAIN: Duration = minutes(1);
/** One that lived as long was well, and begins with the short wait again. */
const WELL: Duration = minutes(1);
/** From then on it is taken to listen, whatever the kernel shows of it. */
const START_TIME: Duration = seconds(10);
const GLANCE: Duration = milliseconds(50);
/** What setpriv ends with where it finds no such program. */
const NOT_FOUND = 127;
/** NETLINK_NETFILTER, netlink(7). */
const NETFILTER = '12';
/** `add element inet sluice m_pairs { … }` */
const TABLE = /^[a-z]+ [a-z]+ ((?:ip|ip6|inet|arp|bridge|netdev) \S+)/;
const OURS: readonly string[] = ['inet sluice', 'bridge sluice'];

/** nft 1.0.6 tells nothing of an element that is added to an interval map, not even where something else is told. */
export interface Touched {
  readonly ours: boolean;
  readonly others: boolean;
}

export interface MonitorParts {
  /** Somebody committed a change; what it is said to have touched. */
  readonly seen: (culprit: Culprit, touched: Touched) => void;
  /** From here on nothing is missed; before, anything may have been. */
  readonly listening: () => void;
  readonly log: Log;
}

/** Runs for ever: nft that dies is started again. */
export function monitor(parts: MonitorParts): Task {
  return { name: 'nft monitor', run: async (signal) => follow(parts, signal) };
}

async function follow(parts: MonitorParts, signal: AbortSignal): Promise<void> {
  let again = FIRST_AGAIN;
  let toldLast = '';
  while (!signal.aborted) {
    const begun = sinceBoot();
    const why = await once(parts, signal);
    if (signal.aborted) return;
    const lived = sinceBoot() - begun;
    again = lived > WELL ? FIRST_AGAIN : milliseconds(Math.min(again * 2, LAST_AGAIN));
    // Tried for ever, told when it is another reason, or was well in between.
    if (why !== toldLast || lived > WELL)
      parts.log.warn('nft monitor ended and is started again', { why, 'after-ms': again });
    toldLast = why;
    await pause(again, undefined, { signal }).catch(() => {});
  }
}

/** One nft, until it ends; why it did. */
async function once(parts: MonitorParts, signal: AbortSignal): Promise<string> {
  // setpriv becomes nft, with the same number: it ends with us also where we are killed, and not with the next event.
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', 'nft', 'monitor'], {
    env: nftEnvironment(),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const stop = (): void => void child.kill('SIGKILL');
  signal.addEventListener('abort', stop, { once: true });
  const end = endOf(child);
  const lines = new Heads();
  let [ours, others] = [false, false];
  child.stdout.on('data', (chunk: Buffer) => {
    for (const line of lines.take(chunk)) {
      const culprit = culpritOf(line);
      if (culprit === undefined) {
        const [, table] = TABLE.exec(line) ?? [];
        if (table === undefined) continue;
        if (OURS.includes(table)) ours = true;
        else others = true;
        continue;
      }
      parts.seen(culprit, { ours, others });
      [ours, others] = [false, false];
    }
  });
  void untilListening(child).then((is) => is && parts.listening());
  try {
    return await end;
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

async function endOf(child: ChildProcessByStdio<null, Readable, null>): Promise<string> {
  return new Promise((resolve) => {
    child.once('error', (error) =>
      resolve(
        'code' in error && error.code === 'ENOENT'
          ? 'there is no program setpriv: apt-get install util-linux'
          : errorText(error),
      ),
    );
    child.once('close', (code, killed) => {
      if (code === NOT_FOUND) resolve('there is no program nft');
      else resolve(killed === null ? `status ${code}` : `killed by ${killed}`);
    });
  });
}

/** The kernel has put its socket into the groups of the events. False where it ended before. */
async function untilListening(child: ChildProcessByStdio<null, Readable, null>): Promise<boolean> {
  const { pid } = child;
  const last = sinceBoot() + START_TIME;
  if (pid === undefined) return false;
  while (child.exitCode === null && child.signalCode === null) {
    if (isListening(pid) || sinceBoot() > last) return true;
    await pause(GLANCE);
  }
  return false;
}

/** /proc/net/netlink: sk, Eth (the protocol), Pid, Groups, … */
function isListening(pid: number): boolean {
  try {
    const rows = readFileSync('/proc/net/netlink', 'utf8').split('\n');
    return rows.some((row) => {
      const [, protocol, port, groups = ''] = row.trim().split(/\s+/);
      return protocol === NETFILTER && port === String(pid) && /[1-9a-f]/.test(groups);
    });
  } catch {
    return false;
  }
}

/** Lines of a stream; of each only its head, however long it is. */
export class Heads {
  #head = '';

  take(chunk: Buffer): string[] {
    const pieces = chunk.toString('latin1').split('\n');
    const heads: string[] = [];
    for (const [i, piece] of pieces.entries()) {
      if (i > 0) {
        heads.push(Buffer.from(this.#head, 'latin1').toString());
        this.#head = '';
      }
      this.#head += piece.slice(0, HEAD - this.#head.length);
    }
    return heads;
  }
}
