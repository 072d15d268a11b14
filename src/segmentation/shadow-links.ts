import { isRecord, text } from './field.ts';
import type { Policy } from './policy.ts';
import { recordsOf, type Shadow } from './shadow-path.ts';

// How interfaces hang together, as `ip -j -d link` tells it.

export interface Link {
  readonly name: string;
  /** vlan, bridge, macvlan, …; empty for hardware. */
  readonly kind: string;
  /** The interface it lies on; empty where it lies on none, or on one of another namespace. */
  readonly on: string;
  readonly master: string;
  readonly xdp: boolean;
}

export function linksOf(json: unknown): Link[] {
  return recordsOf(json).map((link) => ({
    name: text(link['ifname']),
    kind: isRecord(link['linkinfo']) ? text(link['linkinfo']['info_kind']) : '',
    on: text(link['link']),
    master: text(link['master']),
    xdp: isRecord(link['xdp']),
  }));
}

/** Interfaces that carry what goes to or from a zone: its own, what that lies on, its bridge, and ports of that. */
export function watchedLinks(links: readonly Link[], { zones, guard }: Watchable): ReadonlySet<string> {
  const watched = new Set([
    ...zones.map((zone) => zone.interface),
    ...(guard?.ports ?? []).map(({ name }) => name),
  ]);
  // As deep as anybody stacks interfaces, and a bound.
  for (let depth = 0; depth < MOST_DEPTH; depth += 1) {
    for (const { name, kind, on, master } of links) {
      // The other end of a pair is nothing it lies on.
      if (watched.has(name) && on !== '' && kind !== 'veth') watched.add(on);
      if (watched.has(name) && master !== '') watched.add(master);
      if (watched.has(master)) watched.add(name);
    }
  }
  return watched;
}

const MOST_DEPTH = 4;
type Watchable = Pick<Policy, 'zones'> & {
  readonly guard?: { readonly ports: readonly { readonly name: string }[] } | undefined;
};

export function linkShadows(links: readonly Link[], policy: Policy, watched: ReadonlySet<string>): Shadow[] {
  const zoneOf = new Map(policy.zones.map((zone) => [zone.interface, zone.name]));
  return [
    ...links.filter(({ name, xdp }) => xdp && watched.has(name)).map(xdpShadow),
    ...links.flatMap((link) => enslaved(link, links, zoneOf)),
    ...links.flatMap((link) => beside(link, zoneOf)),
    ...(links.length === 0 ? [] : policy.zones.flatMap((zone) => missing(zone, links))),
  ];
}

const xdpShadow = ({ name }: Link): Shadow => ({
  kind: 'xdp',
  severity: 'danger',
  place: `XDP program at ${name}`,
  does: 'it sees packets before everything else and may answer them or send them to another interface; what it does cannot be read from outside',
  remedy: `ip link set dev ${name} xdp off`,
});

/** A zone is known by its interface; one that is a port of another is not seen under its name any more. */
function enslaved(
  { name, master }: Link,
  links: readonly Link[],
  zoneOf: ReadonlyMap<string, string>,
): Shadow[] {
  const zone = zoneOf.get(name);
  if (zone === undefined || master === '') return [];
  const kind = links.find((link) => link.name === master)?.kind ?? 'interface';
  const others = links
    .filter((link) => link.master === master && link.name !== name)
    .map((link) => link.name);
  const remedy = `ip link set dev ${name} nomaster, or give zone ${zone} the interface ${master}`;
  if (kind === 'bridge' && others.length > 0) {
    return [
      {
        kind: 'bridged',
        severity: 'danger',
        place: `${name} of zone ${zone} is a port of bridge ${master}, with ${others.join(', ')}`,
        does: `frames go between zone ${zone} and ${others.map((other) => (zoneOf.has(other) ? `zone ${zoneOf.get(other)}` : other)).join(', ')} without any rule seeing them`,
        remedy,
      },
    ];
  }
  return [
    {
      kind: 'enslaved',
      severity: 'warning',
      place: `${name} of zone ${zone} belongs to the ${kind} ${master}`,
      does: `packets of zone ${zone} come in by ${master}, which no zone has: they are denied as undeclared`,
      remedy,
    },
  ];
}

const BESIDE: ReadonlySet<string> = new Set(['macvlan', 'macvtap', 'ipvlan', 'ipvtap']);

/** A container or machine with an interface of its own on that of a zone is in the zone, and no rule of ours sees it. */
function beside({ name, kind, on }: Link, zoneOf: ReadonlyMap<string, string>): Shadow[] {
  const zone = zoneOf.get(on);
  if (zone === undefined || !BESIDE.has(kind) || zoneOf.has(name)) return [];
  return [
    {
      kind: 'beside',
      severity: 'danger',
      place: `${name} (${kind}) on ${on} of zone ${zone}`,
      does: `whatever uses it is in zone ${zone} without passing any of our rules, also with connections to other interfaces of this machine`,
      remedy: `ip link del ${name}, or let what uses it go through the gateway`,
    },
  ];
}

function missing({ name, interface: own }: Policy['zones'][number], links: readonly Link[]): Shadow[] {
  if (links.some((link) => link.name === own)) return [];
  return [
    {
      kind: 'missing',
      severity: 'note',
      place: `${own} of zone ${name}`,
      does: 'there is no such interface: nothing comes from this zone, and nothing reaches it',
      remedy: './sluice network plan tells what is to be made',
    },
  ];
}
