import { resolve } from 'node:path';
import type { Config, Listen, Upstream } from './config.ts';
import { checked } from './checked.ts';
import { DEFAULTS } from './defaults.ts';
import { parseHostAndPort } from './device-address.ts';
import { notADevice } from './network.ts';
import { matches } from './pattern.ts';
import { describe, type Path, type Report } from './problem.ts';
import * as schema from './schema.ts';

type Publish = Config['mqtt']['publish'];

/** `folder` is where relative paths begin. */
export function readMqtt(value: unknown, folder: string, report: Report): Config['mqtt'] {
  const { shape, whole } = checked(schema.mqttHead, value ?? {}, ['mqtt'], report);
  const hasUpstream = shape.upstream !== undefined;
  if (shape.embedded === 'off' && whole && !hasUpstream) {
    report(['mqtt', 'embedded'], 'off, and no upstream', 'name an upstream, or leave the embedded broker on');
  }
  return {
    embedded: readEmbedded(shape.embedded, hasUpstream, report),
    upstream: hasUpstream ? readUpstream(shape.upstream, folder, report) : undefined,
    publish: readPublish(shape.publish, report),
  };
}

/** `host:port` of something that listens; the host is an IP address of this machine. */
export function readListen(text: string, path: Path, report: Report): Listen | undefined {
  const where = parseHostAndPort(text);
  if ('found' in where) {
    report(path, where.found, where.fix);
    return undefined;
  }
  const never = where.address.value === 0n ? undefined : notADevice(where.address);
  if (never !== undefined) {
    report(path, `${where.host} ${never}`, 'use an address of this machine');
    return undefined;
  }
  return { host: where.host, port: where.port };
}

/** A pattern without a point is a slip of the pen, except the one that means everything. */
export function checkPatterns(
  { telemetry }: Publish,
  value: unknown,
  points: readonly { readonly device: string; readonly name: string }[],
  report: Report,
): void {
  // Patterns stand where they stand in the file, between those of events.
  const items = checked(schema.mqttHead, value ?? {}, ['mqtt'], () => {}).shape.publish ?? [];
  for (const [i, item] of items.entries()) {
    const pattern = checked(schema.published, item, [], () => {}).shape.telemetry;
    if (pattern === undefined || pattern === '*/*' || !telemetry.includes(pattern)) continue;
    const [device = '', point = ''] = pattern.split('/');
    if (points.some((one) => matches(point, one.name) && matches(device, one.device))) continue;
    report(
      ['mqtt', 'publish', i, 'telemetry'],
      `${describe(pattern)} matches no point`,
      'correct it, or take the line out',
    );
  }
}

function readEmbedded(
  embedded: 'off' | { readonly listen: string } | undefined,
  hasUpstream: boolean,
  report: Report,
): Listen | undefined {
  if (embedded === 'off' || (embedded === undefined && hasUpstream)) return undefined;
  return readListen(embedded?.listen ?? DEFAULTS.embedded, ['mqtt', 'embedded', 'listen'], report);
}

function readUpstream(value: unknown, folder: string, report: Report): Upstream | undefined {
  const path = ['mqtt', 'upstream'];
  const { shape, whole } = checked(schema.upstream, value, path, report);
  const { url, ca, cert, key } = shape;
  if (whole && (cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? ['key', 'cert'] : ['cert', 'key'];
    report([...path, given], `${given} without ${missing}`, `add ${missing}, or leave both out`);
  }
  if (url === undefined || ca === undefined) return undefined;
  const place = readUrl(url);
  if (place === undefined) {
    report([...path, 'url'], describe(url), 'write mqtts://host:8883, without user, path or query');
    return undefined;
  }
  const inFolder = (file: string | undefined) => (file === undefined ? undefined : resolve(folder, file));
  return { ...place, ca: resolve(folder, ca), cert: inFolder(cert), key: inFolder(key) };
}

function readUrl(text: string): Pick<Upstream, 'url' | 'host' | 'port'> | undefined {
  const url = URL.parse(text);
  if (url === null || url.hostname === '' || url.port === '0' || /[?#@%\\]/.test(text)) return undefined;
  const port = url.port === '' ? DEFAULTS.mqttsPort : Number(url.port);
  return { url: `mqtts://${url.hostname}:${port}`, host: url.hostname.replace(/^\[|\]$/g, ''), port };
}

const EVERYTHING: Publish = { telemetry: ['*/*'], event: ['*'] };

function readPublish(items: readonly unknown[] | undefined, report: Report): Publish {
  if (items === undefined) return EVERYTHING;
  const telemetry: string[] = [];
  const event: string[] = [];
  for (const [i, item] of items.entries()) {
    const path = ['mqtt', 'publish', i];
    const { shape, whole } = checked(schema.published, item, path, report);
    if (whole && (shape.telemetry === undefined) === (shape.event === undefined)) {
      const found = shape.event === undefined ? 'neither telemetry nor event' : 'telemetry and event in one';
      report(path, found, 'write one of them in each line of the list');
    }
    if (shape.telemetry !== undefined) telemetry.push(shape.telemetry);
    if (shape.event !== undefined) event.push(shape.event);
  }
  return { telemetry, event };
}
