import { dirname, resolve } from 'node:path';
import { bytes, days, milliseconds, seconds } from '../core/units.ts';
import { checked, entries, isMapping, unknownKey } from './checked.ts';
import { readClasses } from './classes.ts';
import { readConduits } from './conduits.ts';
import type { Config, Problem } from './config.ts';
import { checkNothingPushes, readDevices } from './devices.ts';
import { readDocument, type Source } from './document.ts';
import { LONGEST } from './duration.ts';
import { frozen } from './frozen.ts';
import { checkPatterns, readListen, readMqtt } from './mqtt.ts';
import { nearest } from './nearest.ts';
import { describe, parsePath, type Report } from './problem.ts';
import * as schema from './schema.ts';
import { checkPorts } from './ports.ts';
import { readSegmentation } from './segmentation.ts';
import { formatSize } from './size.ts';
import { readDuration, readSize } from './units.ts';
import { readLayout } from './layout.ts';
import { readZones } from './zones.ts';

export type Parsed =
  | { readonly config: Config; readonly place: Place }
  | {
      readonly problems: readonly Problem[];
      /** Whose file it is, where that much of it is right. */
      readonly gateway: Config['gateway'] | undefined;
    };

/** Something to be said about a file by whoever knows what it means; `path` as in `conduits[0]`. */
export interface Finding {
  readonly path: string;
  readonly found: string;
  readonly fix: string;
}

/** A finding with its line and column. */
export type Place = (finding: Finding) => Problem;

/** Judges what a file means as a whole; each finding is a problem of the file. */
export type Judge = (config: Config) => readonly Finding[];

/**
 * gateway.yaml as a checked, frozen `Config` with every default filled in, or everything that is wrong with it, in the
 * order of the file. `file` is an absolute path: relative ones in the text begin at its folder. Problems name the file
 * as `shownAs`. Touches no file and never throws. `judge` is asked where zones and devices are right, also where
 * something else is not: so its findings come with the rest.
 */
export function parseConfig(text: string, file: string, shownAs = file, judge: Judge = () => []): Parsed {
  const source = readDocument(text, shownAs);
  const problems = [...source.problems];
  const report: Report = (path, found, fix, at) => {
    const problem = source.problem(path, found, fix, at);
    if (problem !== undefined) problems.push(problem);
  };
  const config = source.intact ? read(source.value, file, report, problems) : undefined;
  if (!source.intact) checkShapeBefore(source, problems);
  const place: Place = ({ path, found, fix }) => {
    const at = source.problem(parsePath(path), found, fix);
    return at === undefined ? { file: shownAs, line: 1, column: 1, path, found, fix } : { ...at, path };
  };
  if (config !== undefined && !problems.some(isOfThePlant)) {
    const told = problems.map(({ path }) => path);
    // What is wrong with a place, or with a part of it, may be why something is missing there.
    const fresh = judge(config).filter(({ path }) => !told.some((one) => isSamePlace(one, path)));
    problems.push(...fresh.map(place));
  }
  if (config !== undefined && problems.length === 0) return { config: frozen(config), place };
  const gateway = gatewayIn(source, file, problems);
  return { problems: problems.sort((a, b) => a.line - b.line || a.column - b.column), gateway };
}

/**
 * Whose file it is, where nothing is wrong with that; where the syntax is broken, only if both are written down before that,
 * as what seems to be left out may just not have been read.
 */
function gatewayIn(
  source: Source,
  file: string,
  problems: readonly Problem[],
): Config['gateway'] | undefined {
  const value = isMapping(source.value) ? source.value['gateway'] : undefined;
  const { whole, shape } = checked(schema.gateway, value, ['gateway'], () => {});
  const { id, data } = shape;
  if (!whole || id === undefined || data === undefined) return undefined;
  if (problems.some(({ path }) => /^gateway\b/.test(path))) return undefined;
  const isBefore = (key: string): boolean => {
    const at = source.problem(['gateway', key], '', '', 'key');
    return at !== undefined && problems.every(({ path, line }) => path !== '' || line > at.line);
  };
  // A text whose end is not written goes on in the lines behind it, with a space in between.
  const isRead =
    isMapping(value) && 'data' in value && !/\s/.test(data) && isBefore('id') && isBefore('data');
  return source.intact || isRead ? { id, data: resolve(dirname(file), data) } : undefined;
}

/** Whoever judges what a file means has to know where everything is. */
const isOfThePlant = ({ path }: Problem): boolean => /^(?:$|zones|classes|devices|points)/.test(path);

const isSamePlace = (a: string, b: string): boolean => a.startsWith(b) || b.startsWith(a);

/**
 * Where the syntax is broken, whatever follows, whatever seems to be missing and whatever is unknown may just not
 * have been read. The shape of what stands in the lines before can still be judged.
 */
function checkShapeBefore(source: Source, problems: Problem[]): void {
  const broken = problems.reduce((first, { line }) => Math.min(first, line), Infinity);
  if (source.value === undefined) return;
  checked(schema.gatewayFile, source.value, [], (path, found, fix, at) => {
    const problem = source.problem(path, found, fix, at);
    if (problem !== undefined && problem.line < broken && !NOT_READ.has(found)) problems.push(problem);
  });
}

/** What a value looks like that the broken syntax kept away. */
const NOT_READ: ReadonlySet<string> = new Set([describe(undefined), describe(null)]);

/** Stands in where something is wrong with it. */
const NOTHING_KEPT: Config['telemetry'] = {
  retention: { raw: milliseconds(0), minute: milliseconds(0), hour: milliseconds(0), disk: bytes(0) },
  outbox: bytes(0),
  commitEvery: milliseconds(0),
};

/** Undefined only where something was reported; where anything was reported, the result is full of stand-ins. */
function read(
  value: unknown,
  file: string,
  report: Report,
  problems: readonly Problem[],
): Config | undefined {
  const sections = new Map(entries(value ?? {}, [], report));
  const guesses = new Set<string>();
  for (const key of sections.keys()) {
    if (schema.SECTIONS.includes(key)) continue;
    unknownKey([], key, schema.SECTIONS, report);
    guesses.add(nearest(key, schema.SECTIONS) ?? '');
  }
  const folder = dirname(file);
  const gateway = guesses.has('gateway') ? {} : readGateway(sections.get('gateway'), report);
  const mqtt = readMqtt(sections.get('mqtt'), folder, report);
  const coap = guesses.has('coap') ? {} : readCoap(sections.get('coap'), report);
  const zones = readZones(sections.get('zones'), report);

  const before = problems.length;
  const classes = readClasses(sections.get('classes'), zones, report);
  const { devices, points } = readDevices(sections.get('devices'), classes, mqtt.publish.telemetry, report);
  // A point that is wrong is not in the table, and a pattern for it is not to blame.
  const whole = problems.length === before;
  if (whole) checkPatterns(mqtt.publish, sections.get('mqtt'), points, report);
  if (coap === undefined) checkNothingPushes(classes, report);
  const network = readLayout(sections.get('network'), zones, report);
  const guarded = checkPorts(zones, { devices, whole }, network, report);
  const conduits = readConduits(sections.get('conduits'), { zones, classes, devices, whole }, report);

  const telemetry = readTelemetry(sections.get('telemetry'), report);
  const segmentation = readSegmentation(sections.get('segmentation'), zones, conduits, report);
  const { id, data } = gateway;
  if (segmentation === undefined) return undefined;
  return {
    file,
    gateway: { id: id ?? '', data: resolve(folder, data ?? '') },
    mqtt,
    coap: coap?.listen && { listen: coap.listen },
    zones: guarded,
    network,
    conduits,
    devices,
    points,
    telemetry: telemetry ?? NOTHING_KEPT,
    segmentation,
  };
}

function readGateway(
  value: unknown,
  report: Report,
): { readonly id?: string | undefined; readonly data?: string | undefined } {
  return checked(schema.gateway, value ?? {}, ['gateway'], report).shape;
}

function readCoap(
  value: unknown,
  report: Report,
): { readonly listen?: NonNullable<Config['coap']>['listen'] | undefined } | undefined {
  if (value === undefined) return undefined;
  const { listen } = checked(schema.listen, value, ['coap'], report).shape;
  return { listen: listen === undefined ? undefined : readListen(listen, ['coap', 'listen'], report) };
}

/** The history is kept in whole files, and the smallest is that of a UTC day: what is shorter cannot be held to. */
const KEPT = [days(1), LONGEST] as const;
/** What the files that are being written, their logs and the rollups of some days of a small plant take. */
const SMALLEST_HISTORY = bytes(8_000_000);
/** As much again for the outbox, the sample log and everything else below `data`. */
const SMALLEST_DISK = bytes(2 * SMALLEST_HISTORY);

/** More often no disk keeps up for years; more seldom a power cut costs more than a person can tell from the page. */
const COMMIT_EVERY = [milliseconds(50), seconds(10)] as const;

function readTelemetry(value: unknown, report: Report): Config['telemetry'] | undefined {
  const head = checked(schema.telemetryHead, value ?? {}, ['telemetry'], report).shape;
  const path = ['telemetry', 'retention'];
  const kept = checked(schema.retention, head.retention ?? {}, path, report).shape;
  const raw = readDuration(kept.raw, [...path, 'raw'], report, KEPT);
  const minute = readDuration(kept.minute, [...path, 'minute'], report, KEPT);
  const hour = readDuration(kept.hour, [...path, 'hour'], report, KEPT);
  const disk = readSize(kept.disk, [...path, 'disk'], report, SMALLEST_DISK);
  const outbox = readSize(head.outbox, ['telemetry', 'outbox'], report);
  const commitEvery = readDuration(head['commit-every'], ['telemetry', 'commit-every'], report, COMMIT_EVERY);
  if (raw === undefined || minute === undefined || hour === undefined) return undefined;
  if (disk === undefined || commitEvery === undefined) return undefined;
  if (outbox !== undefined && outbox > disk - SMALLEST_HISTORY) {
    report(
      ['telemetry', 'outbox'],
      `${describe(head.outbox)} leaves less than ${formatSize(SMALLEST_HISTORY)} of retention.disk, ${kept.disk}, to the history`,
      `use at most ${formatSize(bytes(disk - SMALLEST_HISTORY))}, or more disk`,
    );
  }
  return {
    retention: { raw, minute, hour, disk },
    outbox: outbox ?? bytes(Math.floor(disk / 4)),
    commitEvery,
  };
}
