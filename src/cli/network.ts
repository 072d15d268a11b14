import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { Config } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { type Duration, milliseconds, seconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { DriftBook } from '../netd/drift-book.ts';
import { sinceBoot } from '../netd/monotonic.ts';
import { networkdRuns, readLive, reload, stageUnits, take, unitPath, unitsThere } from '../netd/vlan.ts';
import {
  type NetworkCase,
  type NetworkDifference,
  networkDifferences,
} from '../segmentation/network-differences.ts';
import { callersOf, lockOut } from '../segmentation/network-lock-out.ts';
import { networkPlan } from '../segmentation/network-plan.ts';
import { madeLinks, networkUnits, UNIT_PREFIX } from '../segmentation/network-units.ts';
import { askingSession } from './asking-session.ts';
import { loadConfig } from './load.ts';
import { HELP, oneFile, oneVerb, parsedOptions, usage } from './options.ts';

const TEXT = `Usage: ./sluice network render [--out DIR] [gateway.yaml]
       ./sluice network plan|verify [--root DIR] [--json] [gateway.yaml]
       ./sluice network apply [--without-networkd] [--force] [--root DIR] [--json] [gateway.yaml]

The VLANs of the zones, on a trunk or on a bridge (network and zones.X.ports of gateway.yaml).

  render  prints the units for systemd-networkd, or writes them into DIR. Needs no root, and changes nothing.
  plan    tells which files and links differ from what the file wants. Changes nothing.
  apply   writes the units into /etc/systemd/network (names that begin with ${UNIT_PREFIX}, no others), removes what is
          obsolete, files and links, and lets systemd-networkd load them; or sets the links itself, --without-networkd.
          Refuses to take away an address that somebody comes in by, unless --force. Needs root.
  verify  reads the kernel and tells every link that is not as the file wants it.

With --root DIR files below DIR alone are compared, written and removed: another system lies there, and no link of this
one is looked at or changed.

Exit status: 0 done or nothing differs, 1 not done or something differs (verify), 64 wrong usage, 78 wrong configuration.
`;

const NOTHING = 'the file has no network: nothing is to be made\n';

/** A slow box takes seconds for the VLANs of a bridge. */
const SETTLES: Duration = seconds(5);
const GLANCE: Duration = milliseconds(50);

/** Options of each verb, beside --help. */
const TAKES = {
  render: ['out'],
  plan: ['root', 'json'],
  apply: ['root', 'json', 'force', 'without-networkd'],
  verify: ['root', 'json'],
} as const;
const VERBS = ['render', 'plan', 'apply', 'verify'] as const satisfies (keyof typeof TAKES)[];
const OPTIONS = {
  ...HELP,
  json: { type: 'boolean' },
  out: { type: 'string' },
  root: { type: 'string' },
  force: { type: 'boolean' },
  'without-networkd': { type: 'boolean' },
} as const;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('network', args, OPTIONS);
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const [verb, ...files] = oneVerb('network', positionals, VERBS);
  const takes: readonly string[] = TAKES[verb];
  const [idle] = Object.keys(values).filter((name) => name !== 'help' && !takes.includes(name));
  if (idle !== undefined) throw usage('network', `network ${verb} takes no --${idle}`);
  const { root = '/', json = false, force = false } = values;
  const isElsewhere = resolve(root) !== '/';
  const [ofLinks] = Object.keys(values).filter((name) => name === 'force' || name === 'without-networkd');
  if (isElsewhere && ofLinks !== undefined)
    throw usage('network', `network ${verb} --root takes no --${ofLinks}: it sets no links`);
  const config = await loadConfig(oneFile(`network ${verb}`, files));
  const plan = networkPlan(config);
  const units = networkUnits(plan);
  if (verb === 'render') return render(units, values.out);
  if (verb === 'apply') refuseWithoutRoot();
  const there = unitsThere(root);
  const changed = changedFiles(there, units);
  if (isElsewhere) return filesAlone({ verb, root, json, units, changed });
  if (units.size === 0 && there.size === 0) {
    process.stdout.write(json ? '{"files":[],"links":[]}\n' : NOTHING);
    return 0;
  }
  const known: Known = { plan, made: madeLinks(there), closed: isClosed(config) };
  if (verb === 'apply') {
    refuseHarm(config, { ...known, live: readLive() }, force);
    bringLinks(known, units, values['without-networkd'] ?? false);
  }
  const isAsked = verb === 'apply' && !values['without-networkd'];
  const differences = isAsked ? await settled(known) : networkDifferences({ ...known, live: readLive() });
  const filesLeft = verb === 'apply' ? [] : changed;
  process.stdout.write(
    json
      ? `${JSON.stringify({ files: filesLeft.map(({ name }) => name), links: differences.map(toldInJson) })}\n`
      : told(root, filesLeft, differences),
  );
  if (verb === 'plan') return 0;
  return differences.length + (verb === 'verify' ? changed.length : 0) === 0 ? 0 : 1;
}

/** What does not change while links do. */
type Known = Omit<NetworkCase, 'live'>;

/** Rules that do not hold: netd stopped forwarding until they do. */
const isClosed = ({ gateway }: Config): boolean =>
  new DriftBook(join(gateway.data, 'segmentation')).read().stopped !== undefined;

interface Elsewhere {
  readonly verb: (typeof VERBS)[number];
  readonly root: string;
  readonly json: boolean;
  readonly units: ReadonlyMap<string, string>;
  readonly changed: readonly ChangedFile[];
}

/** Of a system that does not run here: what the links of this one are says nothing about it. */
function filesAlone({ verb, root, json, units, changed }: Elsewhere): number {
  if (verb === 'apply') stageUnits(root, units).commit();
  const left = verb === 'apply' ? [] : changed;
  const done = verb === 'apply' ? changed : [];
  const lines = [
    ...done.map(({ name }) => `${unitPath(root, name)} is ${units.has(name) ? 'written' : 'removed'}`),
    ...(changed.length > 0 ? [] : [units.size === 0 ? NOTHING.trim() : 'no file differs']),
    ...left.map(({ name, what }) => `${unitPath(root, name)} ${what}`),
    `files alone: no link of this machine was ${verb === 'apply' ? 'changed' : 'looked at'}`,
  ];
  process.stdout.write(
    json
      ? `${JSON.stringify({ root, files: left.map(({ name }) => name) })}\n`
      : `${lines.map(visible).join('\n')}\n`,
  );
  return verb === 'verify' && changed.length > 0 ? 1 : 0;
}

function render(units: ReadonlyMap<string, string>, out: string | undefined): number {
  if (out !== undefined) mkdirSync(out, { recursive: true });
  for (const [name, text] of units) {
    if (out === undefined) process.stdout.write(`# ---- ${name}\n${text}\n`);
    else writeFileSync(join(out, name), text);
  }
  return 0;
}

interface ChangedFile {
  readonly name: string;
  readonly what: 'is missing' | 'differs' | 'is obsolete';
}

function changedFiles(
  there: ReadonlyMap<string, string>,
  wanted: ReadonlyMap<string, string>,
): ChangedFile[] {
  const names = [...new Set([...there.keys(), ...wanted.keys()])].toSorted();
  return names.flatMap((name): ChangedFile[] => {
    const [is, shall] = [there.get(name), wanted.get(name)];
    if (is === shall) return [];
    const what = is === undefined ? 'is missing' : shall === undefined ? 'is obsolete' : 'differs';
    return [{ name, what }];
  });
}

/** Before anything is written: units of which no link follows would be half a change. */
function refuseWithoutRoot(): void {
  if (process.getuid?.() === 0) return;
  throw new SluiceError('SETUP', 'only root may write units and set links: nothing was changed', {
    remedy: 'run this as root; network plan, verify and render need none',
  });
}

/** Before anything is written or set, as what is half done cannot be mended from afar. */
function refuseHarm(config: Config, found: NetworkCase, force: boolean): void {
  const differences = networkDifferences(found);
  const foreign = differences.find((one) => one.foreign);
  if (foreign !== undefined) {
    throw new SluiceError('SETUP', visible(`${foreign.link} ${foreign.what}: nothing was changed`), {
      remedy: `ip link del ${visible(foreign.link)} where it may go, or another vlan or name in the file`,
    });
  }
  const lost = force ? undefined : lockOut(found, differences, callersOf(config, askingSession()));
  if (lost === undefined) return;
  throw new SluiceError('SETUP', visible(`nothing was changed: ${lost}`), {
    remedy:
      'come in another way, or give that address to another interface first; or --force, where nobody needs it',
  });
}

/**
 * Links go while the units still tell whose they were: whatever fails, the next run knows as much. networkd makes what
 * is missing, and never takes away or changes what is there.
 */
function bringLinks(known: Known, units: ReadonlyMap<string, string>, withoutNetworkd: boolean): void {
  if (!withoutNetworkd && !networkdRuns()) {
    throw new SluiceError('SETUP', 'systemd-networkd does not run here: nothing was changed', {
      remedy: 'systemctl enable --now systemd-networkd; or --without-networkd sets the links by themselves',
    });
  }
  const staged = stageUnits('/', units);
  const differences = networkDifferences({ ...known, live: readLive() });
  try {
    for (const { changes } of differences) take(changes);
  } catch (error) {
    staged.discard();
    throw error;
  }
  staged.commit();
  if (withoutNetworkd) for (const { makes } of differences) take(makes);
  else reload();
}

/** networkd answers before it has done it: what is left when nothing moves any more. */
async function settled(known: Known): Promise<NetworkDifference[]> {
  let [before, end] = ['', sinceBoot() + SETTLES];
  for (;;) {
    const differences = networkDifferences({ ...known, live: readLive() });
    // What no command makes, such as a port that is not plugged in, networkd does not either.
    if (!differences.some(({ changes, makes }) => changes.length + makes.length > 0)) return differences;
    const now = JSON.stringify(differences);
    if (now !== before) [before, end] = [now, sinceBoot() + SETTLES];
    else if (sinceBoot() > end) return differences;
    await pause(GLANCE);
  }
}

const toldInJson = ({ link, what, changes, makes }: NetworkDifference): object => ({
  link,
  what,
  steps: [...changes, ...makes],
});

function told(
  root: string,
  files: readonly ChangedFile[],
  differences: readonly NetworkDifference[],
): string {
  const lines = [
    ...files.map(({ name, what }) => `${unitPath(root, name)} ${what}`),
    ...differences.map(({ link, what }) => `${link} ${what}`),
  ];
  return lines.length === 0 ? 'nothing differs\n' : `${lines.map(visible).join('\n')}\n`;
}
