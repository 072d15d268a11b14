import type { CoapSource, PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';
import type { EpochMs } from '../core/units.ts';
import {
  type Held,
  type Payload,
  decodePayload,
  encodePayload,
  formatNumber,
  spokenFormat,
} from './coap-payload.ts';
import { signalAt, tickOf } from './signal.ts';

/** Content-Format of RFC 6690. */
const LINK_FORMAT = 40;

interface Resource {
  readonly path: string;
  readonly format: ReturnType<typeof spokenFormat>;
  readonly points: readonly { readonly point: PointConfig; readonly source: CoapSource }[];
}

/** What one simulated CoAP device holds, without its sockets. */
export class CoapDevice {
  readonly name: string;
  readonly #seed: number;
  readonly #resources: ReadonlyMap<string, Resource>;
  readonly #pushed: readonly Resource[];
  readonly #written = new Map<number, PointValue>();

  constructor(name: string, points: readonly PointConfig[], seed: number) {
    this.name = name;
    this.#seed = seed;
    const all = resourcesOf(points);
    this.#resources = new Map(
      all.filter(({ pushed }) => !pushed).map((resource) => [resource.path, resource]),
    );
    this.#pushed = all.filter(({ pushed }) => pushed);
  }

  get paths(): readonly string[] {
    return [...this.#resources.keys()];
  }

  /** What the device sends by itself: the path on the gateway, and how often, in ms. */
  get pushes(): readonly { readonly path: string; readonly every: number }[] {
    return this.#pushed.map(({ path, points }) => ({
      path,
      every: Math.min(...points.map(({ point }) => point.every)),
    }));
  }

  /** The representation of a resource, or undefined where there is none. */
  read(path: string, time: EpochMs): Payload | undefined {
    if (path === '/.well-known/core') return this.#links();
    const resource = this.#resources.get(path) ?? this.#pushed.find((pushed) => pushed.path === path);
    if (resource === undefined) return undefined;
    const tick = tickOf(time);
    const held = resource.points.map(
      ({ point, source }): Held => ({ point, source, value: this.valueOf(point, tick) }),
    );
    return encodePayload(resource.format, held, tick);
  }

  /** The response code for a PUT or POST; what was accepted is kept. */
  write(
    path: string,
    format: number | undefined,
    payload: Buffer,
  ): '2.04' | '4.00' | '4.04' | '4.05' | '4.15' {
    const resource = this.#resources.get(path);
    if (resource === undefined) return '4.04';
    const writable = resource.points.filter(({ point }) => point.writable);
    if (writable.length === 0) return '4.05';
    const spoken = format ?? formatNumber(resource.format);
    if (spoken !== formatNumber(resource.format) && spoken !== formatNumber('text')) return '4.15';
    try {
      const values = writable.map(
        ({ point, source }) => [point, decodePayload(spoken, payload, source)] as const,
      );
      const found = values.filter(([, value]) => value !== undefined);
      if (found.length === 0) return '4.00';
      for (const [{ index, scale, offset }, raw] of found) {
        if (raw === undefined) continue;
        this.#written.set(
          index,
          typeof raw === 'number' ? Number((raw * scale + offset).toPrecision(15)) : raw,
        );
      }
      return '2.04';
    } catch {
      return '4.00';
    }
  }

  /** What the device holds for a point: what was written, otherwise its signal. */
  valueOf(point: PointConfig, time: EpochMs): PointValue {
    return this.#written.get(point.index) ?? signalAt(point, time, this.#seed);
  }

  #links(): Payload {
    const links = this.paths.map((path) => `<${path}>;obs`).join(',');
    return { format: LINK_FORMAT, bytes: Buffer.from(links) };
  }
}

function resourcesOf(points: readonly PointConfig[]): (Resource & { readonly pushed: boolean })[] {
  const byPath = new Map<string, { point: PointConfig; source: CoapSource }[]>();
  for (const point of points) {
    const { source } = point;
    if (source.kind !== 'coap') continue;
    const path = source.mode === 'push' ? `/${point.device}/${point.name}` : source.path;
    byPath.set(path, [...(byPath.get(path) ?? []), { point, source }]);
  }
  return [...byPath].flatMap(([path, list]) => {
    const [first] = list;
    if (first === undefined) return [];
    return [{ path, format: spokenFormat(first.source), points: list, pushed: first.source.mode === 'push' }];
  });
}
