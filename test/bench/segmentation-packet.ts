import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Forwarding, noForwarding, packetSender } from '../support/forwarding.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { firewalld, noFirewalld } from './firewalld.ts';
import { type Bench, type Result, type Scenario, target } from './scenario.ts';
import {
  addressesOf,
  FIELD,
  firewalldFiles,
  gatewayYaml,
  HMI,
  linearRules,
  PORT,
  STATE_ONLY,
  SUPERVISION,
} from './segmentation-plant.ts';
import { loadAverage, median, skipped } from './segmentation-figures.ts';
import { whole } from './table.ts';

const SIZES = [10, 1_000, 10_000];
/** With more devices firewalld takes minutes to load its rules: only with --full. */
const MOST_FOR_FIREWALLD = 1_000;
const BURST_MS = 30; // of the sender's own time: some ten thousand packets, and a switch to another program is no part of it
const ROUNDS = 9;
/** A connection is not forgotten while others are measured. */
const KEPT =
  'sysctl -qw net.netfilter.nf_conntrack_udp_timeout=600 net.netfilter.nf_conntrack_udp_timeout_stream=600';
const SPORTS = { established: 1, judged: 1, new: 60_000 } as const;
const KINDS = ['established', 'judged', 'new'] as const;
type Kind = (typeof KINDS)[number];

const VARIANTS = ['no table', 'ct state alone', 'sluice', 'linear', 'firewalld'] as const;
type Variant = (typeof VARIANTS)[number];
type Figures = Readonly<Record<Kind, number[]>>;

interface Gateway {
  readonly variant: Variant;
  readonly bed: Forwarding;
  readonly figures: Figures;
}

interface Tools {
  readonly bench: Bench;
  readonly folder: string;
  readonly program: string;
  readonly faults: string[];
  readonly notes: string[];
}

/** Each variant has a gateway of its own, so that one can be measured directly after the other. */
async function gatewayOf(variant: Variant, devices: number, tools: Tools): Promise<Gateway> {
  const bed = await Forwarding.make({ from: SUPERVISION, to: FIELD, ports: [PORT] });
  try {
    await load(variant, bed, devices, tools);
    await bed.sh('gateway', KEPT);
  } catch (error) {
    await bed[Symbol.asyncDispose]();
    throw error;
  }
  return { variant, bed, figures: { established: [], judged: [], new: [] } };
}

async function load(variant: Variant, bed: Forwarding, devices: number, tools: Tools): Promise<void> {
  const file = join(tools.folder, `rules-${variant}-${devices}`);
  const rules = async (text: string, ...options: readonly string[]): Promise<void> => {
    writeFileSync(file, text);
    await bed.run('gateway', 'nft', ...options, '-f', file);
  };
  switch (variant) {
    case 'no table':
      return;
    case 'ct state alone':
      return rules(STATE_ONLY);
    case 'sluice':
      return rules(rulesOf(gatewayYaml(devices)), '-j');
    case 'linear':
      return rules(linearRules(devices));
    case 'firewalld': {
      const folder = tools.bench.directory(`firewalld-${devices}`);
      const { seconds, cpu } = await firewalld(tools.bench, bed, folder, firewalldFiles(devices));
      tools.notes.push(
        `firewalld needed ${seconds.toFixed(1)} s (${cpu.toFixed(1)} s of a core) to start with ${whole(devices)} rich rules`,
      );
    }
  }
}

/** Connections are known, answered or not; nothing is left of those before. */
async function prepare(kind: Kind, { bed }: Gateway, targets: string, { program }: Tools): Promise<void> {
  await bed.sh('gateway', 'conntrack -F 2>/dev/null');
  if (kind !== 'new') await bed.run('sender', program, 'once', HMI, targets);
  if (kind === 'established') await bed.run('receiver', program, 'answer', HMI, targets);
}

async function burst(kind: Kind, { bed, figures }: Gateway, targets: string, tools: Tools): Promise<number> {
  const args = ['burst', `${BURST_MS}`, HMI, `${SPORTS[kind]}`, targets];
  const said = await bed.run('sender', tools.program, ...args);
  const [sent = 0, own = 0] = said.trim().split(' ').map(Number);
  figures[kind].push(own / sent);
  if (kind === 'new') await bed.sh('gateway', 'conntrack -F 2>/dev/null');
  return sent;
}

/** One gateway directly after the other, forth and back, so that a busy minute is a busy minute of them all. */
async function measure(
  gateways: readonly Gateway[],
  devices: number,
  targets: string,
  tools: Tools,
): Promise<void> {
  const sent = new Map<Gateway, number>();
  for (const kind of KINDS) {
    for (const gateway of gateways) {
      await prepare(kind, gateway, targets, tools);
      if (kind !== 'new') sent.set(gateway, (sent.get(gateway) ?? 0) + devices);
    }
    for (let round = 0; round < ROUNDS; round += 1)
      for (const gateway of round % 2 === 0 ? gateways : gateways.toReversed()) {
        await tools.bench.pause(0);
        sent.set(gateway, (sent.get(gateway) ?? 0) + (await burst(kind, gateway, targets, tools)));
      }
  }
  for (const gateway of gateways) {
    const lost = (sent.get(gateway) ?? 0) - ((await gateway.bed.arrived()).get(PORT) ?? 0);
    if (lost !== 0) tools.faults.push(`${gateway.variant}, ${devices} devices: ${lost} packets lost`);
  }
}

async function sizeOf(devices: number, tools: Tools): Promise<readonly Gateway[]> {
  const targets = join(tools.folder, `targets-${devices}`);
  const hosts = addressesOf(devices);
  // Not in the order of the rules: a burst that ends early would meet the first ones alone. 7,919 is a prime number.
  const order = hosts.map((_, i) => hosts[(i * 7_919) % devices] ?? '');
  writeFileSync(targets, order.map((address) => `${address} ${PORT}\n`).join(''));
  const without =
    noFirewalld() || (devices > MOST_FOR_FIREWALLD && !tools.bench.full && 'with --full') || undefined;
  const gateways: Gateway[] = [];
  try {
    const wanted = VARIANTS.filter((variant) => variant !== 'firewalld' || without === undefined);
    if (without !== undefined) tools.notes.push(`firewalld with ${whole(devices)} devices: ${without}`);
    const made = await Promise.allSettled(wanted.map(async (variant) => gatewayOf(variant, devices, tools)));
    gateways.push(...made.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : [])));
    for (const one of made) if (one.status === 'rejected') throw one.reason;
    await measure(gateways, devices, targets, tools);
    return gateways;
  } finally {
    for (const { bed } of gateways) await bed[Symbol.asyncDispose]();
  }
}

/** What does a packet cost that is forwarded, and does that grow with the plant? */
export const perPacket: Scenario = {
  name: 'packet',
  about: 'cost of a forwarded packet; baselines: no table, a rule for each device, and firewalld',
  async run(bench): Promise<Result> {
    const reason = noForwarding();
    if (reason !== false) return skipped(this.name, reason);
    const folder = bench.directory('packet');
    const tools: Tools = { bench, folder, program: packetSender(folder), faults: [], notes: [] };
    const lines: string[][] = [];
    const judged = new Map<string, number>();
    for (const devices of SIZES) {
      const gateways = await sizeOf(devices, tools);
      const none = gateways[0]?.figures;
      for (const { variant, figures } of gateways) {
        const cells = KINDS.flatMap((kind) => {
          const ns = median(figures[kind]);
          return [whole(ns), times(ns / median(none?.[kind] ?? []))];
        });
        judged.set(`${variant} ${devices}`, median(figures.judged));
        lines.push([`${variant}, ${whole(devices)} devices`, ...cells]);
      }
    }
    const [few, most] = [SIZES[0] ?? 0, SIZES.at(-1) ?? 0];
    const of = (variant: Variant, devices: number): number =>
      judged.get(`${variant} ${devices}`) ?? Number.NaN;
    // What following ten thousand connections costs any gateway (they fit no cache) is not growth of the rules.
    const overTracking = (devices: number): number => of('sluice', devices) / of('ct state alone', devices);
    const grows = overTracking(most) / overTracking(few);
    return {
      scenario: this.name,
      load:
        `18 bytes of UDP to each device in turn, sender, gateway and receiver in namespaces; medians of ${ROUNDS} bursts ` +
        `of ${BURST_MS} ms of CPU time, one variant after the other`,
      spreadOf: '',
      rows: [],
      sheet: {
        head: ['ns a packet, × no table', 'established', '×', 'judged', '×', 'new connection', '×'],
        lines,
      },
      notes: [
        'established: the connection was answered; judged: it was not, so that the policy is asked for each packet; new connection: a source port of its own for each packet',
        ...tools.notes,
        loadAverage(),
        ...SIZES.map(
          (devices) =>
            `judged, of what sluice takes with ${whole(devices)} devices: linear ${times(of('linear', devices) / of('sluice', devices))} ×` +
            `, firewalld ${times(of('firewalld', devices) / of('sluice', devices))} ×`,
        ),
        target(
          `as a ratio to ct state alone, ${whole(most)} devices cost at most a fifth more than ${few}: ${times(grows)} ×`,
          grows < 1.2,
        ),
      ],
      faults: tools.faults,
    };
  },
};

const times = (ratio: number): string => (Number.isNaN(ratio) ? '-' : ratio.toFixed(2));
