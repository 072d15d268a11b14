import type { Conduit, Config, DeviceConfig, Selector } from '../config/config.ts';
import { type Address, contains, parseAddress, parseAddressOrSubnet } from '../config/network.ts';
import { ANY_PORT, type Traffic, trafficOf } from '../config/services.ts';
import { GATEWAY, interfaceOf } from '../config/zones.ts';
import { disjoint, EVERY, FAMILIES, type Family, NEVER, ofFamily, without } from './ranges.ts';
import type { AddressRange, Flow, FlowKind, Policy, PolicyZone, Side } from './policy.ts';

/** What the file as such may say, and no rule can express. */
export interface Contradiction {
  readonly path: string;
  readonly found: string;
  readonly fix: string;
}

export type Declared = { readonly policy: Policy } | { readonly problems: readonly Contradiction[] };

/** What gateway.yaml means, as flows between zones. Where segmentation is off, that is nothing. */
export function declare(config: Config): Declared {
  const { mode } = config.segmentation;
  if (mode === 'off') return { policy: { mode, zones: [], flows: [] } };
  const plant = new Plant(config);
  checkPlaces(plant);
  const flows = [
    ...polls(plant),
    ...pushes(plant),
    ...upstream(plant),
    ...management(plant),
    ...conduits(plant),
    ...within(plant),
  ];
  const { problems, zones } = plant;
  return problems.length > 0 ? { problems } : { policy: { mode, zones: [...zones.values()], flows } };
}

/** Addresses by family. */
type Addresses = Pick<Side, 'v4' | 'v6'>;

const NOBODY: Addresses = { v4: [], v6: [] };
const EVERYBODY: Addresses = { v4: EVERY[4], v6: EVERY[6] };

/** The zones of a configuration with their addresses, and what was found wrong with it. */
class Plant {
  readonly config: Config;
  readonly zones: ReadonlyMap<string, PolicyZone>;
  readonly problems: Contradiction[] = [];

  constructor(config: Config) {
    this.config = config;
    const taken = addressesOf(config.zones.flatMap(({ subnets }) => subnets));
    const rest = (family: Family): AddressRange[] =>
      without(EVERY[family], [...NEVER[family], ...ofFamily(taken, family)]);
    const others = { v4: rest(4), v6: rest(6) };
    this.zones = new Map(
      config.zones.flatMap((zone) => {
        const own = interfaceOf(zone);
        if (own === undefined) {
          this.refuse(
            `zones.${zone.name}`,
            'a zone that no rule can tell apart',
            'give it a vlan or an interface',
          );
          return [];
        }
        const addresses = zone.subnets.length === 0 ? others : addressesOf(zone.subnets);
        return [[zone.name, { name: zone.name, interface: own, ...addresses }]];
      }),
    );
  }

  refuse(path: string, found: string, fix: string): void {
    this.problems.push({ path, found, fix });
  }

  /** One end of a flow: all of the zone, or a part of it. */
  side(zone: string, part?: Addresses): Side {
    const known = this.zones.get(zone);
    return {
      zone,
      interface: known?.interface,
      ...(part ?? known ?? (zone === GATEWAY ? EVERYBODY : NOBODY)),
    };
  }
}

/** Packets go where routes lead: a device of a zone without subnet cannot have an address of another one. */
function checkPlaces(plant: Plant): void {
  const { devices, zones } = plant.config;
  const everywhere = new Set(zones.filter(({ subnets }) => subnets.length === 0).map(({ name }) => name));
  for (const device of devices) {
    if (!everywhere.has(device.zone) || !isReachable(device)) continue;
    const { host } = device.endpoint;
    const address = parseAddress(host);
    const taken = zones.find(
      ({ subnets }) => address !== undefined && subnets.some((text) => isInside(text, address)),
    );
    if (taken === undefined) continue;
    plant.refuse(
      `devices.${device.name}.at`,
      `${host} lies in zone ${taken.name}, and the device in ${device.zone}`,
      'use an address of its own zone, or another class',
    );
  }
}

function isInside(subnet: string, address: Address): boolean {
  const parsed = parseAddressOrSubnet(subnet);
  return parsed !== undefined && contains(parsed, address);
}

interface Ends {
  readonly name: string;
  readonly kind: FlowKind;
  readonly from: Side;
  readonly to: Side;
  readonly because: string;
  readonly path: string;
  readonly devices: readonly string[];
}

/** One flow for each kind of packet that can exist between the two ends. */
function flowsOf(ends: Ends, traffic: readonly Traffic[]): Flow[] {
  const { name, kind, because, path, devices } = ends;
  return traffic.flatMap(({ protocol, ports }) => {
    const families = FAMILIES.filter(
      (family) =>
        ofFamily(ends.from, family).length > 0 &&
        ofFamily(ends.to, family).length > 0 &&
        protocol !== (family === 4 ? 'icmpv6' : 'icmp'),
    );
    if (families.length === 0) return [];
    const [from, to] = [onlyOf(ends.from, families), onlyOf(ends.to, families)];
    return [{ name, kind, from, to, protocol, ports, because, path, devices }];
  });
}

/** The gateway reaches each device exactly where its address says. A device that only pushes is never asked. */
function polls(plant: Plant): Flow[] {
  const { points, devices } = plant.config;
  const groups = new Map<string, { readonly traffic: Traffic; readonly devices: Reachable[] }>();
  for (const device of devices) {
    if (!isReachable(device) || device.points.every((index) => isPushed(points[index]))) continue;
    const { port, protocol } = device.endpoint;
    const traffic: Traffic = { protocol: protocol.startsWith('coap') ? 'udp' : 'tcp', ports: [port, port] };
    const key = `${device.zone} ${traffic.protocol} ${port}`;
    const group = groups.get(key) ?? { traffic, devices: [] };
    group.devices.push(device);
    groups.set(key, group);
  }
  return [...groups.values()].flatMap((group) => {
    const zone = group.devices[0]?.zone ?? '';
    const ends = {
      name: `poll-${zone}`,
      kind: 'poll',
      from: plant.side(GATEWAY),
      to: plant.side(zone, hostsOf(group.devices)),
      because: 'the gateway reads and writes its devices',
      ...placeOf(group.devices),
    } as const;
    return flowsOf(ends, [group.traffic]);
  });
}

/** Devices that send by themselves reach the gateway exactly where it listens for them. */
function pushes(plant: Plant): Flow[] {
  const { coap, points, devices } = plant.config;
  if (coap === undefined) return [];
  const { host, port } = coap.listen;
  // The socket of `::` takes both families (RFC 3493, 5.3).
  const listening =
    host === '::' ? EVERYBODY : host === '0.0.0.0' ? { v4: EVERY[4], v6: [] } : addressesOf([host]);
  const groups = new Map<string, Reachable[]>();
  for (const device of devices) {
    if (!isReachable(device) || !device.points.some((index) => isPushed(points[index]))) continue;
    const group = groups.get(device.zone) ?? [];
    groups.set(device.zone, group);
    const own = addressesOf([device.endpoint.host]);
    if (
      FAMILIES.some((family) => ofFamily(own, family).length > 0 && ofFamily(listening, family).length > 0)
    ) {
      group.push(device);
    } else {
      plant.refuse(
        `devices.${device.name}.at`,
        `pushes from ${device.endpoint.host}, and coap.listen is ${host}`,
        'let coap.listen have an address of the same family, or [::]',
      );
    }
  }
  return [...groups].flatMap(([zone, group]) => {
    const ends = {
      name: `push-${zone}`,
      kind: 'push',
      from: plant.side(zone, hostsOf(group)),
      to: plant.side(GATEWAY, listening),
      because: 'devices send by themselves',
      ...placeOf(group),
    } as const;
    return flowsOf(ends, [{ protocol: 'udp', ports: [port, port] }]);
  });
}

const LOOPBACK: Readonly<Record<Family, AddressRange>> = {
  4: { low: 127n << 24n, high: (128n << 24n) - 1n },
  6: { low: 1n, high: 1n },
};

/** The broker of the platform; where its host is a name, any address of the zones that have the rest of the world. */
function upstream(plant: Plant): Flow[] {
  const { mqtt, zones } = plant.config;
  if (mqtt.upstream === undefined) return [];
  const { host, port } = mqtt.upstream;
  const address = parseAddress(host);
  const path = 'mqtt.upstream.url';
  const traffic: readonly Traffic[] = [{ protocol: 'tcp', ports: [port, port] }];
  if (address === undefined) {
    if (host === 'localhost') return [];
    const beyond = zones.filter(({ subnets }) => subnets.length === 0);
    if (beyond.length === 0)
      plant.refuse(path, `${host} is a name, and no zone has the rest of the world`, UPLINK);
    const because = `telemetry to ${host}: a name, so any address of the zone`;
    return beyond.flatMap(({ name: zone }) => flowsOf(upstreamEnds(plant, zone, because), traffic));
  }
  const { family, value } = address;
  const { low, high } = LOOPBACK[family];
  if (low <= value && value <= high) return []; // never leaves the machine
  const part = addressesOf([host]);
  const zone = [...plant.zones.values()].find((one) =>
    ofFamily(one, family).some((range) => range.low <= value && value <= range.high),
  );
  if (zone === undefined) {
    plant.refuse(path, `no zone has ${host}`, UPLINK);
    return [];
  }
  return flowsOf(upstreamEnds(plant, zone.name, `telemetry to ${host}`, part), traffic);
}

const UPLINK = 'declare a zone for it, such as uplink: { interface: eth0 }';

function upstreamEnds(plant: Plant, zone: string, because: string, part?: Addresses): Ends {
  const ends = { from: plant.side(GATEWAY), to: plant.side(zone, part), because };
  return { name: `upstream-${zone}`, kind: 'upstream', ...ends, path: 'mqtt.upstream', devices: [] };
}

function management(plant: Plant): Flow[] {
  const given = plant.config.segmentation.management;
  if (given === undefined) return [];
  const ends = {
    name: 'management',
    kind: 'management',
    from: plant.side(given.zone, addressesOf(given.from)),
    to: plant.side(GATEWAY),
    because: 'whoever manages the gateway always reaches it',
    path: 'segmentation.management',
    devices: [],
  } as const;
  return flowsOf(ends, given.allow.flatMap(trafficOf));
}

function conduits(plant: Plant): Flow[] {
  const counts = new Map<string, number>();
  return plant.config.conduits.flatMap((conduit, i) => {
    const { from, to, allow, because, only } = conduit;
    // Numbered among those of the same two zones: what is added between others renames no counter.
    const stem = `conduit-${from}-${to}`;
    const count = counts.get(stem) ?? 0;
    counts.set(stem, count + 1);
    const ends = {
      name: `${stem}-${count}`,
      kind: 'conduit',
      from: plant.side(from, partOf(plant, only.from)),
      to: plant.side(to, partOf(plant, only.to)),
      because,
      path: `conduits[${i}]`,
      devices: devicesOf(plant, conduit).map(({ name }) => name),
    } as const;
    const flows = flowsOf(ends, allow.flatMap(trafficOf));
    if (flows.length === 0)
      plant.refuse(
        ends.path,
        `no packet can flow from ${from} to ${to}`,
        'choose addresses of one family, or take it out',
      );
    return flows;
  });
}

/** Undefined where no part is named: all of it. */
function partOf(plant: Plant, selectors: readonly Selector[]): Addresses | undefined {
  if (selectors.length === 0) return undefined;
  const texts = selectors.flatMap((selector) =>
    selector.kind === 'subnet'
      ? [selector.text]
      : selected(plant, selector).map(({ endpoint }) => endpoint.host),
  );
  return addressesOf(texts);
}

function devicesOf(plant: Plant, { only }: Conduit): Reachable[] {
  return [...only.from, ...only.to].flatMap((selector) => selected(plant, selector));
}

function selected({ config }: Plant, { kind, text }: Selector): Reachable[] {
  if (kind === 'subnet') return [];
  return config.devices
    .filter(isReachable)
    .filter((device) => (kind === 'class' ? device.class : device.name) === text);
}

/** What a zone may do within itself where it is allowed to; as everywhere, ICMP is the echo request alone. */
const WITHIN: readonly Traffic[] = (['tcp', 'udp', 'icmp', 'icmpv6'] as const).map((protocol) => ({
  protocol,
  ports: ANY_PORT,
}));

function within(plant: Plant): Flow[] {
  return plant.config.zones
    .filter((zone) => zone.within === 'allow')
    .flatMap(({ name: zone }) => {
      const ends = {
        name: `within-${zone}`,
        kind: 'within',
        from: plant.side(zone),
        to: plant.side(zone),
        because: 'devices of the zone may reach one another',
        path: `zones.${zone}.within`,
        devices: [],
      } as const;
      return flowsOf(ends, WITHIN);
    });
}

type Reachable = DeviceConfig & { readonly endpoint: { readonly host: string; readonly port: number } };

const isReachable = (device: DeviceConfig): device is Reachable => 'host' in device.endpoint;

const isPushed = (point: Config['points'][number] | undefined): boolean =>
  point?.source.kind === 'coap' && point.source.mode === 'push';

function placeOf(devices: readonly DeviceConfig[]): {
  readonly path: string;
  readonly devices: readonly string[];
} {
  const names = devices.map(({ name }) => name);
  return { path: names.length === 1 ? `devices.${names[0]}` : 'devices', devices: names };
}

const hostsOf = (devices: readonly Reachable[]): Addresses =>
  addressesOf(devices.map(({ endpoint }) => endpoint.host));

function addressesOf(texts: readonly string[]): Addresses {
  const subnets = texts.flatMap((text) => parseAddressOrSubnet(text) ?? []);
  const of = (wanted: Family): AddressRange[] =>
    disjoint(
      subnets
        .filter(({ family }) => family === wanted)
        .map(({ first, last }) => ({ low: first, high: last })),
    );
  return { v4: of(4), v6: of(6) };
}

const onlyOf = (side: Side, families: readonly Family[]): Side => ({
  ...side,
  v4: families.includes(4) ? side.v4 : [],
  v6: families.includes(6) ? side.v6 : [],
});
