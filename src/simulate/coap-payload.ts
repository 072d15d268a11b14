import { decode as decodeCbor, encode as encodeCbor } from 'cbor2';
import type { CoapSource, PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';
import type { EpochMs } from '../core/units.ts';
import { rawOf } from './value.ts';

type Format = Exclude<CoapSource['format'], 'auto'>;

/** Content-Formats: RFC 7252, 12.3; RFC 8949, 9.6; RFC 8428, 12.3. */
const NUMBERS: Readonly<Record<Format, number>> = {
  text: 0,
  json: 50,
  cbor: 60,
  'senml-json': 110,
  'senml-cbor': 112,
};
/** SenML labels in CBOR, RFC 8428, section 6. */
const LABELS = { n: 0, u: 1, v: 2, vs: 3, vb: 4, t: 6 } as const;

export interface Payload {
  readonly format: number;
  readonly bytes: Buffer;
}

/** One point with the value that its device holds. */
export interface Held {
  readonly point: PointConfig;
  readonly source: CoapSource;
  readonly value: PointValue;
}

/** The format that a device speaks where the configuration leaves it to the device. */
export function spokenFormat({ format, pointer, record }: CoapSource): Format {
  if (format !== 'auto') return format;
  if (record !== undefined) return 'senml-json';
  return pointer === undefined ? 'text' : 'json';
}

export function formatNumber(format: Format): number {
  return NUMBERS[format];
}

/** What a resource answers: all points that live in it. `time` is when the device measured them. */
export function encodePayload(format: Format, points: readonly Held[], time: EpochMs): Payload {
  return { format: NUMBERS[format], bytes: bytesOf(format, points, time) };
}

function bytesOf(format: Format, points: readonly Held[], time: EpochMs): Buffer {
  switch (format) {
    case 'text':
      return Buffer.from(points.map((held) => String(rawValue(held))).join('\n'));
    case 'json':
      return Buffer.from(JSON.stringify(treeOf(points)));
    case 'cbor':
      return Buffer.from(encodeCbor(treeOf(points)));
    case 'senml-json':
      return Buffer.from(JSON.stringify(points.map((held) => recordOf(held, time))));
    case 'senml-cbor':
      return Buffer.from(encodeCbor(points.map((held) => labelled(recordOf(held, time)))));
    default:
      return format satisfies never;
  }
}

interface SenmlRecord {
  readonly n: string;
  readonly u?: string;
  readonly t: number;
  readonly v?: number;
  readonly vb?: boolean;
  readonly vs?: string;
}

function recordOf(held: Held, time: EpochMs): SenmlRecord {
  const { point, source } = held;
  const value = rawValue(held);
  const name = source.record ?? `${point.device}:${point.name}`;
  const head = { n: name, ...(point.unit === undefined ? {} : { u: point.unit }), t: time / 1_000 };
  if (typeof value === 'number') return { ...head, v: value };
  return typeof value === 'boolean' ? { ...head, vb: value } : { ...head, vs: value };
}

function labelled(record: SenmlRecord): Map<number, PointValue> {
  const map = new Map<number, PointValue>();
  for (const name of ['n', 'u', 't', 'v', 'vs', 'vb'] as const) {
    const value = record[name];
    if (value !== undefined) map.set(LABELS[name], value);
  }
  return map;
}

/** RFC 6901 pointers as nested objects; a point without pointer is the whole document. */
function treeOf(points: readonly Held[]): unknown {
  const root: Record<string, unknown> = {};
  for (const held of points) {
    const path = pointerPath(held.source.pointer);
    const last = path.pop();
    if (last === undefined) return rawValue(held);
    let at = root;
    for (const key of path) {
      const inner = at[key];
      const next = isRecord(inner) ? inner : {};
      at[key] = next;
      at = next;
    }
    at[last] = rawValue(held);
  }
  return root;
}

/** The value in what a client put, for one point; undefined where there is none of its type. Throws on garbage. */
export function decodePayload(format: number, bytes: Buffer, source: CoapSource): PointValue | undefined {
  switch (format) {
    case NUMBERS.text:
      return ofType(source, bytes.toString('utf8'));
    case NUMBERS.json:
      return ofType(source, pointed(JSON.parse(bytes.toString('utf8')), source.pointer));
    case NUMBERS.cbor:
      return ofType(source, pointed(decodeCbor(bytes), source.pointer));
    case NUMBERS['senml-json']:
      return ofType(
        source,
        senmlValue(JSON.parse(bytes.toString('utf8')), source.record, (name) => name),
      );
    case NUMBERS['senml-cbor']:
      return ofType(
        source,
        senmlValue(decodeCbor(bytes, { preferMap: true }), source.record, (name) => LABELS[name]),
      );
    default:
      return undefined;
  }
}

function senmlValue(
  pack: unknown,
  name: string | undefined,
  label: (name: 'n' | 'v' | 'vs' | 'vb') => string | number,
): unknown {
  if (!Array.isArray(pack)) return undefined;
  const records: readonly unknown[] = pack;
  const record = records.find((one) => name === undefined || field(one, label('n')) === name);
  return field(record, label('v')) ?? field(record, label('vs')) ?? field(record, label('vb'));
}

function pointed(root: unknown, pointer: string | undefined): unknown {
  return pointerPath(pointer).reduce<unknown>((inner, key) => field(inner, key), root);
}

function field(inner: unknown, key: string | number): unknown {
  if (inner instanceof Map) return inner.get(key);
  return isRecord(inner) && Object.hasOwn(inner, key) ? inner[key] : undefined;
}

function ofType({ type }: CoapSource, found: unknown): PointValue | undefined {
  switch (type) {
    case 'bool':
      if (typeof found === 'boolean') return found;
      return found === '1' || found === 'true' || found === 1
        ? true
        : found === '0' || found === 'false' || found === 0
          ? false
          : undefined;
    case 'string':
      return typeof found === 'string' ? found : undefined;
    default: {
      const number = typeof found === 'string' && found.trim() !== '' ? Number(found) : found;
      return typeof number === 'number' && Number.isFinite(number) ? number : undefined;
    }
  }
}

function rawValue({ point, value }: Held): PointValue {
  return typeof value === 'number' ? rawOf(point, value) : value;
}

function pointerPath(pointer: string | undefined): string[] {
  if (pointer === undefined || pointer === '') return [];
  return pointer
    .slice(1)
    .split('/')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'));
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
