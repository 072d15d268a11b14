import type { z } from 'zod';
import { milliseconds, type Duration } from '../core/units.ts';
import type { CoapSource, PointConfig } from './config.ts';
import { checked } from './checked.ts';
import { coapSource } from './coap-address.ts';
import { parseDeadband } from './deadband.ts';
import { DURATION_EXAMPLES, formatDuration, parseDuration } from './duration.ts';
import { MAX_CHARACTERS_WRITTEN, parseModbusAddress } from './modbus-address.ts';
import { describe, type Path, type Report } from './problem.ts';
import { coapPoint, modbusPoint } from './schema.ts';

/** A point of a class: what its devices have in common. */
export type Template = Omit<PointConfig, 'index' | 'device' | 'published'>;
type Shape = z.output<typeof modbusPoint> | z.output<typeof coapPoint>;
type Source = PointConfig['source'];

/** Shortest and longest period that is not a slip of the pen. */
const SHORTEST_PERIOD = milliseconds(10);
const LONGEST_PERIOD = milliseconds(31 * 86_400_000);
const SHORTEST_HEARTBEAT = milliseconds(1_000);

export interface PointContext {
  readonly protocol: 'modbus' | 'coap';
  readonly name: string;
  /** Period of the class. */
  readonly every: Duration;
  readonly path: Path;
  readonly report: Report;
}

/** One point of a class; undefined where anything is wrong with it. */
export function readPoint(value: unknown, context: PointContext): Template | undefined {
  let complaints = 0;
  const report: Report = (...problem) => {
    complaints++;
    context.report(...problem);
  };
  const { path } = context;
  const shape = checked(context.protocol === 'modbus' ? modbusPoint : coapPoint, value, path, report);
  if (shape === undefined) return undefined;
  const source =
    'observe' in shape || 'format' in shape
      ? coapSource(shape, path, report)
      : modbusSource(shape, path, report);
  const every =
    shape.every === undefined ? context.every : readPeriod(shape.every, [...path, 'every'], report);
  const heartbeat = readDuration(shape.heartbeat, [...path, 'heartbeat'], report);
  const minInterval = readDuration(shape['min-interval'], [...path, 'min-interval'], report);
  if (source === undefined || every === undefined || heartbeat === undefined || minInterval === undefined)
    return undefined;
  if (heartbeat < SHORTEST_HEARTBEAT)
    report([...path, 'heartbeat'], describe(shape.heartbeat), 'use 1s or longer');
  if (heartbeat < minInterval) {
    report(
      [...path, 'heartbeat'],
      `shorter than min-interval ${shape['min-interval']}`,
      'make the heartbeat the longer one',
    );
  }

  const kind = kindOf(source);
  if (kind !== 'number') checkNoNumberKeys(shape, kind, path, report);
  const span = shape.span === undefined ? undefined : { low: shape.span[0], high: shape.span[1] };
  if (span !== undefined && span.low >= span.high)
    report([...path, 'span'], `a span from ${span.low} to ${span.high}`, 'put the lower end first');
  const deadband = shape.deadband === undefined ? undefined : parseDeadband(shape.deadband, span);
  if (typeof deadband === 'string') report([...path, 'deadband'], describe(shape.deadband), deadband);
  if (shape.scale === 0)
    report([...path, 'scale'], 'a scale of 0', 'leave it out, or write the value of one raw unit');
  checkWritable(shape, source, path, report);
  if (complaints > 0 || typeof deadband === 'string') return undefined;
  return {
    name: context.name,
    source,
    every,
    unit: shape.unit,
    scale: shape.scale ?? 1,
    offset: shape.offset ?? 0,
    span,
    report: { deadband, minInterval, heartbeat },
    writable: shape.writable,
    min: shape.min,
    max: shape.max,
  };
}

/** A period or time-out; undefined, and reported, where it is none. */
export function readPeriod(text: string, path: Path, report: Report): Duration | undefined {
  const period = readDuration(text, path, report);
  if (period === undefined || (period >= SHORTEST_PERIOD && period <= LONGEST_PERIOD)) return period;
  report(path, describe(text), `use ${formatDuration(SHORTEST_PERIOD)} to ${formatDuration(LONGEST_PERIOD)}`);
  return undefined;
}

export function readDuration(text: string, path: Path, report: Report): Duration | undefined {
  const duration = parseDuration(text);
  if (duration === undefined) report(path, `${describe(text)} is too long`, `write ${DURATION_EXAMPLES}`);
  return duration;
}

function modbusSource(shape: z.output<typeof modbusPoint>, path: Path, report: Report): Source | undefined {
  const source = parseModbusAddress(shape.at);
  if (!('found' in source)) return source;
  report([...path, 'at'], source.found, source.fix);
  return undefined;
}

function kindOf(source: Source): CoapSource['type'] {
  if (source.kind === 'coap') return source.type;
  return source.type === 'bool' || source.type === 'string' ? source.type : 'number';
}

function checkNoNumberKeys(shape: Shape, kind: string, path: Path, report: Report): void {
  for (const key of ['scale', 'offset', 'deadband', 'span', 'min', 'max'] as const) {
    if (shape[key] !== undefined)
      report([...path, key], `${key} of a ${kind} point`, 'leave it out: it is for numbers');
  }
}

function checkWritable(shape: Shape, source: Source, path: Path, report: Report): void {
  const { min, max } = shape;
  if (min !== undefined && max !== undefined && min > max)
    report([...path, 'min'], `min ${min} is above max ${max}`, 'swap them');
  if (!shape.writable) return;
  const refuse = (found: string, fix: string) => report([...path, 'writable'], found, fix);
  if (source.kind === 'coap') {
    if (source.mode === 'push')
      refuse('writable on a pushed point', 'leave it out: the device has no resource to write to');
    return;
  }
  if (source.table === 'discrete' || source.table === 'input') {
    refuse(`writable on table ${source.table}`, 'leave it out: only coil and holding can be written');
  }
  if (source.characters > MAX_CHARACTERS_WRITTEN) {
    refuse(
      `writable on string(${source.characters})`,
      `one request writes at most ${MAX_CHARACTERS_WRITTEN} characters`,
    );
  }
}
