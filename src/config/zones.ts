import type { Conduit, Zone } from './config.ts';
import { checked, entries } from './checked.ts';
import { nearest } from './nearest.ts';
import { type Address, contains, overlap, parseSubnet, type Subnet } from './network.ts';
import { describe, type Path, type Report } from './problem.ts';
import * as schema from './schema.ts';
import { serviceProblem } from './services.ts';

/** The built-in zone: the appliance itself (DESIGN 5.1). */
export const GATEWAY = 'gateway';

/** Names of the file and what they stand for; where something was wrong, as far as it was right. */
export type Known<T> = ReadonlyMap<string, T>;

export interface ZoneEntry {
  readonly zone: Zone;
  readonly subnet: Subnet | undefined;
}

export function readZones(value: unknown, report: Report): Known<ZoneEntry> {
  const zones = new Map<string, ZoneEntry>();
  for (const [name, entry] of entries(value, ['zones'], report)) {
    const path = ['zones', name];
    checkName(name, path, report);
    const { shape, whole } = checked(schema.zone, entry, path, report);
    const subnet = readSubnet(shape.subnet, [...path, 'subnet'], report);
    if (whole && shape.subnet === undefined && shape.interface === undefined) {
      report(path, 'a zone without a place', 'give it a subnet or an interface', 'key');
    }
    const zone: Zone = {
      name,
      vlan: shape.vlan,
      subnet: subnet?.text,
      interface: shape.interface,
      purdue: shape.purdue,
      securityLevel: shape['security-level'],
    };
    compareWithOthers({ zone, subnet }, zones.values(), report);
    zones.set(name, { zone, subnet });
  }
  return zones;
}

export function readConduits(value: unknown, zones: Known<ZoneEntry>, report: Report): Conduit[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    report(['conduits'], describe(value), 'write a list of conduits, each beginning with "- "');
    return [];
  }
  return value.map((entry, i) => readConduit(entry, ['conduits', i], zones, report));
}

function readConduit(value: unknown, path: Path, zones: Known<ZoneEntry>, report: Report): Conduit {
  const { from = '', to = '', allow = [], because = '' } = checked(schema.conduit, value, path, report).shape;
  for (const [end, name] of Object.entries({ from, to })) {
    if (name === '' || name === GATEWAY || zones.has(name)) continue;
    report([...path, end], `no zone ${describe(name)}`, choose(name, [...zones.keys(), GATEWAY], 'zones'));
  }
  if (from === to && from !== '') {
    report(
      [...path, 'to'],
      `a conduit from ${from} to itself`,
      'leave it out: inside a zone nothing is filtered',
    );
  }
  for (const [i, service] of allow.entries()) {
    const problem = serviceProblem(service);
    if (problem !== undefined) report([...path, 'allow', i], ...problem);
  }
  return { from, to, allow, because };
}

/** Is the address one that a device of the zone may have? */
export function checkInsideZone(
  address: Address,
  { zone, subnet }: ZoneEntry,
  path: Path,
  report: Report,
): void {
  if (subnet === undefined) return;
  if (!contains(subnet, address)) {
    report(
      path,
      `${address.text} is outside zone ${zone.name}`,
      `use an address of ${subnet.text}, or another class`,
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
  if (!schema.isName(name)) {
    report(path, `the name ${describe(name)}`, schema.NAME_FIX, 'key');
  } else if (name === GATEWAY) {
    report(path, 'a reserved name', 'choose another one: gateway is the appliance itself', 'key');
  }
}

function readSubnet(text: string | undefined, path: Path, report: Report): Subnet | undefined {
  if (text === undefined) return undefined;
  const subnet = parseSubnet(text);
  if (subnet === undefined) {
    report(path, `${describe(text)} is no subnet`, 'write a subnet such as 10.20.20.0/24 or fd00:20::/64');
  } else if (subnet.text !== text.toLowerCase()) {
    report(path, `${describe(text)} is not how the subnet is written`, `write ${subnet.text}`);
  }
  return subnet;
}

function compareWithOthers({ zone, subnet }: ZoneEntry, others: Iterable<ZoneEntry>, report: Report): void {
  for (const other of others) {
    if (zone.vlan !== undefined && zone.vlan === other.zone.vlan) {
      report(
        ['zones', zone.name, 'vlan'],
        `VLAN ${zone.vlan} is also the one of zone ${other.zone.name}`,
        'give each zone its own VLAN',
      );
    }
    if (subnet !== undefined && other.subnet !== undefined && overlap(subnet, other.subnet)) {
      report(
        ['zones', zone.name, 'subnet'],
        `${subnet.text} overlaps ${other.subnet.text} of zone ${other.zone.name}`,
        'give each zone its own addresses',
      );
    }
  }
}
