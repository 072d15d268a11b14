import { formatAddress, parseAddress } from '../config/network.ts';
import { isRecord, text } from './field.ts';
import type { NetworkPlan, PlannedPort } from './network-plan.ts';

/** What the kernel has, as far as the plan asks for it. */
export interface LiveLink {
  readonly name: string;
  readonly kind: string;
  /** The bridge that it is a port of. */
  readonly master: string;
  /** Of a VLAN: what it lies on. */
  readonly parent: string;
  readonly id: number | undefined;
  readonly filters: boolean;
  /** VLAN of what comes in without a tag at a bridge that says nothing else; 0 is none. */
  readonly defaultVlan: number;
  readonly up: boolean;
  /** With the length of the subnet, canonical; without what the kernel made by itself. */
  readonly addresses: readonly string[];
  readonly vlans: readonly LiveVlan[];
}

interface LiveVlan {
  readonly id: number;
  readonly pvid: boolean;
  readonly untagged: boolean;
}

export type LiveNetwork = ReadonlyMap<string, LiveLink>;

/** From what `ip -j -d link`, `bridge -j vlan show` and `ip -j addr` print. Throws where that is no JSON. */
export function liveNetwork(links: string, bridge: string, addresses: string): LiveNetwork {
  const vlans = new Map(recordsOf(bridge).map((one) => [text(one['ifname']), vlansOf(one['vlans'])]));
  const known = new Map(
    recordsOf(addresses).map((one) => [text(one['ifname']), addressesOf(one['addr_info'])]),
  );
  return new Map(
    recordsOf(links).map((link) => {
      const name = text(link['ifname']);
      const info = record(link['linkinfo']);
      const data = record(info['info_data']);
      const flags: readonly unknown[] = Array.isArray(link['flags']) ? link['flags'] : [];
      return [
        name,
        {
          name,
          kind: text(info['info_kind']),
          master: text(link['master']),
          parent: text(link['link']),
          id: typeof data['id'] === 'number' ? data['id'] : undefined,
          filters: data['vlan_filtering'] === 1,
          defaultVlan: typeof data['vlan_default_pvid'] === 'number' ? data['vlan_default_pvid'] : 0,
          up: flags.includes('UP'),
          addresses: known.get(name) ?? [],
          vlans: vlans.get(name) ?? [],
        },
      ];
    }),
  );
}

const record = (json: unknown): Readonly<Record<string, unknown>> => (isRecord(json) ? json : {});

function recordsOf(json: string): Readonly<Record<string, unknown>>[] {
  const parsed: unknown = JSON.parse(json.trim() === '' ? '[]' : json);
  return Array.isArray(parsed) ? parsed.filter(isRecord) : [];
}

function vlansOf(json: unknown): LiveVlan[] {
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  return list.filter(isRecord).flatMap(({ vlan, vlanEnd, flags }) => {
    if (typeof vlan !== 'number') return [];
    const words: readonly unknown[] = Array.isArray(flags) ? flags : [];
    const last = typeof vlanEnd === 'number' ? vlanEnd : vlan;
    return Array.from({ length: last - vlan + 1 }, (_, i) => ({
      id: vlan + i,
      pvid: words.includes('PVID'),
      untagged: words.includes('Egress Untagged'),
    }));
  });
}

function addressesOf(json: unknown): string[] {
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  return list.filter(isRecord).flatMap(({ local, prefixlen }) => {
    const address = parseAddress(text(local));
    return address === undefined
      ? []
      : [`${formatAddress(address.family, address.value)}/${String(prefixlen)}`];
  });
}

/** Something that is not as the file wants it, and the command that makes it so (programs ip and bridge). */
export interface NetworkDifference {
  readonly link: string;
  readonly what: string;
  /** Empty where no command can help: a port that is not plugged in yet. */
  readonly steps: readonly (readonly string[])[];
}

/** `obsolete` are names of VLANs and bridges that were ours. */
export function networkDifferences(
  plan: NetworkPlan,
  live: LiveNetwork,
  obsolete: readonly string[],
): NetworkDifference[] {
  return [
    ...gone(plan, live, obsolete),
    ...(plan.bridge === undefined ? [] : bridgeDifferences(plan.bridge, plan, live)),
    ...plan.ports.flatMap((port) => portDifferences(port, plan, live)),
    ...plan.vlans.flatMap((vlan) => vlanDifferences(vlan, live)),
  ];
}

/** Ours that the file names no more, and VLANs on our trunk or bridge that it never named. */
function gone(plan: NetworkPlan, live: LiveNetwork, obsolete: readonly string[]): NetworkDifference[] {
  const wanted = new Set([...plan.vlans.map(({ name }) => name), plan.bridge]);
  const parents = new Set([...plan.vlans.map(({ parent }) => parent), ...obsolete]);
  const isOurs = ({ name, kind, parent }: LiveLink): boolean =>
    (obsolete.includes(name) && (kind === 'vlan' || kind === 'bridge')) ||
    (kind === 'vlan' && parents.has(parent) && /^vlan\d+$/.test(name));
  return [...live.values()]
    .filter((link) => isOurs(link) && !wanted.has(link.name))
    .map(({ name }) => ({
      link: name,
      what: 'is there, and nothing wants it',
      steps: [['ip', 'link', 'del', name]],
    }));
}

function bridgeDifferences(name: string, { vlans }: NetworkPlan, live: LiveNetwork): NetworkDifference[] {
  const link = live.get(name);
  const options = ['type', 'bridge', 'vlan_filtering', '1', 'vlan_default_pvid', '0', 'stp_state', '0'];
  const found: NetworkDifference[] = [];
  if (link === undefined) {
    found.push({ link: name, what: 'is missing', steps: [['ip', 'link', 'add', name, ...options]] });
  } else if (link.kind !== 'bridge') {
    return [{ link: name, what: `is no bridge, but ${link.kind || 'a device'}`, steps: [] }];
  } else if (!link.filters || link.defaultVlan !== 0) {
    const what = link.filters ? `gives ports the VLAN ${link.defaultVlan}` : 'keeps no VLANs apart';
    found.push({ link: name, what, steps: [['ip', 'link', 'set', name, ...options]] });
  }
  found.push(
    ...vlanTable(
      name,
      vlans.map(({ id }) => ({ id, pvid: false, untagged: false })),
      link,
      ['self'],
    ),
  );
  return [...found, ...isUp(name, link)];
}

function portDifferences(port: PlannedPort, { bridge }: NetworkPlan, live: LiveNetwork): NetworkDifference[] {
  const { name, access, tagged } = port;
  const link = live.get(name);
  if (link === undefined) return [{ link: name, what: 'is missing: no such network interface', steps: [] }];
  const found: NetworkDifference[] = [];
  if (bridge !== undefined) {
    if (link.master !== bridge) {
      const what = `is a port of ${link.master || 'no bridge'}, not of ${bridge}`;
      found.push({ link: name, what, steps: [['ip', 'link', 'set', name, 'master', bridge]] });
    }
    const own = access === undefined ? [] : [{ id: access, pvid: true, untagged: true }];
    const wanted = [...own, ...tagged.map((id) => ({ id, pvid: false, untagged: false }))];
    found.push(...vlanTable(name, wanted, link, []));
  }
  return [...found, ...strayAddresses(link, []), ...isUp(name, link)];
}

function vlanTable(
  name: string,
  wanted: readonly LiveVlan[],
  link: LiveLink | undefined,
  self: readonly string[],
): NetworkDifference[] {
  const live = link?.vlans ?? [];
  const missing = wanted
    .filter(
      (one) =>
        !live.some((two) => two.id === one.id && two.pvid === one.pvid && two.untagged === one.untagged),
    )
    .map(({ id, pvid, untagged }) => ({
      link: name,
      what: `has not VLAN ${id}${pvid ? ' for what comes without a tag' : ' with its tag'}`,
      steps: [
        [
          'bridge',
          'vlan',
          'add',
          'dev',
          name,
          'vid',
          String(id),
          ...(pvid ? ['pvid'] : []),
          ...(untagged ? ['untagged'] : []),
          ...self,
        ],
      ],
    }));
  const surplus = live
    .filter(({ id }) => !wanted.some((one) => one.id === id))
    .map(({ id }) => ({
      link: name,
      what: `has VLAN ${id}, and nothing wants it`,
      steps: [['bridge', 'vlan', 'del', 'dev', name, 'vid', String(id), ...self]],
    }));
  return [...surplus, ...missing];
}

function vlanDifferences(
  { name, id, parent, addresses }: NetworkPlan['vlans'][number],
  live: LiveNetwork,
): NetworkDifference[] {
  const link = live.get(name);
  const add = ['ip', 'link', 'add', 'link', parent, 'name', name, 'type', 'vlan', 'id', String(id)];
  const quiet = ['ip', 'link', 'set', name, 'addrgenmode', 'none'];
  const give = (address: string): string[] => [
    'ip',
    'address',
    'add',
    address,
    'dev',
    name,
    ...(address.includes(':') ? ['nodad'] : []),
  ];
  if (link === undefined || link.kind !== 'vlan' || link.id !== id || link.parent !== parent) {
    const what =
      link === undefined
        ? 'is missing'
        : `is VLAN ${link.id ?? 'none'} on ${link.parent || 'nothing'}, not ${id} on ${parent}`;
    const before = link === undefined ? [] : [['ip', 'link', 'del', name]];
    const steps = [...before, add, quiet, ['ip', 'link', 'set', name, 'up'], ...addresses.map(give)];
    return [{ link: name, what, steps }];
  }
  const missing = addresses
    .filter((address) => !link.addresses.includes(address))
    .map((address) => ({ link: name, what: `has not the address ${address}`, steps: [give(address)] }));
  return [...strayAddresses(link, addresses), ...missing, ...isUp(name, link)];
}

/** Link-local ones that the kernel gives by itself are named too: nobody said what may claim them. */
function strayAddresses({ name, addresses }: LiveLink, wanted: readonly string[]): NetworkDifference[] {
  return addresses
    .filter((address) => !wanted.includes(address))
    .map((address) => ({
      link: name,
      what: `has the address ${address}, and nothing wants it`,
      steps: [['ip', 'address', 'del', address, 'dev', name]],
    }));
}

/** No address that nobody wrote: the kernel would make one as soon as the link is up. */
function isUp(name: string, link: LiveLink | undefined): NetworkDifference[] {
  const quiet = ['ip', 'link', 'set', name, 'addrgenmode', 'none'];
  return link?.up === true
    ? []
    : [{ link: name, what: 'is down', steps: [quiet, ['ip', 'link', 'set', name, 'up']] }];
}
