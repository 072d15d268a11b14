import type { Interval } from './boxes.ts';
import { type DataType, hasOnly, isRecord, text } from './field.ts';
import { ORDERED, type ValueReader } from './field-value.ts';

export type Verdict =
  | { readonly kind: 'accept' }
  | { readonly kind: 'drop' }
  | { readonly kind: 'return' }
  | { readonly kind: 'continue' }
  | { readonly kind: 'jump' | 'goto'; readonly target: string };

/** One interval for each part of the key; in a map, what happens to it. */
export interface Element {
  readonly key: readonly Interval[];
  readonly verdict: Verdict | undefined;
  /** Where a connection is led to, in a map of ports. */
  readonly port?: number;
}

export interface Elements {
  readonly elements: readonly Element[];
  /** Why they cannot be relied on; empty where all of them are understood. */
  readonly gaps: readonly string[];
}

export interface NamedSet extends Elements {
  /** A map holds verdicts; `ports` is one that leads connections to ports of the gateway. */
  readonly kind: 'set' | 'map' | 'ports';
  readonly name: string;
  readonly types: readonly DataType[];
  /** Elements may have an end each, so that what is listed now holds for now. */
  readonly passing: boolean;
}

const SET_KEYS = [
  'family',
  'table',
  'name',
  'handle',
  'type',
  'map',
  'flags',
  'timeout',
  'gc-interval',
  'size',
];
const MORE_SET_KEYS = ['policy', 'comment', 'elem', 'stmt'];
const FLAGS = new Set(['interval', 'timeout', 'constant', 'dynamic']);
/** Of one element: what does not decide whether it matches. */
const ELEMENT_KEYS = ['val', 'timeout', 'expires', 'comment', 'counter'];
const TYPES: ReadonlySet<string> = new Set<DataType>([
  ...ORDERED,
  'ifname',
  'ct_state',
  'nf_proto',
  'ether_type',
  'ether_addr',
  'boolean',
]);
const VERDICTS: ReadonlyMap<string, Verdict> = new Map(
  (['accept', 'drop', 'return', 'continue'] as const).map((kind) => [kind, { kind }]),
);

/** A set or map of the table. What is odd about it counts only where a rule reads it: log limits may be odd. */
export function namedSet(
  kind: 'set' | 'map',
  json: Readonly<Record<string, unknown>>,
  values: ValueReader,
): NamedSet {
  const gaps: string[] = [];
  const types = (Array.isArray(json['type']) ? json['type'] : [json['type']]).map(text).filter(isType);
  const width = Array.isArray(json['type']) ? json['type'].length : 1;
  if (types.length !== width) gaps.push(`is of type ${JSON.stringify(json['type'])}`);
  if (!hasOnly(json, [...SET_KEYS, ...MORE_SET_KEYS])) gaps.push(`has ${Object.keys(json).join(', ')}`);
  const flags = flagsOf(json['flags']);
  if (!flags.every((flag) => FLAGS.has(text(flag)))) gaps.push(`has flags ${JSON.stringify(flags)}`);
  if (json['timeout'] !== undefined) gaps.push('forgets its elements');
  if (json['stmt'] !== undefined && !onlyCounts(json['stmt'])) gaps.push('has statements in its elements');
  const holdsPorts = kind === 'map' && json['map'] === 'inet_service';
  if (kind === 'map' && json['map'] !== 'verdict' && !holdsPorts) gaps.push(`maps to ${text(json['map'])}`);
  const read =
    gaps.length > 0 || json['elem'] === undefined
      ? NONE
      : holdsPorts
        ? portsOf(json['elem'], types, values)
        : elementsOf(json['elem'], types, kind === 'map', values);
  return {
    kind: holdsPorts ? 'ports' : kind,
    name: text(json['name']),
    types,
    passing: flags.includes('timeout'),
    elements: read.elements,
    gaps: [...gaps, ...read.gaps],
  };
}

/** A single one is listed without brackets by other versions of nft. */
export function flagsOf(flags: unknown): readonly unknown[] {
  return Array.isArray(flags) ? flags : flags === undefined ? [] : [flags];
}

const NONE: Elements = { elements: [], gaps: [] };

function isType(name: string): name is DataType {
  return TYPES.has(name);
}

function onlyCounts(statements: unknown): boolean {
  const list: readonly unknown[] = Array.isArray(statements) ? statements : [statements];
  return list.every((statement) => isRecord(statement) && hasOnly(statement, ['counter']));
}

/** The `elem` of a set or map, or what stands in `{"set": …}` of a rule. */
export function elementsOf(
  json: unknown,
  types: readonly DataType[],
  isMap: boolean,
  values: ValueReader,
): Elements {
  if (!Array.isArray(json)) return { elements: [], gaps: [`has elements ${JSON.stringify(json)}`] };
  const list: readonly unknown[] = json;
  const verdicts = new VerdictReader();
  const elements: Element[] = [];
  const gaps: string[] = [];
  for (const one of list) {
    const [keyJson, verdictJson]: readonly unknown[] = isMap ? pair(one) : [one, undefined];
    const key = keyOf(keyJson, types, values);
    const verdict = isMap ? verdicts.read(verdictJson) : undefined;
    if (key === undefined || (isMap && verdict === undefined)) {
      // One is enough to stop the proof; a few help to find the cause.
      if (gaps.length < 5) gaps.push(`has the element ${JSON.stringify(one)}`);
    } else elements.push({ key, verdict });
  }
  return { elements, gaps };
}

function portsOf(json: unknown, types: readonly DataType[], values: ValueReader): Elements {
  const list: readonly unknown[] = Array.isArray(json) ? json : [json];
  const elements: Element[] = [];
  const gaps: string[] = [];
  for (const one of list) {
    const [keyJson, port] = pair(one);
    const key = keyOf(keyJson, types, values);
    if (key === undefined || typeof port !== 'number') gaps.push(`has the element ${JSON.stringify(one)}`);
    else elements.push({ key, verdict: undefined, port });
  }
  return { elements, gaps };
}

function pair(one: unknown): readonly unknown[] {
  return Array.isArray(one) && one.length === 2 ? one : [undefined, undefined];
}

function keyOf(
  json: unknown,
  types: readonly DataType[],
  values: ValueReader,
): readonly Interval[] | undefined {
  let inside = json;
  if (isRecord(json) && 'elem' in json) {
    const { elem } = json;
    // A limit or a quota of one element decides by itself whether it matches.
    if (!isRecord(elem) || !hasOnly(json, ['elem']) || !hasOnly(elem, ELEMENT_KEYS)) return undefined;
    inside = elem['val'];
  }
  if (types.length === 1 && types[0] !== undefined) {
    const interval = values.interval(types[0], inside);
    return interval === undefined ? undefined : [interval];
  }
  if (!isRecord(inside) || !Array.isArray(inside['concat']) || !hasOnly(inside, ['concat'])) return undefined;
  const parts: readonly unknown[] = inside['concat'];
  if (parts.length !== types.length) return undefined;
  const key: Interval[] = [];
  for (let i = 0; i < parts.length; i += 1) {
    const type = types[i];
    const interval = type === undefined ? undefined : values.interval(type, parts[i]);
    if (interval === undefined) return undefined;
    key.push(interval);
  }
  return key;
}

/** Gives one object for one verdict, so that elements are grouped by it. */
export class VerdictReader {
  readonly #targets = new Map<string, Verdict>();

  read(json: unknown): Verdict | undefined {
    if (!isRecord(json)) return undefined;
    const [kind, more] = Object.keys(json);
    if (kind === undefined || more !== undefined) return undefined;
    const inside = json[kind];
    if (inside === null) return VERDICTS.get(kind);
    if ((kind !== 'jump' && kind !== 'goto') || !isRecord(inside) || !hasOnly(inside, ['target']))
      return undefined;
    const target = text(inside['target']);
    const name = `${kind} ${target}`;
    const known = this.#targets.get(name) ?? { kind, target };
    this.#targets.set(name, known);
    return known;
  }
}
