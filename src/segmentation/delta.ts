import {
  type CanonicalChain,
  type CanonicalSet,
  type CanonicalTable,
  canonical,
  objectsOf,
  type TableObject,
} from './canonical.ts';
import { hasOnly, isRecord, text } from './field.ts';

/** From what the kernel holds to what it shall hold. */
export interface Delta {
  /** One transaction for nft; undefined where nothing differs. */
  readonly document: string | undefined;
  /** Why the whole table is put in the place of the old one; empty where only what differs is changed. */
  readonly replaces: readonly string[];
  readonly changes: Changes;
}

export interface Changes {
  /** Chains whose rules are written again, new ones among them. */
  readonly chains: number;
  readonly elementsAdded: number;
  readonly elementsDeleted: number;
  readonly objectsAdded: number;
  readonly objectsDeleted: number;
}

const HERE = { family: 'inet', table: 'sluice' } as const;
const TABLE = { table: { family: 'inet', name: 'sluice' } } as const;
type Command = { readonly add: object } | { readonly delete: object } | { readonly flush: object };

const NOTHING: Changes = {
  chains: 0,
  elementsAdded: 0,
  elementsDeleted: 0,
  objectsAdded: 0,
  objectsDeleted: 0,
};

/**
 * `listing` is what `nft -j list table inet sluice` printed, undefined where there is no such table; `document` is what
 * `render` made. Only what differs is touched: elements that stay are not mentioned, named counters go on counting, and
 * the content of dynamic sets (quarantine, log rates) stays.
 */
export function delta(listing: string | undefined, document: string): Delta {
  const objects = objectsOf(document);
  const live = readable(listing);
  const before = live === 'not readable' ? live : live?.table;
  const desired = canonical(document);
  if (objects === undefined || desired === undefined) return removal(before === undefined);
  if (before === 'not readable') return replacement(document, ['what is there cannot be read']);
  if (before === undefined) return replacement(document, ['there is no table yet']);
  const reasons = replacesOf(before, desired);
  if (reasons.length > 0) {
    const kept = live === 'not readable' || live === undefined ? [] : live.objects;
    return replacement(carriedOver(document, desired, { table: before, objects: kept }), reasons);
  }
  return new Planner(before, desired, objects).plan();
}

type Live = { readonly table: CanonicalTable | undefined; readonly objects: readonly TableObject[] };

function readable(listing: string | undefined): Live | undefined | 'not readable' {
  if (listing === undefined) return undefined;
  try {
    return { table: canonical(listing), objects: objectsOf(listing) ?? [] };
  } catch {
    return 'not readable';
  }
}

function removal(isGone: boolean): Delta {
  if (isGone) return { document: undefined, replaces: [], changes: NOTHING };
  return replacement(written([{ add: TABLE }, { delete: TABLE }]), ['the table is taken away']);
}

const replacement = (document: string, replaces: readonly string[]): Delta => ({
  document,
  replaces,
  changes: NOTHING,
});

const written = (commands: readonly Command[]): string =>
  `{"nftables":[\n${commands.map((command) => JSON.stringify(command)).join(',\n')}\n]}\n`;

/** What nft or the kernel cannot change in place. */
function replacesOf(before: CanonicalTable, desired: CanonicalTable): string[] {
  const reasons = before.foreign.map((what) => `${what}: not ours, and cannot be taken out by itself`);
  for (const [name, { base }] of desired.chains) {
    const old = before.chains.get(name);
    if (old !== undefined && old.base !== base) reasons.push(`chain ${name} hangs on another hook`);
  }
  for (const [name, { type }] of desired.sets) {
    const old = before.sets.get(name);
    if (old !== undefined && old.type !== type) reasons.push(`${old.kind} ${name} is of another type`);
  }
  return reasons;
}

/** Counters and what is in quarantine, from the old table into the new one. */
function carriedOver(
  document: string,
  desired: CanonicalTable,
  live: { readonly table: CanonicalTable; readonly objects: readonly TableObject[] },
): string {
  const counts = new Map(
    live.objects.flatMap(({ kind, inside }) =>
      kind === 'counter'
        ? [[text(inside['name']), { packets: inside['packets'], bytes: inside['bytes'] }]]
        : [],
    ),
  );
  const commands = commandsOf(document).map((command) => {
    const { add } = command;
    const counter = isRecord(add) && isRecord(add['counter']) ? add['counter'] : undefined;
    const count = counter === undefined ? undefined : counts.get(text(counter['name']));
    return count === undefined ? command : { add: { counter: { ...counter, ...count } } };
  });
  for (const [name, set] of desired.sets) {
    const old = live.table.sets.get(name);
    if (!set.dynamic || old === undefined || old.type !== set.type) continue;
    // How often a source was logged is not worth keeping, and an element with a limit cannot be written in JSON.
    const elem = [...old.elements.values()].map(({ json }) => json).filter(isPlain);
    if (elem.length > 0) commands.push({ add: { element: { ...HERE, name, elem } } });
  }
  return `{"nftables":[\n${commands.map((command) => JSON.stringify(command)).join(',\n')}\n]}\n`;
}

function isPlain(json: unknown): boolean {
  if (!isRecord(json)) return true;
  const { elem } = json;
  return isRecord(elem) && hasOnly(elem, ['val', 'timeout', 'expires', 'comment']);
}

function commandsOf(document: string): Readonly<Record<string, unknown>>[] {
  const parsed: unknown = JSON.parse(document);
  const list: unknown = isRecord(parsed) ? parsed['nftables'] : undefined;
  return Array.isArray(list) ? list.filter(isRecord) : [];
}

class Planner {
  readonly #before: CanonicalTable;
  readonly #desired: CanonicalTable;
  readonly #objects: readonly TableObject[];
  readonly #commands: Command[] = [];
  #elementsAdded = 0;
  #elementsDeleted = 0;
  #objectsAdded = 0;
  #objectsDeleted = 0;

  constructor(before: CanonicalTable, desired: CanonicalTable, objects: readonly TableObject[]) {
    this.#before = before;
    this.#desired = desired;
    this.#objects = objects;
  }

  /** What is referred to comes before what refers to it, and goes after it. */
  plan(): Delta {
    const { chains, counters, sets } = this.#desired;
    const old = this.#before;
    const rewritten = [...chains].filter(([name, chain]) => !sameRules(old.chains.get(name), chain));
    const gone = [...old.chains.keys()].filter((name) => !chains.has(name));
    this.#addObjects('counter', ({ name }) => !old.counters.has(text(name)));
    this.#addObjects('chain', ({ name }) => this.#isNewChain(text(name)));
    this.#addObjects('set', ({ name }) => !old.sets.has(text(name)));
    this.#addObjects('map', ({ name }) => !old.sets.has(text(name)));
    const flushed = rewritten.map(([name]) => name).filter((name) => old.chains.has(name));
    for (const name of [...flushed, ...gone]) this.#commands.push({ flush: { chain: { ...HERE, name } } });
    for (const [name, set] of sets) this.#deleteElements(name, old.sets.get(name), set);
    for (const [name, { kind }] of old.sets) if (!sets.has(name)) this.#delete(kind, name);
    const names = new Set(rewritten.map(([name]) => name));
    for (const { kind, inside } of this.#objects) {
      if (kind === 'rule' && names.has(text(inside['chain']))) this.#commands.push({ add: { rule: inside } });
    }
    for (const [name, set] of sets) this.#addElements(name, old.sets.get(name), set);
    for (const name of gone) this.#delete('chain', name);
    for (const name of old.counters) if (!counters.has(name)) this.#delete('counter', name);
    return this.#done(rewritten.length);
  }

  #done(chains: number): Delta {
    const changes = {
      chains,
      elementsAdded: this.#elementsAdded,
      elementsDeleted: this.#elementsDeleted,
      objectsAdded: this.#objectsAdded,
      objectsDeleted: this.#objectsDeleted,
    };
    const document = this.#commands.length === 0 ? undefined : written(this.#commands);
    return { document, replaces: [], changes };
  }

  /** Also one whose policy changes: that is said by adding it again. */
  #isNewChain(name: string): boolean {
    const old = this.#before.chains.get(name);
    return old === undefined || old.policy !== this.#desired.chains.get(name)?.policy;
  }

  #addObjects(kind: string, isNew: (inside: TableObject['inside']) => boolean): void {
    for (const object of this.#objects) {
      if (object.kind !== kind || !isNew(object.inside)) continue;
      this.#commands.push({ add: { [kind]: object.inside } });
      this.#objectsAdded += 1;
    }
  }

  #delete(kind: string, name: string): void {
    this.#commands.push({ delete: { [kind]: { ...HERE, name } } });
    this.#objectsDeleted += 1;
  }

  #deleteElements(name: string, old: CanonicalSet | undefined, set: CanonicalSet): void {
    if (old === undefined || set.dynamic) return;
    const elem = [...old.elements]
      .filter(([key, { verdict }]) => set.elements.get(key)?.verdict !== verdict)
      .map(([, { key }]) => key);
    if (elem.length === 0) return;
    this.#commands.push({ delete: { element: { ...HERE, name, elem } } });
    this.#elementsDeleted += elem.length;
  }

  /** Elements of a new set come with it. */
  #addElements(name: string, old: CanonicalSet | undefined, set: CanonicalSet): void {
    if (old === undefined || set.dynamic) return;
    const elem = [...set.elements]
      .filter(([key, { verdict }]) => old.elements.get(key)?.verdict !== verdict)
      .map(([, { json }]) => json);
    if (elem.length === 0) return;
    this.#commands.push({ add: { element: { ...HERE, name, elem } } });
    this.#elementsAdded += elem.length;
  }
}

function sameRules(old: CanonicalChain | undefined, chain: CanonicalChain): boolean {
  return old !== undefined && JSON.stringify(old.rules) === JSON.stringify(chain.rules);
}
