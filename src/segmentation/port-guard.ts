import type { Config, DeviceConfig } from '../config/config.ts';
import { parseAddress } from '../config/network.ts';
import { ROUTER_LINK_LOCAL } from '../config/zones.ts';

/** What the file says about the access ports of the bridge, as data. */
export interface PortGuard {
  readonly ports: readonly GuardedPort[];
  /** Every device whose hardware address is known, one for each address. */
  readonly hosts: readonly BoundHost[];
  /** Addresses of the gateway: nobody behind a port has them. */
  readonly own: ByFamily;
}

export interface GuardedPort {
  readonly name: string;
  /** Place in gateway.yaml: `zones.control.ports[0]`; undefined where the file is not at hand. */
  readonly path?: string | undefined;
  /** What becomes of hardware addresses that no device has. */
  readonly unknown: 'deny' | 'allow';
  /** May devices at this port and at other access ports reach one another? */
  readonly within: 'deny' | 'allow';
}

export interface ByFamily {
  readonly v4: readonly bigint[];
  readonly v6: readonly bigint[];
}

export interface BoundHost extends ByFamily {
  readonly mac: string;
  /** Place in gateway.yaml of the first device with this hardware address: `devices.press-1`. */
  readonly path?: string | undefined;
  /** Where it may send from; none where it lives in a zone without access ports. */
  readonly ports: readonly string[];
}

/** Undefined where no zone has access ports. */
export function portGuard(config: Config): PortGuard | undefined {
  const ports = config.zones.flatMap((zone) =>
    zone.ports.map((name, i) => ({
      name,
      path: `zones.${zone.name}.ports[${i}]`,
      unknown: zone.unknownMacs,
      within: zone.within,
    })),
  );
  return ports.length === 0 ? undefined : { ports, hosts: hostsOf(config), own: ownAddresses(config) };
}

function hostsOf({ zones, devices }: Config): BoundHost[] {
  const byMac = new Map<string, DeviceConfig[]>();
  for (const device of devices) {
    if (device.mac === undefined) continue;
    const group = byMac.get(device.mac);
    if (group === undefined) byMac.set(device.mac, [device]);
    else group.push(device);
  }
  return [...byMac].map(([mac, group]) => {
    const plugs = group.flatMap(({ port }) => port ?? []);
    const anywhere = zones.filter(({ name }) => group.some(({ zone }) => zone === name));
    const addresses = group.flatMap(({ endpoint }) => ('host' in endpoint ? endpoint.host : []));
    return {
      mac,
      path: group[0] && `devices.${group[0].name}`,
      ports: [...new Set(plugs.length > 0 ? plugs : anywhere.flatMap((zone) => zone.ports))],
      ...byFamily(addresses),
    };
  });
}

/** Those of the zones, the one that IPv6 hosts have their router at, and what the gateway listens on. */
function ownAddresses({ zones, coap, mqtt }: Config): ByFamily {
  const listens = [coap?.listen.host, mqtt.embedded?.host].filter((host) => host !== undefined);
  const routes = zones.some(({ addresses }) => addresses.some((address) => address.includes(':')));
  return byFamily([
    ...zones.flatMap(({ addresses }) => addresses.map((address) => address.split('/')[0] ?? '')),
    ...(routes ? [ROUTER_LINK_LOCAL] : []),
    ...listens.filter((host) => !NOT_OF_A_LINK.test(host)),
  ]);
}

/** Every address, and those of the machine itself. */
const NOT_OF_A_LINK = /^(?:0\.0\.0\.0|127\..*|::|::1)$/;

function byFamily(texts: readonly string[]): ByFamily {
  const parsed = texts.flatMap((text) => parseAddress(text) ?? []);
  const of = (wanted: 4 | 6): bigint[] => [
    ...new Set(parsed.filter(({ family }) => family === wanted).map(({ value }) => value)),
  ];
  return { v4: of(4), v6: of(6) };
}

/** The link-local address that a host makes of its hardware address (RFC 4291, appendix A). */
export function linkLocalOf(mac: string): bigint {
  const bytes = mac.split(':').map((pair) => BigInt(`0x${pair}`));
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = bytes;
  const identifier = [a ^ 2n, b, c, 0xffn, 0xfen, d, e, f];
  return identifier.reduce((value, byte) => (value << 8n) | byte, 0xfe80_0000_0000_0000n);
}

/** What no frame of a device is marked with. */
const NO_MARK = 0;

/**
 * The number that each device is marked by: the last four bytes of its hardware address, so that a device that comes or
 * goes changes nothing about the others. Of those with the same four bytes the lowest hardware address keeps them, and
 * the others take the next numbers that are nobody's: two devices with one mark could be each other.
 */
export function marksOf(hosts: readonly Pick<BoundHost, 'mac'>[]): ReadonlyMap<string, number> {
  const macs = hosts.map(({ mac }) => mac).toSorted();
  const marks = new Map<string, number>();
  const taken = new Set([NO_MARK]);
  const take = (mac: string, mark: number): void => {
    marks.set(mac, mark);
    taken.add(mark);
  };
  for (const mac of macs) if (!taken.has(lastFourBytes(mac))) take(mac, lastFourBytes(mac));
  for (const mac of macs) {
    if (marks.has(mac)) continue;
    let mark = lastFourBytes(mac);
    while (taken.has(mark)) mark = (mark + 1) >>> 0;
    take(mac, mark);
  }
  return marks;
}

const lastFourBytes = (mac: string): number => Number.parseInt(mac.replaceAll(':', '').slice(4), 16);
