import { ipv4Value, ipv6Value } from './addresses.ts';
import { exactly, type Interval } from './boxes.ts';
import { isRecord, text } from './field.ts';
import { isInterfaceName } from './field-value.ts';
import type { FrameListing } from './frame-listing.ts';
import { macValue } from './ownership.ts';
import {
  ANY_FRAGMENT,
  atHook,
  type FrameBox,
  type FramePlace,
  type FrameSpace,
  HELD,
  held,
  PACKETS,
  TAGGED,
} from './frame-space.ts';
import type { PacketSet } from './packet-set.ts';

/** Something in the listing that has no meaning here: then nothing is proven. */
export class NotUnderstood extends Error {
  readonly place: string;
  readonly what: string;

  constructor(place: string, what: string) {
    super(`${place} ${what}`);
    this.place = place;
    this.what = what;
  }
}

interface Looked {
  readonly place: FramePlace | 'mark' | 'ether type';
  /** What of HELD it is to be in the set of quarantine of this name. */
  readonly held?: { readonly set: string; readonly type: string; readonly bit: number };
  /** What a frame has to be to have the field at all. */
  readonly guard: FrameBox;
  /** Where nft lists alike what asks for less: the least that it may ask for. */
  readonly leastGuard?: FrameBox;
  /** A frame that is cut off may lack it; then it matches neither "equal" nor "not equal". */
  readonly mayLack?: true;
  /** No address at all is a place of its own. */
  readonly mayBeNobody?: true;
  readonly read: (json: unknown) => number | bigint | undefined;
}

/** Frames that meet a condition; `most` are those that do where nft listed what asks for less. */
interface Matched {
  readonly set: PacketSet;
  readonly most: PacketSet;
}

/** What matches of rules mean, as sets of frames. */
export class FrameConditions {
  readonly #listing: FrameListing;
  readonly #space: FrameSpace;
  /** Addresses that a mark stands for, and the frames that carry one. */
  readonly #owners = new Map<number, Interval[]>();
  #marked: PacketSet;
  /** Frames of which a rule of ours said what mark they carry; before that it may be any. */
  #known: PacketSet;
  #map = '';
  readonly #fields: Readonly<Record<string, Looked>>;
  readonly #intervals = new Map<number | bigint, Interval>();

  constructor(listing: FrameListing, space: FrameSpace) {
    this.#listing = listing;
    this.#space = space;
    this.#fields = fieldsOf(space);
    this.#marked = space.sets.nothing;
    this.#known = space.sets.nothing;
  }

  /** `frames` are those that it is asked of. */
  of(match: unknown, frames: PacketSet, place: string): Matched {
    if (!isRecord(match)) throw new NotUnderstood(place, 'has a match of no kind');
    const { op, left, right } = match;
    if (op !== '==' && op !== '!=' && op !== '<') throw new NotUnderstood(place, `compares by ${text(op)}`);
    const concat: readonly unknown[] =
      isRecord(left) && Array.isArray(left['concat']) ? left['concat'] : [left];
    const looked = concat.map((one) => this.#looked(one, place));
    for (const one of looked) this.#checkKnown(one, frames, place);
    if (op === '!=' && looked.some(({ mayLack }) => mayLack === true))
      throw new NotUnderstood(place, 'denies what a frame may not have');
    const guard = this.#meet(looked.map(({ guard: own }) => own));
    const least = this.#meet(looked.map(({ guard: own, leastGuard = own }) => leastGuard));
    const named = typeof right === 'string' && right.startsWith('@') && op !== '<';
    const equal = named
      ? (this.#quarantined(right.slice(1), looked, place) ?? this.#members(right.slice(1), looked, place))
      : this.#equal(looked, op, right, place);
    const { sets } = this.#space;
    const kept = (set: PacketSet): PacketSet => (op === '!=' ? sets.minus(set, equal) : sets.and(set, equal));
    return { set: kept(guard), most: kept(least) };
  }

  #meet(boxes: readonly FrameBox[]): PacketSet {
    const { sets } = this.#space;
    return boxes.reduce((set, box) => sets.and(set, this.#space.set(box)), sets.everything);
  }

  #checkKnown({ place: what }: Looked, frames: PacketSet, place: string): void {
    const { sets } = this.#space;
    if (what === 'out' && sets.and(frames, this.#space.set(atHook('prerouting'))) !== sets.nothing)
      throw new NotUnderstood(place, 'looks at where frames go that have only come in');
    if (what === 'mark' && sets.minus(frames, this.#known) !== sets.nothing)
      throw new NotUnderstood(place, 'looks at a mark that others may have set');
  }

  /** Frames that go on after their mark was set. */
  marked(mangle: unknown, frames: PacketSet, place: string): PacketSet {
    const { sets } = this.#space;
    if (!isRecord(mangle) || this.#looked(mangle['key'], place).place !== 'mark')
      throw new NotUnderstood(place, 'changes something else than the mark');
    const { value } = mangle;
    if (value === 0) {
      this.#known = sets.or(this.#known, frames);
      this.#marked = sets.minus(this.#marked, frames);
      return frames;
    }
    const map = isRecord(value) && isRecord(value['map']) ? value['map'] : {};
    const { key, data } = map;
    const field = this.#looked(key, place);
    const pairs: readonly unknown[] = isRecord(data) && Array.isArray(data['set']) ? data['set'] : [];
    if (field.place !== 'inside' || pairs.length === 0)
      throw new NotUnderstood(place, 'marks by something else');
    // A chain that is gone to from two places is the same map twice; two maps would make a mark ambiguous.
    if (this.#owners.size > 0 && this.#map !== JSON.stringify(pairs))
      throw new NotUnderstood(place, 'marks by another map');
    this.#map = JSON.stringify(pairs);
    this.#owners.clear();
    for (const pair of pairs) {
      const two: readonly unknown[] = Array.isArray(pair) ? pair : [];
      const [address, number] = two;
      const target = field.read(address);
      if (target === undefined || typeof number !== 'number' || number === 0)
        throw new NotUnderstood(place, 'has a map of something else');
      this.#owners.set(number, [...(this.#owners.get(number) ?? []), exactly(target)]);
    }
    const inside = [...this.#owners.values()].flat();
    const hit = sets.and(frames, this.#space.set({ ...field.guard, inside }));
    this.#marked = sets.or(this.#marked, hit);
    this.#known = sets.or(this.#known, hit);
    return hit;
  }

  /** Those of these frames that would carry a mark on. */
  carrying(frames: PacketSet): PacketSet {
    return this.#space.sets.and(frames, this.#marked);
  }

  #looked(json: unknown, place: string): Looked {
    const field = this.#fields[JSON.stringify(json) ?? ''];
    if (field === undefined) throw new NotUnderstood(place, `looks at ${JSON.stringify(json)?.slice(0, 80)}`);
    return field;
  }

  /** Who is in such a set is no part of the policy, but it has to be one that lets nobody go by itself. */
  #quarantined(name: string, [field, ...more]: readonly Looked[], place: string): PacketSet | undefined {
    const by = field?.held;
    if (field === undefined || by?.set !== name || more.length > 0) return undefined;
    const set = this.#listing.sets.get(name);
    if (set === undefined || set.dynamic || set.types.join() !== by.type)
      throw new NotUnderstood(place, `asks @${name}, which is no set of those in quarantine`);
    return this.#space.set(held(by.bit));
  }

  #members(name: string, looked: readonly Looked[], place: string): PacketSet {
    const set = this.#listing.sets.get(name);
    // Of those neither is a place that values could be in.
    const isOdd = looked.some((one) => one.place === 'held' || one.place === 'ether type');
    if (set === undefined || set.dynamic || isOdd)
      throw new NotUnderstood(place, `asks @${name}, which says nothing here`);
    const values = set.elements.map((element) => {
      const key = looked.map(({ read }, i) => read(element[i]));
      if (element.length !== looked.length || key.includes(undefined))
        throw new NotUnderstood(`set ${name}`, `holds ${JSON.stringify(element).slice(0, 80)}`);
      return key.flatMap((value) => value ?? []);
    });
    const mark = looked.findIndex((one) => one.place === 'mark');
    if (mark < 0) return this.#keys(looked, values);
    // A mark is one of the addresses that it stands for.
    const places = looked.map((one): Looked => (one.place === 'mark' ? { ...one, place: 'inside' } : one));
    const keys = values.flatMap((key) =>
      (this.#owners.get(Number(key[mark])) ?? []).map(({ low }) => key.toSpliced(mark, 1, low)),
    );
    return this.#space.sets.and(this.#keys(places, keys), this.#marked);
  }

  #keys(looked: readonly Looked[], values: readonly (readonly (number | bigint)[])[]): PacketSet {
    const source = looked.findIndex(({ mayBeNobody }) => mayBeNobody === true);
    if (source < 0) return this.#plainKeys(looked, values);
    const { sets } = this.#space;
    const [nobody, somebody] = [
      values.filter((key) => key[source] === 0n),
      values.filter((key) => key[source] !== 0n),
    ];
    const rest = looked.toSpliced(source, 1);
    return sets.or(
      sets.and(this.#plainKeys(looked, somebody), this.#space.set({ nobody: [exactly(0)] })),
      sets.and(
        this.#plainKeys(
          rest,
          nobody.map((key) => key.toSpliced(source, 1)),
        ),
        this.#space.set({ nobody: [exactly(1)] }),
      ),
    );
  }

  #plainKeys(looked: readonly Looked[], values: readonly (readonly (number | bigint)[])[]): PacketSet {
    const places = looked.flatMap(({ place }) => (place === 'mark' || place === 'ether type' ? [] : [place]));
    if (places.length !== looked.length) throw new Error('a key of something that is no place of a frame');
    return this.#space.ofKeys(
      places,
      values.map((key) => key.map((value) => this.#shared(value))),
    );
  }

  /** The same value gives the same object, so that elements of one host are grouped fast. */
  #shared(value: number | bigint): Interval {
    const known = this.#intervals.get(value) ?? exactly(value);
    this.#intervals.set(value, known);
    return known;
  }

  #equal(looked: readonly Looked[], op: string, right: unknown, place: string): PacketSet {
    const [field, ...more] = looked;
    if (field?.place === 'held')
      throw new NotUnderstood(place, 'looks at who only a set of quarantine tells');
    if (field === undefined || more.length > 0) throw new NotUnderstood(place, 'compares a concatenation');
    if (field.place === 'ether type') return this.#etherType(op, right, place);
    if (op === '<') throw new NotUnderstood(place, 'compares an order');
    if (field.place === 'mark') {
      if (right !== 0) throw new NotUnderstood(place, 'compares the mark');
      return this.#space.sets.minus(this.#space.sets.everything, this.#marked);
    }
    const prefix = isRecord(right) && isRecord(right['prefix']) ? right['prefix'] : undefined;
    if (prefix !== undefined) {
      const range = [prefixOf(prefix, place)];
      // A prefix that no address is in would need both.
      if (range[0]?.low === 0n) throw new NotUnderstood(place, 'compares with an odd prefix');
      return this.#space.set({ [field.place]: range, nobody: [exactly(0)] });
    }
    // "There is a fragment header": any.
    if (field.place === 'fragment' && right === true) return this.#space.set({ fragment: [ANY_FRAGMENT] });
    const list: readonly unknown[] = isRecord(right) && Array.isArray(right['set']) ? right['set'] : [right];
    const values = list.map((json) => {
      const value = field.read(json);
      if (value === undefined)
        throw new NotUnderstood(place, `compares with ${JSON.stringify(json)?.slice(0, 80)}`);
      return [value];
    });
    return this.#keys([field], values);
  }

  #etherType(op: string, right: unknown, place: string): PacketSet {
    const space = this.#space;
    if (op === '<' && right === 1536) return space.set(space.kind('length'));
    const tags = isRecord(right) && Array.isArray(right['set']) ? right['set'].map(text).toSorted() : [];
    if (op === '==' && tags.join() === '8021ad,8021q') return space.set(space.kind(...TAGGED));
    if (op === '==' && right === 'arp') return space.set(space.kind('arp'));
    if (op === '==' && right === 'ip') return space.set(space.kind('ipv4'));
    if (op === '==' && right === 'ip6') return space.set(space.kind('ipv6'));
    throw new NotUnderstood(place, `compares the type with ${JSON.stringify(right)?.slice(0, 80)}`);
  }
}

function prefixOf({ addr, len }: Readonly<Record<string, unknown>>, place: string): Interval {
  const address = ipv6Value(text(addr));
  if (address === undefined || typeof len !== 'number' || len < 0 || len > 128)
    throw new NotUnderstood(place, 'compares with an odd prefix');
  const size = 1n << BigInt(128 - len);
  const low = address - (address % size);
  return { low, high: low + size - 1n };
}

const PROTOCOLS: Readonly<Record<string, number>> = {
  ip: 0, 'ipv6-route': 43, 'ipv6-frag': 44, ah: 51, 'ipv6-opts': 60, 'hopopt': 0,
  tcp: 6, udp: 17, icmpv6: 58, 'ipv6-icmp': 58, esp: 50, 'mobility-header': 135,
}; // biome-ignore format: a table reads better
const ICMP_TYPES: Readonly<Record<string, number>> = { redirect: 5, 'router-advertisement': 9 };
const ICMPV6_TYPES: Readonly<Record<string, number>> = {
  'nd-router-solicit': 133, 'nd-router-advert': 134, 'nd-neighbor-solicit': 135,
  'nd-neighbor-advert': 136, 'nd-redirect': 137,
}; // biome-ignore format: a table reads better

const named =
  (names: Readonly<Record<string, number>>) =>
  (json: unknown): number | undefined =>
    typeof json === 'number' ? json : Object.hasOwn(names, text(json)) ? names[text(json)] : undefined;
const number = named({});
const mac = (json: unknown): bigint | undefined =>
  /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/.test(text(json)) ? macValue(text(json)) : undefined;
const isRight =
  (...right: readonly unknown[]) =>
  (json: unknown): number | undefined =>
    right.includes(json) ? 0 : undefined;
const hex = (json: unknown): bigint | undefined =>
  /^0x[0-9a-f]{1,32}$/.test(text(json)) ? BigInt(text(json)) : undefined;

const meta = (key: string): string => JSON.stringify({ meta: { key } });

const payload = (protocol: string, field: string): string => JSON.stringify({ payload: { protocol, field } });

/** By the JSON that nft prints for them. */
function fieldsOf(space: FrameSpace): Readonly<Record<string, Looked>> {
  const arp = { guard: space.kind('arp'), leastGuard: space.kind('arp', 'tagged') };
  // nft asks for a protocol of packets by "meta protocol", which looks behind a tag, and for that of ARP, ICMP and
  // fragments by the type of Ethernet, which does not: unless the rule has asked otherwise before.
  const v4 = space.kind('ipv4', 'tagged ipv4');
  const v6 = space.kind('ipv6', 'tagged ipv6');
  const any = space.kind(...PACKETS);
  const plain6 = space.kind('ipv6');
  const anyFragment = { fragment: [ANY_FRAGMENT] };
  const port = (json: unknown): number | undefined => (isInterfaceName(json) ? space.port(json) : undefined);
  const fragmentOf = (json: unknown): number | undefined => {
    const value = named(PROTOCOLS)(json);
    return value === undefined ? undefined : value + 1;
  };
  return {
    [meta('iifname')]: {
      place: 'port',
      guard: {},
      read: port,
    },
    [meta('oifname')]: {
      place: 'out',
      guard: atHook('forward'),
      read: port,
    },
    [meta('mark')]: { place: 'mark', guard: {}, read: number },
    [payload('ether', 'type')]: { place: 'ether type', guard: {}, read: number },
    [payload('ether', 'saddr')]: {
      place: 'sender',
      guard: {},
      read: mac,
      held: { set: 'q_mac', type: 'ether_addr', bit: HELD.sender },
    },
    [payload('ether', 'daddr')]: {
      place: 'held',
      guard: {},
      read: mac,
      held: { set: 'q_mac', type: 'ether_addr', bit: HELD.receiver },
    },
    [payload('arp', 'htype')]: { place: 'htype', ...arp, read: isRight(1) },
    [payload('arp', 'ptype')]: { place: 'ptype', ...arp, read: isRight('ip') },
    [payload('arp', 'hlen')]: { place: 'hlen', ...arp, read: isRight(6) },
    [payload('arp', 'plen')]: { place: 'plen', ...arp, read: isRight(4) },
    [payload('arp', 'saddr ether')]: {
      place: 'inside',
      ...arp,
      read: mac,
    },
    [payload('arp', 'saddr ip')]: { place: 'source', ...arp, read: (json) => ipv4Value(text(json)) },
    [payload('ip', 'saddr')]: {
      place: 'source',
      guard: v4,
      read: (json) => ipv4Value(text(json)),
      held: { set: 'q_ip_4', type: 'ipv4_addr', bit: HELD.source },
    },
    [payload('ip', 'daddr')]: {
      place: 'held',
      guard: v4,
      read: (json) => ipv4Value(text(json)),
      held: { set: 'q_ip_4', type: 'ipv4_addr', bit: HELD.destination },
    },
    [payload('ip6', 'saddr')]: {
      place: 'source',
      guard: v6,
      mayBeNobody: true,
      read: (json) => ipv6Value(text(json)),
      held: { set: 'q_ip_6', type: 'ipv6_addr', bit: HELD.source },
    },
    [payload('ip6', 'daddr')]: {
      place: 'held',
      guard: v6,
      read: (json) => ipv6Value(text(json)),
      held: { set: 'q_ip_6', type: 'ipv6_addr', bit: HELD.destination },
    },
    [payload('udp', 'sport')]: {
      place: 'sourcePort',
      guard: { ...any, ...space.carried('udp') },
      mayLack: true,
      read: number,
    },
    [payload('icmp', 'type')]: {
      place: 'type',
      guard: { ...space.kind('ipv4'), ...space.carried('icmp') },
      leastGuard: { ...any, ...space.carried('icmp') },
      mayLack: true,
      read: named(ICMP_TYPES),
    },
    [payload('icmpv6', 'type')]: {
      place: 'type',
      guard: { ...plain6, ...space.carried('icmpv6') },
      leastGuard: { ...any, ...space.carried('icmpv6') },
      mayLack: true,
      read: named(ICMPV6_TYPES),
    },
    [JSON.stringify({ payload: { base: 'th', offset: 64, len: 128 } })]: {
      place: 'inside',
      guard: { ...plain6, ...space.carried('icmpv6') },
      leastGuard: any,
      mayLack: true,
      read: hex,
    },
    [JSON.stringify({ exthdr: { name: 'frag' } })]: {
      place: 'fragment',
      guard: plain6,
      leastGuard: v6,
      read: fragmentOf,
    },
    [JSON.stringify({ exthdr: { name: 'frag', field: 'nexthdr' } })]: {
      place: 'fragment',
      guard: { ...plain6, ...anyFragment },
      leastGuard: { ...v6, ...anyFragment },
      read: fragmentOf,
    },
  };
}
