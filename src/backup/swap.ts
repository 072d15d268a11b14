import {
  closeSync,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { basename, join } from 'node:path';

/** What is being put together; worth nothing. */
const STAGED = 'restore.partial';
/** Whole: the old is moved away, in any order, as often as it takes. */
const READY = 'restore.ready';
/** The old is away: the new is moved in, in any order, as often as it takes. */
const SWAP = 'restore.swap';

/** Everything that belongs to the databases of a data folder. The rest of it stays: keys, the lock, what people put there. */
const OWN = ['raw', 'minute', 'hour', 'telemetry.seq'].concat(
  ['telemetry.db', 'history.db'].flatMap((name) => [
    name,
    `${name}-wal`,
    `${name}-shm`,
    `${name}-journal`,
    `${name}.ready`, // a copy that would take the place of the restored one at the next start
  ]),
);

const FOLDER_MODE = 0o750;

export interface Plan {
  /** Which backup. */
  readonly id: string;
  /** Where the old is moved to; on the same disk. */
  readonly aside: string;
}

/** Names of databases that lie in the folder. */
export function present(folder: string): string[] {
  return OWN.filter((name) => lstatSync(join(folder, name), { throwIfNoEntry: false }) !== undefined);
}

/** An empty folder to put the new files into; what an interrupted restore left there is gone. */
export function stage(folder: string): string {
  discardStaged(folder);
  const staged = join(folder, STAGED, 'new');
  mkdirSync(staged, { recursive: true, mode: FOLDER_MODE });
  return staged;
}

export function discardStaged(folder: string): void {
  rmSync(join(folder, STAGED), { recursive: true, force: true });
}

/**
 * From here on the restore takes place, whatever happens: what is staged and durable becomes the data, now or when
 * the next command or gateway finishes it.
 */
export function commit(folder: string, plan: Plan): void {
  const staged = join(folder, STAGED);
  writeFileSync(join(staged, 'restore.json'), `${JSON.stringify(plan)}\n`, { mode: 0o640, flush: true });
  sync(join(staged, 'new'));
  sync(staged);
  renameSync(staged, join(folder, READY));
  sync(folder);
}

/** A restore that was committed and not finished. */
export function interrupted(folder: string): Plan | undefined {
  const path = [READY, SWAP].map((name) => join(folder, name, 'restore.json')).find(existsSync);
  if (path === undefined) return undefined;
  const plan: unknown = JSON.parse(readFileSync(path, 'utf8'));
  if (typeof plan !== 'object' || plan === null) throw new Error(`${path} is damaged`);
  const { id, aside } = { id: '', aside: '', ...plan };
  return { id, aside };
}

/** Does what is left of a committed restore; nothing where there is none. Only with the lock of the folder. */
export function finishRestore(folder: string): void {
  const plan = interrupted(folder);
  if (plan === undefined) return;
  if (existsSync(join(folder, READY))) {
    moveAside(folder, plan.aside);
    renameSync(join(folder, READY), join(folder, SWAP));
    sync(folder);
  }
  const fresh = join(folder, SWAP, 'new');
  for (const name of existsSync(fresh) ? readdirSync(fresh) : [])
    renameSync(join(fresh, name), join(folder, name));
  sync(folder);
  rmSync(join(folder, SWAP), { recursive: true });
  sync(folder);
}

function moveAside(folder: string, aside: string): void {
  const names = present(folder);
  if (names.length === 0) return;
  mkdirSync(aside, { recursive: true, mode: FOLDER_MODE });
  for (const name of names) renameSync(join(folder, name), join(aside, basename(name)));
  sync(aside);
  sync(folder);
}

export function sync(path: string): void {
  const file = openSync(path, 'r');
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}
