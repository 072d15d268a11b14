import type { Config, DeviceConfig } from '../config/config.ts';
import { parseAddress } from '../config/network.ts';
import type { Traffic } from '../config/services.ts';
import { GATEWAY } from '../config/zones.ts';
import { type Ends, flowsOf } from './flows.ts';
import {
  type Addresses,
  addressesOf,
  EVERYBODY,
  hostsOf,
  isReachable,
  type Plant,
  type Reachable,
} from './plant.ts';
import type { AddressRange, Flow } from './policy.ts';
import { EVERY, FAMILIES, type Family, ofFamily } from './ranges.ts';

// What the gateway needs to do its work, which nobody writes a conduit for.

/** The gateway reaches each device exactly where its address says. A device that only pushes is never asked. */
export function polls(plant: Plant): Flow[] {
  const { points, devices } = plant.config;
  const groups = new Map<string, { readonly traffic: Traffic; readonly devices: Reachable[] }>();
  for (const device of devices) {
    if (!isReachable(device) || !isPolled(device, points)) continue;
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

export function isPolled(device: DeviceConfig, points: Config['points']): boolean {
  return !device.points.every((index) => isPushed(points[index]));
}

/** Devices that send by themselves reach the gateway exactly where it listens for them. */
export function pushes(plant: Plant): Flow[] {
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
export function upstream(plant: Plant): Flow[] {
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

const isPushed = (point: Config['points'][number] | undefined): boolean =>
  point?.source.kind === 'coap' && point.source.mode === 'push';

function placeOf(devices: readonly DeviceConfig[]): {
  readonly path: string;
  readonly devices: readonly string[];
} {
  const names = devices.map(({ name }) => name);
  return { path: names.length === 1 ? `devices.${names[0]}` : 'devices', devices: names };
}
