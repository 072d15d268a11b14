import { exactly, type Interval } from './boxes.ts';
import { macValue } from './ownership.ts';
import {
  ANY_FRAGMENT,
  atHook,
  CARRIED,
  type FrameBox,
  type FrameSpace,
  HELD,
  held,
  ofKind,
  PACKETS,
  TAGGED,
} from './frame-space.ts';
import type { PacketSet } from './packet-set.ts';
import { type BoundHost, linkLocalOf, type PortGuard } from './port-guard.ts';

// Which frames may come in, straight from what the file says and without the compiler. What this page and the rules do
// not say alike is a difference.

const LINK_LOCAL = { low: 0xfe80n << 112n, high: (0xfec0n << 112n) - 1n };
const NO_IPV4 = exactly(0);
const NOBODY = [exactly(1)];
const SOMEBODY = [exactly(0)];
const carrying = (what: (typeof CARRIED)[number]): Interval[] => [exactly(CARRIED.indexOf(what))];
const ofV4 = (addresses: readonly bigint[]): Interval[] => addresses.map((one) => exactly(Number(one)));
const own6 = (host: BoundHost): Interval[] => [...host.v6, linkLocalOf(host.mac)].map(exactly);

const type = (...types: readonly number[]): Interval[] => types.map(exactly);

/** Every frame that the file allows, wherever it comes in, and wherever it goes from there. */
export function declaredFrames(guard: PortGuard, space: FrameSpace): PacketSet {
  const { sets } = space;
  const comesIn = sets.and(new Declaration(guard, space).allowed(), space.set(atHook('prerouting')));
  const between = sets.minus(space.set(atHook('forward')), sets.or(heldFrames(space), apart(guard, space)));
  return sets.or(comesIn, between);
}

/** From one access port to another, where not both of them may. */
function apart({ ports }: PortGuard, space: FrameSpace): PacketSet {
  const { sets } = space;
  const namesOf = (some: PortGuard['ports']): Interval[] => space.ports(some.map(({ name }) => name));
  const closed = namesOf(ports.filter(({ within }) => within === 'deny'));
  if (closed.length === 0) return sets.nothing;
  const all = namesOf(ports);
  return sets.union([
    space.set({ ...atHook('forward'), port: closed, out: all }),
    space.set({ ...atHook('forward'), port: all, out: closed }),
  ]);
}

/** From or to somebody in quarantine, between two ports: in whatever mode, whatever the file says. */
export function heldFrames(space: FrameSpace): PacketSet {
  const packets = { kind: ofKind(...PACKETS) };
  return space.sets.union(
    [
      held(HELD.sender),
      held(HELD.receiver),
      { ...packets, ...held(HELD.source) },
      { ...packets, ...held(HELD.destination) },
    ].map((box) => space.set({ ...atHook('forward'), ...box })),
  );
}

class Declaration {
  readonly #guard: PortGuard;
  readonly #space: FrameSpace;

  constructor(guard: PortGuard, space: FrameSpace) {
    this.#guard = guard;
    this.#space = space;
  }

  allowed(): PacketSet {
    const { sets } = this.#space;
    const { ports } = this.#guard;
    const everywhere = this.#of({ port: this.#space.ports(ports.map(({ name }) => name)) });
    const open = ports.filter(({ unknown }) => unknown === 'allow').map(({ name }) => name);
    const clean = sets.minus(sets.everything, this.#neverAllowed());
    const known = sets.or(this.#hosts(), sets.and(this.#strangers(), this.#at(open)));
    return sets.or(sets.minus(sets.everything, everywhere), sets.and(sets.and(clean, known), everywhere));
  }

  #of(box: FrameBox): PacketSet {
    return this.#space.set(box);
  }

  #at(ports: readonly string[]): PacketSet {
    return ports.length === 0 ? this.#space.sets.nothing : this.#of({ port: this.#space.ports(ports) });
  }

  /** Whoever sends it. */
  #neverAllowed(): PacketSet {
    const { own } = this.#guard;
    const ip = [...ofKind('ipv4'), ...ofKind('ipv6')];
    const isWrong = [exactly(1)];
    const icmpv6 = { kind: ofKind('ipv6'), carried: carrying('icmpv6') };
    return this.#space.sets.union(
      [
        { kind: ofKind(...TAGGED, 'length') },
        { kind: ip, carried: carrying('udp'), sourcePort: [exactly(67), exactly(547)] },
        { kind: ofKind('ipv4'), carried: carrying('icmp'), type: type(5, 9) },
        { ...icmpv6, type: type(134, 137) },
        { ...icmpv6, type: [{ low: 133, high: 137 }], fragment: [ANY_FRAGMENT] },
        // One more than hop-by-hop, routing, fragment, AH and destination options.
        { kind: ofKind('ipv6'), fragment: [1, 44, 45, 52, 61].map(exactly) },
        ...(['htype', 'ptype', 'hlen', 'plen'] as const).map((field) => ({
          kind: ofKind('arp'),
          [field]: isWrong,
        })),
        ...(own.v4.length === 0
          ? []
          : [{ kind: [...ofKind('arp'), ...ofKind('ipv4')], source: ofV4(own.v4) }]),
        ...(own.v6.length === 0
          ? []
          : [{ kind: ofKind('ipv6'), source: own.v6.map(exactly), nobody: SOMEBODY }]),
        ...this.#claims(own.v6.map(exactly)),
      ].map((box) => this.#of(box)),
    );
  }

  /** Neighbour messages that say: this address is mine. */
  #claims(addresses: readonly Interval[]): FrameBox[] {
    if (addresses.length === 0) return [];
    const about = { kind: ofKind('ipv6'), carried: carrying('icmpv6'), inside: addresses };
    return [
      { ...about, type: [exactly(136)] },
      { ...about, type: [exactly(135)], nobody: NOBODY },
    ];
  }

  /** Devices at their ports, under their own addresses. */
  #hosts(): PacketSet {
    const { sets } = this.#space;
    const { hosts } = this.#guard;
    if (hosts.length === 0) return sets.nothing;
    const arp = this.#bound(({ v4 }) => [NO_IPV4, ...ofV4(v4)], true);
    const ipv4 = this.#bound(({ v4 }) => [NO_IPV4, ...ofV4(v4)]);
    const ipv6 = sets.and(this.#bound(own6), this.#of({ nobody: SOMEBODY }));
    const plugs = this.#bound(() => []);
    const owned = hosts.flatMap(own6);
    // Whatever a host makes of its own on a link, unless it is another's.
    const selfMade = sets.minus(
      this.#of({ source: [LINK_LOCAL], nobody: SOMEBODY }),
      this.#of({ source: owned }),
    );
    const packets = sets.union([
      sets.and(arp, this.#of({ kind: ofKind('arp') })),
      sets.and(ipv4, this.#of({ kind: ofKind('ipv4') })),
      sets.and(sets.or(ipv6, sets.and(plugs, selfMade)), this.#of({ kind: ofKind('ipv6') })),
      sets.and(plugs, this.#of({ kind: ofKind('ipv6'), nobody: NOBODY })),
      sets.and(plugs, this.#of({ kind: ofKind('other') })),
    ]);
    const claims = sets.union(this.#claims(owned).map((box) => this.#of(box)));
    const keys = this.#keys((host) => own6(host).map((address) => [address]));
    const rightful = this.#space.ofKeys(['port', 'sender', 'inside'], keys);
    return sets.minus(packets, sets.minus(claims, rightful));
  }

  /** Port, hardware address and one of these sources; with the hardware address once more inside, for ARP. */
  #bound(sources: (host: BoundHost) => readonly Interval[], inside = false): PacketSet {
    const keys = this.#keys((host, sender) => {
      const found = sources(host);
      if (found.length === 0) return [[]];
      return found.map((source) => (inside ? [source, sender] : [source]));
    });
    const width = keys[0]?.length ?? 0;
    const places = (['port', 'sender', 'source', 'inside'] as const).slice(0, width);
    return this.#space.ofKeys(places, keys);
  }

  #keys(
    rest: (host: BoundHost, inside: Interval) => readonly (readonly Interval[])[],
  ): (readonly Interval[])[] {
    const ports = new Map(this.#guard.ports.map(({ name }) => [name, exactly(this.#space.port(name))]));
    return this.#guard.hosts.flatMap((host) => {
      const sender = exactly(macValue(host.mac));
      const tails = rest(host, sender);
      return host.ports.flatMap((port) => {
        const here = ports.get(port);
        return here === undefined ? [] : tails.map((tail) => [here, sender, ...tail]);
      });
    });
  }

  /** A hardware address of nobody: whatever it likes, except to be somebody. */
  #strangers(): PacketSet {
    const { sets } = this.#space;
    const { hosts } = this.#guard;
    if (hosts.length === 0) return sets.everything;
    const owned4 = hosts.flatMap((host) => host.v4);
    const owned6 = hosts.flatMap(own6);
    const macs = hosts.map(({ mac }) => macValue(mac));
    const impostors = [
      { sender: macs.map(exactly) },
      { kind: ofKind('arp'), inside: macs.map(exactly) },
      ...(owned4.length === 0 ? [] : [{ kind: [...ofKind('arp'), ...ofKind('ipv4')], source: ofV4(owned4) }]),
      { kind: ofKind('ipv6'), source: owned6, nobody: SOMEBODY },
      ...this.#claims(owned6),
    ];
    return sets.minus(sets.everything, sets.union(impostors.map((box) => this.#of(box))));
  }
}
