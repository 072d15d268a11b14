// A program of its own: node guard.ts DATA NUMBER ID. Takes the change ID back unless it is confirmed in time.
import { appendFileSync, constants, openSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ToldOnce } from './told-once.ts';
import { type Log, streamLog } from '../core/log.ts';
import { type Duration, milliseconds, minutes, seconds } from '../core/units.ts';
import { Audit, takenBack, type Who } from './audit.ts';
import { armedFile, GUARDS, guardPid, start } from './arm.ts';
import { InForce } from './in-force.ts';
import { lockOf } from './lock.ts';
import { sinceBoot } from './monotonic.ts';
import { Nft } from './nft.ts';
import { digest, type Pending, remaining, State } from './state.ts';

const GLANCE: Duration = milliseconds(250);
/** After a roll back that failed: nobody else will do it. */
const AGAIN: Duration = seconds(2);
/** What starts of Node take here, this one has just seen: started too often they only hold up each other. */
const START_TIME: Duration = milliseconds(Math.max(3_000, 4_000 * process.uptime()));
const LOCK_PATIENCE: Duration = minutes(5);
const OURSELVES: Who = { uid: process.getuid?.() ?? 0, user: 'guard', via: 'guard' };

const [data = '', number = '', id = ''] = process.argv.slice(2);
// The folder that it was started for, whatever is done to its name: nobody confirms by putting another one there.
const folder = openSync(join(data, 'segmentation'), constants.O_RDONLY | constants.O_DIRECTORY);
const state = new State(data, { folder: `/proc/self/fd/${folder}` });
const log: Log = streamLog({ write: append });
// Its terminal and the connection it came by may go; only a confirmation ends it.
process.on('SIGHUP', () => {});
const told = new ToldOnce((error) => log.error('cannot roll back', { change: id, error }));
let startAgain = sinceBoot() + START_TIME;
await guard();
if (guardPid(state.folder, Number(number), id) === process.pid)
  rmSync(armedFile(state.folder, Number(number)), { force: true });

/** A full disk must not keep anything from being rolled back. */
function append(text: string): void {
  try {
    appendFileSync(join(state.folder, 'rollback.log'), text, { mode: 0o600 });
  } catch {
    // Nobody can be told.
  }
}

async function guard(): Promise<void> {
  const first = state.pending();
  if (first?.id !== id) return;
  // Held from here on: whatever happens to the disk, this is what is returned to.
  const before = state.before();
  const armed = armedFile(state.folder, Number(number));
  writeFileSync(`${armed}.partial`, `${process.pid} ${id}`, { mode: 0o600 });
  renameSync(`${armed}.partial`, armed);
  for (let now = waiting(first); now !== undefined; now = waiting(now)) {
    // Started twice, because the first took its time: one is enough.
    if ((guardPid(state.folder, Number(number), id) ?? process.pid) !== process.pid) return;
    const left = remaining(now);
    if (left > GLANCE) for (const other of GUARDS) keep(other);
    if (left === 0 && (await rolledBack(now, before))) return;
    await pause(left === 0 ? AGAIN : Math.min(GLANCE, left));
  }
}

/** On a small box one takes some time to begin; until then no second one is started. */
function keep(other: number): void {
  if (String(other) === number || guardPid(state.folder, other, id) !== undefined) return;
  if (sinceBoot() < startAgain) return;
  startAgain = sinceBoot() + START_TIME;
  start(data, other, id);
}

/** Undefined where it waits no more. A disk that cannot be read is no confirmation. */
function waiting(known: Pending): Pending | undefined {
  try {
    const now = state.pending();
    return now?.id === id ? now : undefined;
  } catch {
    return known;
  }
}

async function rolledBack(known: Pending, before: string): Promise<boolean> {
  try {
    using lock = await lockOf(state.folder, LOCK_PATIENCE);
    const pending = waiting(known);
    if (pending === undefined) return true;
    if (remaining(pending) > 0) return false; // it was proven only now: its time begins with that
    if (!isConfirmed(pending)) {
      const nft = new Nft({ lock: lock.descriptor });
      const { replaces, cut } = await new InForce(state).bring(nft, before);
      log.warn('rolled back: nobody confirmed', {
        change: id,
        how: replaces.join('; ') || 'in place',
        cut: cut.connections,
        ...(cut.problem !== undefined && { 'not cut': cut.problem }),
      });
      await new Audit(state.folder).record(OURSELVES, takenBack(id));
    }
    state.end();
    return true;
  } catch (error) {
    told.failed(error);
    return false;
  }
}

/** Confirmed by someone who was killed before they could say that nothing waits any more. */
function isConfirmed({ rules }: Pending): boolean {
  try {
    const now = state.confirmed();
    return now !== undefined && digest(now) === rules;
  } catch {
    return false;
  }
}
