import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import type { NetworkDifference } from '../segmentation/network-differences.ts';
import { type LiveNetwork, liveNetwork } from '../segmentation/network-live.ts';
import { UNIT_PREFIX } from '../segmentation/network-units.ts';
import { forwardedFrom } from './forwarding.ts';

// The only caller of ip, bridge, networkctl and systemctl.

const FOLDER = 'etc/systemd/network';
/** Links are changed at once; whoever has not ended by then hangs. */
const LIMIT_MS = 30_000;
const MOST_BYTES = 64 * 1_024 * 1_024;

export const unitPath = (root: string, name: string): string => join(root, FOLDER, name);

/** Files of ours below a root folder, and what is in them. */
export function unitsThere(root: string): Map<string, string> {
  const folder = join(root, FOLDER);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if (isMissing(error)) return new Map();
    throw unreadable(folder, error);
  }
  const ours = names.filter((name) => name.startsWith(UNIT_PREFIX)).toSorted();
  return new Map(ours.map((name) => [name, unitAt(unitPath(root, name))]));
}

function unitAt(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw unreadable(path, error);
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT';

const unreadable = (path: string, cause: unknown): SluiceError =>
  new SluiceError(
    'SETUP',
    `cannot read the units of systemd-networkd: ${visible(path)}: ${errorText(cause)}`,
    {
      cause,
      remedy: `run this as root; whatever has a name that begins with ${UNIT_PREFIX} has to be a file`,
    },
  );

/** Units that are written already, and count from `commit` on. */
export interface StagedUnits {
  /** Each file as a whole, or as it was; what is not wanted any more goes. */
  readonly commit: () => void;
  readonly discard: () => void;
}

/** A disk that is full or not ours says so here, before anything is changed. */
export function stageUnits(root: string, wanted: ReadonlyMap<string, string>): StagedUnits {
  const folder = join(root, FOLDER);
  const there = unitsThere(root);
  const changed = [...wanted].filter(([name, text]) => there.get(name) !== text);
  const partial = (name: string): string => join(folder, `.${name}.partial`);
  const discard = (): void => {
    for (const [name] of changed) rmSync(partial(name), { force: true });
  };
  writing(folder, () => {
    mkdirSync(folder, { recursive: true });
    try {
      for (const [name, text] of changed) writeFileSync(partial(name), text, { mode: 0o644, flush: true });
    } catch (error) {
      discard();
      throw error;
    }
  });
  const commit = (): void =>
    writing(folder, () => {
      for (const [name] of changed) renameSync(partial(name), join(folder, name));
      for (const name of there.keys()) if (!wanted.has(name)) rmSync(join(folder, name));
    });
  return { commit, discard };
}

function writing(folder: string, act: () => void): void {
  try {
    act();
  } catch (error) {
    throw new SluiceError('SETUP', `cannot write units into ${visible(folder)}: ${errorText(error)}`, {
      cause: error,
      remedy: 'run this as root, where there is room',
    });
  }
}

export function readLive(): LiveNetwork {
  return liveNetwork({
    links: done(['ip', '-j', '-d', 'link', 'show']),
    bridge: done(['bridge', '-j', 'vlan', 'show']),
    addresses: done(['ip', '-j', 'address', 'show']),
    forwards: forwardedFrom,
  });
}

export function take(steps: NetworkDifference['changes']): void {
  for (const step of steps) {
    if (step[0] === 'sysctl') switched(step.at(-1) ?? '');
    else done(step);
  }
}

/** What sysctl does, which not every machine has. */
function switched(assignment: string): void {
  const [name = '', value = ''] = assignment.split('=');
  const path = `/proc/sys/${name.replaceAll('.', '/')}`;
  try {
    writeFileSync(path, value);
  } catch (error) {
    throw new SluiceError('SETUP', `cannot write ${value} into ${path}: ${errorText(error)}`, {
      cause: error,
      remedy: 'run this as root, on a machine whose kernel has this switch',
    });
  }
}

/** Does systemd-networkd manage links here? networkctl answers wherever there is a bus, whether it runs or not. */
export const networkdRuns = (): boolean =>
  spawnSync('systemctl', ['is-active', '--quiet', 'systemd-networkd.service'], { timeout: LIMIT_MS })
    .status === 0;

export function reload(): void {
  done(['networkctl', 'reload']);
}

function done([program = '', ...args]: readonly string[]): string {
  const path = [process.env['PATH'], '/usr/sbin', '/sbin'].join(':');
  const ran = spawnSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, LC_ALL: 'C', PATH: path },
    maxBuffer: MOST_BYTES,
    timeout: LIMIT_MS,
  });
  if (ran.status === 0) return ran.stdout;
  const says = ran.error === undefined ? ran.stderr.trim() || `status ${ran.status}` : errorText(ran.error);
  throw new SluiceError(
    'SETUP',
    visible(`cannot run ${[program, ...args].join(' ')}: ${says.slice(0, 300)}`),
    {
      remedy:
        'run this as root, on a machine with iproute2 and a kernel with 802.1Q and VLAN filtering of bridges',
    },
  );
}
