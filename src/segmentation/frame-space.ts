import { exactly, type Interval } from './boxes.ts';
import { type Dimensions, type PacketSet, PacketSets } from './packet-set.ts';
import { Ownership } from './ownership.ts';
import type { FrameHook } from './frame-rules.ts';
import type { BoundHost } from './port-guard.ts';

/** What a frame is, by the two bytes behind its addresses. */
export const KINDS = [
  'tagged',
  'tagged ipv4',
  'tagged ipv6',
  'length',
  'arp',
  'ipv4',
  'ipv6',
  'other',
] as const;
export type Kind = (typeof KINDS)[number];
/** The kernel takes the first tag out of the frame: rules about packets see what is behind it. */
export const TAGGED = ['tagged', 'tagged ipv4', 'tagged ipv6'] as const;
export const PACKETS = ['ipv4', 'ipv6', 'tagged ipv4', 'tagged ipv6'] as const;
/** What its packet carries. */
export const CARRIED = ['other', 'udp', 'icmp', 'icmpv6'] as const;
export type Carried = (typeof CARRIED)[number];

/** What frames differ in. Who sends it stands before what it claims: each sender claims little. */
const PLACES = [
  /** 0 where it comes in, 1 where it goes from port to port. */
  'hook',
  'kind',
  'port',
  /** Where it goes out; of frames that only come in it says nothing. */
  'out',
  /** Bits of HELD: which of its addresses are in quarantine. */
  'held',
  'carried',
  /** Of ICMP and ICMPv6. */
  'type',
  /** 0 without fragment header, otherwise one more than the protocol behind it. */
  'fragment',
  /** 1 where an IPv6 packet comes from no address: then `source` says nothing. */
  'nobody',
  /** Hardware address, a bigint. */
  'sender',
  /** Of ARP the hardware address inside, of neighbour discovery the address that it is about: bigints, both. */
  'inside',
  /** Address that an ARP message or a packet comes from: a number for IPv4, a bigint for IPv6. */
  'source',
  /** Of UDP. */
  'sourcePort',
  /** 0 where a field of an ARP message is the one of Ethernet and IPv4. */
  'htype',
  'ptype',
  'hlen',
  'plen',
] as const;

export type FramePlace = (typeof PLACES)[number];
export type FrameBox = { readonly [P in FramePlace]?: readonly Interval[] };

const HIGHEST_HELD = 15;
const HIGHEST: Readonly<Record<FramePlace, number | bigint>> = {
  hook: 1,
  kind: 7,
  port: 65_535,
  out: 65_535,
  held: HIGHEST_HELD,
  carried: 3,
  type: 255,
  fragment: 256,
  nobody: 1,
  inside: 2n ** 129n,
  sender: 2n ** 129n,
  source: 2n ** 129n,
  sourcePort: 65_535,
  htype: 1,
  ptype: 1,
  hlen: 1,
  plen: 1,
};
/** IPv4 addresses are below, and those of hosts above them. */
const LAST_IPV4 = 2 ** 33;
const HIGHEST_OF = PLACES.map((place) => HIGHEST[place]);

const DIMENSIONS_OF_FRAMES: Dimensions<FramePlace> = {
  names: PLACES,
  minimum: () => 0,
  maximum(dimension, like) {
    const highest = HIGHEST_OF[dimension] ?? 0;
    return typeof highest === 'bigint' && typeof like === 'number' ? LAST_IPV4 : highest;
  },
};

/** Whatever is behind the header. */
export const ANY_FRAGMENT: Interval = { low: 1, high: 256 };

export const HOOKS = ['prerouting', 'forward'] as const satisfies readonly FrameHook[];
export const atHook = (hook: FrameHook): FrameBox => ({ hook: [exactly(HOOKS.indexOf(hook))] });

/**
 * Whether an address is in quarantine is a property of the frame, as of a packet: a proof holds whoever is there now and
 * whoever will be.
 */
export const HELD = { sender: 1, receiver: 2, source: 4, destination: 8 } as const;
/** Frames of which all these addresses are in quarantine. */
export const held = (bits: number): FrameBox => ({
  held: Array.from({ length: HIGHEST_HELD + 1 }, (_, i) => i)
    .filter((value) => (value & bits) === bits)
    .map(exactly),
});

export const ofKind = (...kinds: readonly Kind[]): Interval[] =>
  kinds.map((kind) => exactly(KINDS.indexOf(kind)));

export class FrameSpace {
  readonly sets = new PacketSets(DIMENSIONS_OF_FRAMES);
  readonly #ports = new Map<string, number>();
  readonly #own: Ownership;

  constructor(hosts: readonly BoundHost[]) {
    this.#own = new Ownership(hosts);
  }

  port(name: string): number {
    // 0 stands for all that nobody names.
    const known = this.#ports.get(name) ?? this.#ports.size + 1;
    this.#ports.set(name, known);
    return known;
  }

  ports(names: readonly string[]): Interval[] {
    return names.map((name) => exactly(this.port(name)));
  }

  kind(...kinds: readonly Kind[]): FrameBox {
    return { kind: ofKind(...kinds) };
  }

  carried(kind: Carried): FrameBox {
    return { carried: [exactly(CARRIED.indexOf(kind))] };
  }

  set(box: FrameBox): PacketSet {
    const { inside, source, sender, ...rest } = box;
    return this.sets.set({
      ...rest,
      ...(inside && { inside: inside.flatMap((one) => this.#own.numbered(one)) }),
      ...(source && { source: source.flatMap((one) => this.#own.numbered(one)) }),
      ...(sender && { sender: sender.flatMap((one) => this.#own.numbered(one)) }),
    });
  }

  /** Many boxes of single values: one value for each place in a key. */
  ofKeys(places: readonly FramePlace[], keys: readonly (readonly Interval[])[]): PacketSet {
    const order = places
      .map((place, i) => ({ place, i }))
      .toSorted((a, b) => PLACES.indexOf(a.place) - PLACES.indexOf(b.place));
    return this.sets.ofKeys(
      order.map(({ place }) => place),
      keys.map((key) =>
        order.flatMap(({ place, i }) => {
          const one = key[i];
          return one === undefined ? [] : NUMBERED.has(place) ? this.#own.numbered(one) : one;
        }),
      ),
    );
  }

  /** For people: the fields of one frame of a set that the set cares about. */
  example(set: PacketSet): string {
    const { sets } = this;
    const shown: string[] = [];
    for (let node = set; node !== sets.everything && node !== sets.nothing; ) {
      const i = node.branches.findIndex((branch) => branch !== sets.nothing);
      const next = node.branches[i];
      if (next === undefined) break;
      const place = PLACES[node.dimension];
      if (place !== undefined && node.branches.length > 1)
        shown.push(`${place} ${this.#text(place, node.starts[i])}`);
      node = next;
    }
    return shown.join(', ') || 'any frame';
  }

  #text(place: FramePlace, numbered: number | bigint | undefined): string {
    const value = numbered === undefined ? undefined : this.#own.value(numbered);
    if (value === undefined || (value === -Infinity && !NAMED.has(place))) return 'any other';
    const number = value === -Infinity ? 0 : Number(value);
    switch (place) {
      case 'port':
      case 'out':
        return [...this.#ports.keys()][number - 1] ?? 'any other';
      case 'hook':
        return HOOKS[number] ?? 'any other';
      case 'held':
        return heldText(number);
      case 'kind':
        return KINDS[number] ?? 'any other';
      case 'carried':
        return CARRIED[number] ?? 'any other';
      case 'sender':
        return macText(BigInt(number));
      default:
        return typeof value === 'bigint' ? `0x${value.toString(16)}` : String(value);
    }
  }
}

const NUMBERED: ReadonlySet<FramePlace> = new Set<FramePlace>(['inside', 'source', 'sender']);
const NAMED: ReadonlySet<FramePlace> = new Set<FramePlace>(['hook', 'kind', 'carried', 'held']);

const heldText = (bits: number): string =>
  Object.entries(HELD)
    .flatMap(([name, bit]) => ((bits & bit) === 0 ? [] : [`${name} in quarantine`]))
    .join(' and ') || 'by nobody';

const macText = (value: bigint): string =>
  value
    .toString(16)
    .padStart(12, '0')
    .replaceAll(/..(?=.)/g, '$&:');
