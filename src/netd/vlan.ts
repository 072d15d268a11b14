import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { type LiveNetwork, liveNetwork, type NetworkDifference } from '../segmentation/network-live.ts';
import { UNIT_PREFIX } from '../segmentation/network-units.ts';

// The only caller of ip, bridge, networkctl and systemctl.

const FOLDER = 'etc/systemd/network';
/** Links are changed at once; whoever has not ended by then hangs. */
const LIMIT_MS = 30_000;
const MOST_BYTES = 64 * 1_024 * 1_024;

/** Files of ours below a root folder, and what is in them. */
export function unitsThere(root: string): Map<string, string> {
  const folder = join(root, FOLDER);
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return new Map();
  }
  const ours = names.filter((name) => name.startsWith(UNIT_PREFIX)).toSorted();
  return new Map(ours.map((name) => [name, readFileSync(join(folder, name), 'utf8')]));
}

/** Each file as a whole, or as it was; what is not wanted any more goes. */
export function writeUnits(root: string, wanted: ReadonlyMap<string, string>): void {
  const folder = join(root, FOLDER);
  const there = unitsThere(root);
  try {
    mkdirSync(folder, { recursive: true });
    for (const [name, text] of wanted) {
      if (there.get(name) === text) continue;
      const partial = join(folder, `.${name}.partial`);
      writeFileSync(partial, text, { mode: 0o644, flush: true });
      renameSync(partial, join(folder, name));
    }
    for (const name of there.keys()) if (!wanted.has(name)) rmSync(join(folder, name));
  } catch (error) {
    throw new SluiceError('SETUP', `cannot write units into ${folder}: ${errorText(error)}`, {
      cause: error,
      remedy: 'run this as root',
    });
  }
}

export function readLive(): LiveNetwork {
  return liveNetwork(
    done(['ip', '-j', '-d', 'link', 'show']),
    done(['bridge', '-j', 'vlan', 'show']),
    done(['ip', '-j', 'address', 'show']),
  );
}

export function take(steps: NetworkDifference['steps']): void {
  for (const step of steps) done(step);
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
