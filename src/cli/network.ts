import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { SluiceError } from '../core/errors.ts';
import { type Duration, milliseconds, seconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { sinceBoot } from '../netd/monotonic.ts';
import { networkdRuns, readLive, reload, take, unitsThere, writeUnits } from '../netd/vlan.ts';
import {
  type LiveNetwork,
  type NetworkDifference,
  networkDifferences,
} from '../segmentation/network-live.ts';
import { type NetworkPlan, networkPlan } from '../segmentation/network-plan.ts';
import { networkUnits, UNIT_PREFIX } from '../segmentation/network-units.ts';
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
          Refuses to take the addresses away from an interface that has some, unless --force. Needs root.
  verify  reads the kernel and tells every link that is not as the file wants it.

Exit status: 0 done or nothing differs, 1 not done or something differs (verify), 64 wrong usage, 78 wrong configuration.
`;

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
  const plan = networkPlan(await loadConfig(oneFile(`network ${verb}`, files)));
  const units = networkUnits(plan);
  if (verb === 'render') return render(units, values.out);
  if (verb === 'apply') refuseWithoutRoot();
  const { root = '/', json = false, force = false } = values;
  const there = unitsThere(root);
  const obsolete = obsoleteLinks(there, units);
  const changed = changedFiles(there, units);
  if (units.size === 0 && there.size === 0) {
    process.stdout.write(
      json ? '{"files":[],"links":[]}\n' : 'the file has no network: nothing is to be made\n',
    );
    return 0;
  }
  if (verb === 'apply') {
    if (!force) refuseLockOut(plan, readLive());
    writeUnits(root, units);
    if (values['without-networkd']) setLinks(plan, obsolete);
    else bringLinks(plan, obsolete, units.size === 0 ? 'removed' : 'written');
  }
  const isAsked = verb === 'apply' && !values['without-networkd'];
  const differences = isAsked
    ? await settled(plan, obsolete)
    : networkDifferences(plan, readLive(), obsolete);
  const filesLeft = verb === 'apply' ? [] : changed;
  process.stdout.write(
    json
      ? `${JSON.stringify({ files: filesLeft.map(({ name }) => name), links: differences })}\n`
      : told(root, filesLeft, differences),
  );
  if (verb === 'plan') return 0;
  return differences.length + (verb === 'verify' ? changed.length : 0) === 0 ? 0 : 1;
}

function render(units: ReadonlyMap<string, string>, out: string | undefined): number {
  if (out !== undefined) mkdirSync(out, { recursive: true });
  for (const [name, text] of units) {
    if (out === undefined) process.stdout.write(`# ---- ${name}\n${text}\n`);
    else writeFileSync(join(out, name), text);
  }
  return 0;
}

/** Links that a unit of ours once made, and none makes now. */
function obsoleteLinks(there: ReadonlyMap<string, string>, wanted: ReadonlyMap<string, string>): string[] {
  return [...there.keys()]
    .filter((name) => name.endsWith('.netdev') && !wanted.has(name))
    .map((name) => name.slice(UNIT_PREFIX.length, -'.netdev'.length));
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

/** Whoever sits behind such an address would be cut off in the middle of the command. */
function refuseLockOut({ ports, bridge }: NetworkPlan, live: LiveNetwork): void {
  for (const { name } of ports) {
    const link = live.get(name);
    // Those that the kernel makes by itself carry nobody.
    const [address] = (link?.addresses ?? []).filter((one) => !one.startsWith('fe80:'));
    if (link === undefined || address === undefined || (bridge !== undefined && link.master === bridge))
      continue;
    throw new SluiceError('SETUP', `${name} has the address ${address}, which it would lose`, {
      remedy: 'give that address to another interface first; or --force, where nobody comes in by it',
    });
  }
}

const isGone = ({ what }: NetworkDifference): boolean =>
  what.endsWith('nothing wants it') || what.startsWith('is VLAN');

function setLinks(plan: NetworkPlan, obsolete: readonly string[]): void {
  for (const { steps } of networkDifferences(plan, readLive(), obsolete)) take(steps);
}

/** networkd makes what is missing, and never takes away or changes what is there. */
function bringLinks(plan: NetworkPlan, obsolete: readonly string[], units: 'written' | 'removed'): void {
  if (!networkdRuns()) {
    throw new SluiceError('SETUP', `the units are ${units}, and systemd-networkd does not run here`, {
      remedy: 'systemctl enable --now systemd-networkd; or --without-networkd sets the links by themselves',
    });
  }
  for (const difference of networkDifferences(plan, readLive(), obsolete)) {
    if (isGone(difference)) take(difference.steps.slice(0, 1));
  }
  reload();
}

/** networkd answers before it has done it: what is left when nothing moves any more. */
async function settled(plan: NetworkPlan, obsolete: readonly string[]): Promise<NetworkDifference[]> {
  let [known, end] = ['', sinceBoot() + SETTLES];
  for (;;) {
    const differences = networkDifferences(plan, readLive(), obsolete);
    // What no command makes, such as a port that is not plugged in, networkd does not either.
    if (!differences.some(({ steps }) => steps.length > 0)) return differences;
    const now = JSON.stringify(differences);
    if (now !== known) [known, end] = [now, sinceBoot() + SETTLES];
    else if (sinceBoot() > end) return differences;
    await pause(GLANCE);
  }
}

function told(
  root: string,
  files: readonly ChangedFile[],
  differences: readonly NetworkDifference[],
): string {
  const lines = [
    ...files.map(({ name, what }) => `${join(root, '/etc/systemd/network', name)} ${what}`),
    ...differences.map(({ link, what }) => `${link} ${what}`),
  ];
  return lines.length === 0 ? 'nothing differs\n' : `${lines.map(visible).join('\n')}\n`;
}
