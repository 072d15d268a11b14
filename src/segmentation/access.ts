import { ANY_PORT, type Traffic } from '../config/services.ts';
import { GATEWAY } from '../config/zones.ts';
import { exactly, free, type Interval, inState } from './boxes.ts';
import { flowBoxes } from './declared.ts';
import { byZone } from './flows.ts';
import { Naming } from './naming.ts';
import { ABSENT, ICMP, ICMPV6, TCP, UDP } from './packet.ts';
import type { PacketSet } from './packet-set.ts';
import { PacketSpace } from './packet-space.ts';
import type { Addresses } from './plant.ts';
import type { AddressRange, Flow, Policy, Side } from './policy.ts';
import { LOOPBACK } from './possible.ts';
import { type Rectangle, rectanglesOf } from './rectangles.ts';

// Who may open new connections to whom, before and after. Sets of packets are compared, not lines: what other lines
// allow as well is no change.

/** One sentence: `from` may reach `to` by these, or may no longer. */
export interface Access {
  readonly from: string;
  readonly to: string;
  /** Undefined: whatever protocol. */
  readonly traffic: readonly Traffic[] | undefined;
  /** Place in gateway.yaml and reason; undefined where no line of a file speaks of it. */
  readonly path: string | undefined;
  readonly because: string | undefined;
  /** The last of so many that the rest is not told one by one. */
  readonly more?: boolean;
}

export interface AccessChanges {
  readonly gained: readonly Access[];
  readonly lost: readonly Access[];
}

/** What is compared: declared flows, or what a kernel accepts. */
export interface Subject {
  readonly flows: readonly Flow[];
  readonly naming: Naming;
  /** Everything that may open a connection, where it is more or less than the flows. */
  readonly accepted?: PacketSet;
}

/** Sentences about one flow, or about what no flow speaks of: a device each of a large plant; that there are more is told. */
const MOST_PIECES = 1_000;

/** Zones are what stays: an interface that has another name changes nobody's access. */
export function changesOfAccess(before: Policy, after: Policy): AccessChanges {
  const space = new PacketSpace();
  return compareAccess(space, subjectOf(before), subjectOf(after));
}

function subjectOf(policy: Policy): Subject {
  // By which port of the gateway a guard leads them is nobody's access; what it lets pass is told beside it.
  const flows = policy.flows.map((flow) => ({
    ...flow,
    guard: undefined,
    from: byZone(flow.from),
    to: byZone(flow.to),
  }));
  const zones = policy.zones.map((zone) => ({ ...zone, interface: zone.name }));
  return { flows, naming: new Naming({ ...policy, zones }) };
}

export function compareAccess(space: PacketSpace, before: Subject, after: Subject): AccessChanges {
  const [old, next] = [openingsOf(space, before), openingsOf(space, after)];
  return {
    gained: told(space, after, next, old),
    lost: told(space, before, old, next),
  };
}

interface Openings {
  readonly all: PacketSet;
  readonly ofFlows: readonly PacketSet[];
}

function openingsOf(space: PacketSpace, { flows, accepted }: Subject): Openings {
  const usual = usualPackets(space);
  const ofFlows = flows.map((flow) =>
    space.and(usual, space.union(flowBoxes(flow, space).map((box) => space.set(box)))),
  );
  return { all: accepted === undefined ? space.union(ofFlows) : space.and(usual, accepted), ofFlows };
}

/** Who is in quarantine, hop limits and hardware addresses are no matter of access between zones. */
function usualPackets(space: PacketSpace): PacketSet {
  const all = space.set({
    state: inState('new'),
    hopLimit: [exactly(64)],
    ether: [exactly(ABSENT)],
    reversePath: [exactly(1)],
    quarantine: free(7),
  });
  const loopback = space.interface(LOOPBACK);
  return space.minus(all, space.or(space.set({ in: loopback }), space.set({ out: loopback })));
}

function told(space: PacketSpace, subject: Subject, mine: Openings, other: Openings): Access[] {
  const changed = space.minus(mine.all, other.all);
  const result: Access[] = [];
  let left = changed;
  const numbered = subject.flows.map((flow, i) => ({ flow, own: mine.ofFlows[i] ?? space.nothing }));
  for (const lines of Map.groupBy(numbered, ({ flow }) => `${flow.path} ${flow.name}`).values()) {
    const changes = lines.flatMap(({ flow, own }) => {
      const part = space.and(own, changed);
      // What another line was told for already needs no second sentence.
      if (space.and(part, left) === space.nothing) return [];
      left = space.minus(left, part);
      return [{ flow, part, isWhole: part === own }];
    });
    if (changes.every(({ isWhole }) => isWhole)) {
      result.push(...changes.map(({ flow }) => ofWholeFlow(flow, subject.naming)));
    } else {
      const parts = space.union(changes.map(({ part }) => part));
      result.push(...piecesOf(space, parts, subject, lines[0]?.flow));
    }
  }
  result.push(...piecesOf(space, left, subject, undefined));
  return joined(result);
}

function ofWholeFlow({ from, to, protocol, ports, path, because }: Flow, naming: Naming): Access {
  const ends = { from: naming.name(from.zone, from), to: naming.name(to.zone, to) };
  return { ...ends, traffic: [{ protocol, ports }], path, because };
}

function piecesOf(space: PacketSpace, set: PacketSet, subject: Subject, flow: Flow | undefined): Access[] {
  const { path, because } = flow ?? {};
  const all = rectanglesOf(space, set, MOST_PIECES);
  const rectangles = Map.groupBy(all, ({ family }) => family);
  const [v4, v6] = ([4, 6] as const).map((family) =>
    joined(
      (rectangles.get(family) ?? []).map((rectangle) => {
        const [from, to] = endsOf(space, rectangle, subject, flow);
        return { from, to, traffic: trafficOf(rectangle), path, because };
      }),
    ),
  );
  const [same4, same6] = [new Set(v6?.map(meaning)), new Set(v4?.map(meaning))];
  // Where a line means both families, and only one of them changes.
  const half = (family: string, access: Access, others: ReadonlySet<string>): Access =>
    others.has(meaning(access)) || flow === undefined || !hasBoth(flow.to)
      ? access
      : { ...access, to: `${access.to} over ${family}` };
  const pieces = [
    ...(v4 ?? []).map((one) => half('IPv4', one, same4)),
    ...(v6 ?? []).map((one) => half('IPv6', one, same6)),
  ];
  const last = pieces.at(-1);
  return all.length < MOST_PIECES || last === undefined
    ? pieces
    : [...pieces.slice(0, -1), { ...last, more: true }];
}

/** Pings of both families mean the same to people. */
const meaning = ({ from, to, traffic }: Access): string =>
  JSON.stringify([from, to, traffic]).replaceAll('icmpv6', 'icmp');

const hasBoth = ({ v4, v6 }: Addresses): boolean => v4.length > 0 && v6.length > 0;

function endsOf(
  space: PacketSpace,
  { family, ...rectangle }: Rectangle,
  { naming }: Subject,
  flow: Flow | undefined,
): readonly [string, string] {
  const end = (side: Side | undefined, ways: Rectangle['in'], at: Rectangle['source']): string => {
    const addresses = addressesOf(family, at);
    if (side !== undefined) return naming.name(side.zone, addresses);
    return placesOf(space, ways)
      .map((name) => placeName(name, addresses, naming))
      .join(', ');
  };
  return [
    end(flow?.from, rectangle.in, rectangle.source),
    end(flow?.to, rectangle.out, rectangle.destination),
  ];
}

function placeName(name: string, addresses: Addresses, naming: Naming): string {
  if (name === '') return naming.name(GATEWAY, addresses);
  const zone = naming.zoneOf(name);
  return zone === undefined ? `interface ${name}` : naming.name(zone, addresses);
}

function placesOf(space: PacketSpace, ways: readonly Interval[] | undefined): string[] {
  if (ways === undefined) return ['anywhere'];
  return ways.flatMap(({ low, high }) => {
    const last = Math.min(Number(high), space.interfaces.high);
    return Array.from({ length: last - Number(low) + 1 }, (_, i) => space.interfaceName(Number(low) + i));
  });
}

function addressesOf(family: 4 | 6, intervals: readonly Interval[] | undefined): Addresses {
  const most = family === 4 ? (1n << 32n) - 1n : (1n << 128n) - 1n;
  const ranges = (intervals ?? [{ low: 0n, high: most }]).map(
    ({ low, high }): AddressRange => ({ low: BigInt(low), high: BigInt(high) }),
  );
  return family === 4 ? { v4: ranges, v6: [] } : { v4: [], v6: ranges };
}

const PROTOCOLS = [
  [TCP, 'tcp'],
  [UDP, 'udp'],
  [ICMP, 'icmp'],
  [ICMPV6, 'icmpv6'],
] as const;

/** Undefined: also protocols that have no name in anybody's file. */
function trafficOf({ protocol, port }: Rectangle): Traffic[] | undefined {
  if (protocol === undefined) return undefined;
  const named = PROTOCOLS.filter(([number]) =>
    protocol.some(({ low, high }) => low <= number && number <= high),
  );
  const count = protocol.reduce((sum, { low, high }) => sum + Number(high) - Number(low) + 1, 0);
  if (count > named.length) return undefined;
  return named.flatMap(([, name]): Traffic[] => {
    if (port === undefined || name === 'icmp' || name === 'icmpv6')
      return [{ protocol: name, ports: ANY_PORT }];
    return port.map(({ low, high }) => ({
      protocol: name,
      ports: [Math.max(0, Number(low)), Number(high)],
    }));
  });
}

/** What differs only in its protocols is one sentence, and so is what differs only in its family. */
function joined(access: readonly Access[]): Access[] {
  const groups = Map.groupBy(access, ({ from, to, path, because }) =>
    JSON.stringify([from, to, path, because]),
  );
  return [...groups.values()].flatMap((group): Access[] => {
    const [first] = group;
    if (first === undefined) return [];
    const more = group.some((one) => one.more === true) ? { more: true } : {};
    if (group.some(({ traffic }) => traffic === undefined))
      return [{ ...first, ...more, traffic: undefined }];
    const traffic = new Map(
      group.flatMap((one) => one.traffic ?? []).map((one) => [JSON.stringify(one), one] as const),
    );
    return [{ ...first, ...more, traffic: [...traffic.values()] }];
  });
}
