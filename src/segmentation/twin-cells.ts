import { GATEWAY } from '../config/zones.ts';
import type { Flow, Policy } from './policy.ts';
import { FAMILIES, type Family, ofFamily } from './ranges.ts';
import { STRAY, type TwinHost, type TwinPlant } from './twin-hosts.ts';

// What is sent through a twin of the plant, and what shall become of it: straight from the flows of the policy, without a
// look at the rules.

export type CellKind =
  | 'new'
  | 'answer unasked'
  | 'foreign source'
  | 'fragments'
  | 'small fragments'
  | 'tiny fragments'
  | 'request'
  | 'own arp'
  | 'foreign arp'
  | 'foreign hardware';

export interface Cell {
  readonly kind: CellKind;
  readonly family: Family;
  /** Names of hosts; `gateway` is the appliance. */
  readonly from: string;
  readonly source: bigint;
  readonly to: string;
  readonly target: bigint;
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly port: number;
  /** Undefined: any free one. */
  readonly sourcePort: number | undefined;
  readonly declared: boolean;
  /** What is asked over the connection; of kind `request` alone. */
  readonly request?: ModbusRequest;
  /** Heard by ARP before anything is sent to `target`: this hardware address, of somebody whose own is the other. */
  readonly claim?: { readonly hardware: string; readonly own: string };
}

/** One value of a device behind a guard. */
export interface ModbusRequest {
  readonly unit: number;
  readonly code: number;
  readonly address: number;
  /** For people: `write holding:0`. */
  readonly text: string;
  /** What becomes of it where it is not declared: the guard answers with an exception, a filter does not let it pass. */
  readonly refusal: 'exception' | 'silence';
}

export interface Cells {
  readonly cells: readonly Cell[];
  /** How many there would be; fewer are probed in a large plant. */
  readonly all: number;
}

/** What a person waits for: about as many seconds as thousands of these. */
const MOST_CELLS = 4_000;
/** Services that are in nobody's file, as they come: what is worth least to a plant and most to an intruder. */
const UNDECLARED: readonly Service[] = [
  { protocol: 'tcp', port: 23 },
  { protocol: 'udp', port: 69 },
];
/** Of the dynamic range, as the port of a client that never asked. */
const CLIENT_PORT = 49_321;

interface Service {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly port: number;
}

export interface End {
  readonly name: string;
  readonly zone: string;
  readonly interface: string;
  readonly address: bigint;
  /** At an access port that is closed to it. */
  readonly isMute?: boolean;
}

/**
 * Every pair of hosts in both directions, with the ports of all flows between their zones, the ports beside them, and
 * some that nobody declared. Where that is too much: all that is declared, and every n-th of the rest.
 */
export function twinCells(
  policy: Policy,
  plant: TwinPlant,
  {
    requests = [],
    claims = [],
  }: { readonly requests?: readonly Cell[]; readonly claims?: readonly Cell[] } = {},
): Cells {
  const plain = FAMILIES.flatMap((family) => {
    const ends = endsOf(plant, family);
    return [
      ...ends.flatMap((from) => ends.flatMap((to) => pairCells(policy, from, to, family, plant))),
      ...foreignCells(policy, ends, family),
    ];
  });
  // Claims last: where they are believed, nothing is as it was.
  const cells = [...requests, ...plain, ...claims];
  if (cells.length <= MOST_CELLS) return { cells, all: cells.length };
  const declared = cells.filter((cell) => cell.declared);
  const rest = cells.filter((cell) => !cell.declared);
  const stride = Math.ceil(rest.length / Math.max(1, MOST_CELLS - declared.length));
  const some = rest.filter((_, i) => i % stride === 0);
  return { cells: [...declared.slice(0, MOST_CELLS), ...some], all: cells.length };
}

export function endsOf({ hosts, gateway, listening }: TwinPlant, family: Family): End[] {
  const key = family === 4 ? 'v4' : 'v6';
  const own = [...gateway].flatMap(([name, { [key]: address }]): End[] =>
    address === undefined ? [] : [{ name: GATEWAY, zone: GATEWAY, interface: name, address }],
  );
  const [first] = own;
  const more =
    first === undefined ? [] : listening[key].map((address) => ({ ...first, interface: '', address }));
  const ends = hosts.flatMap(({ [key]: address, name, zone, interface: at, plug }: TwinHost): End[] =>
    address === undefined ? [] : [{ name, zone, interface: at, address, isMute: plug?.isMute ?? false }],
  );
  return [...ends, ...own, ...more];
}

function pairCells(policy: Policy, from: End, to: End, family: Family, { gateway }: TwinPlant): Cell[] {
  if (from.name === to.name || from.address === to.address) return [];
  // The gateway speaks to a zone from the address that it has there, and is asked at that one or where it listens.
  if (from.name === GATEWAY && from.interface !== to.interface) return [];
  if (to.name === GATEWAY && to.interface !== '' && to.interface !== from.interface) return [];
  const key = family === 4 ? 'v4' : 'v6';
  const facing = gateway.get(from.interface)?.[key];
  if (to.interface === '' && (facing === undefined || facing === to.address)) return [];
  // Behind a guard somebody of the gateway answers: see twin-requests.ts.
  const services = servicesBetween(policy, from.zone, to.zone).filter(
    (service) =>
      !policy.flows.some((flow) => flow.guard !== undefined && isBetween(flow, from, to, family, service)),
  );
  const base = { family, from: from.name, source: from.address, to: to.name, target: to.address };
  const cell = (kind: CellKind, { protocol, port }: Service, sourcePort?: number): Cell => {
    const declared = from.isMute !== true && isDeclared(policy, from, to, family, { protocol, port });
    return { ...base, kind, protocol, port, sourcePort, declared };
  };
  // Whoever is mute does not even tell where it is: what would reach it cannot be seen.
  const heard = services.filter(
    (service) => to.isMute !== true || !isDeclared(policy, from, to, family, service),
  );
  const all = heard.map((service) => cell('new', service));
  const unasked = servicesBetween(policy, to.zone, from.zone)
    .filter(({ protocol }) => protocol !== 'icmp')
    .slice(0, 1)
    .map(({ protocol, port }) => cell('answer unasked', { protocol, port: CLIENT_PORT }, port));
  const udp = heard
    .filter(({ protocol }) => protocol === 'udp')
    .sort(
      (a, b) =>
        Number(isDeclared(policy, from, to, family, b)) - Number(isDeclared(policy, from, to, family, a)),
    )
    .slice(0, 2);
  const fragments = udp.flatMap((service) => [
    cell('fragments', service),
    // IPv6 has no packets below 1,280 bytes.
    ...(family === 4 && from.name !== GATEWAY
      ? [cell('small fragments', service), cell('tiny fragments', service)]
      : []),
  ]);
  return [...all, ...unasked, ...fragments];
}

/** Ports of the flows between two zones in either direction, the ports beside them, ping, and some of nobody. */
function servicesBetween({ flows }: Policy, from: string, to: string): Service[] {
  const between = flows.filter(
    (flow) =>
      (flow.from.zone === from && flow.to.zone === to) || (flow.from.zone === to && flow.to.zone === from),
  );
  const services = between.flatMap(({ protocol, ports: [low, high] }): Service[] => {
    if (protocol === 'icmp' || protocol === 'icmpv6') return [];
    const other = protocol === 'tcp' ? 'udp' : 'tcp';
    const ports = [low, high, low - 1, high + 1].filter((port) => port > 0 && port <= 65_535);
    return [...ports.map((port) => ({ protocol, port })), { protocol: other, port: Math.max(1, low) }];
  });
  const all: readonly Service[] = [...services, ...UNDECLARED, { protocol: 'icmp', port: 0 }];
  return [...new Map(all.map((one) => [`${one.protocol}/${one.port}`, one])).values()];
}

/** Does a flow allow it? Said here once more, and shared with nothing that makes or proves rules. */
function isDeclared({ flows }: Policy, from: End, to: End, family: Family, service: Service): boolean {
  return flows.some((flow) => flow.guard === undefined && isBetween(flow, from, to, family, service));
}

export const isBetween = (flow: Flow, from: End, to: End, family: Family, service: Service): boolean =>
  flow.from.zone === from.zone &&
  flow.to.zone === to.zone &&
  isThis(flow, family, service) &&
  has(flow.from, family, from.address) &&
  has(flow.to, family, to.address);

function isThis({ protocol, ports: [low, high] }: Flow, family: Family, service: Service): boolean {
  if (service.protocol === 'icmp') return protocol === (family === 4 ? 'icmp' : 'icmpv6');
  return protocol === service.protocol && low <= service.port && service.port <= high;
}

const has = (side: Flow['from'], family: Family, address: bigint): boolean =>
  ofFamily(side, family).some(({ low, high }) => low <= address && address <= high);

/** What would be allowed, were it sent from where its source lies. */
function foreignCells({ flows, zones }: Policy, ends: readonly End[], family: Family): Cell[] {
  const own = (zone: string, address: bigint): boolean =>
    zones.some(
      (one) =>
        one.name === zone && ofFamily(one, family).some(({ low, high }) => low <= address && address <= high),
    );
  return flows
    .filter(
      ({ from, protocol, guard }) =>
        guard === undefined && from.zone !== GATEWAY && (protocol === 'tcp' || protocol === 'udp'),
    )
    .flatMap((flow) => {
      const victim = ends.find(
        (end) =>
          end.zone === flow.from.zone && end.interface !== STRAY && has(flow.from, family, end.address),
      );
      const target = ends.find(
        (end) =>
          end.zone === flow.to.zone && has(flow.to, family, end.address) && end.zone !== flow.from.zone,
      );
      if (victim === undefined || target === undefined) return [];
      return ends
        .filter(
          ({ name, zone }) => name.endsWith('/nobody') && zone !== flow.from.zone && zone !== flow.to.zone,
        )
        .filter(({ zone }) => !own(zone, victim.address))
        .map(({ name }): Cell => {
          const protocol = flow.protocol === 'udp' ? 'udp' : 'tcp';
          const base = {
            family,
            from: name,
            source: victim.address,
            to: target.name,
            target: target.address,
          };
          return {
            ...base,
            kind: 'foreign source',
            protocol,
            port: Math.max(1, flow.ports[0]),
            sourcePort: undefined,
            declared: false,
          };
        });
    });
}
