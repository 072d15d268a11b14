import { type Duration, seconds } from '../core/units.ts';
import { checked, entries, isMapping } from './checked.ts';
import { readPoint, type Template } from './points.ts';
import { describe, type Report } from './problem.ts';
import { NAME_FIX, isName } from './leaves.ts';
import * as schema from './schema.ts';
import { readPeriod } from './units.ts';
import { checkName, choose, GATEWAY, type Known, type ZoneEntry } from './zones.ts';

/** What the devices of a class have in common; what is undefined was wrong and has been told. */
export interface DeviceClass {
  readonly zone: ZoneEntry | undefined;
  readonly protocol: 'modbus' | 'coap' | undefined;
  readonly timeout: Duration;
  readonly inFlight: number | undefined;
  readonly points: ReadonlyMap<string, Template | undefined>;
}

/** Goes on in place of a time that was wrong: there is no configuration in the end, but the rest is judged. */
const STAND_IN = seconds(1);

export function readClasses(value: unknown, zones: Known<ZoneEntry>, report: Report): Known<DeviceClass> {
  const classes = new Map<string, DeviceClass>();
  for (const [name, entry] of entries(value, ['classes'], report)) {
    checkName(name, ['classes', name], report);
    classes.set(name, readClass(name, entry, zones, report));
  }
  return classes;
}

function readClass(name: string, value: unknown, zones: Known<ZoneEntry>, report: Report): DeviceClass {
  const path = ['classes', name];
  const nothing = {
    zone: undefined,
    timeout: STAND_IN,
    inFlight: undefined,
    points: new Map<string, undefined>(),
  };
  if (!isMapping(value)) {
    report(path, describe(value), schema.CLASS);
    return { ...nothing, protocol: undefined };
  }
  const { protocol } = value;
  if (protocol !== 'modbus' && protocol !== 'coap') {
    // Which keys a class and its points have is a matter of the protocol.
    report([...path, 'protocol'], describe(protocol), 'write modbus or coap');
    return { ...nothing, protocol: undefined };
  }
  const head =
    protocol === 'modbus'
      ? checked(schema.modbusClass, value, path, report).shape
      : checked(schema.coapClass, value, path, report).shape;
  const every = readPeriod(head.every, [...path, 'every'], report) ?? STAND_IN;
  const timeout = readPeriod(head.timeout, [...path, 'timeout'], report) ?? STAND_IN;
  const points = new Map<string, Template | undefined>();
  for (const [point, entry] of Object.entries(head.points ?? {})) {
    const at = [...path, 'points', point];
    if (!isName(point)) report(at, `the name ${describe(point)}`, NAME_FIX, 'key');
    points.set(point, readPoint(entry, { protocol, name: point, every, path: at, report }));
  }
  if (head.points !== undefined && points.size === 0) {
    report([...path, 'points'], 'a class without points', 'name at least one point');
  }
  const zone = zoneOf(head.zone, name, zones, report);
  const inFlight = 'in-flight' in head ? head['in-flight'] : undefined;
  return { zone, protocol, timeout, inFlight, points };
}

function zoneOf(
  zone: string | undefined,
  name: string,
  zones: Known<ZoneEntry>,
  report: Report,
): ZoneEntry | undefined {
  if (zone === undefined) return undefined;
  const path = ['classes', name, 'zone'];
  if (zone === GATEWAY) report(path, 'devices in the zone of the appliance', 'declare a zone for them');
  else if (!zones.has(zone)) {
    report(path, `no zone ${describe(zone)}`, choose(zone, [...zones.keys()], 'zones'));
  }
  return zones.get(zone);
}
