import type { DeviceConfig, Endpoint, PointConfig } from './config.ts';
import { checked, entries } from './checked.ts';
import type { DeviceClass } from './classes.ts';
import { DEFAULTS } from './defaults.ts';
import { parseDeviceAddress } from './device-address.ts';
import { Neighbours } from './neighbours.ts';
import { matches } from './pattern.ts';
import type { Template } from './points.ts';
import { describe, type Path, type Report } from './problem.ts';
import * as schema from './schema.ts';
import { checkInsideZone, checkName, choose, type Known } from './zones.ts';

export interface Plant {
  readonly devices: readonly DeviceConfig[];
  readonly points: readonly PointConfig[];
}

/** Devices and, in one table, all of their points. `publish` are the telemetry patterns. */
export function readDevices(
  value: unknown,
  classes: Known<DeviceClass>,
  publish: readonly string[],
  report: Report,
): Plant {
  const devices: DeviceConfig[] = [];
  const points: PointConfig[] = [];
  const neighbours = new Neighbours(report);
  for (const [name, entry] of entries(value, ['devices'], report)) {
    const path = ['devices', name];
    checkName(name, path, report);
    const { shape } = checked(schema.device, entry, path, report);
    const known = classOf(shape.class, name, classes, report);
    if (shape.at === undefined) continue;
    const parsed = parseDeviceAddress(shape.at, known?.inFlight ?? DEFAULTS.inFlight);
    if ('found' in parsed) {
      report([...path, 'at'], parsed.found, parsed.fix);
      continue;
    }
    const { endpoint, address } = parsed;
    const mac = shape.mac?.toLowerCase();
    neighbours.add(name, parsed, mac, known !== undefined);
    if (shape.class === undefined || known === undefined) continue;
    checkProtocol(endpoint, known, [...path, 'at'], report);
    if (known.zone === undefined) continue;
    if (address !== undefined) checkInsideZone(address, known.zone, [...path, 'at'], report);

    const first = points.length;
    const patterns = publish.map((pattern) => pattern.split('/')).filter(([of = '']) => matches(of, name));
    for (const template of known.points.values()) {
      if (template === undefined) continue;
      const published = patterns.some(([, of = '']) => matches(of, template.name));
      points.push(pointOf(name, template, points.length, published));
    }
    devices.push({
      name,
      class: shape.class,
      zone: known.zone.zone.name,
      mac,
      port: shape.port,
      endpoint,
      timeout: known.timeout,
      points: Array.from({ length: points.length - first }, (_, i) => first + i),
    });
  }
  return { devices, points };
}

/** Points that devices push, where the gateway listens nowhere. */
export function checkNothingPushes(classes: Known<DeviceClass>, report: Report): void {
  for (const [name, { points }] of classes) {
    for (const [point, template] of points) {
      if (template?.source.kind !== 'coap' || template.source.mode !== 'push') continue;
      report(
        ['classes', name, 'points', point, 'push'],
        'a pushed point, and nowhere to push to',
        'add coap: { listen: "10.20.20.1:5683" } with an address of the gateway',
      );
    }
  }
}

function classOf(
  name: string | undefined,
  device: string,
  classes: Known<DeviceClass>,
  report: Report,
): DeviceClass | undefined {
  if (name === undefined) return undefined;
  const known = classes.get(name);
  if (known === undefined) {
    report(
      ['devices', device, 'class'],
      `no class ${describe(name)}`,
      choose(name, [...classes.keys()], 'classes'),
    );
  }
  return known;
}

function checkProtocol(endpoint: Endpoint, { protocol }: DeviceClass, path: Path, report: Report): void {
  if (protocol === undefined || endpoint.protocol.startsWith(protocol)) return;
  report(
    path,
    `a ${endpoint.protocol} address of a ${protocol} class`,
    `use a ${protocol === 'modbus' ? 'modbus-tcp' : 'coap'} address, or another class`,
  );
}

/** Every key by its name: a spread would give each of 100,000 points a dictionary of its own instead of one shape. */
function pointOf(device: string, template: Template, index: number, published: boolean): PointConfig {
  const { name, source } = template;
  const pushed = source.kind === 'coap' && source.mode === 'push';
  return {
    index,
    device,
    name,
    source: pushed ? { ...source, path: `/${device}/${name}` } : source,
    every: template.every,
    unit: template.unit,
    scale: template.scale,
    offset: template.offset,
    span: template.span,
    report: template.report,
    writable: template.writable,
    min: template.min,
    max: template.max,
    published,
    recorded: template.recorded,
  };
}
