import { hash } from 'node:crypto';
import { GATEWAY } from '../config/zones.ts';
import type { Flow, Policy } from './policy.ts';
import { FAMILIES, type Family, ofFamily } from './ranges.ts';
import { type Cells, chosen, type Share } from './twin-choice.ts';
import { STRAY, type TwinHost, type TwinPlant } from './twin-hosts.ts';
import { type Service, Services } from './twin-services.ts';

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
  /** Passes all the same for a while, and is counted: its zones are observed. */
  readonly observed?: true;
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

/** Of the dynamic range, as the port of a client that never asked; each that is said to have answered has one of its own. */
const CLIENT_PORT = 49_321;
const CLIENT_PORTS = 16_000;
/** Datagrams that come from there are made echo requests: see WATCH in twin-watch.ts. */
const PING_PORTS: readonly number[] = [2_048, 32_768];
/** How many are made of those that the file names for others, in each family. */
const MOST_FAR = 200_000;

export interface End {
  readonly name: string;
  readonly zone: string;
  readonly interface: string;
  readonly address: bigint;
  /** At an access port that is closed to it. */
  readonly isMute?: boolean;
}

/**
 * `policy` is what it means now. Every pair of hosts in both directions, with the ports of all flows between their zones, the ports beside them, some
 * that nobody declared, and the ports that the file names for others. Where that is too much: see twin-choice.ts.
 */
export function twinCells(
  policy: Policy,
  plant: TwinPlant,
  {
    requests = [],
    claims = [],
  }: { readonly requests?: readonly Cell[]; readonly claims?: readonly Cell[] } = {},
): Cells {
  const services = new Services(policy);
  const made = FAMILIES.map((family) => {
    const ends = endsOf(plant, family);
    const pairs = ends.flatMap((from) =>
      ends.filter((to) => isPair(from, to, family, plant)).map((to) => ({ from, to })),
    );
    const most = Math.ceil(MOST_FAR / Math.max(1, pairs.length));
    const cells = pairs.map((pair) =>
      pairCells(services, pair, { family, most, isObserved: isObserved(policy, pair) }),
    );
    return {
      cells: [...cells.flatMap((one) => one.cells), ...foreignCells(policy, ends, family)],
      unmade: cells.flatMap((one) => one.unmade),
    };
  });
  const plain = made.flatMap(({ cells }) => cells);
  // Claims last: where they are believed, nothing is as it was.
  return chosen(
    [...requests, ...plain, ...claims],
    made.flatMap(({ unmade }) => unmade),
  );
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

function isPair(from: End, to: End, family: Family, { gateway }: TwinPlant): boolean {
  if (from.name === to.name || from.address === to.address) return false;
  // The gateway speaks to a zone from the address that it has there, and is asked at that one or where it listens.
  if (from.name === GATEWAY && from.interface !== to.interface) return false;
  if (to.name === GATEWAY && to.interface !== '' && to.interface !== from.interface) return false;
  const facing = gateway.get(from.interface)?.[family === 4 ? 'v4' : 'v6'];
  return to.interface !== '' || (facing !== undefined && facing !== to.address);
}

interface Pair {
  readonly from: End;
  readonly to: End;
}

interface Scope {
  readonly family: Family;
  /** Of the services that the file names for others. */
  readonly most: number;
  readonly isObserved: boolean;
}

const isObserved = ({ observed = [] }: Policy, { from, to }: Pair): boolean =>
  from.isMute !== true && observed.some((one) => one.from === from.zone && one.to === to.zone);

interface Made {
  readonly cells: readonly Cell[];
  /** What is beyond `most`. */
  readonly unmade: readonly Share[];
}

function pairCells(
  services: Services,
  { from, to }: Pair,
  { family, most, isObserved: passes }: Scope,
): Made {
  const flows = services.flows(from.zone, to.zone).filter((flow) => isBetween(flow, from, to, family));
  const allows = (service: Service): boolean =>
    from.isMute !== true && flows.some((flow) => flow.guard === undefined && isOf(flow, family, service));
  const base = { family, from: from.name, source: from.address, to: to.name, target: to.address };
  const cell = (kind: CellKind, { protocol, port }: Service, sourcePort?: number): Cell => {
    const declared = allows({ protocol, port });
    return {
      ...base,
      kind,
      protocol,
      port,
      sourcePort,
      declared,
      ...(passes && !declared && { observed: true }),
    };
  };
  const { own, near, far } = services.between(from.zone, to.zone);
  const others = window(far, most, `${from.address} ${to.address}`);
  // Behind a guard somebody of the gateway answers: see twin-requests.ts. And whoever is mute does not even tell where
  // it is: what would reach it cannot be seen.
  const heard = near.filter(
    (service) =>
      !flows.some((flow) => (flow.guard !== undefined || to.isMute === true) && isOf(flow, family, service)),
  );
  const all = [...heard, ...others].map((service) => cell('new', service));
  const unasked = [...own, ...others]
    .filter(canAnswer)
    .map(({ protocol, port }, i) =>
      cell('answer unasked', { protocol, port: CLIENT_PORT + (i % CLIENT_PORTS) }, port),
    );
  const udp = heard
    .filter(({ protocol }) => protocol === 'udp')
    .sort((a, b) => Number(allows(b)) - Number(allows(a)))
    .slice(0, 2);
  const fragments = udp.flatMap((service) => [
    cell('fragments', service),
    // IPv6 has no packets below 1,280 bytes.
    ...(family === 4 && from.name !== GATEWAY
      ? [cell('small fragments', service), cell('tiny fragments', service)]
      : []),
  ]);
  return { cells: [...all, ...unasked, ...fragments], unmade: unmadeOf(far, others, family) };
}

const canAnswer = ({ protocol, port }: Service): boolean => protocol !== 'udp' || !PING_PORTS.includes(port);

/** Some of a list, from a place on that is another one for each key. */
function window<T>(list: readonly T[], most: number, key: string): readonly T[] {
  if (list.length <= most) return list;
  const start = Number.parseInt(hash('sha1', key).slice(0, 8), 16) % list.length;
  return [...list.slice(start), ...list.slice(0, start)].slice(0, most);
}

function unmadeOf(far: readonly Service[], made: readonly Service[], family: Family): Share[] {
  if (far.length === made.length) return [];
  const one = { family, declared: false };
  const answers = far.filter(canAnswer).length - made.filter(canAnswer).length;
  return [
    { ...one, kind: 'new', count: far.length - made.length },
    { ...one, kind: 'answer unasked', count: answers },
  ];
}

/** Which flows allow what: said here once more, and shared with nothing that makes or proves rules. */
export const isBetween = (flow: Flow, from: End, to: End, family: Family): boolean =>
  flow.from.zone === from.zone &&
  flow.to.zone === to.zone &&
  has(flow.from, family, from.address) &&
  has(flow.to, family, to.address);

export function isOf({ protocol, ports: [low, high] }: Flow, family: Family, service: Service): boolean {
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
