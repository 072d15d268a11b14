import { resolve } from 'node:path';
import type { z } from 'zod';
import type { Config, Listen, Upstream } from './config.ts';
import { checked } from './checked.ts';
import { DEFAULTS } from './defaults.ts';
import { parseHostAndPort } from './device-address.ts';
import { describe, type Path, type Report } from './problem.ts';
import { mqtt as mqttSchema } from './schema.ts';

type Shape = z.output<typeof mqttSchema>;
type Publish = Config['mqtt']['publish'];

const EVERYTHING: Publish = { telemetry: ['*/*'], event: ['*'] };

/** `folder` is where relative paths begin. Undefined where something is wrong. */
export function readMqtt(value: unknown, folder: string, report: Report): Config['mqtt'] | undefined {
  const shape = checked(mqttSchema, value ?? {}, ['mqtt'], report);
  if (shape === undefined) return undefined;
  const upstream = readUpstream(shape.upstream, folder, report);
  if (shape.embedded === 'off' && shape.upstream === undefined) {
    report(['mqtt', 'embedded'], 'off, and no upstream', 'name an upstream, or leave the embedded broker on');
  }
  return { embedded: readEmbedded(shape, report), upstream, publish: readPublish(shape.publish, report) };
}

/** `host:port` of something that listens; the host is an IP address of this machine. */
export function readListen(text: string, path: Path, report: Report): Listen | undefined {
  const where = parseHostAndPort(text);
  if ('found' in where) {
    report(path, where.found, where.fix);
    return undefined;
  }
  return { host: where.host, port: where.port };
}

function readEmbedded({ embedded, upstream }: Shape, report: Report): Listen | undefined {
  if (embedded === 'off' || (embedded === undefined && upstream !== undefined)) return undefined;
  return readListen(embedded?.listen ?? DEFAULTS.embedded, ['mqtt', 'embedded', 'listen'], report);
}

function readUpstream(shape: Shape['upstream'], folder: string, report: Report): Upstream | undefined {
  if (shape === undefined) return undefined;
  const { url: text, ca, cert, key } = shape;
  if ((cert === undefined) !== (key === undefined)) {
    const [given, missing] = cert === undefined ? ['key', 'cert'] : ['cert', 'key'];
    report(['mqtt', 'upstream', given], `${given} without ${missing}`, `add ${missing}, or leave both out`);
  }
  const at = (path: string | undefined) => (path === undefined ? undefined : resolve(folder, path));
  const place = readUrl(text);
  if (place === undefined) {
    report(
      ['mqtt', 'upstream', 'url'],
      describe(text),
      'write mqtts://host:8883, without user, path or query',
    );
    return undefined;
  }
  return {
    url: `mqtts://${place.urlHost}:${place.port}`,
    host: place.host,
    port: place.port,
    ca: resolve(folder, ca),
    cert: at(cert),
    key: at(key),
  };
}

function readUrl(text: string): { urlHost: string; host: string; port: number } | undefined {
  const url = URL.parse(text);
  if (url === null || url.hostname === '' || url.port === '0') return undefined;
  if (
    url.username !== '' ||
    url.password !== '' ||
    url.search !== '' ||
    url.hash !== '' ||
    url.pathname.length > 1
  )
    return undefined;
  const port = url.port === '' ? DEFAULTS.mqttsPort : Number(url.port);
  return { urlHost: url.hostname, host: url.hostname.replace(/^\[|\]$/g, ''), port };
}

function readPublish(items: Shape['publish'], report: Report): Publish {
  if (items === undefined) return EVERYTHING;
  const telemetry: string[] = [];
  const event: string[] = [];
  for (const [i, item] of items.entries()) {
    if ((item.telemetry === undefined) === (item.event === undefined)) {
      const found =
        item.event === undefined ? 'neither telemetry nor event' : 'telemetry and event in one pattern';
      report(['mqtt', 'publish', i], found, 'write one of them in each line of the list');
    }
    if (item.telemetry !== undefined) telemetry.push(item.telemetry);
    if (item.event !== undefined) event.push(item.event);
  }
  return { telemetry, event };
}
