import type { CoapSource, ModbusSource, PointConfig } from '../../src/config/config.ts';
import { minutes, seconds } from '../../src/core/units.ts';

const LENGTHS: Partial<Record<ModbusSource['type'], number>> = {
  int32: 2,
  uint32: 2,
  float32: 2,
  bcd32: 2,
  int64: 4,
  uint64: 4,
  float64: 4,
  string: 4,
};

export function modbusSource(type: ModbusSource['type'], more: Partial<ModbusSource> = {}): ModbusSource {
  return {
    kind: 'modbus',
    table: type === 'bool' ? 'coil' : 'holding',
    address: 0,
    bit: undefined,
    type,
    length: LENGTHS[type] ?? 1,
    characters: type === 'string' ? 8 : 0,
    order: 'ABCD',
    ...more,
  };
}

export function coapSource(type: CoapSource['type']): CoapSource {
  return {
    kind: 'coap',
    path: '/x',
    mode: 'poll',
    format: 'auto',
    pointer: undefined,
    record: undefined,
    type,
  };
}

/** A writable point without limits, unless `more` says otherwise. */
export function pointOf(source: ModbusSource | CoapSource, more: Partial<PointConfig> = {}): PointConfig {
  return {
    index: 0,
    device: 'press-1',
    name: 'setpoint',
    source,
    every: seconds(1),
    unit: undefined,
    scale: 1,
    offset: 0,
    span: undefined,
    report: { deadband: undefined, minInterval: seconds(0), heartbeat: minutes(15) },
    writable: true,
    min: undefined,
    max: undefined,
    published: true,
    recorded: true,
    ...more,
  };
}
