import type { Config, DeviceConfig } from '../config/config.ts';
import { type Address, contains, parseAddress, parseAddressOrSubnet } from '../config/network.ts';
import { GATEWAY, interfaceOf } from '../config/zones.ts';
import type { AddressRange, PolicyZone, Side } from './policy.ts';
import { disjoint, EVERY, type Family, NEVER, ofFamily, without } from './ranges.ts';

/** What the file as such may say, and no rule can express. */
export interface Contradiction {
  readonly path: string;
  readonly found: string;
  readonly fix: string;
}

/** Addresses by family. */
export type Addresses = Pick<Side, 'v4' | 'v6'>;

const NOBODY: Addresses = { v4: [], v6: [] };
export const EVERYBODY: Addresses = { v4: EVERY[4], v6: EVERY[6] };

/** The zones of a configuration with their addresses, and what was found wrong with it. */
export class Plant {
  readonly config: Config;
  readonly zones: ReadonlyMap<string, PolicyZone>;
  readonly problems: Contradiction[] = [];

  constructor(config: Config) {
    this.config = config;
    const taken = addressesOf(config.zones.flatMap(({ subnets }) => subnets));
    const left = (family: Family): AddressRange[] =>
      without(EVERY[family], [...NEVER[family], ...ofFamily(taken, family)]);
    const others = { v4: left(4), v6: left(6) };
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
        const rest = zone.subnets.length === 0 ? { rest: true } : {};
        return [[zone.name, { name: zone.name, interface: own, ...addresses, ...rest }]];
      }),
    );
  }

  refuse(path: string, found: string, fix: string): void {
    this.problems.push({ path, found, fix });
  }

  /** One end of a flow: all of the zone, or a part of it. */
  side(zone: string, part?: Addresses): Side {
    const known = this.zones.get(zone);
    const { v4, v6 } = part ?? known ?? (zone === GATEWAY ? EVERYBODY : NOBODY);
    return { zone, interface: known?.interface, v4, v6 };
  }
}

/** Packets go where routes lead: a device of a zone without subnet cannot have an address of another one. */
export function checkPlaces(plant: Plant): void {
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

export type Reachable = DeviceConfig & {
  readonly endpoint: { readonly host: string; readonly port: number };
};

export const isReachable = (device: DeviceConfig): device is Reachable => 'host' in device.endpoint;

export const hostsOf = (devices: readonly Reachable[]): Addresses =>
  addressesOf(devices.map(({ endpoint }) => endpoint.host));

export function addressesOf(texts: readonly string[]): Addresses {
  const subnets = texts.flatMap((text) => parseAddressOrSubnet(text) ?? []);
  const of = (wanted: Family): AddressRange[] =>
    disjoint(
      subnets
        .filter(({ family }) => family === wanted)
        .map(({ first, last }) => ({ low: first, high: last })),
    );
  return { v4: of(4), v6: of(6) };
}
