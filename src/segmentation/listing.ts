import { objectsOf } from './canonical.ts';
import { filterEntries, isOfFilter } from './filter-block.ts';
import { type NamedSet, namedSet } from './listing-set.ts';
import { type Statement, statementsOf } from './listing-rule.ts';
import { hasOnly, isRecord, short, text } from './field.ts';
import type { ValueReader } from './field-value.ts';

export type BaseHook = 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting';

export interface Rule {
  /** `g_forward, rule 3 (handle 17)`: for people, who find the handle with `nft -a list table`. */
  readonly place: string;
  readonly comment: string;
  readonly statements: readonly Statement[];
}

export interface Chain {
  readonly name: string;
  /** Undefined for a chain that is only jumped to. */
  readonly base:
    | { readonly hook: BaseHook; readonly priority: number; readonly policy: 'accept' | 'drop' }
    | undefined;
  readonly rules: readonly Rule[];
}

/** Something in the listing that has no meaning here; nothing can be proven while a rule depends on it. */
export interface Gap {
  readonly place: string;
  readonly what: string;
}

/** One table as `nft -j list table` prints it, without what changes by itself: handles, counts, remaining times. */
export interface Listing {
  readonly chains: ReadonlyMap<string, Chain>;
  /** Where connections are led elsewhere before they are routed; they decide nothing. */
  readonly leading: readonly Chain[];
  readonly sets: ReadonlyMap<string, NamedSet>;
  readonly gaps: readonly Gap[];
}

const HOOKS: ReadonlySet<string> = new Set<BaseHook>([
  'prerouting',
  'input',
  'forward',
  'output',
  'postrouting',
]);
/** Named objects that decide nothing by themselves; a rule that refers to one is looked at where it stands. */
const INERT = new Set(['metainfo', 'counter', 'quota', 'limit', 'ct helper', 'ct timeout', 'ct expectation']);

/** Reads the JSON text of `nft -j list table inet sluice`. */
export function parseListing(json: string, values: ValueReader): Listing {
  let document: unknown;
  try {
    document = JSON.parse(json);
  } catch {
    return broken('is not JSON');
  }
  if (!isRecord(document) || !Array.isArray(document['nftables'])) return broken('is not what nft -j prints');
  const objects: readonly unknown[] = document['nftables'];
  return new ListingReader(values).read(objects);
}

/** What nft listed of our tables, one after the other, as one listing; undefined where there is none. */
export function mergedListings(listings: readonly string[]): string | undefined {
  const [first, ...more] = listings;
  if (more.length === 0) return first;
  const objects = listings.flatMap((listing): readonly unknown[] => {
    const document: unknown = JSON.parse(listing);
    return isRecord(document) && Array.isArray(document['nftables']) ? document['nftables'] : [document];
  });
  return JSON.stringify({ nftables: objects });
}

/**
 * Of what nft listed elsewhere, one document or several one after the other, also `nft -j list ruleset`: our tables, as one
 * listing. What is no JSON of nft stays as it is: whoever reads it says so.
 */
export function ownListing(listed: string): string {
  try {
    const whole = mergedListings(listed.trim().split(/\n(?=\{)/)) ?? listed;
    const document: unknown = JSON.parse(whole);
    if (!isRecord(document) || !Array.isArray(document['nftables'])) return listed;
    const objects: readonly unknown[] = document['nftables'];
    return JSON.stringify({ nftables: objects.filter((object) => !isForeign(object)) });
  } catch {
    return listed;
  }
}

/** Of another table, as far as it says of which it is. */
function isForeign(object: unknown): boolean {
  const [kind, inside, ...more] = isRecord(object) ? Object.entries(object).flat() : [];
  if (more.length > 0 || !isRecord(inside) || typeof inside['family'] !== 'string') return false;
  const table = inside[kind === 'table' ? 'name' : 'table'];
  return table !== 'sluice' || !['inet', 'bridge'].includes(inside['family']);
}

/** Does a listing hold our rules about packets at all? What is no listing is for others to tell. */
export function hasTable(json: string | undefined): boolean {
  if (json === undefined) return false;
  try {
    return objectsOf(json) !== undefined;
  } catch {
    return true;
  }
}

function broken(what: string): Listing {
  return { chains: new Map(), leading: [], sets: new Map(), gaps: [{ place: 'the listing', what }] };
}

class ListingReader {
  readonly #values: ValueReader;
  readonly #chains = new Map<string, { base: Chain['base']; rules: Rule[]; leads: boolean }>();
  readonly #sets = new Map<string, NamedSet>();
  readonly #gaps: Gap[] = [];
  readonly #filters = new Map<string, unknown[]>();
  #tables = 0;

  constructor(values: ValueReader) {
    this.#values = values;
  }

  read(objects: readonly unknown[]): Listing {
    // Rules name chains, and listings are not sorted: chains first.
    for (const object of objects) this.#object(object, false);
    for (const object of objects) this.#object(object, true);
    if (this.#tables > 1) this.#gap('the listing', `has the table ${this.#tables} times`);
    const all = [...this.#chains].map(([name, chain]) => ({ name, ...chain }));
    const filters = filterEntries(this.#filters, (place, what) => this.#gap(place, what));
    const chains = new Map<string, Chain>(
      [...all.filter(({ leads, name }) => !leads && !this.#filters.has(name)), ...filters].map((chain) => [
        chain.name,
        chain,
      ]),
    );
    return { chains, leading: all.filter(({ leads }) => leads), sets: this.#sets, gaps: this.#gaps };
  }

  #gap(place: string, what: string): void {
    this.#gaps.push({ place, what });
  }

  #object(object: unknown, rules: boolean): void {
    const [kind, inside, ...more] = isRecord(object) ? Object.entries(object).flat() : [];
    if (typeof kind !== 'string' || more.length > 0 || !isRecord(inside)) {
      if (rules) this.#gap('the listing', `holds ${short(object, 120)}`);
      return;
    }
    if (rules) {
      if (kind === 'rule' && this.#isOurs(inside)) this.#rule(inside);
      return;
    }
    // The table of the bridge is proven by itself.
    if (inside['family'] === 'bridge' && inside[kind === 'table' ? 'name' : 'table'] === 'sluice') return;
    if (INERT.has(kind) || (kind === 'rule' && this.#isOurs(inside))) return;
    if (!this.#isOurs(kind === 'table' ? { ...inside, table: inside['name'] } : inside)) {
      this.#gap(`${kind} ${text(inside['name'])}`, 'is not of table inet sluice');
    } else if (kind === 'table') this.#table(inside);
    else if (kind === 'chain') this.#chain(inside);
    else if (kind === 'set' || kind === 'map') this.#set(kind, inside);
    else this.#gap(`${kind} ${text(inside['name'])}`, 'is an object that is not known here');
  }

  #isOurs(inside: Readonly<Record<string, unknown>>): boolean {
    return inside['family'] === 'inet' && inside['table'] === 'sluice';
  }

  /** A dormant table is listed as ever and does nothing: any flag is a reason to stop. */
  #table(inside: Readonly<Record<string, unknown>>): void {
    this.#tables += 1;
    if (!hasOnly(inside, ['family', 'name', 'handle', 'comment'])) {
      this.#gap('table inet sluice', `has ${Object.keys(inside).join(', ')}`);
    }
  }

  #chain(inside: Readonly<Record<string, unknown>>): void {
    const name = text(inside['name']);
    if (
      !hasOnly(inside, ['family', 'table', 'name', 'handle', 'type', 'hook', 'prio', 'policy', 'comment'])
    ) {
      this.#gap(`chain ${name}`, `has ${Object.keys(inside).join(', ')}`);
    }
    if (this.#chains.has(name)) this.#gap(`chain ${name}`, 'is listed twice');
    const leads = isLeading(inside);
    const base = leads ? undefined : this.#base(name, inside);
    if (isOfFilter(name)) {
      if (base !== undefined || leads) this.#gap(`chain ${name}`, 'hangs on a hook');
      this.#filters.set(name, []);
    }
    this.#chains.set(name, { base, rules: [], leads });
  }

  #base(name: string, inside: Readonly<Record<string, unknown>>): Chain['base'] {
    const { hook, type, prio, policy = 'accept' } = inside;
    if (hook === undefined && type === undefined && inside['policy'] === undefined) return undefined;
    if (
      type === 'filter' &&
      typeof prio === 'number' &&
      isHook(hook) &&
      (policy === 'accept' || policy === 'drop')
    ) {
      return { hook, priority: prio, policy };
    }
    this.#gap(`chain ${name}`, `hangs on type ${text(type)}, hook ${text(hook)}, policy ${text(policy)}`);
    return undefined;
  }

  #set(kind: 'set' | 'map', inside: Readonly<Record<string, unknown>>): void {
    const name = text(inside['name']);
    if (this.#sets.has(name)) this.#gap(`${kind} ${name}`, 'is listed twice');
    this.#sets.set(name, namedSet(kind, inside, this.#values));
  }

  #rule(inside: Readonly<Record<string, unknown>>): void {
    const chainName = text(inside['chain']);
    const chain = this.#chains.get(chainName);
    const place = `${chainName}, rule ${(chain?.rules.length ?? 0) + 1} (handle ${String(inside['handle'])})`;
    if (chain === undefined) {
      this.#gap(place, 'is in a chain that is not listed');
      return;
    }
    if (!hasOnly(inside, ['family', 'table', 'chain', 'handle', 'comment', 'expr', 'index'])) {
      this.#gap(place, `has ${Object.keys(inside).join(', ')}`);
    }
    if (isOfFilter(chainName)) {
      this.#filters.get(chainName)?.push(inside['expr']);
      return;
    }
    const expressions: readonly unknown[] = Array.isArray(inside['expr']) ? inside['expr'] : [undefined];
    const statements = statementsOf(expressions, this.#values, (what) => this.#gap(place, what));
    chain.rules.push({ place, comment: text(inside['comment']), statements });
  }
}

/** Destinations are rewritten there, behind conntrack and before any rule of ours that looks at them. */
function isLeading({ type, hook, prio, policy }: Readonly<Record<string, unknown>>): boolean {
  return type === 'nat' && hook === 'prerouting' && prio === -100 && policy === 'accept';
}

function isHook(hook: unknown): hook is BaseHook {
  return typeof hook === 'string' && HOOKS.has(hook);
}
