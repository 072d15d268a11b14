import type { Zone } from './config.ts';
import { checked, entries } from './checked.ts';
import { DEFAULTS } from './defaults.ts';
import { nearest } from './nearest.ts';
import { readAddresses } from './own-address.ts';
import {
  type Address,
  contains,
  includes,
  LOOPBACK,
  noHosts,
  overlap,
  parseSubnet,
  type Subnet,
} from './network.ts';
import { describe, type Path, type Report } from './problem.ts';
import { NAME_FIX, isName } from './leaves.ts';
import * as schema from './network-schema.ts';

/** The built-in zone: the appliance itself (DESIGN 5.1). */
export const GATEWAY = 'gateway';

/**
 * Where IPv6 hosts of a zone have their router, on every link the same: one that is made of a hardware address would
 * change with the hardware, and nobody could say beforehand who may not claim it.
 */
export const ROUTER_LINK_LOCAL = 'fe80::1';

/** Names of the file and what they stand for; where something was wrong, as far as it was right. */
export type Known<T> = ReadonlyMap<string, T>;

/**
 * Names that an interface may have and that nft takes for numbers of protocols wherever JSON has a value (is_constant
 * in its parser_json.c): a rule is refused with them, and in a map they silently become the name of nobody.
 */
export const NFT_CONSTANTS = [
  'ah',
  'comp',
  'dccp',
  'esp',
  'icmp',
  'icmpv6',
  'redirect',
  'sctp',
  'tcp',
  'udp',
  'udplite',
] as const;

export interface ZoneEntry {
  readonly zone: Zone;
  /** Empty where the zone has every address that no other one has. */
  readonly subnets: readonly Subnet[];
  /** Where each address of the gateway is written. */
  readonly addressPaths: ReadonlyMap<string, Path>;
  /** What the file says about hardware addresses of no device; undefined where it says nothing. */
  readonly unknownMacs: Zone['unknownMacs'] | undefined;
  /** False where a key of it was wrong: what is missing here may just have been misspelt. */
  readonly whole: boolean;
}

export function readZones(value: unknown, report: Report): Known<ZoneEntry> {
  const zones = new Map<string, ZoneEntry>();
  for (const [name, entry] of entries(value, ['zones'], report)) {
    const path = ['zones', name];
    checkName(name, path, report);
    const { shape, whole } = checked(schema.zone, entry, path, report);
    checkWord(shape.interface, [...path, 'interface'], report);
    for (const [i, port] of (shape.ports ?? []).entries()) checkWord(port, [...path, 'ports', i], report);
    const subnets = readSubnets(shape.subnet, [...path, 'subnet'], report);
    if (whole && shape.subnet === undefined && shape.interface === undefined) {
      report(path, 'a zone without a place', 'give it a subnet or an interface', 'key');
    }
    const addresses = readAddresses(shape.address, subnets, [...path, 'address'], report);
    const zone: Zone = {
      name,
      vlan: shape.vlan,
      subnets: subnets.map(({ text }) => text),
      interface: shape.interface,
      addresses: [...addresses.keys()],
      ports: shape.ports ?? [],
      // Whether that is right, only the devices can tell: see `checkPorts`.
      unknownMacs: shape['unknown-macs'] ?? DEFAULTS.unknownMacs,
      purdue: shape.purdue,
      securityLevel: shape['security-level'],
      within: shape.within ?? DEFAULTS.within,
    };
    const known = { zone, subnets, addressPaths: addresses, unknownMacs: shape['unknown-macs'], whole };
    compareWithOthers(known, zones.values(), report);
    zones.set(name, known);
  }
  return zones;
}

function checkWord(name: string | undefined, path: Path, report: Report): void {
  if (NFT_CONSTANTS.some((word) => word === name))
    report(
      path,
      `${describe(name)}, which nft takes for a number of its own`,
      'give the interface another name',
    );
}

/** The network interface of a zone: its own, or the one of its VLAN; undefined where it has neither. */
export function interfaceOf(zone: Pick<Zone, 'interface' | 'vlan'>): string | undefined {
  return zone.interface ?? (zone.vlan === undefined ? undefined : `vlan${zone.vlan}`);
}

/** Is the address one that a device of the zone may have? */
export function checkInsideZone(
  address: Address,
  { zone, subnets }: ZoneEntry,
  path: Path,
  report: Report,
): void {
  if (subnets.length === 0) return;
  const subnet = subnets.find((one) => contains(one, address));
  if (subnet === undefined) {
    report(
      path,
      `${address.text} is outside zone ${zone.name}`,
      `use an address of ${zone.subnets.join(' or ')}, or another class`,
    );
    return;
  }
  // IPv4 keeps the ends of a subnet for itself (RFC 1122, 3.2.1.3), except where there are only two (RFC 3021).
  const { first, last, family, prefix } = subnet;
  if (family === 4 && prefix < 31 && (address.value === first || address.value === last)) {
    const which = address.value === first ? 'network' : 'broadcast';
    report(
      path,
      `${address.text} is the ${which} address of zone ${zone.name}`,
      `use an address inside ${subnet.text}`,
    );
  }
}

/** Names shown to somebody who has to choose one. */
const MAX_CHOICES = 12;

/** The second half of "no such name". */
export function choose(name: string, names: readonly string[], what: string): string {
  const guess = nearest(name, names);
  if (guess !== undefined) return `did you mean ${guess}?`;
  if (names.length === 0) return `declare it under ${what}`;
  return `${what} are ${names.slice(0, MAX_CHOICES).join(', ')}${names.length > MAX_CHOICES ? ', …' : ''}`;
}

/** Names become levels of topics, names of rules and files; the one of the appliance is taken. */
export function checkName(name: string, path: Path, report: Report): void {
  if (!isName(name)) {
    report(path, `the name ${describe(name)}`, NAME_FIX, 'key');
  } else if (name === GATEWAY) {
    report(path, 'a reserved name', 'choose another one: gateway is the appliance itself', 'key');
  }
}

function readSubnets(value: string | readonly string[] | undefined, path: Path, report: Report): Subnet[] {
  if (value === undefined) return [];
  if (typeof value === 'string') return readSubnet(value, path, report);
  const subnets: Subnet[] = [];
  for (const [i, text] of value.entries()) {
    const [subnet] = readSubnet(text, [...path, i], report);
    if (subnet === undefined) continue;
    const other = subnets.find((one) => overlap(one, subnet));
    if (other !== undefined) {
      report([...path, i], `${subnet.text} overlaps ${other.text} before it`, 'name each address once');
      continue;
    }
    subnets.push(subnet);
  }
  return subnets;
}

function readSubnet(text: string, path: Path, report: Report): Subnet[] {
  const subnet = parseSubnet(text);
  if (subnet === undefined) {
    report(path, `${describe(text)} is no subnet`, 'write a subnet such as 10.20.20.0/24 or fd00:20::/64');
    return [];
  }
  if (subnet.text !== text.toLowerCase()) {
    report(path, `${describe(text)} is not how the subnet is written`, `write ${subnet.text}`);
  }
  const nobody = noHosts(subnet);
  if (nobody !== undefined) {
    report(path, `${subnet.text} ${nobody}`, 'write the subnet that the hosts of the zone are in');
    return [];
  }
  if (subnet.prefix === 0) {
    report(
      path,
      `${subnet.text}: everybody`,
      'give the zone an interface and no subnet: then it has the addresses that no other zone has',
    );
    return [];
  }
  const loopback = LOOPBACK.find((one) => overlap(one, subnet) && !includes(one, subnet));
  if (loopback !== undefined) {
    report(
      path,
      `${subnet.text} has ${loopback.text} in it, which is the machine itself`,
      'write the subnet that the hosts of the zone are in',
    );
    return [];
  }
  return [subnet];
}

function compareWithOthers({ zone, subnets }: ZoneEntry, others: Iterable<ZoneEntry>, report: Report): void {
  for (const other of others) {
    if (zone.vlan !== undefined && zone.vlan === other.zone.vlan) {
      report(
        ['zones', zone.name, 'vlan'],
        `VLAN ${zone.vlan} is also the one of zone ${other.zone.name}`,
        'give each zone its own VLAN',
      );
    }
    for (const [i, port] of zone.ports.entries()) {
      if (!other.zone.ports.includes(port)) continue;
      report(
        ['zones', zone.name, 'ports', i],
        `${port} is also a port of zone ${other.zone.name}`,
        'an access port belongs to one zone',
      );
    }
    for (const subnet of subnets) {
      const taken = other.subnets.find((one) => overlap(one, subnet));
      if (taken === undefined) continue;
      report(
        ['zones', zone.name, 'subnet'],
        `${subnet.text} overlaps ${taken.text} of zone ${other.zone.name}`,
        'give each zone its own addresses',
      );
    }
  }
}
