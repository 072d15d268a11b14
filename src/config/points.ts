import { type Duration, seconds } from '../core/units.ts';
import type { CoapSource, ModbusSource, PointConfig } from './config.ts';
import { type Checked, checked } from './checked.ts';
import { coapSource } from './coap-address.ts';
import { parseDeadband } from './deadband.ts';
import { LONGEST } from './duration.ts';
import { MAX_CHARACTERS_WRITTEN, parseModbusAddress } from './modbus-address.ts';
import { describe, type Path, type Report } from './problem.ts';
import { type CoapPointKeys, coapPoint, type ModbusPointKeys, modbusPoint } from './schema.ts';
import { readDuration, readPeriod } from './units.ts';

/** A point of a class: what its devices have in common. */
export type Template = Omit<PointConfig, 'index' | 'device' | 'published'>;
type Source = PointConfig['source'];
type Shape = Checked<ModbusPointKeys>['shape'] | Checked<CoapPointKeys>['shape'];

/** More than one report a second is no heartbeat. */
const HEARTBEATS = [seconds(1), LONGEST] as const;

export interface PointContext {
  readonly protocol: 'modbus' | 'coap';
  readonly name: string;
  /** Period of the class. */
  readonly every: Duration;
  readonly path: Path;
  readonly report: Report;
}

/** One point of a class; undefined where its source or one of its times is wrong. */
export function readPoint(value: unknown, context: PointContext): Template | undefined {
  const { path, report } = context;
  let shape: Shape;
  let source: Source | undefined;
  if (context.protocol === 'modbus') {
    const point = checked(modbusPoint, value, path, report);
    shape = point.shape;
    source = modbusSource(point.shape.at, path, report);
  } else {
    const point = checked(coapPoint, value, path, report);
    shape = point.shape;
    source = coapSource(point, path, report);
  }
  const every =
    shape.every === undefined ? context.every : readPeriod(shape.every, [...path, 'every'], report);
  const times = readReportTimes(shape, path, report);
  const span = readSpan(shape, path, report);
  const deadband = readDeadband(shape, span, path, report);
  if (shape.scale === 0) {
    report([...path, 'scale'], 'a scale of 0', 'leave it out, or write the value of one raw unit');
  }
  checkLimits(shape, path, report);
  if (source === undefined) return undefined;
  checkKeysOfNumbers(shape, source, path, report);
  if (shape.writable === true) checkWritable(source, path, report);
  if (every === undefined || times === undefined) return undefined;
  return {
    name: context.name,
    source,
    every,
    unit: shape.unit,
    scale: shape.scale ?? 1,
    offset: shape.offset ?? 0,
    span,
    report: { deadband, ...times },
    writable: shape.writable ?? false,
    min: shape.min,
    max: shape.max,
    recorded: shape.history ?? true,
  };
}

function modbusSource(at: string | undefined, path: Path, report: Report): ModbusSource | undefined {
  if (at === undefined) return undefined;
  const source = parseModbusAddress(at);
  if (!('found' in source)) return source;
  report([...path, 'at'], source.found, source.fix);
  return undefined;
}

function readReportTimes(
  shape: Shape,
  path: Path,
  report: Report,
): { readonly minInterval: Duration; readonly heartbeat: Duration } | undefined {
  const heartbeat = readDuration(shape.heartbeat, [...path, 'heartbeat'], report, HEARTBEATS);
  const minInterval = readDuration(shape['min-interval'], [...path, 'min-interval'], report);
  if (heartbeat === undefined || minInterval === undefined) return undefined;
  if (heartbeat < minInterval) {
    report(
      [...path, 'min-interval'],
      `longer than the heartbeat, ${shape.heartbeat}`,
      'make the heartbeat the longer one',
    );
  }
  return { minInterval, heartbeat };
}

function readSpan(shape: Shape, path: Path, report: Report): PointConfig['span'] {
  if (shape.span === undefined) return undefined;
  const [low, high] = shape.span;
  if (low >= high) report([...path, 'span'], `a span from ${low} to ${high}`, 'put the lower end first');
  return { low, high };
}

function readDeadband(
  shape: Shape,
  span: PointConfig['span'],
  path: Path,
  report: Report,
): PointConfig['report']['deadband'] {
  if (shape.deadband === undefined) return undefined;
  const deadband = parseDeadband(shape.deadband, span);
  if (typeof deadband !== 'string') return deadband;
  report([...path, 'deadband'], describe(shape.deadband), deadband);
  return undefined;
}

function checkLimits({ min, max }: Shape, path: Path, report: Report): void {
  if (min === undefined || max === undefined || min <= max) return;
  report([...path, 'min'], `min ${min} is above max ${max}`, 'swap them');
}

function kindOf(source: Source): CoapSource['type'] {
  if (source.kind === 'coap') return source.type;
  return source.type === 'bool' || source.type === 'string' ? source.type : 'number';
}

function checkKeysOfNumbers(shape: Shape, source: Source, path: Path, report: Report): void {
  const kind = kindOf(source);
  if (kind === 'number') return;
  for (const key of ['scale', 'offset', 'deadband', 'span', 'min', 'max'] as const) {
    if (shape[key] === undefined) continue;
    report([...path, key], `${key} of a ${kind} point`, 'leave it out: it is for numbers');
  }
}

function checkWritable(source: Source, path: Path, report: Report): void {
  const refuse = (found: string, fix: string) => report([...path, 'writable'], found, fix);
  if (source.kind === 'coap') {
    if (source.mode === 'push')
      refuse('writable on a pushed point', 'leave it out: it has no resource to write to');
  } else if (source.table === 'discrete' || source.table === 'input') {
    refuse(`writable on table ${source.table}`, 'leave it out: only coil and holding can be written');
  } else if (source.characters > MAX_CHARACTERS_WRITTEN) {
    refuse(
      `writable on string(${source.characters})`,
      `shorten it: one request writes at most ${MAX_CHARACTERS_WRITTEN} characters`,
    );
  }
}
