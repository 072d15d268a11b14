import { type Duration, seconds } from '../core/units.ts';
import { checked, entries } from './checked.ts';
import { describe, type Report } from './problem.ts';
import { readPeriod, readPoint, type Template } from './points.ts';
import { coapClass, isName, modbusClass, NAME_FIX } from './schema.ts';
import { choose, GATEWAY, type Known, nameIsFree, type ZoneEntry } from './zones.ts';

/** What the devices of a class have in common. */
export interface DeviceClass {
  readonly name: string;
  /** Undefined where the zone is unknown or wrong, which is told elsewhere. */
  readonly zone: ZoneEntry | undefined;
  readonly protocol: 'modbus' | 'coap';
  readonly timeout: Duration;
  readonly inFlight: number;
  /** Points without mistakes, by name; undefined for the others. */
  readonly points: Known<Template>;
}

export function readClasses(value: unknown, zones: Known<ZoneEntry>, report: Report): Known<DeviceClass> {
  const classes = new Map<string, DeviceClass | undefined>();
  for (const [name, entry] of entries(value, ['classes'], report)) {
    classes.set(
      name,
      nameIsFree(name, ['classes', name], report) ? readClass(name, entry, zones, report) : undefined,
    );
  }
  return classes;
}

function readClass(
  name: string,
  value: unknown,
  zones: Known<ZoneEntry>,
  report: Report,
): DeviceClass | undefined {
  const path = ['classes', name];
  const protocol = protocolOf(value);
  if (protocol === undefined) {
    const known = new Map(entries(value, path, report));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) {
      report([...path, 'protocol'], describe(known.get('protocol')), 'use modbus or coap');
    }
    return undefined;
  }
  const shape = checked(protocol === 'modbus' ? modbusClass : coapClass, value, path, report);
  // Points are looked at even where the head of the class is wrong: all problems at once.
  const every = shape === undefined ? undefined : readPeriod(shape.every, [...path, 'every'], report);
  const timeout = shape === undefined ? undefined : readPeriod(shape.timeout, [...path, 'timeout'], report);
  const points = new Map<string, Template | undefined>();
  for (const [point, entry] of entries(
    pointsOf(value),
    [...path, 'points'],
    shape === undefined ? () => {} : report,
  )) {
    const at = [...path, 'points', point];
    points.set(point, undefined);
    if (!isName(point)) report(at, `the name ${describe(point)}`, NAME_FIX, 'key');
    const template = readPoint(entry, {
      protocol,
      name: point,
      every: every ?? seconds(1),
      path: at,
      report,
    });
    if (isName(point)) points.set(point, template);
  }
  if (shape === undefined) return undefined;
  if (points.size === 0) report([...path, 'points'], 'a class without points', 'name at least one point');
  if (shape.zone === GATEWAY) {
    report([...path, 'zone'], 'devices in the zone of the appliance itself', 'declare a zone for them');
  } else if (!zones.has(shape.zone)) {
    report(
      [...path, 'zone'],
      `no zone ${describe(shape.zone)}`,
      choose(shape.zone, [...zones.keys()], 'zones'),
    );
  }
  if (every === undefined || timeout === undefined) return undefined;
  const inFlight = 'in-flight' in shape ? shape['in-flight'] : 1;
  return { name, zone: zones.get(shape.zone), protocol, timeout, inFlight, points };
}

function protocolOf(value: unknown): 'modbus' | 'coap' | undefined {
  if (typeof value !== 'object' || value === null || !('protocol' in value)) return undefined;
  return value.protocol === 'modbus' || value.protocol === 'coap' ? value.protocol : undefined;
}

function pointsOf(value: unknown): unknown {
  return typeof value === 'object' && value !== null && 'points' in value ? value.points : undefined;
}
