import type { DeviceConfig, ModbusSource, PointConfig } from '../../src/config/config.ts';
import { milliseconds, minutes } from '../../src/core/units.ts';

const LENGTHS: Readonly<Record<string, number>> = {
  int32: 2,
  uint32: 2,
  float32: 2,
  bcd32: 2,
  int64: 4,
  uint64: 4,
  float64: 4,
};

export interface PointSketch extends Partial<Omit<ModbusSource, 'kind'>> {
  readonly scale?: number;
  readonly offset?: number;
  readonly every?: number;
}

/** A point as the configuration would make it; what is left out is a plain uint16 of holding register 0. */
export function modbusPoint(index: number, sketch: PointSketch = {}): PointConfig {
  const { scale = 1, offset = 0, every = 1000, ...source } = sketch;
  const table = source.table ?? 'holding';
  const bits = table === 'coil' || table === 'discrete';
  const type = source.type ?? (bits || source.bit !== undefined ? 'bool' : 'uint16');
  const characters = source.characters ?? 0;
  const length = type === 'string' ? Math.ceil(characters / 2) : (LENGTHS[type] ?? 1);
  return {
    index,
    device: 'meter',
    name: `p${index}`,
    source: {
      kind: 'modbus',
      address: 0,
      bit: undefined,
      length,
      order: 'ABCD',
      ...source,
      table,
      type,
      characters,
    },
    every: milliseconds(every),
    unit: undefined,
    scale,
    offset,
    span: undefined,
    report: { deadband: undefined, minInterval: milliseconds(0), heartbeat: minutes(15) },
    writable: true,
    min: undefined,
    max: undefined,
    published: true,
    recorded: true,
  };
}

export interface DeviceSketch {
  readonly unit?: number;
  /** Milliseconds. */
  readonly timeout?: number;
  readonly inFlight?: number;
  readonly protocol?: 'modbus-tcp' | 'modbus-rtu-tcp';
}

/** A device at 127.0.0.1 with these points. */
export function modbusDevice(
  port: number,
  points: readonly number[],
  { unit = 1, timeout = 1000, inFlight = 1, protocol = 'modbus-tcp' }: DeviceSketch = {},
): DeviceConfig {
  return {
    name: `meter-${unit}`,
    class: 'meter',
    zone: 'metering',
    mac: undefined,
    port: undefined,
    endpoint: { protocol, host: '127.0.0.1', port, unit, inFlight },
    timeout: milliseconds(timeout),
    points,
  };
}
