import type { Family, LiveLink, LiveNetwork, LiveVlan } from './network-live.ts';
import { PLAIN_TAGS } from './network-live.ts';
import type { NetworkPlan, PlannedPort, PlannedVlan } from './network-plan.ts';
import type { MadeLink } from './network-units.ts';

/** Commands, one after the other: of ip, bridge and sysctl. */
type Steps = readonly (readonly string[])[];

/** Something that is not as the file wants it, and the commands that make it so. */
export interface NetworkDifference {
  readonly link: string;
  readonly what: string;
  /** What systemd-networkd never does: it takes nothing away, and changes nothing that is there. */
  readonly changes: Steps;
  /** What it makes by itself, from the units. With no steps at all no command can help: a port that is not plugged in yet. */
  readonly makes: Steps;
  /** A link of somebody else has the name, and stands in the way of ours. */
  readonly foreign: boolean;
}

/** What is wanted, what is there, and what is known of how it came. */
export interface NetworkCase {
  readonly plan: NetworkPlan;
  readonly live: LiveNetwork;
  /** By the units that are there. */
  readonly made: ReadonlyMap<string, MadeLink>;
  /** netd switched forwarding off, as the rules do not hold: nobody else switches it on. */
  readonly closed: boolean;
}

export function networkDifferences(found: NetworkCase): NetworkDifference[] {
  const { plan, live } = found;
  const obsolete = obsoleteLinks(found);
  return [
    ...obsolete.filter(({ kind }) => kind === 'vlan').map(gone),
    ...(plan.bridge === undefined ? [] : bridgeDifferences(plan.bridge, plan, live)),
    ...plan.ports.flatMap((port) => portDifferences(port, plan, live)),
    ...foreignPorts(plan, live).flatMap(foreignPortDifferences),
    ...plan.vlans.flatMap((vlan) => vlanDifferences(vlan, found)),
    // A bridge takes its VLANs with it, and what is gone already cannot be deleted.
    ...obsolete.filter(({ kind }) => kind !== 'vlan').map(gone),
  ];
}

/** That will be deleted: what is obsolete, and what has to be made anew. */
export function deletedLinks(found: NetworkCase): LiveLink[] {
  const stale = found.plan.vlans.flatMap((vlan) => {
    const link = found.live.get(vlan.name);
    return link !== undefined && !isAsPlanned(link, vlan) && isOurs(link, found) ? link : [];
  });
  return [...obsoleteLinks(found), ...stale];
}

/** Ours that the file names no more. What is a trunk or the interface of a zone by now belongs to somebody else. */
function obsoleteLinks(found: NetworkCase): LiveLink[] {
  const { plan, live } = found;
  const planned = [...plan.vlans, ...plan.ports].map(({ name }) => name);
  const kept = new Set([...planned, plan.bridge, ...plan.others]);
  return [...live.values()].filter((link) => !kept.has(link.name) && isOurs(link, found));
}

/** A name alone does not make a link ours: a unit made it, as what it is, and where it lies. */
function isOurs({ name, kind, parent }: LiveLink, { plan, made }: NetworkCase): boolean {
  const unit = made.get(name);
  if (unit === undefined || unit.kind !== kind) return false;
  return kind === 'bridge' || parent === unit.parent || plan.vlans.some((vlan) => vlan.parent === parent);
}

const isAsPlanned = (link: LiveLink, { id, parent }: PlannedVlan): boolean =>
  link.kind === 'vlan' && link.id === id && link.parent === parent && link.protocol === PLAIN_TAGS;

const difference = (
  link: string,
  what: string,
  steps: Partial<Pick<NetworkDifference, 'changes' | 'makes'>>,
): NetworkDifference => ({ link, what, changes: [], makes: [], foreign: false, ...steps });

const inTheWay = (link: string, what: string): NetworkDifference => ({
  ...difference(link, `${what}, and no unit of Sluice made it`, {}),
  foreign: true,
});

const gone = ({ name }: LiveLink): NetworkDifference =>
  difference(name, 'is there, and nothing wants it', { changes: [['ip', 'link', 'del', name]] });

function bridgeDifferences(name: string, { vlans }: NetworkPlan, live: LiveNetwork): NetworkDifference[] {
  const link = live.get(name);
  const options = [
    ...['type', 'bridge', 'vlan_filtering', '1', 'vlan_default_pvid', '0'],
    ...['vlan_protocol', PLAIN_TAGS, 'stp_state', '0'],
  ];
  const found: NetworkDifference[] = [];
  if (link === undefined) {
    found.push(difference(name, 'is missing', { makes: [['ip', 'link', 'add', name, ...options]] }));
  } else if (link.kind !== 'bridge') {
    return [inTheWay(name, `is no bridge, but ${link.kind || 'a device'}`)];
  } else {
    const changes = [['ip', 'link', 'set', name, ...options]];
    found.push(...bridgeFaults(link).map((what) => difference(name, what, { changes })));
  }
  const table = vlans.map(({ id }) => ({ id, pvid: false, untagged: false }));
  return [...found, ...vlanTable(name, table, link?.vlans ?? [], ['self']), ...isUp(name, link)];
}

function bridgeFaults({ filters, defaultVlan, protocol, spans }: LiveLink): string[] {
  return [
    filters ? [] : 'keeps no VLANs apart',
    defaultVlan === 0 ? [] : `gives ports the VLAN ${defaultVlan}`,
    protocol === PLAIN_TAGS ? [] : `keeps VLANs of ${protocol} apart, not of ${PLAIN_TAGS}`,
    spans ? 'takes part in spanning tree' : [],
  ].flat();
}

function portDifferences(port: PlannedPort, { bridge }: NetworkPlan, live: LiveNetwork): NetworkDifference[] {
  const { name, access, tagged } = port;
  const link = live.get(name);
  if (link === undefined) return [difference(name, 'is missing: no such network interface', {})];
  const found: NetworkDifference[] = [];
  if (bridge !== undefined) {
    const isThere = link.master === bridge;
    if (!isThere) {
      const what = `is a port of ${link.master || 'no bridge'}, not of ${bridge}`;
      found.push(difference(name, what, { makes: [['ip', 'link', 'set', name, 'master', bridge]] }));
    }
    const own = access === undefined ? [] : [{ id: access, pvid: true, untagged: true }];
    const wanted = [...own, ...tagged.map((id) => ({ id, pvid: false, untagged: false }))];
    // The VLANs that a port has in one bridge do not follow it into another one.
    found.push(...vlanTable(name, wanted, isThere ? link.vlans : [], []));
  }
  return [...found, ...strayAddresses(link, []), ...isUp(name, link)];
}

/** Ports of our bridge that the file names nowhere: no rule about frames guards them. */
function foreignPorts({ bridge, ports }: NetworkPlan, live: LiveNetwork): LiveLink[] {
  if (bridge === undefined) return [];
  return [...live.values()].filter(
    ({ name, master }) => master === bridge && !ports.some((port) => port.name === name),
  );
}

/** Without a VLAN nothing comes in by it, so that it may stay where it is. */
const foreignPortDifferences = ({ name, master, vlans }: LiveLink): NetworkDifference[] =>
  vlans.map(({ id }) =>
    difference(name, `is a port of ${master} that the file does not name, and has VLAN ${id}`, {
      changes: [noVlan(name, id, [])],
    }),
  );

const noVlan = (name: string, id: number, self: readonly string[]): string[] => [
  ...['bridge', 'vlan', 'del', 'dev', name, 'vid', String(id)],
  ...self,
];

function vlanTable(
  name: string,
  wanted: readonly LiveVlan[],
  live: readonly LiveVlan[],
  self: readonly string[],
): NetworkDifference[] {
  const missing = wanted
    .filter(
      (one) =>
        !live.some((two) => two.id === one.id && two.pvid === one.pvid && two.untagged === one.untagged),
    )
    .map(({ id, pvid, untagged }) => {
      const words = [...(pvid ? ['pvid'] : []), ...(untagged ? ['untagged'] : []), ...self];
      return difference(
        name,
        `has not VLAN ${id}${pvid ? ' for what comes without a tag' : ' with its tag'}`,
        {
          makes: [['bridge', 'vlan', 'add', 'dev', name, 'vid', String(id), ...words]],
        },
      );
    });
  const surplus = live
    .filter(({ id }) => !wanted.some((one) => one.id === id))
    .map(({ id }) =>
      difference(name, `has VLAN ${id}, and nothing wants it`, { changes: [noVlan(name, id, self)] }),
    );
  return [...surplus, ...missing];
}

function vlanDifferences(vlan: PlannedVlan, found: NetworkCase): NetworkDifference[] {
  const { name, id, parent, addresses } = vlan;
  const link = found.live.get(name);
  const forwarding = found.closed ? [] : familiesOf(vlan).map((family) => FORWARDS[family].step);
  const makes = [
    ['ip', 'link', 'add', 'link', parent, 'name', name, 'type', 'vlan', 'id', String(id)],
    ['ip', 'link', 'set', name, 'addrgenmode', 'none'],
    ['ip', 'link', 'set', name, 'up'],
    ...addresses.map((address) => give(address, name)),
    ...forwarding,
  ];
  if (link === undefined) return [difference(name, 'is missing', { makes })];
  if (!isAsPlanned(link, vlan)) {
    const what = `is ${kindOf(link)}, not VLAN ${id} on ${parent}`;
    if (!isOurs(link, found)) return [inTheWay(name, what)];
    return [difference(name, what, { changes: [['ip', 'link', 'del', name]], makes })];
  }
  const missing = addresses
    .filter((address) => !link.addresses.includes(address))
    .map((address) => difference(name, `has not the address ${address}`, { makes: [give(address, name)] }));
  return [
    ...strayAddresses(link, addresses),
    ...missing,
    ...isUp(name, link),
    ...doesForward(vlan, link, found.closed),
  ];
}

function kindOf({ kind, id, parent, protocol }: LiveLink): string {
  if (kind !== 'vlan') return kind === '' ? 'a device' : `a ${kind}`;
  return `VLAN ${id ?? 'none'} on ${parent || 'nothing'}${protocol === PLAIN_TAGS ? '' : ` with tags of ${protocol}`}`;
}

const give = (address: string, name: string): string[] => [
  ...['ip', 'address', 'add', address, 'dev', name],
  ...(address.includes(':') ? ['nodad'] : []),
];

const FORWARDS: Readonly<Record<Family, { readonly name: string; readonly step: readonly string[] }>> = {
  v4: { name: 'IPv4', step: ['sysctl', '-w', 'net.ipv4.ip_forward=1'] },
  v6: { name: 'IPv6', step: ['sysctl', '-w', 'net.ipv6.conf.all.forwarding=1'] },
};

/** Whose packets go on from there to other zones. */
function familiesOf({ addresses, forwards }: PlannedVlan): Family[] {
  if (!forwards) return [];
  const has = (isV6: boolean): boolean => addresses.some((address) => address.includes(':') === isV6);
  return [...(has(false) ? (['v4'] as const) : []), ...(has(true) ? (['v6'] as const) : [])];
}

/** networkd switches it on when it sets up a link, and not when somebody switched it off later. */
function doesForward(vlan: PlannedVlan, link: LiveLink, closed: boolean): NetworkDifference[] {
  return familiesOf(vlan)
    .filter((family) => !link.forwards.includes(family))
    .map((family) => {
      const { name, step } = FORWARDS[family];
      const why = closed ? ': netd stopped that, see firewall status' : ', and conduits lead over it';
      return difference(vlan.name, `forwards no ${name}${why}`, closed ? {} : { changes: [step] });
    });
}

/** Link-local ones that the kernel gives by itself are named too: nobody said what may claim them. */
function strayAddresses({ name, addresses }: LiveLink, wanted: readonly string[]): NetworkDifference[] {
  return addresses
    .filter((address) => !wanted.includes(address))
    .map((address) =>
      difference(name, `has the address ${address}, and nothing wants it`, {
        changes: [['ip', 'address', 'del', address, 'dev', name]],
      }),
    );
}

/** No address that nobody wrote: the kernel would make one as soon as the link is up. */
function isUp(name: string, link: LiveLink | undefined): NetworkDifference[] {
  const quiet = ['ip', 'link', 'set', name, 'addrgenmode', 'none'];
  return link?.up === true
    ? []
    : [difference(name, 'is down', { makes: [quiet, ['ip', 'link', 'set', name, 'up']] })];
}
