import { type DataType, fieldOf, isRecord, text } from './field.ts';
import { isTime, secondsOf } from './time-match.ts';
import { ORDERED, ValueReader } from './field-value.ts';

// A table in the form in which what was generated and what the kernel lists of it are the same text: numbers for names,
// ranges for prefixes, the content of sets in one order, and nothing that changes by itself.

export interface CanonicalTable {
  readonly chains: ReadonlyMap<string, CanonicalChain>;
  readonly counters: ReadonlySet<string>;
  readonly sets: ReadonlyMap<string, CanonicalSet>;
  /** What has no place in a table of ours and cannot be taken out by itself. */
  readonly foreign: readonly string[];
}

export interface CanonicalChain {
  /** Type, hook and priority; empty for a chain that is only gone to. None of them can be changed in place. */
  readonly base: string;
  readonly policy: string;
  readonly rules: readonly string[];
}

export interface CanonicalSet {
  readonly kind: 'set' | 'map';
  /** Types of keys, flags, time and size: none of them can be changed in place. */
  readonly type: string;
  /** Its elements come and go with packets, and are no part of what is compared. Those of the quarantine are. */
  readonly dynamic: boolean;
  readonly elements: ReadonlyMap<string, CanonicalElement>;
}

export interface CanonicalElement {
  readonly verdict: string;
  /** The key as nft wrote or reads it. */
  readonly key: unknown;
  /** The whole element, likewise. */
  readonly json: unknown;
}

type Inside = Readonly<Record<string, unknown>>;
/** One object of a table: `chain`, and what is said about it. */
export interface TableObject {
  readonly kind: string;
  readonly inside: Inside;
}

/** Our two tables: packets that are routed, and frames that come in at access ports. */
export type TableFamily = 'inet' | 'bridge';

/** The objects of a listing, or of a document that was generated for nft; undefined where there is no table. */
export function objectsOf(json: string, family: TableFamily = 'inet'): TableObject[] | undefined {
  const document: unknown = JSON.parse(json);
  if (!isRecord(document) || !Array.isArray(document['nftables'])) {
    throw new Error('this is not what nft reads or prints');
  }
  const list: readonly unknown[] = document['nftables'];
  let objects: TableObject[] = [];
  for (const one of list) {
    if (isRecord(one) && 'delete' in one) {
      if (objectOf(one['delete']).some(({ inside }) => isOf(family, inside))) objects = [];
    } else {
      const found = objectOf(isRecord(one) && 'add' in one ? one['add'] : one);
      objects.push(...found.filter(({ inside }) => isOf(family, inside)));
    }
  }
  return objects.some(({ kind }) => kind === 'table') ? objects : undefined;
}

/** What says nothing of its family is of no table of the bridge. */
function isOf(family: TableFamily, inside: Inside): boolean {
  return (inside['family'] === 'bridge') === (family === 'bridge');
}

function objectOf(json: unknown): TableObject[] {
  const [entry] = isRecord(json) ? Object.entries(json) : [];
  if (entry === undefined) return [];
  const [kind, inside] = entry;
  return kind === 'metainfo' || !isRecord(inside) ? [] : [{ kind, inside }];
}

/** Throws where the text is no JSON of nft. */
export function canonical(json: string, family: TableFamily = 'inet'): CanonicalTable | undefined {
  const objects = objectsOf(json, family);
  if (objects === undefined) return undefined;
  const reader = new TableReader();
  // Rules name chains, and listings are not sorted: chains first.
  for (const object of objects) if (object.kind !== 'rule') reader.take(object);
  for (const object of objects) if (object.kind === 'rule') reader.take(object);
  return reader;
}

class TableReader implements CanonicalTable {
  readonly chains = new Map<string, CanonicalChain & { readonly rules: string[] }>();
  readonly counters = new Set<string>();
  readonly sets = new Map<string, CanonicalSet>();
  readonly foreign: string[] = [];
  readonly #values = new ValueReader(() => 0);

  take({ kind, inside }: TableObject): void {
    const name = text(inside['name']);
    switch (kind) {
      case 'table':
        // Dormant: listed as ever, and not in force.
        if ('flags' in inside) this.foreign.push('flags of the table');
        break;
      case 'counter':
        this.counters.add(name);
        break;
      case 'chain':
        this.#chain(name, inside);
        break;
      case 'set':
      case 'map':
        this.sets.set(name, this.#set(kind, inside));
        break;
      case 'rule':
        this.#rule(inside);
        break;
      default:
        this.foreign.push(`${kind} ${name}`);
    }
  }

  #chain(name: string, inside: Inside): void {
    const { type, hook, prio, dev, policy } = inside;
    const base = hook === undefined ? '' : JSON.stringify([type, hook, prio, dev]);
    this.chains.set(name, { base, policy: text(policy), rules: [] });
  }

  #rule({ chain, expr, comment }: Inside): void {
    const rule = JSON.stringify([canonicalJson(expr, this.#values), comment ?? '']);
    this.chains.get(text(chain))?.rules.push(rule);
  }

  #set(kind: 'set' | 'map', inside: Inside): CanonicalSet {
    const types = listOf(inside['type']).map(text);
    const flags = listOf(inside['flags']).map(text);
    const { timeout = 0, size = 0, map = '', stmt = [] } = inside;
    // Rules fill those of which every element goes by itself.
    const dynamic = timeout !== 0;
    const type = JSON.stringify([kind, types, map, flags.toSorted(), timeout, size, stmt]);
    const elements = new Map<string, CanonicalElement>();
    for (const json of listOf(inside['elem'])) {
      const [key, verdict]: readonly unknown[] = kind === 'map' ? listOf(json) : [json, ''];
      const bare = bareKey(key);
      elements.set(this.#key(key, types), { verdict: JSON.stringify(verdict), key: bare, json });
    }
    return { kind, type, dynamic, elements };
  }

  /** An element with more than a key (a comment, a time) is not the one that was declared. */
  #key(key: unknown, types: readonly string[]): string {
    if (bareKey(key) !== key) return JSON.stringify(key);
    const parts = isRecord(key) && 'concat' in key ? listOf(key['concat']) : [key];
    return parts.map((part, i) => this.#part(part, types[i])).join(' . ');
  }

  #part(part: unknown, type: string | undefined): string {
    const interval = isOrdered(type) ? this.#values.interval(type, part) : undefined;
    return interval === undefined ? JSON.stringify(part) : `${interval.low}-${interval.high}`;
  }
}

function bareKey(key: unknown): unknown {
  return isRecord(key) && isRecord(key['elem']) ? key['elem']['val'] : key;
}

function isOrdered(type: string | undefined): type is DataType {
  const ordered: ReadonlySet<string> = ORDERED;
  return type !== undefined && ordered.has(type);
}

function listOf(json: unknown): readonly unknown[] {
  return Array.isArray(json) ? json : json === undefined ? [] : [json];
}

/** Numbers for names of ICMP types, and what stands in braces in one order. */
function canonicalJson(json: unknown, values: ValueReader): unknown {
  if (Array.isArray(json)) return json.map((one) => canonicalJson(one, values));
  if (!isRecord(json)) return json;
  const { left, right } = json;
  const type = isRecord(left) ? typeOf(left) : undefined;
  const inner: Inside = isTime(left)
    ? { ...json, right: secondsOf(right) ?? right }
    : isOrdered(type)
      ? { ...json, right: numbersOf(right, type, values) }
      : json;
  return Object.fromEntries(
    Object.keys(inner)
      .toSorted()
      .map((key) => [key, inBraces(key, canonicalJson(inner[key], values))]),
  );
}

/** The protocol behind an extension header is a number that nft has names for, and no field of a packet set. */
function typeOf(left: Inside): DataType | undefined {
  const { exthdr } = left;
  return isRecord(exthdr) && exthdr['field'] === 'nexthdr' ? 'inet_proto' : fieldOf(left)?.type;
}

function numbersOf(json: unknown, type: DataType, values: ValueReader): unknown {
  if (isRecord(json) && Array.isArray(json['set'])) {
    return { set: listOf(json['set']).map((one) => numbersOf(one, type, values)) };
  }
  const interval = values.interval(type, json);
  return interval === undefined ? json : `${interval.low}-${interval.high}`;
}

function inBraces(key: string, json: unknown): unknown {
  if (key !== 'set' || !Array.isArray(json)) return json;
  return json.map((one) => JSON.stringify(one)).toSorted();
}

/** Everything that two tables have to share to be the same, as text. */
export function fingerprint(table: CanonicalTable | undefined): string {
  if (table === undefined) return 'no table';
  return JSON.stringify({
    foreign: table.foreign.toSorted(),
    counters: [...table.counters].toSorted(),
    chains: named(table.chains, (chain) => chain),
    sets: named(table.sets, ({ type, dynamic, elements }) => [
      type,
      dynamic ? [] : [...elements].map(([key, { verdict }]) => `${key} : ${verdict}`).toSorted(),
    ]),
  });
}

function named<T>(things: ReadonlyMap<string, T>, shown: (thing: T) => unknown): unknown[] {
  return [...things].map(([name, thing]) => [name, shown(thing)]).toSorted(byName);
}

const byName = (a: readonly unknown[], b: readonly unknown[]): number => (text(a[0]) < text(b[0]) ? -1 : 1);

/** What a document of nft says one by one. Throws where it is no JSON. */
export function commandsOf(document: string): Readonly<Record<string, unknown>>[] {
  const parsed: unknown = JSON.parse(document);
  const list: unknown = isRecord(parsed) ? parsed['nftables'] : undefined;
  return Array.isArray(list) ? list.filter(isRecord) : [];
}
