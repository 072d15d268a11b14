import type { PortGuard } from './port-guard.ts';
import type { EpochMs } from '../core/units.ts';

/** Addresses from `low` to `high`, both inclusive; lists of them are sorted and disjoint. */
export interface AddressRange {
  readonly low: bigint;
  readonly high: bigint;
}

/** One end of a flow. */
export interface Side {
  /** `gateway` is the appliance itself: its input or output hook. */
  readonly zone: string;
  /** Name of the network interface; undefined for the gateway. */
  readonly interface: string | undefined;
  /** An empty list means: none of this family. */
  readonly v4: readonly AddressRange[];
  readonly v6: readonly AddressRange[];
}

export type FlowKind = 'poll' | 'push' | 'conduit' | 'within' | 'management' | 'upstream' | 'guard';

/**
 * New connections that may be opened, from one side to the other; what answers them is allowed with them. Everything
 * that no flow names is denied.
 */
export interface Flow {
  /** Stable over changes elsewhere in the file; counters carry it: `poll-control`, `conduit-supervision-control-0`. */
  readonly name: string;
  readonly kind: FlowKind;
  readonly from: Side;
  readonly to: Side;
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'icmpv6';
  /** Destination ports, both inclusive; [0, 65535] and without meaning for ICMP, which is echo request alone. */
  readonly ports: readonly [low: number, high: number];
  readonly because: string;
  /** Place in gateway.yaml: `conduits[0]`, `devices.meter-main`. */
  readonly path: string;
  /** Names of devices that `to` or `from` stands for, for people. */
  readonly devices: readonly string[];
  /** Only through a guard that looks into what flows; undefined where packets just pass. */
  readonly guard?: FlowGuard | undefined;
}

export interface FlowGuard {
  /**
   * enforced: no packet of the flow is forwarded; connections end at a listener of the gateway. filtered: packets are
   * forwarded one by one, as far as each looks like a read.
   */
  readonly grade: 'enforced' | 'filtered';
  /** One for each address of `to`; none where packets are filtered. */
  readonly listeners: readonly FlowListener[];
  /** What requests may do, for people. */
  readonly limits: string;
}

export interface FlowListener {
  readonly family: 4 | 6;
  /** Where the connection wanted to go, on the port of the flow. */
  readonly address: bigint;
  /** Port of the gateway where it ends instead. */
  readonly port: number;
  readonly knock: Knock;
}

/**
 * Two addresses of the machine itself that stand for everything that a guard does. Nobody but the gateway uses them: it
 * knocks at a port of its own, from the one to the other, and gets through only where the rules in force are of this guard.
 */
export interface Knock {
  readonly from: bigint;
  readonly to: bigint;
}

export interface PolicyZone {
  readonly name: string;
  readonly interface: string;
  readonly v4: readonly AddressRange[];
  readonly v6: readonly AddressRange[];
  /** It names no subnet, and has every address that no other zone has. */
  readonly rest?: boolean | undefined;
}

/** Two zones on a way; `gateway` is one of them too. */
export interface ObservedPair {
  readonly from: string;
  readonly to: string;
  /** Until then what no flow of the pair allows passes, counted and logged; from then on it is denied. */
  readonly until: EpochMs;
}

/** A device that has an address, for people: rules know only addresses. */
export interface PolicyDevice {
  readonly name: string;
  readonly class: string;
  readonly zone: string;
  readonly v4: readonly AddressRange[];
  readonly v6: readonly AddressRange[];
}

/** What gateway.yaml declares, as data: the one source of compiler, proof and plan. */
export interface Policy {
  readonly mode: 'off' | 'observe' | 'enforce';
  readonly zones: readonly PolicyZone[];
  readonly flows: readonly Flow[];
  /** Mode observe ends then by itself: from then on it is enforce. */
  readonly observeUntil?: EpochMs | undefined;
  /** In mode enforce: pairs that are observed for a while. */
  readonly observed?: readonly ObservedPair[] | undefined;
  /** Names for addresses; nothing else depends on them. */
  readonly devices?: readonly PolicyDevice[];
  /** What frames may claim at the access ports of a bridge; undefined where there are none. */
  readonly guard?: PortGuard | undefined;
  /** `gateway.yaml:9:5` for `conduits[0]`, for people; where the file is at hand. */
  readonly placeOf?: (path: string) => string;
}
