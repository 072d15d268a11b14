import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { type Bytes, bytes } from '../core/units.ts';
import { checked, entries, unknownKey } from './checked.ts';
import { readClasses } from './classes.ts';
import type { Config, PointConfig, Problem } from './config.ts';
import { readDevices } from './devices.ts';
import { readDocument, type Source } from './document.ts';
import { formatDuration, parseDuration } from './duration.ts';
import { frozen } from './frozen.ts';
import { readListen, readMqtt } from './mqtt.ts';
import { matches } from './pattern.ts';
import { readDuration } from './points.ts';
import { describe, type Path, type Report } from './problem.ts';
import * as schema from './schema.ts';
import { parseSize, SIZE_EXAMPLES } from './size.ts';
import { readConduits, readZones } from './zones.ts';

export type Parsed = { readonly config: Config } | { readonly problems: readonly Problem[] };

/**
 * gateway.yaml as a checked, frozen `Config` with every default filled in, or everything that is wrong with it, in the
 * order of the file. `file` is an absolute path: relative ones in the text begin at its folder. Problems name the file
 * as `shownAs`. Touches no file and never throws.
 */
export function parseConfig(text: string, file: string, shownAs = file): Parsed {
  const source = readDocument(text, shownAs);
  const problems = [...source.problems];
  let config: Config | undefined;
  if (source.intact) {
    const report: Report = (path, found, fix, at) => problems.push(source.problem(path, found, fix, at));
    config = read(source.value, file, report, () => problems.length);
  } else {
    checkShapeBefore(source, problems);
  }
  if (config !== undefined && problems.length === 0) return { config: frozen(config) };
  return { problems: problems.sort((a, b) => a.line - b.line || a.column - b.column) };
}

/**
 * Where the syntax is broken, whatever follows, whatever seems to be missing and whatever is unknown may just not
 * have been read: the shape of what stands before it can still be judged.
 */
function checkShapeBefore(source: Source, problems: Problem[]): void {
  const broken = problems[0];
  if (broken === undefined || source.value === undefined) return;
  checked(schema.gatewayFile, source.value, [], (path, found, fix, at) => {
    const problem = source.problem(path, found, fix, at);
    const before = problem.line < broken.line;
    if (before && found !== 'missing') problems.push(problem);
  });
}

function read(value: unknown, file: string, report: Report, count: () => number): Config | undefined {
  const sections = new Map(entries(value ?? {}, [], report));
  for (const key of sections.keys()) {
    if (!schema.SECTIONS.includes(key)) unknownKey([], key, schema.SECTIONS, report);
  }
  const folder = dirname(file);
  const section = <T extends z.ZodType>(name: string, shape: T) =>
    checked(shape, sections.get(name) ?? {}, [name], report);

  const gateway = section('gateway', schema.gateway);
  const mqtt = readMqtt(sections.get('mqtt'), folder, report);
  const coap = readCoap(sections.get('coap'), report);
  const zones = readZones(sections.get('zones'), report);
  const conduits = readConduits(sections.get('conduits'), zones, report);

  const before = count();
  const classes = readClasses(sections.get('classes'), zones, report);
  const plant = readDevices(sections.get('devices'), classes, mqtt?.publish.telemetry ?? [], report);
  const whole = count() === before;
  if (whole && mqtt !== undefined) checkPatterns(sections.get('mqtt'), plant.points, report);
  if (sections.get('coap') === undefined) checkNothingPushes(plant.points, plant.devices, report);

  const kept = readTelemetry(section('telemetry', schema.telemetry), report);
  const rules = readSegmentation(section('segmentation', schema.segmentation), report);
  if (gateway === undefined || mqtt === undefined || kept === undefined || rules === undefined)
    return undefined;
  return {
    file,
    gateway: { id: gateway.id, data: resolve(folder, gateway.data) },
    mqtt,
    coap,
    zones: [...zones.values()].flatMap((entry) => (entry === undefined ? [] : [entry.zone])),
    conduits,
    devices: plant.devices,
    points: plant.points,
    telemetry: kept,
    segmentation: rules,
  };
}

function readCoap(value: unknown, report: Report): Config['coap'] {
  if (value === undefined) return undefined;
  const shape = checked(schema.listen, value, ['coap'], report);
  const listen = shape && readListen(shape.listen, ['coap', 'listen'], report);
  return listen && { listen };
}

/** A pattern without a point is a slip of the pen, except the one that means everything. */
function checkPatterns(mqtt: unknown, points: readonly PointConfig[], report: Report): void {
  const items: unknown[] =
    typeof mqtt === 'object' && mqtt !== null && 'publish' in mqtt && Array.isArray(mqtt.publish)
      ? mqtt.publish
      : [];
  for (const [i, item] of items.entries()) {
    const pattern: unknown =
      typeof item === 'object' && item !== null && 'telemetry' in item ? item.telemetry : undefined;
    if (typeof pattern !== 'string' || pattern === '*/*') continue;
    const [device = '', point = ''] = pattern.split('/');
    if (points.some((one) => matches(point, one.name) && matches(device, one.device))) continue;
    report(
      ['mqtt', 'publish', i, 'telemetry'],
      `${describe(pattern)} matches no point`,
      'write device/point, with * for any run of letters, or take the line out',
    );
  }
}

/** Told once for each class, not for each of its devices. */
function checkNothingPushes(
  points: readonly PointConfig[],
  devices: Config['devices'],
  report: Report,
): void {
  const told = new Set<string>();
  const classOf = new Map(devices.map((device) => [device.name, device.class]));
  for (const { source, device, name } of points) {
    if (source.kind !== 'coap' || source.mode !== 'push') continue;
    const path: Path = ['classes', classOf.get(device) ?? '', 'points', name, 'push'];
    if (told.has(path.join(' '))) continue;
    told.add(path.join(' '));
    report(
      path,
      'a pushed point, and nowhere to push to',
      'add coap: { listen: "10.20.20.1:5683" } with an address of the gateway',
    );
  }
}

function readTelemetry(
  shape: z.output<typeof schema.telemetry> | undefined,
  report: Report,
): Config['telemetry'] | undefined {
  if (shape === undefined) return undefined;
  const path = ['telemetry', 'retention'];
  const raw = readDuration(shape.retention.raw, [...path, 'raw'], report);
  const minute = readDuration(shape.retention.minute, [...path, 'minute'], report);
  const hour = readDuration(shape.retention.hour, [...path, 'hour'], report);
  const disk = readSize(shape.retention.disk, [...path, 'disk'], report);
  const outbox =
    shape.outbox === undefined
      ? disk && bytes(Math.floor(disk / 4))
      : readSize(shape.outbox, ['telemetry', 'outbox'], report);
  if (
    raw === undefined ||
    minute === undefined ||
    hour === undefined ||
    disk === undefined ||
    outbox === undefined
  )
    return undefined;
  if (outbox > disk)
    report(
      ['telemetry', 'outbox'],
      `${describe(shape.outbox)} is more than retention.disk ${shape.retention.disk}`,
      'make it a part of it',
    );
  return { retention: { raw, minute, hour, disk }, outbox };
}

/** Below this a journal cannot even be opened; a megabyte holds a minute or so of a small plant. */
const SMALLEST_SIZE = 1_000_000;

function readSize(text: string, path: Path, report: Report): Bytes | undefined {
  const size = parseSize(text);
  if (size === undefined) report(path, `${describe(text)} is too much`, `write ${SIZE_EXAMPLES}`);
  else if (size < SMALLEST_SIZE) report(path, describe(text), 'use 1MB or more');
  return size;
}

/** Time to notice that a rule locked somebody out, and to come back before the plant misses them. */
const CONFIRM = { shortest: parseDuration('10s'), longest: parseDuration('1h') };

function readSegmentation(
  shape: z.output<typeof schema.segmentation> | undefined,
  report: Report,
): Config['segmentation'] | undefined {
  if (shape === undefined) return undefined;
  const path = ['segmentation', 'confirm-within'];
  const confirmWithin = readDuration(shape['confirm-within'], path, report);
  if (confirmWithin === undefined) return undefined;
  const { shortest, longest } = CONFIRM;
  if (
    shortest !== undefined &&
    longest !== undefined &&
    (confirmWithin < shortest || confirmWithin > longest)
  ) {
    report(
      path,
      describe(shape['confirm-within']),
      `use ${formatDuration(shortest)} to ${formatDuration(longest)}`,
    );
  }
  return { mode: shape.mode, confirmWithin };
}
