import { GATEWAY } from '../config/zones.ts';
import type { AddressRange, Flow, Policy, PolicyDevice, PolicyZone, Side } from './policy.ts';
import type { ByFamily } from './port-guard.ts';
import { FAMILIES, type Family, isEvery, isSingle, ofFamily } from './ranges.ts';
import { type Plug, plugged } from './twin-ports.ts';

// Who is in a twin of the plant: enough hosts that every flow has somebody at both ends, and everybody else a stranger.

export interface TwinHost {
  /** `control/press-1`, `supervision/nobody`. */
  readonly name: string;
  readonly zone: string;
  readonly interface: string;
  readonly v4: bigint | undefined;
  readonly v6: bigint | undefined;
  /** In a zone with access ports. */
  readonly plug?: Plug;
}

export interface TwinPlant {
  readonly hosts: readonly TwinHost[];
  /** What each interface of the gateway has; the host of a zone reaches the gateway there. */
  readonly gateway: ReadonlyMap<string, { readonly v4: bigint | undefined; readonly v6: bigint | undefined }>;
  /** Where flows to the gateway end, beside that. */
  readonly listening: { readonly v4: readonly bigint[]; readonly v6: readonly bigint[] };
  /** Whom a host stands for. */
  readonly one: 'device' | 'class';
}

/** Each host is a process: beyond this many devices, one of each class stands for all. */
const MOST_DEVICES = 16;
/** An interface that no zone has. */
export const STRAY = 'stray0';

/** `ports` are the access ports of each zone, by its name. */
export function twinPlant(
  policy: Policy,
  ports: ReadonlyMap<string, readonly string[]> = new Map(),
): TwinPlant {
  const { devices = [], zones, flows } = policy;
  const addresses = Map.groupBy(devices, (device) => `${device.zone} ${firstText(device)}`);
  const one = addresses.size > MOST_DEVICES ? 'class' : 'device';
  const shown =
    one === 'device'
      ? [...addresses.values()].flatMap(([first]) => first ?? [])
      : [...Map.groupBy(devices, ({ zone, class: kind }) => `${zone} ${kind}`).values()].flatMap(
          ([first]) => first ?? [],
        );
  const places = new Map(zones.map((zone, i) => [zone.name, new Places(zone, i, devices)]));
  const hosts: TwinHost[] = shown.flatMap((device) => {
    const zone = zones.find(({ name }) => name === device.zone);
    return zone === undefined
      ? []
      : [{ ...hostOf(`${zone.name}/${device.name}`, zone, device.v4[0]?.low, device.v6[0]?.low) }];
  });
  for (const flow of flows) for (const side of [flow.from, flow.to]) addMissing(hosts, side, flow, zones);
  for (const { low } of hosts.flatMap(rangesOf)) for (const place of places.values()) place.take(low);
  // Nobody at an access port may have an address of the gateway.
  const own = policy.guard?.own ?? NONE;
  for (const address of [...own.v4, ...own.v6]) for (const place of places.values()) place.take(address);
  const gateway = new Map(
    zones.map((zone) => [zone.interface, ownOf(zone, own, places.get(zone.name))] as const),
  );
  for (const zone of zones) {
    const { v4, v6 } = places.get(zone.name)?.next() ?? NOWHERE;
    if (v4 !== undefined || v6 !== undefined) hosts.push(hostOf(`${zone.name}/nobody`, zone, v4, v6));
  }
  const stray = new Places({ name: 'stray', interface: STRAY, v4: [], v6: [] }, zones.length, []);
  gateway.set(STRAY, stray.next());
  const { v4, v6 } = stray.next();
  hosts.push(hostOf('stray/nobody', { name: 'stray', interface: STRAY }, v4, v6));
  return { hosts: plugged(hosts, policy, ports), gateway, listening: listeningOf(flows), one };
}

const NONE: ByFamily = { v4: [], v6: [] };

/** What the file gives to the gateway there, or whatever is free. */
function ownOf(zone: PolicyZone, own: ByFamily, place: Places | undefined) {
  const free = place?.next() ?? NOWHERE;
  const of = (family: Family): bigint | undefined => {
    const key = family === 4 ? 'v4' : 'v6';
    return own[key].find((one) => zone[key].some(({ low, high }) => low <= one && one <= high)) ?? free[key];
  };
  return { v4: of(4), v6: of(6) };
}

const NOWHERE = { v4: undefined, v6: undefined };

function hostOf(
  name: string,
  zone: Pick<PolicyZone, 'name' | 'interface'>,
  v4: bigint | undefined,
  v6: bigint | undefined,
): TwinHost {
  return { name, zone: zone.name, interface: zone.interface, v4, v6 };
}

const firstText = ({ v4, v6 }: PolicyDevice): string => `${v4[0]?.low ?? v6[0]?.low}`;

const rangesOf = ({ v4, v6 }: TwinHost): AddressRange[] =>
  [v4, v6].flatMap((one) => (one === undefined ? [] : [{ low: one, high: one }]));

/** A part of a zone that is no device: somebody with its first address. All of a zone has its stranger. */
function addMissing(hosts: TwinHost[], side: Side, flow: Flow, zones: readonly PolicyZone[]): void {
  const zone = zones.find(({ name }) => name === side.zone);
  if (zone === undefined) return;
  for (const family of FAMILIES) {
    const ranges = ofFamily(side, family);
    const [first] = ranges;
    if (first === undefined || isWhole(ranges, ofFamily(zone, family))) continue;
    const key = family === 4 ? 'v4' : 'v6';
    const known = hosts.some(
      (host) => host.zone === zone.name && ranges.some(({ low, high }) => isIn(host[key], low, high)),
    );
    if (known) continue;
    // The first address of a subnet is the name of it.
    const address = isSingle(first) ? first.low : first.low + 1n;
    const name = `${zone.name}/${flow.kind === 'conduit' ? flow.path : flow.kind}`;
    const same = hosts.findIndex((host) => host.name === name && host[key] === undefined);
    if (same >= 0) {
      const host = hosts[same];
      if (host !== undefined) hosts[same] = { ...host, [key]: address };
    } else {
      hosts.push(hostOf(name, zone, family === 4 ? address : undefined, family === 6 ? address : undefined));
    }
  }
}

const isIn = (value: bigint | undefined, low: bigint, high: bigint): boolean =>
  value !== undefined && low <= value && value <= high;

const isWhole = (some: readonly AddressRange[], whole: readonly AddressRange[]): boolean =>
  some.length === whole.length &&
  some.every(({ low, high }, i) => whole[i]?.low === low && whole[i]?.high === high);

function listeningOf(flows: readonly Flow[]): TwinPlant['listening'] {
  const of = (family: Family): bigint[] => [
    ...new Set(
      flows
        .filter(({ to }) => to.zone === GATEWAY)
        .map(({ to }) => ofFamily(to, family))
        .filter((ranges) => ranges.length > 0 && !isEvery(family, ranges))
        .flatMap(([first]) => first?.low ?? []),
    ),
  ];
  return { v4: of(4), v6: of(6) };
}

/** Documentation networks (RFC 5737, RFC 3849): somewhere in the rest of the world. */
const ELSEWHERE = { v4: (198n << 24n) | (51n << 16n) | (100n << 8n), v6: 0x2001_0db8n << 96n } as const;
/** Each zone that has no subnet gets as many of them. */
const APART = 8n;

/** Addresses of a zone that nobody has, one after the other. */
class Places {
  readonly #taken = new Set<bigint>();
  readonly #next: { v4: bigint | undefined; v6: bigint | undefined };
  readonly #last: { readonly v4: bigint; readonly v6: bigint };

  constructor(
    { v4, v6 }: Pick<PolicyZone, 'name' | 'interface' | 'v4' | 'v6'>,
    index: number,
    devices: readonly PolicyDevice[],
  ) {
    for (const device of devices) for (const { low } of [...device.v4, ...device.v6]) this.#taken.add(low);
    const offset = BigInt(index + 1) * APART;
    const start = (ranges: readonly AddressRange[], elsewhere: bigint): bigint | undefined => {
      if (ranges.length === 0) return undefined;
      const far = elsewhere + offset;
      return ranges.length > 1 && ranges.some(({ low, high }) => low <= far && far <= high)
        ? far
        : (ranges[0]?.low ?? 0n) + 1n;
    };
    const isNowhere = v4.length + v6.length === 0;
    this.#next = isNowhere
      ? { v4: ELSEWHERE.v4 + offset, v6: ELSEWHERE.v6 + offset }
      : { v4: start(v4, ELSEWHERE.v4), v6: start(v6, ELSEWHERE.v6) };
    this.#last = { v4: v4[0]?.high ?? 0n, v6: v6[0]?.high ?? 0n };
  }

  take(address: bigint): void {
    this.#taken.add(address);
  }

  /** Undefined where the zone has none left, or none of the family. */
  next(): { readonly v4: bigint | undefined; readonly v6: bigint | undefined } {
    return { v4: this.#free('v4'), v6: this.#free('v6') };
  }

  #free(key: 'v4' | 'v6'): bigint | undefined {
    let at = this.#next[key];
    while (at !== undefined && this.#taken.has(at)) at += 1n;
    if (at === undefined) return undefined;
    // The last address of an IPv4 subnet is for everybody in it.
    if (at < ELSEWHERE[key] && at >= this.#last[key]) return undefined;
    this.#taken.add(at);
    this.#next[key] = at + 1n;
    return at;
  }
}
