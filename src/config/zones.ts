import type { Conduit, Zone } from './config.ts';
import { checked, entries } from './checked.ts';
import { nearest } from './nearest.ts';
import { contains, overlap, parseSubnet, type Address, type Subnet } from './network.ts';
import { describe, type Path, type Report } from './problem.ts';
import { conduit as conduitSchema, isName, NAME_FIX, zone as zoneSchema } from './schema.ts';
import { serviceProblem } from './services.ts';

/** The built-in zone: the appliance itself (DESIGN 5.1). */
export const GATEWAY = 'gateway';

/** What a name of the file stands for; undefined where its own entry is wrong, which is told there and once. */
export type Known<T> = ReadonlyMap<string, T | undefined>;

export interface ZoneEntry {
  readonly zone: Zone;
  readonly subnet: Subnet | undefined;
}

export function readZones(value: unknown, report: Report): Known<ZoneEntry> {
  const zones = new Map<string, ZoneEntry | undefined>();
  for (const [name, entry] of entries(value, ['zones'], report)) {
    const path = ['zones', name];
    zones.set(name, undefined);
    if (!nameIsFree(name, path, report)) continue;
    const shape = checked(zoneSchema, entry, path, report);
    if (shape === undefined) continue;
    const subnet = shape.subnet === undefined ? undefined : parseSubnet(shape.subnet);
    if (shape.subnet !== undefined && subnet?.text !== shape.subnet.toLowerCase()) {
      const fix =
        subnet === undefined
          ? 'write a subnet such as 10.20.20.0/24 or fd00:20::/64'
          : `write ${subnet.text}`;
      const found =
        subnet === undefined
          ? `${describe(shape.subnet)} is no subnet`
          : `${describe(shape.subnet)} does not begin where its subnet does`;
      report([...path, 'subnet'], found, fix);
      if (subnet === undefined) continue;
    }
    if (subnet === undefined && shape.interface === undefined) {
      report(path, 'a zone without a place', 'give it a subnet or an interface', 'key');
      continue;
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
  const conduits: Conduit[] = [];
  for (const [i, entry] of value.entries()) {
    const path = ['conduits', i];
    const shape = checked(conduitSchema, entry, path, report);
    if (shape === undefined) continue;
    for (const end of ['from', 'to'] as const) {
      if (shape[end] !== GATEWAY && !zones.has(shape[end])) {
        report(
          [...path, end],
          `no zone ${describe(shape[end])}`,
          choose(shape[end], [...zones.keys(), GATEWAY], 'zones'),
        );
      }
    }
    if (shape.from === shape.to) {
      report(
        [...path, 'to'],
        `a conduit from ${shape.from} to itself`,
        'leave it out: inside a zone nothing is filtered',
      );
    }
    for (const [j, service] of shape.allow.entries()) {
      const problem = serviceProblem(service);
      if (problem !== undefined) report([...path, 'allow', j], ...problem);
    }
    conduits.push({ from: shape.from, to: shape.to, allow: shape.allow, because: shape.because });
  }
  return conduits;
}

/** Is the address one that a device of the zone may have? */
export function checkInsideZone(address: Address, entry: ZoneEntry, path: Path, report: Report): void {
  const { zone, subnet } = entry;
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
  if (
    subnet.family === 4 &&
    subnet.prefix < 31 &&
    (address.value === subnet.first || address.value === subnet.last)
  ) {
    const which = address.value === subnet.first ? 'network' : 'broadcast';
    report(
      path,
      `${address.text} is the ${which} address of zone ${zone.name}`,
      `use an address inside ${subnet.text}`,
    );
  }
}

/** The second half of "no such name". */
export function choose(name: string, names: readonly string[], what: string): string {
  const meant = nearest(name, names);
  if (meant !== undefined) return `did you mean ${meant}?`;
  return names.length === 0
    ? `declare it under ${what}`
    : `${what} are ${names.slice(0, 12).join(', ')}${names.length > 12 ? ', …' : ''}`;
}

/** Is this a name, and not the one of the appliance? */
export function nameIsFree(name: string, path: Path, report: Report): boolean {
  if (!isName(name)) report(path, `the name ${describe(name)}`, NAME_FIX, 'key');
  else if (name === GATEWAY)
    report(path, 'a reserved name', 'choose another one: gateway is the appliance itself', 'key');
  else return true;
  return false;
}

function compareWithOthers(
  { zone, subnet }: ZoneEntry,
  others: Iterable<ZoneEntry | undefined>,
  report: Report,
): void {
  for (const other of others) {
    if (other === undefined) continue;
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
