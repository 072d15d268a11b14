import type { DeviceConfig, ModbusSource, ModbusTable, PointConfig } from '../../config/config.ts';
import { SluiceError } from '../../core/errors.ts';
import type { Duration } from '../../core/units.ts';
import type { Poll } from '../driver.ts';
import { isBitTable, readLimit } from './pdu.ts';

/** One read that is repeated. `points` are in the order of their addresses. */
export interface ModbusPoll extends Poll {
  readonly unitId: number;
  readonly table: ModbusTable;
  readonly address: number;
  /** Bits or registers. */
  readonly quantity: number;
  readonly timeout: Duration;
}

export interface ModbusPoint {
  readonly config: PointConfig;
  readonly source: ModbusSource;
}

/** What a read of these points has to ask for; they are in the order of their addresses. */
export interface Extent {
  readonly address: number;
  readonly quantity: number;
}

/**
 * The reads of some devices behind one endpoint. Points of one unit, table and period that touch or overlap share a
 * request, up to 125 registers or 2000 bits (Application Protocol V1.1b3, 6.1 to 6.4), whatever their types; a
 * value is never split over two requests. Registers that nobody asked for are not read: they may be holes.
 */
export function planPolls(
  devices: readonly DeviceConfig[],
  points: readonly PointConfig[],
): readonly ModbusPoll[] {
  return devices.flatMap((device) => {
    const lanes = Map.groupBy(
      modbusPoints(device.points, points),
      ({ config, source }) => `${source.table} ${config.every}`,
    );
    return [...lanes.values()].flatMap((lane) => requestsOf(lane).map((request) => pollOf(device, request)));
  });
}

/** Those of the points with these indices that are Modbus points. */
export function modbusPoints(
  indices: readonly number[],
  points: readonly PointConfig[],
): readonly ModbusPoint[] {
  const found: ModbusPoint[] = [];
  for (const index of indices) {
    const config = points[index];
    if (config?.source.kind === 'modbus') found.push({ config, source: config.source });
  }
  return found;
}

function requestsOf(lane: readonly ModbusPoint[]): readonly (readonly ModbusPoint[])[] {
  const requests: ModbusPoint[][] = [];
  let current: ModbusPoint[] = [];
  let begin = 0;
  let end = -1;
  for (const point of lane.toSorted(byAddress)) {
    const { address, length, table } = point.source;
    const after = Math.max(end, address + length);
    if (address > end || after - begin > readLimit(table)) {
      current = [];
      requests.push(current);
      begin = address;
      end = address + length;
      requireReadable(point);
    } else {
      end = after;
    }
    current.push(point);
  }
  return requests;
}

/** The first bit or register of the points, and how many there are from there. */
export function extentOf(points: readonly ModbusPoint[]): Extent {
  const address = points.reduce((first, { source }) => Math.min(first, source.address), Infinity);
  const end = points.reduce((last, { source }) => Math.max(last, source.address + source.length), 0);
  return { address, quantity: end - address };
}

function pollOf(device: DeviceConfig, request: readonly ModbusPoint[]): ModbusPoll {
  const first = request[0];
  if (first === undefined || !('unit' in device.endpoint))
    throw new Error(`${device.name} is no Modbus device`);
  const extent = extentOf(request);
  const unitId = device.endpoint.unit;
  const { table } = first.source;
  return {
    unit: String(unitId),
    unitId,
    device: device.name,
    every: first.config.every,
    timeout: device.timeout,
    points: request.map(({ config }) => config.index),
    table,
    ...extent,
    what: extentText(table, extent, unitId),
  };
}

/** `input 0..29 of unit 1`. */
export function extentText(table: ModbusTable, { address, quantity }: Extent, unit: number): string {
  const last = quantity > 1 ? `..${address + quantity - 1}` : '';
  return `${table} ${address}${last} of unit ${unit}`;
}

function byAddress(a: ModbusPoint, b: ModbusPoint): number {
  return a.source.address - b.source.address || a.source.length - b.source.length;
}

function requireReadable({ config, source }: ModbusPoint): void {
  const limit = readLimit(source.table);
  if (source.length <= limit) return;
  throw new SluiceError(
    'CONFIG_INVALID',
    `${config.device}/${config.name} takes ${source.length} ${isBitTable(source.table) ? 'bits' : 'registers'}; one read carries ${limit}`,
    { remedy: 'declare a shorter value' },
  );
}
