import type { DeviceConfig, Endpoint, PointConfig } from './config.ts';
import { checked, entries } from './checked.ts';
import type { DeviceClass } from './classes.ts';
import { type DeviceAddress, parseDeviceAddress } from './device-address.ts';
import { matches } from './pattern.ts';
import type { Template } from './points.ts';
import { describe, type Report } from './problem.ts';
import { device as deviceSchema } from './schema.ts';
import { checkInsideZone, choose, type Known, nameIsFree } from './zones.ts';

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
    const free = nameIsFree(name, path, report);
    const shape = checked(deviceSchema, entry, path, report);
    if (shape === undefined) continue;
    const known = classes.get(shape.class);
    if (!classes.has(shape.class)) {
      report(
        [...path, 'class'],
        `no class ${describe(shape.class)}`,
        choose(shape.class, [...classes.keys()], 'classes'),
      );
    }
    const parsed = parseDeviceAddress(shape.at, known?.inFlight ?? 1);
    if ('found' in parsed) {
      report([...path, 'at'], parsed.found, parsed.fix);
      continue;
    }
    const mac = shape.mac?.toLowerCase();
    neighbours.add(name, parsed, mac, known !== undefined);
    if (known === undefined || !free) continue;
    const { endpoint, address } = parsed;
    if (!speaks(endpoint, known.protocol)) {
      report(
        [...path, 'at'],
        `a ${endpoint.protocol} address of a ${known.protocol} class`,
        `use a ${known.protocol === 'modbus' ? 'modbus-tcp' : 'coap'} address, or another class`,
      );
    }
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
      endpoint,
      timeout: known.timeout,
      points: Array.from({ length: points.length - first }, (_, i) => first + i),
    });
  }
  return { devices, points };
}

function pointOf(device: string, template: Template, index: number, published: boolean): PointConfig {
  const { name, source } = template;
  const pushed = source.kind === 'coap' && source.mode === 'push';
  return {
    ...template,
    index,
    device,
    source: pushed ? { ...source, path: `/${device}/${name}` } : source,
    published,
  };
}

function speaks({ protocol }: Endpoint, of: DeviceClass['protocol']): boolean {
  return of === 'modbus' ? protocol.startsWith('modbus') : protocol.startsWith('coap');
}

/** Devices that share an address: which of that is meant, and which a mistake. */
class Neighbours {
  readonly #report: Report;
  readonly #byUnit = new Map<string, string>();
  readonly #byEndpoint = new Map<
    string,
    { readonly name: string; readonly endpoint: Endpoint; readonly sure: boolean }
  >();
  readonly #byMac = new Map<string, { readonly name: string; readonly host: string }>();
  readonly #macOfHost = new Map<string, { readonly name: string; readonly mac: string }>();

  constructor(report: Report) {
    this.#report = report;
  }

  /** `sure` where the class of the device is known. */
  add(name: string, { endpoint, address }: DeviceAddress, mac: string | undefined, sure: boolean): void {
    const transport = endpoint.protocol.startsWith('coap') ? 'udp' : 'tcp';
    const place = 'host' in endpoint ? `${transport} ${endpoint.host} ${endpoint.port}` : endpoint.path;
    const unit = 'unit' in endpoint ? `${place} ${endpoint.unit}` : place;
    const path = ['devices', name, 'at'];
    const twin = this.#byUnit.get(unit);
    const neighbour = this.#byEndpoint.get(place);
    if (twin !== undefined) {
      this.#report(path, `the same address as ${twin}`, 'give each device its own address or unit');
    } else if (neighbour !== undefined) {
      const { endpoint: other } = neighbour;
      if (other.protocol !== endpoint.protocol) {
        this.#report(
          path,
          `${endpoint.protocol} where ${neighbour.name} has ${other.protocol}`,
          'use one protocol for one endpoint',
        );
      } else if (
        sure &&
        neighbour.sure &&
        'inFlight' in endpoint &&
        'inFlight' in other &&
        endpoint.inFlight !== other.inFlight
      ) {
        this.#report(
          path,
          `in-flight ${endpoint.inFlight} where ${neighbour.name}, behind the same endpoint, has ${other.inFlight}`,
          'give their classes the same in-flight',
        );
      }
    }
    this.#byUnit.set(unit, twin ?? name);
    this.#byEndpoint.set(place, neighbour ?? { name, endpoint, sure });
    if (mac !== undefined && address !== undefined) this.#checkMac(name, mac, address.text);
  }

  #checkMac(name: string, mac: string, host: string): void {
    const path = ['devices', name, 'mac'];
    if ((Number.parseInt(mac.slice(0, 2), 16) & 1) === 1 || mac === '00:00:00:00:00:00') {
      this.#report(path, `${mac} is a group address or none`, 'use the hardware address of the device');
      return;
    }
    // Units behind one bus bridge share its host and its hardware.
    const owner = this.#byMac.get(mac);
    if (owner !== undefined && owner.host !== host) {
      this.#report(
        path,
        `${mac} is also the one of ${owner.name} at ${owner.host}`,
        'give each host its own',
      );
    }
    const sibling = this.#macOfHost.get(host);
    if (sibling !== undefined && sibling.mac !== mac) {
      this.#report(
        path,
        `${sibling.name} has ${sibling.mac} for the same host`,
        'one host has one hardware address',
      );
    }
    this.#byMac.set(mac, owner ?? { name, host });
    this.#macOfHost.set(host, sibling ?? { name, mac });
  }
}
