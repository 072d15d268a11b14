import { type Box, exactly, free, type Interval, inState, ofFamily, onHook } from './boxes.ts';
import type { AddressRange, Flow, Policy, PolicyZone, Side } from './policy.ts';
import { type Family, type Hook, ICMP, ICMPV6, QUARANTINE, TCP, UDP } from './packet.ts';
import { LOOPBACK } from './possible.ts';
import type { PacketSpace } from './packet-space.ts';

// What a declaration means, packet by packet, straight from the flows and without a look at how they are compiled.
// Beyond the flows it allows what no network does without; each of these is a function below.

const GATEWAY = 'gateway';
const FAMILIES = ['ipv4', 'ipv6'] as const;
const ECHO_REQUEST = { icmp: 8, icmpv6: 128 } as const; // RFC 792; RFC 4443, 4.1
const ICMP_ERRORS = [3, 11, 12]; // unreachable, time exceeded, parameter problem (RFC 792)
const ICMPV6_ERRORS = [1, 2, 3, 4]; // the same and packet too big (RFC 4890, 4.3.1)
/** Who is told apart from which end; in quarantine neither end may be. */
const MAY_NOT_BE: Readonly<Record<Hook, number>> = {
  input: QUARANTINE.ether | QUARANTINE.source,
  output: QUARANTINE.destination,
  forward: QUARANTINE.ether | QUARANTINE.source | QUARANTINE.destination,
};

/** Every packet that is to be accepted, but those that guards take away again: see `expectationOf` in prove.ts. */
export function boxesOf(policy: Policy, space: PacketSpace): Box[] {
  return [
    ...exemptBoxes(policy, space, ipv6Interfaces(policy.zones, space)),
    ...followingBoxes(policy, space),
    ...openingBoxes(policy, space),
    ...resetBoxes(policy, space),
  ];
}

/** What quarantine does not reach: the machine itself, finding neighbours, and whoever manages the gateway. */
export function exemptBoxes(policy: Policy, space: PacketSpace, inputs: readonly Interval[]): Box[] {
  const routers = policy.zones.filter(({ rest }) => rest === true);
  return [
    { hook: onHook('input'), in: space.interface(LOOPBACK) },
    { hook: onHook('output'), out: space.interface(LOOPBACK) },
    ...neighbourBoxes(inputs, ipv6Interfaces(routers, space)),
    // In every state: a full table of connections must not lock out who could clear it.
    ...managing(policy).flatMap((flow) => [...flowBoxes(flow, space), ...answerBoxes(flow)]),
  ];
}

const managing = ({ flows }: Policy): Flow[] => flows.filter(({ kind }) => kind === 'management');

/**
 * What the gateway says to whoever manages it, over connections that stand. Those that are no management are cut with the
 * quarantine, and nothing opens them anew.
 */
function answerBoxes(flow: Flow): Box[] {
  return FAMILIES.flatMap((family) => {
    const destination = addresses(flow.from, family);
    if (destination.length === 0 || protocolOf(flow, family) === undefined) return [];
    return [{ hook: onHook('output'), family: ofFamily(family), destination, state: inState('established') }];
  });
}

/** Packets from or to somebody in quarantine. */
export function quarantineBoxes(): Box[] {
  return (['input', 'output', 'forward'] as const).map((hook) => ({
    hook: onHook(hook),
    quarantine: [0, 1, 2, 3, 4, 5, 6, 7].filter((value) => (value & MAY_NOT_BE[hook]) !== 0).map(exactly),
  }));
}

/** What passes between two zones that are observed, whether a flow allows it or not: it only has to be of its zone. */
export function observedBoxes({ zones, observed = [] }: Policy, space: PacketSpace): Box[] {
  return observed.flatMap(({ from, to }) => {
    const [source, target] = [from, to].map((name) => zones.find((zone) => zone.name === name));
    const hook: Hook = to === GATEWAY ? 'input' : from === GATEWAY ? 'output' : 'forward';
    const way: Box = {
      hook: onHook(hook),
      in: space.interface(source?.interface ?? ''),
      out: space.interface(target?.interface ?? ''),
      state: inState('new', 'untracked'),
      quarantine: free(MAY_NOT_BE[hook]),
    };
    if (source === undefined) return [way];
    const neighbours =
      source.v6.length === 0
        ? []
        : [...neighbourKinds(), ...(source.rest === true ? [routerAdvertisement()] : [])];
    return [
      ...FAMILIES.flatMap((family) => {
        const sources = addresses(source, family);
        return sources.length === 0 ? [] : [{ ...way, family: ofFamily(family), source: sources }];
      }),
      // The rules before routing let them in by any address; forwarded, they are judged like the rest.
      ...neighbours.map((kind) => ({ ...way, ...kind })),
    ];
  });
}

/**
 * New connections of the flows. Untracked packets are judged each by itself; replies to them are not expected. ICMP is
 * the echo request alone.
 */
function openingBoxes({ flows }: Policy, space: PacketSpace): Box[] {
  return flows
    .filter(({ kind }) => kind !== 'management')
    .flatMap((flow) => flowBoxes(flow, space))
    .map((box) => ({
      ...box,
      state: box.state ?? inState('new', 'untracked'),
      quarantine: free(MAY_NOT_BE[hookOf(box)]),
    }));
}

/** Packets that only a guard may let through: none of them is forwarded, in whatever state its connection is. */
export function guardedBoxes({ flows }: Policy, space: PacketSpace): Box[] {
  return flows
    .filter(({ guard }) => guard?.grade === 'enforced')
    .flatMap((flow) => directBoxes(flow, space))
    .map((box) => ({ ...box, hook: onHook('forward') }));
}

/** Who of the machine itself knocks at listeners of guards: the gateway that runs this very file alone. */
export function knockBoxes({ flows }: Policy, space: PacketSpace): { at: Box[]; gateway: Box[] } {
  const listeners = flows.flatMap(({ guard }) => guard?.listeners ?? []);
  const at = (port: number): Box => ({
    hook: onHook('input'),
    in: space.interface(LOOPBACK),
    protocol: [exactly(TCP)],
    port: [exactly(port)],
  });
  return {
    at: listeners.map(({ port }) => at(port)),
    gateway: listeners.map(({ port, knock }) => ({
      ...at(port),
      family: ofFamily('ipv4'),
      source: [exactly(Number(knock.from))],
      destination: [exactly(Number(knock.to))],
    })),
  };
}

/** Packets of which also what they carry decides, in every state of a connection. */
export function filteredBoxes({ flows }: Policy, space: PacketSpace): Box[] {
  return flows
    .filter(({ guard }) => guard?.grade === 'filtered')
    .flatMap((flow) => directBoxes(flow, space))
    .map((box) => ({ ...box, hook: onHook('forward'), quarantine: free(MAY_NOT_BE.forward) }));
}

/**
 * What tells a client that its connection ends: from the device, as far as the client can see, though the kernel of the
 * gateway sends it. Nothing else that the gateway sends has such a source and belongs to a connection of others.
 */
function resetBoxes({ flows }: Policy, space: PacketSpace): Box[] {
  return flows
    .filter(({ guard }) => guard !== undefined)
    .flatMap(({ from, to }) =>
      FAMILIES.flatMap((family) => {
        const [client, device] = [addresses(from, family), addresses(to, family)];
        if (client.length === 0 || device.length === 0) return [];
        return [
          {
            hook: onHook('output'),
            family: ofFamily(family),
            state: inState('related'),
            out: space.interface(from.interface ?? ''),
            source: device,
            destination: client,
            protocol: [exactly(TCP)],
            quarantine: free(MAY_NOT_BE.output),
          },
        ];
      }),
    );
}

/** Which connections are led to which port of the gateway. */
export function ledBoxes({ flows }: Policy, space: PacketSpace): ReadonlyMap<number, readonly Box[]> {
  const led = new Map<number, Box[]>();
  for (const flow of flows) {
    for (const { family, address, port } of flow.guard?.listeners ?? []) {
      const destination = [exactly(family === 4 ? Number(address) : address)];
      const own = directBoxes(flow, space).filter((box) => sameFamily(box, { family: familyOf(family) }));
      led.set(port, [...(led.get(port) ?? []), ...own.map((box) => ({ ...box, destination }))]);
    }
  }
  return led;
}

/** A redirect ends at whatever address of the gateway is nearest. */
const EVERY: Readonly<Record<4 | 6, readonly Interval[]>> = {
  4: [{ low: 0, high: 2 ** 32 - 1 }],
  6: [{ low: 0n, high: 2n ** 128n - 1n }],
};
const familyOf = (family: 4 | 6): Interval[] => ofFamily(family === 4 ? 'ipv4' : 'ipv6');

/** Packets of a guarded flow as they come from its clients. */
function directBoxes(flow: Flow, space: PacketSpace): Box[] {
  const { from, to, ports } = flow;
  return FAMILIES.flatMap((family) => {
    const [source, destination] = [addresses(from, family), addresses(to, family)];
    if (source.length === 0 || destination.length === 0) return [];
    return [
      {
        family: ofFamily(family),
        in: space.interface(from.interface ?? ''),
        source,
        destination,
        protocol: [exactly(TCP)],
        port: [{ low: ports[0], high: ports[1] }],
      },
    ];
  });
}

/** New connections at the listener of a guard, that wanted to its device: whatever address of the gateway they got. */
function listenerBoxes(flow: Flow, space: PacketSpace): Box[] {
  const [port] = flow.ports;
  return (flow.guard?.listeners ?? []).flatMap((listener) =>
    directBoxes(flow, space)
      .filter((box) => sameFamily(box, { family: familyOf(listener.family) }))
      .map((box) => ({
        ...box,
        destination: EVERY[listener.family],
        hook: onHook('input'),
        out: space.interface(''),
        state: inState('new'),
        port: [exactly(listener.port)],
        originalDestination: [exactly(listener.family === 4 ? Number(listener.address) : listener.address)],
        originalPort: [exactly(port)],
      })),
  );
}

export function flowBoxes(flow: Flow, space: PacketSpace): Box[] {
  if (flow.guard?.grade === 'enforced') return listenerBoxes(flow, space);
  const { from, to } = flow;
  const hook: Hook = to.zone === GATEWAY ? 'input' : from.zone === GATEWAY ? 'output' : 'forward';
  return FAMILIES.flatMap((family) => {
    const [sources, destinations, kind] = [
      addresses(from, family),
      addresses(to, family),
      protocolOf(flow, family),
    ];
    if (sources.length === 0 || destinations.length === 0 || kind === undefined) return [];
    return [
      {
        hook: onHook(hook),
        family: ofFamily(family),
        in: space.interface(from.interface ?? ''),
        out: space.interface(to.interface ?? ''),
        source: sources,
        destination: destinations,
        ...kind,
      },
    ];
  });
}

function hookOf({ hook }: Box): Hook {
  const [first] = hook ?? [];
  return first?.low === 0 ? 'input' : first?.low === 1 ? 'output' : 'forward';
}

function protocolOf({ protocol, ports }: Flow, family: Family): Box | undefined {
  const [low, high] = ports;
  switch (protocol) {
    case 'tcp':
      return { protocol: [exactly(TCP)], port: [{ low, high }] };
    case 'udp':
      return { protocol: [exactly(UDP)], port: [{ low, high }] };
    case 'icmp':
      return family === 'ipv4'
        ? { protocol: [exactly(ICMP)], port: [exactly(ECHO_REQUEST.icmp)] }
        : undefined;
    case 'icmpv6':
      return family === 'ipv6'
        ? { protocol: [exactly(ICMPV6)], port: [exactly(ECHO_REQUEST.icmpv6)] }
        : undefined;
    default:
      return protocol satisfies never;
  }
}

/**
 * What follows a connection that was allowed when it was new (established), and errors about one (related), these only
 * between the two ends of a connection that may be. It comes from a source of the zone that its interface belongs to.
 * Connections that a newer policy does not allow are cut by whoever applies it.
 */
function followingBoxes(policy: Policy, space: PacketSpace): Box[] {
  const { zones } = policy;
  const sent: Box = { hook: onHook('output'), quarantine: free(MAY_NOT_BE.output) };
  const arriving = (['input', 'forward'] as const).flatMap((hook) =>
    zones.flatMap((zone) => originBoxes(zone, hook, space).map((box) => ({ zone: zone.name, hook, box }))),
  );
  const following = arriving.map(({ box }) => box).concat([sent]);
  const erring = arriving.flatMap(({ zone, hook, box }) => {
    const partners = partnersOf(zone, policy);
    if (hook === 'input') return partners.has(GATEWAY) ? [box] : [];
    const out = zones.filter(({ name }) => partners.has(name)).map((other) => other.interface);
    return out.length === 0 ? [] : [{ ...box, out: space.interface(...new Set(out)) }];
  });
  const kinds = [errors(ICMP_ERRORS, ICMP, 'ipv4'), errors(ICMPV6_ERRORS, ICMPV6, 'ipv6')];
  return [
    ...following.map((box) => ({ ...box, state: inState('established') })),
    ...erring
      .concat([sent])
      .flatMap((box) => kinds.flatMap((kind) => (sameFamily(box, kind) ? [{ ...box, ...kind }] : []))),
  ];
}

/** Zones that have connections with this one, whoever opens them. */
function partnersOf(zone: string, { flows }: Policy): ReadonlySet<string> {
  // A guard ends the connection of its client in the gateway, and opens one of its own.
  const ends = flows.map(
    ({ from, to, guard }) => [from.zone, guard?.grade === 'enforced' ? GATEWAY : to.zone] as const,
  );
  return new Set(
    ends.flatMap(([from, to]) => [...(from === zone ? [to] : []), ...(to === zone ? [from] : [])]),
  );
}

function errors(types: readonly number[], protocol: number, family: Family): Box {
  return {
    family: ofFamily(family),
    state: inState('related'),
    protocol: [exactly(protocol)],
    port: types.map(exactly),
  };
}

function sameFamily(a: Box, b: Box): boolean {
  return a.family === undefined || b.family === undefined || a.family[0]?.low === b.family[0]?.low;
}

function originBoxes(zone: PolicyZone, hook: 'input' | 'forward', space: PacketSpace): Box[] {
  return FAMILIES.flatMap((family) => {
    const source = addresses(zone, family);
    if (source.length === 0) return [];
    const arrival = { hook: onHook(hook), family: ofFamily(family), in: space.interface(zone.interface) };
    return [{ ...arrival, source, quarantine: free(MAY_NOT_BE[hook]) }];
  });
}

/** Interfaces of zones that have IPv6 addresses: only there it comes in at all. */
function ipv6Interfaces(zones: readonly PolicyZone[], space: PacketSpace): Interval[] {
  const names = zones.filter(({ v6 }) => v6.length > 0).map((zone) => zone.interface);
  return space.interface(...new Set(names));
}

/**
 * What IPv6 needs to find a neighbour, and never leaves its link (RFC 4890, 4.4.1): in by some interfaces, out by all. Who
 * is a router is believed only where the rest of the world is.
 */
function neighbourBoxes(inputs: readonly Interval[], routers: readonly Interval[]): Box[] {
  const output: Box = { hook: onHook('output') };
  const ways: readonly Box[] = [{ hook: onHook('input'), in: inputs }, output];
  return [
    ...ways.flatMap((way) => neighbourKinds().map((kind) => ({ ...way, ...kind }))),
    { ...output, ...routerAdvertisement() },
    ...(routers.length === 0 ? [] : [{ hook: onHook('input'), in: routers, ...routerAdvertisement() }]),
  ];
}

const LINK_LOCAL = [{ low: 0xfe80n << 112n, high: (0xfec0n << 112n) - 1n }];

const routerAdvertisement = (): Box => ({
  family: ofFamily('ipv6'),
  protocol: [exactly(ICMPV6)],
  port: [exactly(134)],
  source: LINK_LOCAL,
});

function neighbourKinds(): Box[] {
  const kinds: readonly Box[] = [
    { port: [133, 135, 136, 141, 142].map(exactly), hopLimit: [exactly(255)] }, // a router would have lowered it
    { port: [130, 131, 132, 143, 148, 149, 151, 152, 153].map(exactly), source: LINK_LOCAL },
    { port: [143, 148].map(exactly), source: [exactly(0n)] }, // before a host has an address (RFC 3590)
  ];
  return kinds.map((kind) => ({ family: ofFamily('ipv6'), protocol: [exactly(ICMPV6)], ...kind }));
}

function addresses({ v4, v6 }: Pick<Side, 'v4' | 'v6'>, family: Family): Interval[] {
  return family === 'ipv4' ? v4.map(asNumbers) : v6.map(({ low, high }) => ({ low, high }));
}

function asNumbers({ low, high }: AddressRange): Interval {
  return { low: Number(low), high: Number(high) };
}
