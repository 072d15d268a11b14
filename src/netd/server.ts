import { chmodSync, chownSync, lstatSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { createServer, connect, type Server, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import { type Duration, minutes, seconds } from '../core/units.ts';
import { Bucket } from './bucket.ts';
import { converse, turnAway } from './conversation.ts';
import { whoElse } from './ours.ts';
import { identityOf, proofFolder } from './peer.ts';
import type { Request } from './request.ts';
import { groupOf, membersOf } from './users.ts';

/** The kernel's sun_path has 108 bytes, one of them the closing zero (unix(7)); Node would cut off what is longer. */
const LONGEST_PATH = 107;
/** People, the gateway and its tools; each takes one for as long as a question. Of those who proved who they are. */
const MOST_CONNECTIONS = 16;
/**
 * Of those who did not yet, and could be any user of the machine where users are named one by one: the oldest gives way, so
 * that nobody takes the places of others by being silent. A proof takes milliseconds; whoever opens this many connections
 * in that time can still crowd somebody out, who then tries again.
 */
const MOST_UNPROVEN = 64;
const CROWD_TOLD: Duration = minutes(1);
const STOP_PATIENCE: Duration = seconds(5);

/** Who may ask, beside root and the user that netd runs as. */
export interface Permitted {
  readonly uids: readonly number[];
  readonly group: string | undefined;
}

export interface Caller {
  readonly uid: number;
  /** When the connection was opened, by the clock that nobody can set. */
  readonly opened: Duration;
}

export interface ServerParts {
  readonly socket: string;
  /** What a new connection is told first, beside its challenge. */
  readonly greeting: Readonly<Record<string, string>>;
  readonly permitted: Permitted;
  readonly handle: (request: Request, caller: Caller) => Promise<object>;
  /** Somebody was turned away. */
  readonly refuse: (uid: number | undefined, why: string) => void;
  readonly log: Log;
}

/** Listens at a unix socket until it is told to stop; what is under way is finished then. */
export function server(parts: ServerParts): Task {
  return { name: 'netd', run: async (signal) => serve(parts, signal) };
}

async function serve(parts: ServerParts, signal: AbortSignal): Promise<void> {
  const { socket, log } = parts;
  await prepare(parts);
  const open = new Set<Socket>();
  const running = new Set<Promise<void>>();
  /** In the order in which they came. */
  const unproven = new Set<Socket>();
  const proven = new Set<Socket>();
  const crowd = new Bucket(1, CROWD_TOLD);
  const tellCrowd = (most: number, who: string): void => {
    if (crowd.take()) log.warn('netd has too many connections', { most, who });
  };
  const listening = createServer();
  await bound(listening, parts);
  const identity = identityOf(socket);
  listening.on('connection', (one) => {
    open.add(one);
    const [oldest] = unproven;
    if (oldest !== undefined && unproven.size >= MOST_UNPROVEN) {
      tellCrowd(MOST_UNPROVEN, 'that say nothing');
      unproven.delete(oldest);
      turnAway(oldest);
    }
    unproven.add(one);
    const admit = (): boolean => {
      unproven.delete(one);
      if (proven.size < MOST_CONNECTIONS) proven.add(one);
      else tellCrowd(MOST_CONNECTIONS, 'of those who may ask');
      return proven.has(one);
    };
    const done = converse(one, { ...parts, identity, isPermitted: (uid) => isPermitted(uid, parts), admit })
      .catch((error) => {
        // Who never said who they are could fill the log.
        if (proven.has(one)) log.warn('a connection failed', { error: errorText(error) });
      })
      .finally(() => {
        one.destroy();
        open.delete(one);
        unproven.delete(one);
        proven.delete(one);
        running.delete(done);
        if (open.size === 0) sweep(proofFolder(socket));
      });
    running.add(done);
  });
  log.info('netd listens', { socket });
  await new Promise<void>((resolve, reject) => {
    listening.on('error', reject);
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
  listening.close();
  const late = setTimeout(() => open.forEach((one) => one.destroy()), STOP_PATIENCE);
  for (const one of open) one.end();
  await Promise.all(running);
  clearTimeout(late);
  rmSync(socket, { force: true });
  rmSync(proofFolder(socket), { recursive: true, force: true });
}

function isPermitted(uid: number, { permitted }: ServerParts): boolean {
  if (uid === 0 || uid === process.getuid?.() || permitted.uids.includes(uid)) return true;
  return permitted.group !== undefined && membersOf(permitted.group).includes(uid);
}

/** Modes as narrow as those who may ask allow: nobody else can even connect. */
function modesFor({ uids, group }: Permitted): {
  readonly folder: number;
  readonly socket: number;
  readonly proofs: number;
} {
  // Proofs are made there and never listed; with the sticky bit nobody touches the proof of another.
  if (uids.length > 0) return { folder: 0o711, socket: 0o666, proofs: 0o1733 };
  if (group !== undefined) return { folder: 0o710, socket: 0o660, proofs: 0o1730 };
  return { folder: 0o700, socket: 0o600, proofs: 0o700 };
}

async function prepare({ socket, permitted }: ServerParts): Promise<void> {
  if (Buffer.byteLength(socket) > LONGEST_PATH) {
    throw new SluiceError('SETUP', `the path of the socket is longer than ${LONGEST_PATH} bytes: ${socket}`, {
      remedy: 'name a shorter one with --socket',
    });
  }
  const folder = dirname(socket);
  const modes = modesFor(permitted);
  try {
    if (mkdirSync(folder, { recursive: true, mode: modes.folder }) !== undefined) {
      chmodSync(folder, modes.folder);
      give(folder, permitted);
    }
  } catch (cause) {
    throw new SluiceError('SETUP', `cannot make ${folder}: ${errorText(cause)}`, {
      cause,
      remedy: 'run netd as root, or name another place with --socket',
    });
  }
  const others = whoElse(folder);
  if (others !== undefined) {
    throw new SluiceError('SETUP', `no socket is made in ${folder}: ${others}`, {
      remedy: 'whoever can put another socket there could pass on what it is told: name a folder of root',
    });
  }
  if (await isAnswered(socket)) {
    throw new SluiceError('SETUP', `something listens at ${socket} already`, {
      remedy: 'one netd is enough; systemctl status sluice-netd',
    });
  }
  if (lstatSync(socket, { throwIfNoEntry: false })?.isSocket() === true) rmSync(socket);
  const proofs = proofFolder(socket);
  rmSync(proofs, { recursive: true, force: true });
  mkdirSync(proofs, { mode: 0o700 });
  give(proofs, permitted);
  chmodSync(proofs, modes.proofs);
}

function give(path: string, { group }: Permitted): void {
  if (group !== undefined) chownSync(path, process.getuid?.() ?? 0, groupOf(group).gid);
}

async function isAnswered(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(socket);
    probe.once('connect', () => resolve(true));
    probe.once('error', () => resolve(false));
    probe.once('close', () => probe.destroy());
    probe.once('connect', () => probe.destroy());
  });
}

async function bound(listening: Server, { socket, permitted }: ServerParts): Promise<void> {
  // Closed to everybody until its owner and mode are set.
  const before = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      listening.once('error', reject);
      listening.listen(socket, () => {
        listening.off('error', reject);
        resolve();
      });
    });
  } catch (cause) {
    throw new SluiceError('SETUP', `cannot listen at ${socket}: ${errorText(cause)}`, {
      cause,
      remedy: 'name another place with --socket',
    });
  } finally {
    process.umask(before);
  }
  give(socket, permitted);
  chmodSync(socket, modesFor(permitted).socket);
}

/** What nobody waits for any more. */
function sweep(folder: string): void {
  try {
    for (const name of readdirSync(folder)) rmSync(join(folder, name), { recursive: true, force: true });
  } catch {
    // Its owner left something that only they can take away; it is in nobody's way.
  }
}
