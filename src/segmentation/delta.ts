import {
  type CanonicalChain,
  type CanonicalSet,
  type CanonicalTable,
  canonical,
  commandsOf,
  objectsOf,
  type TableFamily,
  type TableObject,
} from './canonical.ts';
import { hasOnly, isRecord, text } from './field.ts';

/** From what the kernel holds to what it shall hold. */
export interface Delta {
  /** One transaction for nft; undefined where nothing differs. */
  readonly document: string | undefined;
  /**
   * What of it, loaded in a transaction of its own before, loses no packet: the kernel shows the elements of a new map of
   * intervals a moment later than the rules that look into it. Nothing refers to it yet.
   */
  readonly first?: string | undefined;
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

const hereIn = (family: TableFamily) => ({ family, table: 'sluice' }) as const;
const tableIn = (family: TableFamily) => ({ table: { family, name: 'sluice' } }) as const;
type Command = { readonly add: object } | { readonly delete: object } | { readonly flush: object };

const NOTHING: Changes = {
  chains: 0,
  elementsAdded: 0,
  elementsDeleted: 0,
  objectsAdded: 0,
  objectsDeleted: 0,
};

/**
 * `listing` is what `nft -j list table` printed of our two tables, undefined where there is none; `document` is what
 * `render` made. Only what differs is touched: elements that stay are not mentioned, named counters go on counting, and
 * the content of dynamic sets (quarantine, log rates) stays. Both tables change in one transaction.
 */
export function delta(listing: string | undefined, document: string): Delta {
  const packets = deltaOf('inet', listing, document);
  if (!hasBridge(listing) && !hasBridge(document)) return packets;
  const frames = deltaOf('bridge', listing, document);
  const documents = [packets.document, frames.document].filter((one) => one !== undefined);
  const [first, ...more] = documents;
  return {
    document: more.length === 0 ? first : written(documents.flatMap(commandsOf)),
    first: packets.first,
    replaces: [...packets.replaces, ...frames.replaces.map((reason) => `at the ports: ${reason}`)],
    changes: sum(packets.changes, frames.changes),
  };
}

/** An interface of that name costs no more than a second look. */
const hasBridge = (json: string | undefined): boolean => json?.includes('"bridge"') === true;

const sum = (a: Changes, b: Changes): Changes => ({
  chains: a.chains + b.chains,
  elementsAdded: a.elementsAdded + b.elementsAdded,
  elementsDeleted: a.elementsDeleted + b.elementsDeleted,
  objectsAdded: a.objectsAdded + b.objectsAdded,
  objectsDeleted: a.objectsDeleted + b.objectsDeleted,
});

function deltaOf(family: TableFamily, listing: string | undefined, document: string): Delta {
  const objects = objectsOf(document, family);
  const live = readable(family, listing);
  const before = live === 'not readable' ? live : live?.table;
  const desired = canonical(document, family);
  if (objects === undefined || desired === undefined) return removal(family, before === undefined);
  const own = only(family, document);
  if (before === 'not readable') return replacement(own, ['what is there cannot be read']);
  if (before === undefined) return replacement(own, ['there is no table yet']);
  const reasons = replacesOf(before, desired);
  if (reasons.length > 0) {
    const kept = live === 'not readable' || live === undefined ? [] : live.objects;
    return replacement(carriedOver(family, own, desired, { table: before, objects: kept }), reasons);
  }
  return new Planner(family, before, desired, objects).plan();
}

/** The commands of one table. */
function only(family: TableFamily, document: string): string {
  if (!hasBridge(document)) return document;
  return written(
    commandsOf(document).filter((command) => {
      const inside = Object.values(command).flatMap((one) => (isRecord(one) ? Object.values(one) : []));
      return inside.some((one) => isRecord(one) && (one['family'] === 'bridge') === (family === 'bridge'));
    }),
  );
}

type Live = { readonly table: CanonicalTable | undefined; readonly objects: readonly TableObject[] };

function readable(family: TableFamily, listing: string | undefined): Live | undefined | 'not readable' {
  if (listing === undefined) return undefined;
  try {
    return { table: canonical(listing, family), objects: objectsOf(listing, family) ?? [] };
  } catch {
    return 'not readable';
  }
}

function removal(family: TableFamily, isGone: boolean): Delta {
  if (isGone) return { document: undefined, replaces: [], changes: NOTHING };
  const table = tableIn(family);
  return replacement(written([{ add: table }, { delete: table }]), ['the table is taken away']);
}

const replacement = (document: string, replaces: readonly string[]): Delta => ({
  document,
  replaces,
  changes: NOTHING,
});

const written = (commands: readonly object[]): string =>
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
  family: TableFamily,
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
    if (elem.length > 0) commands.push({ add: { element: { ...hereIn(family), name, elem } } });
  }
  return written(commands);
}

function isPlain(json: unknown): boolean {
  if (!isRecord(json)) return true;
  const { elem } = json;
  return isRecord(elem) && hasOnly(elem, ['val', 'timeout', 'expires', 'comment']);
}

class Planner {
  readonly #here: ReturnType<typeof hereIn>;
  readonly #before: CanonicalTable;
  readonly #desired: CanonicalTable;
  readonly #objects: readonly TableObject[];
  readonly #commands: Command[] = [];
  #elementsAdded = 0;
  #elementsDeleted = 0;
  #objectsAdded = 0;
  #objectsDeleted = 0;

  constructor(
    family: TableFamily,
    before: CanonicalTable,
    desired: CanonicalTable,
    objects: readonly TableObject[],
  ) {
    this.#here = hereIn(family);
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
    for (const name of [...flushed, ...gone])
      this.#commands.push({ flush: { chain: { ...this.#here, name } } });
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
    return { document, first: this.#first(), replaces: [], changes };
  }

  /** Everything that has elements and is new, where some of it is of intervals. */
  #first(): string | undefined {
    const isNew = ({ kind, inside }: TableObject): boolean =>
      (kind === 'map' || kind === 'set') && !this.#before.sets.has(text(inside['name']));
    const holders = this.#objects.filter(isNew);
    if (!holders.some(({ inside }) => isOfIntervals(inside))) return undefined;
    const chains = this.#objects.filter(
      ({ kind, inside }) => kind === 'chain' && !('hook' in inside) && this.#isNewChain(text(inside['name'])),
    );
    return written([...chains, ...holders].map(({ kind, inside }) => ({ add: { [kind]: inside } })));
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
    this.#commands.push({ delete: { [kind]: { ...this.#here, name } } });
    this.#objectsDeleted += 1;
  }

  #deleteElements(name: string, old: CanonicalSet | undefined, set: CanonicalSet): void {
    if (old === undefined || set.dynamic) return;
    const elem = [...old.elements]
      .filter(([key, { verdict }]) => set.elements.get(key)?.verdict !== verdict)
      .map(([, { key }]) => key);
    if (elem.length === 0) return;
    this.#commands.push({ delete: { element: { ...this.#here, name, elem } } });
    this.#elementsDeleted += elem.length;
  }

  /** Elements of a new set come with it. */
  #addElements(name: string, old: CanonicalSet | undefined, set: CanonicalSet): void {
    if (old === undefined || set.dynamic) return;
    const elem = [...set.elements]
      .filter(([key, { verdict }]) => old.elements.get(key)?.verdict !== verdict)
      .map(([, { json }]) => json);
    if (elem.length === 0) return;
    this.#commands.push({ add: { element: { ...this.#here, name, elem } } });
    this.#elementsAdded += elem.length;
  }
}

const isOfIntervals = ({ flags }: TableObject['inside']): boolean =>
  Array.isArray(flags) && flags.includes('interval');

function sameRules(old: CanonicalChain | undefined, chain: CanonicalChain): boolean {
  return old !== undefined && JSON.stringify(old.rules) === JSON.stringify(chain.rules);
}
