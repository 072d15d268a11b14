import { dimensionNumber, exactly, type Interval, quarantined, type Value } from './boxes.ts';
import { type Field, readsChecksum } from './field.ts';
import type { Listing } from './listing.ts';
import type { Source, Statement } from './listing-rule.ts';
import type { Element, NamedSet, Verdict } from './listing-set.ts';
import { ICMP, ICMPV6, packetText, QUARANTINE } from './packet.ts';
import type { PacketSet } from './packet-set.ts';
import type { PacketSpace } from './packet-space.ts';

type Match = Extract<Statement, { kind: 'match' }>;
type Vmap = Extract<Statement, { kind: 'vmap' }>;
type Redirect = Extract<Statement, { kind: 'redirect' }>;

/** The sets that quarantine fills, and what their members are in a packet. */
const QUARANTINE_SETS: ReadonlyMap<string, number> = new Map<string, number>([
  ['q_mac ether saddr', QUARANTINE.ether],
  ['q_ip_4 ip saddr', QUARANTINE.source],
  ['q_ip_4 ip daddr', QUARANTINE.destination],
  ['q_ip_6 ip6 saddr', QUARANTINE.source],
  ['q_ip_6 ip6 daddr', QUARANTINE.destination],
]);

/** Whoever is in quarantine: what these sets hold now is no part of the policy. Undefined for any other condition. */
export function quarantineBits({ fields, values, how }: Match): number | undefined {
  const [field] = fields;
  if (fields.length !== 1 || field === undefined || !('set' in values)) return undefined;
  if (how !== 'inside' && how !== 'outside') return undefined;
  return QUARANTINE_SETS.get(`${values.set} ${field.text}`);
}

interface Matched {
  readonly set: PacketSet;
  readonly most: PacketSet;
}

const isVague = (fields: readonly Field[]): boolean =>
  fields.some(({ leastGuard }) => leastGuard !== undefined);

/** The sets of packets that the conditions and maps of a listing stand for. */
export class Matcher {
  readonly #space: PacketSpace;
  readonly #listing: Listing;
  readonly #complain: (place: string, what: string) => void;
  readonly #matches = new Map<Statement, Matched>();
  readonly #verdicts = new Map<Statement, readonly (readonly [Verdict, PacketSet])[]>();
  readonly #checksums = new Map<Statement, PacketSet>();
  readonly #read: ReadonlySet<string>;

  constructor(space: PacketSpace, listing: Listing, complain: (place: string, what: string) => void) {
    this.#space = space;
    this.#listing = listing;
    this.#complain = complain;
    this.#read = setsThatAreRead(listing);
  }

  isRead(set: string): boolean {
    return this.#read.has(set);
  }

  /**
   * A field that the packet does not have means no match, also where the rule says "not". `most` are those that match
   * where nft listed what asks for less.
   */
  matchSets(statement: Match, place: string): Matched {
    const known = this.#matches.get(statement);
    if (known !== undefined) return known;
    const space = this.#space;
    const inside = this.#quarantined(statement, place) ?? this.#inside(statement, place);
    const wanted = statement.how === 'outside' ? space.minus(space.everything, inside) : inside;
    const { fields } = statement;
    const set = space.and(this.guard(fields), wanted);
    const sets = { set, most: isVague(fields) ? space.and(this.leastGuard(fields), wanted) : set };
    this.#matches.set(statement, sets);
    return sets;
  }

  #inside(statement: Match, place: string): PacketSet {
    const elements = this.#elements(statement.values, statement.fields, 'set', place);
    return this.#unite(statement.fields, ordered(elements, statement));
  }

  /** Who is in such a set is no part of the policy, but it has to be a set of such that stay in it. */
  #quarantined(statement: Match, place: string): PacketSet | undefined {
    const bits = quarantineBits(statement);
    if (bits === undefined) return undefined;
    this.#elements(statement.values, statement.fields, 'set', place, true);
    return this.#space.set({ quarantine: quarantined(bits) });
  }

  verdictSets(statement: Vmap, place: string): readonly (readonly [Verdict, PacketSet])[] {
    const known = this.#verdicts.get(statement);
    if (known !== undefined) return known;
    const groups = new Map<Verdict, Element[]>();
    for (const element of this.#elements(statement.values, statement.fields, 'map', place)) {
      if (element.verdict === undefined) continue;
      const group = groups.get(element.verdict);
      if (group === undefined) groups.set(element.verdict, [element]);
      else group.push(element);
    }
    const guard = this.guard(statement.fields);
    const cases = [...groups].map(
      ([verdict, elements]) =>
        [verdict, this.#space.and(guard, this.#unite(statement.fields, elements))] as const,
    );
    this.#disjointUnion(
      cases.map(([, set]) => set),
      place,
    );
    this.#verdicts.set(statement, cases);
    return cases;
  }

  /** The packets that each port of a redirect stands for. */
  portSets({ fields, map }: Redirect, place: string): readonly (readonly [number, PacketSet])[] {
    const elements = this.#elements({ set: map }, fields, 'ports', place);
    const byPort = Map.groupBy(elements, ({ port }) => port ?? 0);
    const guard = this.guard(fields);
    const cases = [...byPort].map(
      ([port, some]) => [port, this.#space.and(guard, this.#unite(fields, some))] as const,
    );
    this.#disjointUnion(
      cases.map(([, set]) => set),
      place,
    );
    return cases;
  }

  /** Which of two overlapping elements wins depends on the order in which they were added, which no listing tells. */
  #disjointUnion(sets: readonly PacketSet[], place: string): PacketSet {
    const [first, ...more] = sets;
    if (first === undefined) return this.#space.nothing;
    if (more.length === 0) return first;
    const middle = sets.length >> 1;
    const left = this.#disjointUnion(sets.slice(0, middle), place);
    const right = this.#disjointUnion(sets.slice(middle), place);
    const both = this.#space.witness(this.#space.and(left, right));
    if (both !== undefined) {
      this.#complain(place, `looks into a map of which two elements disagree about ${packetText(both)}`);
    }
    return this.#space.or(left, right);
  }

  /** With ICMP, `th dport` reads the checksum: no box can say that. */
  checkPorts(statement: Match | Vmap, packets: PacketSet, place: string): void {
    if (!statement.fields.some(readsChecksum)) return;
    let set = this.#checksums.get(statement);
    if (set === undefined) {
      const elements = this.#elements(
        statement.values,
        statement.fields,
        statement.kind === 'vmap' ? 'map' : 'set',
        place,
      );
      set = this.#checksumSet(statement.fields, elements);
      this.#checksums.set(statement, set);
    }
    if (this.#space.and(packets, set) !== this.#space.nothing) {
      this.#complain(place, 'compares the port of ICMP packets, which have none');
    }
  }

  /** Packets of ICMP whose way depends on what stands where others have the port. */
  #checksumSet(fields: readonly Field[], elements: readonly Element[]): PacketSet {
    const space = this.#space;
    const port = fields.findIndex(readsChecksum);
    const protocol = fields.findIndex(({ dimension }) => dimension === 'protocol');
    const doubtful = elements.filter(({ key }) => {
      const [ports, protocols] = [key[port], key[protocol]];
      const any = ports !== undefined && ports.low <= 0 && ports.high >= 65_535;
      return !any && (protocols === undefined || holds(protocols, ICMP) || holds(protocols, ICMPV6));
    });
    const others = fields.filter((_, i) => i !== port);
    const keys = doubtful.map(({ key }) => ({ key: key.filter((_, i) => i !== port), verdict: undefined }));
    const icmp = space.set({ protocol: [exactly(ICMP), exactly(ICMPV6)] });
    const set = others.length === 0 && keys.length > 0 ? space.everything : this.#unite(others, keys);
    return space.and(space.and(icmp, set), this.guard(fields));
  }

  #elements(
    source: Source,
    fields: readonly Field[],
    kind: NamedSet['kind'],
    place: string,
    mayPass = false,
  ): readonly Element[] {
    if ('inline' in source) return source.inline.elements;
    const set = this.#listing.sets.get(source.set);
    if (set === undefined || set.kind !== kind) {
      this.#complain(place, `refers to ${source.set}, which is no ${kind} of the listing`);
      return [];
    }
    for (const gap of set.gaps) this.#complain(`${kind} ${set.name}`, gap);
    if (set.passing && !mayPass) this.#complain(`${kind} ${set.name}`, 'may forget its elements');
    const fits = set.types.length === fields.length && set.types.every((type, i) => type === fields[i]?.type);
    if (fits) return set.elements;
    this.#complain(
      place,
      `looks up ${fields.map(({ text }) => text).join(' . ')} in ${set.name} of another type`,
    );
    return [];
  }

  #unite(fields: readonly Field[], elements: readonly Element[]): PacketSet {
    const order = fields
      .map(({ dimension }, i) => ({ dimension, i }))
      .toSorted((a, b) => dimensionNumber(a.dimension) - dimensionNumber(b.dimension));
    const inOrder = order.every(({ i }, position) => i === position);
    const keys = elements.map(({ key }) => (inOrder ? key : order.flatMap(({ i }) => key[i] ?? [])));
    return this.#space.ofKeys(
      order.map(({ dimension }) => dimension),
      keys,
    );
  }

  /** Packets that have all of these fields. */
  guard(fields: readonly Field[]): PacketSet {
    return fields.reduce(
      (set, { guard }) => this.#space.and(set, this.#space.set(guard)),
      this.#space.everything,
    );
  }

  /** Packets that may have passed for such. */
  leastGuard(fields: readonly Field[]): PacketSet {
    return fields.reduce(
      (set, { guard, leastGuard = guard }) => this.#space.and(set, this.#space.set(leastGuard)),
      this.#space.everything,
    );
  }
}

/** "Below" and "above" as the ranges that they are. */
function ordered(elements: readonly Element[], { how }: Match): readonly Element[] {
  if (how === 'inside' || how === 'outside') return elements;
  return elements.flatMap(({ key: [limit] }) => {
    if (limit === undefined) return [];
    const { low } = limit;
    const zero = typeof low === 'bigint' ? 0n : 0;
    const top = typeof low === 'bigint' ? 2n ** 128n - 1n : 2 ** 32 - 1;
    const one = typeof low === 'bigint' ? low - 1n : low - 1;
    const next = typeof low === 'bigint' ? low + 1n : low + 1;
    const range = how === 'below' ? { low: zero, high: one } : { low: next, high: top };
    return range.low > range.high ? [] : [{ key: [range], verdict: undefined }];
  });
}

function holds({ low, high }: Interval, value: Value): boolean {
  return low <= value && value <= high;
}

function setsThatAreRead(listing: Listing): ReadonlySet<string> {
  const names = new Set<string>();
  for (const chain of [...listing.chains.values(), ...listing.leading]) {
    for (const { statements } of chain.rules) {
      for (const statement of statements) {
        const read = statement.kind === 'match' || statement.kind === 'vmap';
        if (read && 'set' in statement.values) names.add(statement.values.set);
        if (statement.kind === 'redirect') names.add(statement.map);
      }
    }
  }
  return names;
}
