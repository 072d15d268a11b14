import type { CoapSource, DeviceConfig, PointConfig } from '../../src/config/config.ts';
import { type Batch, type PointValue, valueAt } from '../../src/core/batch.ts';
import { QUALITIES, type Quality, REASONS } from '../../src/core/quality.ts';
import { milliseconds, seconds } from '../../src/core/units.ts';

export interface PointWish extends Partial<Omit<CoapSource, 'kind'>> {
  readonly name: string;
  readonly scale?: number;
  readonly offset?: number;
  readonly everyMs?: number;
}

/** Devices with their points, as the configuration would have them. */
export function plant(
  ...devices: readonly {
    readonly name: string;
    readonly host?: string;
    readonly port: number;
    readonly timeoutMs?: number;
    readonly points: readonly PointWish[];
  }[]
): { readonly devices: readonly DeviceConfig[]; readonly points: readonly PointConfig[] } {
  const points: PointConfig[] = [];
  const made = devices.map(({ name, host = '127.0.0.1', port, timeoutMs = 20_000, points: wishes }) => {
    const first = points.length;
    for (const wish of wishes) points.push(pointOf(points.length, name, wish));
    return {
      name,
      class: 'any',
      zone: 'any',
      mac: undefined,
      port: undefined,
      endpoint: { protocol: 'coap' as const, host, port },
      timeout: milliseconds(timeoutMs),
      points: wishes.map((_, i) => first + i),
    };
  });
  return { devices: made, points };
}

function pointOf(index: number, device: string, wish: PointWish): PointConfig {
  return {
    index,
    device,
    name: wish.name,
    source: {
      kind: 'coap',
      path: wish.path ?? `/${wish.name}`,
      mode: wish.mode ?? 'poll',
      format: wish.format ?? 'auto',
      pointer: wish.pointer,
      record: wish.record,
      type: wish.type ?? 'number',
    },
    every: milliseconds(wish.everyMs ?? 1_000),
    unit: undefined,
    scale: wish.scale ?? 1,
    offset: wish.offset ?? 0,
    span: undefined,
    report: { deadband: undefined, minInterval: seconds(0), heartbeat: seconds(900) },
    writable: true,
    min: undefined,
    max: undefined,
    published: true,
    recorded: true,
  };
}

export interface Row {
  readonly point: number;
  readonly time: number;
  readonly value: PointValue | null;
  readonly quality: Quality | undefined;
  readonly reason: string;
}

export function rowsOf(batch: Batch | undefined): Row[] {
  if (batch === undefined) return [];
  return Array.from({ length: batch.count }, (_, i) => ({
    point: batch.points[i] ?? -1,
    time: batch.times[i] ?? -1,
    value: valueAt(batch, i),
    quality: QUALITIES[batch.qualities[i] ?? -1],
    reason: REASONS[batch.reasons[i] ?? 0] ?? '?',
  }));
}

export const valuesOf = (batch: Batch | undefined): (PointValue | null)[] =>
  rowsOf(batch).map(({ value }) => value);
