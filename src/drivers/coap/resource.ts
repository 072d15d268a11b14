import { type Duration, milliseconds } from '../../core/units.ts';
import type { CoapSource, DeviceConfig, PointConfig } from '../../config/config.ts';
import type { Poll } from '../driver.ts';
import type { CoapOption } from './message.ts';
import { ACCEPT, pathOptions, uintOption } from './options.ts';
import { contentFormat } from './payload.ts';
import { type Place, placeOf } from './typed-value.ts';

/** One resource of a device with the points that live in its representation. */
export interface Resource {
  readonly device: DeviceConfig;
  readonly path: string;
  readonly format: CoapSource['format'];
  readonly every: Duration;
  readonly points: readonly CoapPoint[];
  readonly options: readonly CoapOption[];
}

export interface CoapPoint {
  readonly index: number;
  readonly name: string;
  readonly place: Place;
  readonly source: CoapSource;
}

/** Points that one request reads: same device, path and format, and for polls the same period. */
export function resourcesOf(
  devices: readonly DeviceConfig[],
  points: readonly PointConfig[],
  mode: 'poll' | 'observe',
): Resource[] {
  const resources: Resource[] = [];
  for (const device of devices) {
    const groups = new Map<string, PointConfig[]>();
    for (const index of device.points) {
      const point = points[index];
      if (point?.source.kind !== 'coap' || point.source.mode !== mode) continue;
      const { path, format } = point.source;
      const key = `${path}\n${format}\n${mode === 'poll' ? point.every : ''}`;
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [point]);
      else group.push(point);
    }
    for (const group of groups.values()) resources.push(resourceOf(device, group));
  }
  return resources;
}

function resourceOf(device: DeviceConfig, group: readonly PointConfig[]): Resource {
  const points = group.flatMap((point) =>
    point.source.kind === 'coap'
      ? [{ index: point.index, name: point.name, place: placeOf(point, point.source), source: point.source }]
      : [],
  );
  const { path = '/', format = 'auto' } = points[0]?.source ?? {};
  const every = milliseconds(Math.min(...group.map((point) => point.every)));
  const accept = format === 'text' ? undefined : contentFormat(format);
  // nobody offers text beside something else, and small devices refuse options they do not know
  const options = [...pathOptions(path), ...(accept === undefined ? [] : [uintOption(ACCEPT, accept)])];
  return { device, path, format, every, points, options };
}

export function pollOf({ device, path, every, points }: Resource): Poll {
  return {
    unit: device.name,
    device: device.name,
    every,
    points: points.map(({ index }) => index),
    what: `GET ${path}`,
  };
}
