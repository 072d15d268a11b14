/** One record of a SenML pack with every base field worked in: RFC 8428, 4.6. */
export interface SenmlRecord {
  readonly name: string;
  readonly unit: string | undefined;
  /** Undefined where the record carries a sum alone. */
  readonly value: unknown;
  readonly sum: number | undefined;
  /** Milliseconds since 1970, UTC; undefined where the pack says nothing and "now" is meant. */
  readonly time: number | undefined;
}

export type SenmlPack =
  | { readonly ok: true; readonly records: readonly SenmlRecord[] }
  | { readonly ok: false; readonly why: string };

const MAX_VERSION = 10; // RFC 8428, 4.4
const ABSOLUTE_FROM = 2 ** 28; // seconds; below it a time is relative to now, RFC 8428, 4.5.3
const LATEST = 253_402_300_800; // seconds, ours: the year 10000
const MAX_RECORDS = 4_096; // ours
const NAME = /^[A-Za-z0-9][A-Za-z0-9\-:./_]*$/; // RFC 8428, 4.5.1

/** Labels of the CBOR form, RFC 8428, 6. */
const LABELS = new Map<unknown, string>([
  [-1, 'bver'], [-2, 'bn'], [-3, 'bt'], [-4, 'bu'], [-5, 'bv'], [-6, 'bs'],
  [0, 'n'], [1, 'u'], [2, 'v'], [3, 'vs'], [4, 'vb'], [5, 's'], [6, 't'], [7, 'ut'], [8, 'vd'],
]); // biome-ignore format: a table
const VALUES = ['v', 'vs', 'vb', 'vd'] as const;

class Refused extends Error {}

/** Fields of a record under their JSON labels. */
type Fields = ReadonlyMap<string, unknown>;

/**
 * Resolves a decoded pack (JSON value, or CBOR with `Map` for maps). `now` in ms stands for relative times. A pack
 * is taken whole or not at all. `numberOf` turns what the codec makes of a number into one, or undefined.
 */
export function resolveSenml(
  pack: unknown,
  now: number,
  numberOf: (raw: unknown) => number | undefined,
): SenmlPack {
  try {
    return { ok: true, records: resolve(pack, now, numberOf) };
  } catch (error) {
    if (error instanceof Refused) return { ok: false, why: error.message };
    throw error;
  }
}

function resolve(pack: unknown, now: number, numberOf: (raw: unknown) => number | undefined): SenmlRecord[] {
  if (!Array.isArray(pack) || pack.length === 0 || pack.length > MAX_RECORDS) {
    throw new Refused('a SenML pack is a list of 1 to 4096 records');
  }
  let baseName = '';
  let baseTime = 0;
  let baseUnit: string | undefined;
  let baseValue: number | undefined;
  let baseSum: number | undefined;
  const records: SenmlRecord[] = [];
  for (const raw of pack) {
    const fields = fieldsOf(raw);
    const number = (label: string): number | undefined => {
      if (!fields.has(label)) return undefined;
      const value = numberOf(fields.get(label));
      if (value === undefined || !Number.isFinite(value)) throw new Refused(`${label} is no number`);
      return value;
    };
    const text = (label: string): string | undefined => {
      const value = fields.get(label);
      if (value === undefined || typeof value === 'string') return value;
      throw new Refused(`${label} is no text`);
    };
    if ((number('bver') ?? MAX_VERSION) > MAX_VERSION) throw new Refused('a SenML version above 10');
    baseName = text('bn') ?? baseName;
    baseTime = number('bt') ?? baseTime;
    baseUnit = text('bu') ?? baseUnit;
    baseValue = number('bv') ?? baseValue;
    baseSum = number('bs') ?? baseSum;
    number('ut');

    const name = baseName + (text('n') ?? '');
    if (!NAME.test(name)) throw new Refused('a record without a valid name');
    const given = VALUES.filter((label) => fields.has(label));
    const ownSum = number('s');
    if (given.length > 1 || (given.length === 0 && ownSum === undefined)) {
      throw new Refused('a record needs exactly one value'); // RFC 8428, 4.2
    }
    const sum = ownSum === undefined && baseSum === undefined ? undefined : (ownSum ?? 0) + (baseSum ?? 0);
    const value = valueOf(given[0], fields, baseValue, number);
    records.push({
      name,
      unit: text('u') ?? baseUnit,
      value,
      sum,
      time: timeOf(baseTime, number('t') ?? 0, now),
    });
  }
  return records.sort((a, b) => (a.time ?? now) - (b.time ?? now)); // resolved records are chronological, 4.6
}

function fieldsOf(raw: unknown): Fields {
  if (typeof raw !== 'object' || raw === null || Array.isArray(raw)) throw new Refused('a record is no map');
  const entries: Iterable<[unknown, unknown]> = raw instanceof Map ? raw : Object.entries(raw);
  const binary = raw instanceof Map;
  const fields = new Map<string, unknown>();
  for (const [label, value] of entries) {
    // a label that ends in _ must be understood or the pack is refused, 4.4
    if (typeof label === 'string' && label.endsWith('_'))
      throw new Refused('a label that must be understood');
    const known = binary ? LABELS.get(label) : typeof label === 'string' ? label : undefined;
    if (known !== undefined) fields.set(known, value);
  }
  return fields;
}

function valueOf(
  label: (typeof VALUES)[number] | undefined,
  fields: Fields,
  baseValue: number | undefined,
  number: (label: string) => number | undefined,
): unknown {
  if (label === undefined) return undefined;
  const raw = fields.get(label);
  switch (label) {
    case 'v': {
      const value = number('v');
      // without a base the value stays what the codec made of it, so that large integers keep their digits
      return baseValue === undefined ? raw : (value ?? 0) + baseValue;
    }
    case 'vb':
      if (typeof raw !== 'boolean') throw new Refused('vb is neither true nor false');
      return raw;
    case 'vs':
      if (typeof raw !== 'string') throw new Refused('vs is no text');
      return raw;
    case 'vd':
      if (raw instanceof Uint8Array) return Buffer.from(raw).toString('base64url'); // 5: base64url, no padding
      if (typeof raw !== 'string') throw new Refused('vd is no data');
      return raw;
    default:
      return label satisfies never;
  }
}

function timeOf(base: number, own: number, now: number): number | undefined {
  const sum = base + own; // the sum decides, 4.5.3
  if (Math.abs(sum) >= LATEST) throw new Refused('a time beyond the year 9999');
  if (sum === 0) return undefined;
  return Math.round(sum < ABSOLUTE_FROM ? now + sum * 1_000 : sum * 1_000);
}
