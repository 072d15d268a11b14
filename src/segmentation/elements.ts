import type { AddressRange, Flow } from './policy.ts';
import { flowChain } from './names.ts';
import { type Family, isEvery, isSingle, ofFamily } from './ranges.ts';
import type { KeyPart, MapElement } from './ruleset.ts';

/**
 * What the flows of a zone pair allow in one family, as elements of maps that are looked up in this order. Within a map
 * elements are disjoint; where flows overlap, the more exact map decides which of them counts, then the file. Flows from
 * many to many come behind all of these.
 */
export interface Elements {
  /** Exact hosts and ports: a hash map that costs the same for one device and for ten thousand. */
  readonly exact: readonly MapElement[];
  /** The same without the address of the gateway: it is any of its own. */
  readonly exactOpen: readonly MapElement[];
  /** Subnets and ranges of ports: an interval map, behind. */
  readonly ranges: readonly MapElement[];
  readonly rangesOpen: readonly MapElement[];
  /** Echo requests, which have no port. */
  readonly echo: readonly MapElement[];
  readonly echoOpen: readonly MapElement[];
}

export interface Entry {
  readonly key: readonly KeyPart[];
  readonly target: string;
}

export function elementsOf(flows: readonly Flow[], family: Family): Elements {
  const ports = flows.filter(({ protocol }) => protocol === 'tcp' || protocol === 'udp');
  const echo = flows.filter(({ protocol }) => protocol === (family === 4 ? 'icmp' : 'icmpv6'));
  const portEntries = ports.map((flow) => entriesOf(flow, family));
  const exactly = (open: boolean): MapElement[] =>
    unique(portEntries.flatMap((of) => (of.open === open ? of.entries.filter(isExact) : [])));
  const ranging = (open: boolean): MapElement[] =>
    apart(portEntries.map((of) => (of.open === open ? of.entries.filter((entry) => !isExact(entry)) : [])));
  const echoing = (open: boolean): MapElement[] => {
    const all = echo.map((flow) => entriesOf(flow, family));
    return apart(all.map((of) => (of.open === open ? of.entries : [])));
  };
  return {
    exact: exactly(false),
    exactOpen: exactly(true),
    ranges: ranging(false),
    rangesOpen: ranging(true),
    echo: echoing(false),
    echoOpen: echoing(true),
  };
}

/**
 * From many to many: fifty readers and fifty presses are 2,500 pairs, and 400 such conduits a million elements, which nft
 * loads for half a minute. Where pairs are many, and many times the hosts, both sides are sets, and a rule of the conduit
 * looks into one and then into the other; else a pair costs every new connection one look, however many conduits there are.
 */
const MOST_PAIRS = 256;
const PAIRS_A_HOST = 4;

export function isWide({ from, to }: Flow, family: Family): boolean {
  if ([from, to].some((side) => side.interface === undefined)) return false;
  const [sources, destinations] = [ofFamily(from, family).length, ofFamily(to, family).length];
  const pairs = sources * destinations;
  return pairs > MOST_PAIRS && pairs > PAIRS_A_HOST * (sources + destinations);
}

/** Every pair of addresses of a flow. `open` where the side of the gateway is any address and thus not in the key. */
export function entriesOf(
  flow: Flow,
  family: Family,
): { readonly open: boolean; readonly entries: readonly Entry[] } {
  const { from, to, protocol, ports } = flow;
  const [low, high] = ports;
  const anyHere = ({ interface: own, ...side }: Flow['from']): boolean =>
    own === undefined && isEvery(family, ofFamily(side, family));
  const target = flowChain(flow);
  const tail: KeyPart[] =
    protocol === 'tcp' || protocol === 'udp' ? [protocol, { low: BigInt(low), high: BigInt(high) }] : [];
  const sources = ofFamily(from, family);
  const destinations = ofFamily(to, family);
  if (anyHere(from))
    return { open: true, entries: destinations.map((one) => ({ key: [one, ...tail], target })) };
  if (anyHere(to)) return { open: true, entries: sources.map((one) => ({ key: [one, ...tail], target })) };
  const entries = sources.flatMap((one) =>
    destinations.map((other) => ({ key: [one, other, ...tail], target })),
  );
  return { open: false, entries };
}

const isExact = ({ key }: Entry): boolean => key.every((part) => typeof part === 'string' || isSingle(part));

const elementOf = ({ key, target }: Entry): MapElement => ({ key, verdict: { goto: target } });

/** The first of equal keys. */
function unique(entries: readonly Entry[]): MapElement[] {
  const byKey = new Map<string, Entry>();
  for (const entry of entries) {
    const text = entry.key.map((part) => (typeof part === 'string' ? part : part.low)).join(' ');
    if (!byKey.has(text)) byKey.set(text, entry);
  }
  return [...byKey.values()].map(elementOf);
}

/** What an earlier flow has, a later one does not have again. Entries of one flow are disjoint as they come. */
export function apart(flows: readonly (readonly Entry[])[]): MapElement[] {
  const kept: Entry[] = [];
  const earlier = new Earlier();
  for (const entries of flows) {
    const own: Entry[] = [];
    for (const entry of entries) {
      let parts: Entry[] = [entry];
      for (const other of earlier.near(entry)) {
        if (parts.length === 0) break;
        if (meet(entry.key, other.key)) parts = parts.flatMap((part) => difference(part, other.key));
      }
      own.push(...parts);
    }
    for (const entry of own) earlier.add(entry);
    kept.push(...own);
  }
  return kept.map(elementOf);
}

/**
 * Entries by what two of them have to share to meet: their words, and their first address where that is one alone. Most
 * flows are about different devices, so that few are looked at for each.
 */
class Earlier {
  readonly #groups = new Map<string, { readonly at: number; readonly entry: Entry }[]>();
  #size = 0;

  add(entry: Entry): void {
    const placed = { at: this.#size, entry };
    this.#size += 1;
    const { words, place } = placeOf(entry);
    for (const name of [`${words} ${place}`, words]) {
      const group = this.#groups.get(name);
      if (group === undefined) this.#groups.set(name, [placed]);
      else group.push(placed);
    }
  }

  /** In the order in which they came, on which the pieces depend that are left of an entry. */
  *near(entry: Entry): Iterable<Entry> {
    const { words, place } = placeOf(entry);
    const of = (name: string): readonly { readonly at: number; readonly entry: Entry }[] =>
      this.#groups.get(name) ?? [];
    if (place === RANGE) {
      for (const one of of(words)) yield one.entry;
      return;
    }
    const [same, ranges] = [of(`${words} ${place}`), of(`${words} ${RANGE}`)];
    const both = ranges.length === 0 ? same : [...same, ...ranges].toSorted((a, b) => a.at - b.at);
    for (const one of both) yield one.entry;
  }
}

const RANGE = 'range';

function placeOf({ key }: Entry): { readonly words: string; readonly place: string } {
  const first = key.find((part) => typeof part !== 'string');
  const words = key.filter((part) => typeof part === 'string').join(' ');
  return { words, place: first !== undefined && isSingle(first) ? String(first.low) : RANGE };
}

function meet(a: readonly KeyPart[], b: readonly KeyPart[]): boolean {
  return a.every((part, i) => {
    const other = b[i];
    if (typeof part === 'string' || typeof other === 'string' || other === undefined) return part === other;
    return part.low <= other.high && other.low <= part.high;
  });
}

/** An entry without another key: for each part what lies below and above, and the middle goes on to the next part. */
function difference(entry: Entry, key: readonly KeyPart[]): Entry[] {
  if (!meet(entry.key, key)) return [entry];
  const { target } = entry;
  const pieces: Entry[] = [];
  const middle = [...entry.key];
  for (const [i, hole] of key.entries()) {
    const part = middle[i];
    if (typeof part === 'string' || typeof hole === 'string' || part === undefined) continue;
    const within = (range: AddressRange): Entry => ({ key: middle.with(i, range), target });
    if (part.low < hole.low) pieces.push(within({ low: part.low, high: hole.low - 1n }));
    if (part.high > hole.high) pieces.push(within({ low: hole.high + 1n, high: part.high }));
    middle[i] = {
      low: part.low > hole.low ? part.low : hole.low,
      high: part.high < hole.high ? part.high : hole.high,
    };
  }
  return pieces;
}
