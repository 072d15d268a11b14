import type { Conduit, DeviceConfig, Selector } from './config.ts';
import { checked } from './checked.ts';
import type { DeviceClass } from './classes.ts';
import { type GuardShape, readGuard } from './guard.ts';
import { formatAddress, includes, isLoopback, noHosts, overlap, parseAddressOrSubnet } from './network.ts';
import type { EpochMs } from '../core/units.ts';
import { LAST_MOMENT, MOMENT_EXAMPLES, parseMoment } from './moment.ts';
import { nearest } from './nearest.ts';
import { describe, type Path, type Report } from './problem.ts';
import * as schema from './network-schema.ts';
import { serviceProblem } from './services.ts';
import { checkInsideZone, choose, GATEWAY, type Known, type ZoneEntry } from './zones.ts';

/** Everything that a conduit may name. */
export interface Named {
  readonly zones: Known<ZoneEntry>;
  readonly classes: Known<DeviceClass>;
  readonly devices: readonly Pick<DeviceConfig, 'name' | 'class' | 'zone' | 'endpoint'>[];
  /** False where a class or a device was wrong: whoever names it is not to blame that it is not here. */
  readonly whole: boolean;
}

export function readConduits(value: unknown, named: Named, report: Report): Conduit[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) {
    report(['conduits'], describe(value), 'write a list of conduits, each beginning with "- "');
    return [];
  }
  return value.map((entry, i) => readConduit(entry, ['conduits', i], named, report));
}

function readConduit(value: unknown, path: Path, named: Named, report: Report): Conduit {
  const { shape } = checked(schema.conduitHead, value, path, report);
  const { from = '', to = '', allow = [], because = '', only = {} } = shape;
  const { zones } = named;
  for (const [end, name] of Object.entries({ from, to })) {
    if (name === '' || name === GATEWAY || zones.has(name)) continue;
    report([...path, end], `no zone ${describe(name)}`, choose(name, [...zones.keys(), GATEWAY], 'zones'));
  }
  if (from === to && from !== '') {
    report(
      [...path, 'to'],
      `a conduit from ${from} to itself`,
      from === GATEWAY ? 'leave it out' : `leave it out; within: allow in the zone lets its devices talk`,
    );
  }
  checkServices(allow, [...path, 'allow'], report);
  if (shape.only !== undefined && shape['observe-until'] !== undefined) {
    report(
      [...path, 'observe-until'],
      'a time for a part of the two zones',
      'the two zones as a whole are observed: give it to a conduit without only',
    );
  }
  const part = (names: readonly string[] | undefined, zone: string, end: 'from' | 'to'): Selector[] =>
    (names ?? []).flatMap(
      (text, i) => selectorOf(text, zone, [...path, 'only', end, i], named, report) ?? [],
    );
  const parts = { from: part(only.from, from, 'from'), to: part(only.to, to, 'to') };
  const guard = readGuard(
    { from, to, allow, guard: guardShape(shape.guard, path, report), only: parts },
    path,
    named,
    report,
  );
  const observeUntil = readMoment(shape['observe-until'], [...path, 'observe-until'], report);
  return { from, to, allow, because, observeUntil, only: parts, guard };
}

function guardShape(value: unknown, path: Path, report: Report): GuardShape | undefined {
  if (value === undefined) return undefined;
  return checked(schema.guard, value, [...path, 'guard'], report).shape;
}

/** Undefined where there is none, or none such. */
export function readMoment(text: string | undefined, path: Path, report: Report): EpochMs | undefined {
  if (text === undefined) return undefined;
  const moment = parseMoment(text);
  if (moment === undefined) report(path, `no such day, ${describe(text)}`, `write ${MOMENT_EXAMPLES}`);
  else if (moment > LAST_MOMENT) report(path, `${describe(text)} is too far ahead`, 'use a day before 2100');
  return moment;
}

export function checkServices(services: readonly string[], path: Path, report: Report): void {
  for (const [i, service] of services.entries()) {
    const problem = serviceProblem(service);
    if (problem !== undefined) report([...path, i], ...problem);
  }
}

/** `zone` is the one that the conduit begins or ends in; where it is unknown, that has been told. */
function selectorOf(
  text: string,
  zone: string,
  path: Path,
  named: Named,
  report: Report,
): Selector | undefined {
  const entry = named.zones.get(zone);
  if (entry === undefined && zone !== GATEWAY) return undefined;
  if (/[:/]|^[\d.]+$/.test(text)) return subnetOf(text, zone, path, named.zones, report);

  if (entry === undefined) {
    report(path, `${describe(text)} in the zone of the appliance`, 'name an address of the gateway');
    return undefined;
  }
  const device = named.devices.find(({ name }) => name === text);
  const isClass = named.classes.has(text);
  if (device !== undefined && isClass) {
    report(path, `${describe(text)} is a device and a class`, 'give one of them another name');
  } else if (device !== undefined) {
    if (device.zone === zone) return { kind: 'device', text };
    report(path, `device ${text} lies in zone ${device.zone}`, `name a device of ${zone}`);
  } else if (isClass) {
    return classIn(text, zone, path, named, report);
  } else if (named.whole) {
    report(path, `no device or class ${describe(text)} in zone ${zone}`, chooseIn(zone, text, named));
  }
  return undefined;
}

function classIn(
  text: string,
  zone: string,
  path: Path,
  { classes, devices, whole }: Named,
  report: Report,
): Selector | undefined {
  const at = classes.get(text)?.zone?.zone.name;
  if (at === undefined) return undefined; // its zone is unknown, and that has been told
  if (at !== zone) {
    report(path, `class ${text} lies in zone ${at}`, `name a class of ${zone}`);
    return undefined;
  }
  if (whole && !devices.some((device) => device.class === text)) {
    report(path, `class ${text} has no device`, 'take it out, or declare its devices');
    return undefined;
  }
  return { kind: 'class', text };
}

/** The nearest name wherever it lies, for a slip of the pen; else those of the zone. */
function chooseIn(zone: string, text: string, { classes, devices }: Named): string {
  const inZone = [
    ...devices.filter((device) => device.zone === zone).map(({ name }) => name),
    ...[...classes].filter(([, one]) => one.zone?.zone.name === zone).map(([name]) => name),
  ];
  const guess = nearest(text, inZone);
  if (guess !== undefined) return `did you mean ${guess}?`;
  return choose(text, inZone, `devices and classes of ${zone}`);
}

/** Addresses of a zone; those of a zone without subnet lie in no other one. */
export function subnetOf(
  text: string,
  zone: string,
  path: Path,
  zones: Known<ZoneEntry>,
  report: Report,
): Selector | undefined {
  const subnet = parseAddressOrSubnet(text);
  if (subnet === undefined) {
    report(path, `${describe(text)} is no address`, 'write an address or a subnet, such as 10.20.20.0/24');
    return undefined;
  }
  const written = subnet.text.replace(subnet.family === 4 ? /\/32$/ : /\/128$/, '');
  if (written !== text.toLowerCase() && subnet.text !== text.toLowerCase()) {
    report(path, `${describe(text)} is not how it is written`, `write ${written}`);
    return undefined;
  }
  // The gateway itself may be asked by multicast, as names are.
  const nobody = zone === GATEWAY ? undefined : noHosts(subnet);
  if (nobody !== undefined) {
    report(path, `${written} ${nobody}`, `name addresses of hosts of ${zone}`);
    return undefined;
  }
  const entry = zones.get(zone);
  const own = entry?.subnets ?? [];
  if (entry !== undefined && own.length > 0) {
    if (own.some((one) => includes(one, subnet))) {
      const { family, first, last } = subnet;
      // One address: the ends of a subnet are nobody's.
      if (first === last)
        checkInsideZone({ family, value: first, text: formatAddress(family, first) }, entry, path, report);
      return { kind: 'subnet', text: subnet.text };
    }
    const inside = own.map((one) => one.text).join(' or ');
    report(path, `${written} is not inside zone ${zone}`, `name addresses of ${inside}`);
    return undefined;
  }
  if (zone !== GATEWAY && isLoopback(subnet)) {
    report(path, `${written} is the machine itself`, `name addresses of hosts of ${zone}`);
    return undefined;
  }
  for (const [name, { subnets }] of zone === GATEWAY ? [] : zones) {
    const taken = subnets.find((one) => overlap(one, subnet));
    if (taken === undefined) continue;
    report(path, `${written} overlaps ${taken.text} of zone ${name}`, `name addresses of ${zone}`);
    return undefined;
  }
  return { kind: 'subnet', text: subnet.text };
}

/** As their counters are called: numbered among those of the same two zones. */
export function conduitNames(conduits: readonly Pick<Conduit, 'from' | 'to'>[]): string[] {
  const counts = new Map<string, number>();
  return conduits.map(({ from, to }) => {
    const stem = `conduit-${from}-${to}`;
    const count = counts.get(stem) ?? 0;
    counts.set(stem, count + 1);
    return `${stem}-${count}`;
  });
}
