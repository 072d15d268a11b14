import {
  accessSync,
  closeSync,
  constants,
  existsSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';

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
const ASIDE = 'before-restore-';
const ASIDE_NAME = /^before-restore-\d{8}T\d{9}Z$/;

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

/**
 * Where what is in the folder is moved to: beside it, where it does not count for the quota; within it where that cannot
 * be.
 */
export function asideOf(folder: string, now = new Date()): string {
  const name = `${ASIDE}${now.toISOString().replaceAll(/[-:.]/g, '')}`;
  const parent = dirname(folder);
  try {
    accessSync(parent, constants.R_OK | constants.W_OK);
    if (statSync(parent).dev === statSync(folder).dev) return `${folder}.${name}`;
  } catch {
    // Not ours to write in.
  }
  return join(folder, name);
}

/** Is it within the data folder? Its name begins with that of the folder where it is beside it. */
export function isWithin(aside: string): boolean {
  return basename(aside).startsWith(ASIDE);
}

/**
 * One of the places that `asideOf` makes, whatever folder the plan names: whoever may write in the data folder can write
 * a plan too, and who carries it out may be root.
 */
function placeOf(folder: string, said: string): string | undefined {
  const name = basename(said);
  if (ASIDE_NAME.test(name)) return join(folder, name);
  const beside = `${basename(folder)}.`;
  if (!name.startsWith(beside) || !ASIDE_NAME.test(name.slice(beside.length))) return undefined;
  return `${folder}.${name.slice(beside.length)}`;
}

/** A restore that was committed and not finished. Throws SETUP where nobody but a restore can have left it. */
export function interrupted(folder: string): Plan | undefined {
  const path = [READY, SWAP].map((name) => join(folder, name, 'restore.json')).find(existsSync);
  if (path === undefined) return undefined;
  const { id, aside } = planIn(path);
  const place = typeof aside === 'string' ? placeOf(folder, aside) : undefined;
  if (typeof id === 'string' && place !== undefined) return { id, aside: place };
  const says =
    typeof aside === 'string' ? `names ${visible(aside)} as the place for what is there` : 'is damaged';
  throw new SluiceError('SETUP', `${path} ${says}: no restore of Sluice wrote that`, {
    remedy: `find out who did; move ${dirname(path)} away, and restore again. Nothing was touched`,
  });
}

/** Nothing of what is in the file is shown: it may be a link to something else. */
function planIn(path: string): { readonly id?: unknown; readonly aside?: unknown } {
  try {
    const plan: unknown = JSON.parse(readFileSync(path, 'utf8'));
    return typeof plan === 'object' && plan !== null ? plan : {};
  } catch (error) {
    if (error instanceof SyntaxError) return {};
    throw error;
  }
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
    if (OWN.includes(name)) renameSync(join(fresh, name), join(folder, name));
  sync(folder);
  rmSync(join(folder, SWAP), { recursive: true });
  sync(folder);
}

function moveAside(folder: string, aside: string): void {
  const names = present(folder);
  if (names.length === 0) return;
  mkdirSync(aside, { recursive: true, mode: FOLDER_MODE });
  if (!lstatSync(aside).isDirectory())
    throw new SluiceError('SETUP', `${aside} is a link: no restore of Sluice made it`, {
      remedy: 'find out who did, and remove it',
    });
  sync(dirname(aside)); // before anything is in it
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
