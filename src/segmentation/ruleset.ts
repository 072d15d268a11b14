import type { FrameRuleset } from './frame-rules.ts';
import type { AddressRange } from './policy.ts';

// What the kernel shall hold, as data. It is the whole vocabulary of the rules that Sluice emits: the proof
// understands exactly this.

export interface Ruleset {
  /** False: the table is only removed. */
  readonly loaded: boolean;
  readonly counters: readonly string[];
  readonly sets: readonly NamedSet[];
  readonly maps: readonly VerdictMap[];
  readonly portMaps: readonly PortMap[];
  readonly chains: readonly Chain[];
  /** The table of the bridge; undefined where there is none. */
  readonly frames?: FrameRuleset | undefined;
}

/** Types of keys, as nft names them. */
export type KeyType = 'ifname' | 'ipv4_addr' | 'ipv6_addr' | 'ether_addr' | 'inet_proto' | 'inet_service';

export interface NamedSet {
  readonly name: string;
  readonly type: KeyType;
  /** `declared` sets hold what the policy says; `dynamic` ones belong to the running system, and no apply touches them. */
  readonly kind: 'declared' | 'dynamic';
  /** Elements may be ranges; they are disjoint. */
  readonly interval?: boolean;
  readonly elements: readonly KeyPart[];
  /** Seconds after which an element goes; undefined where elements bring their own time, or none. */
  readonly timeout?: number;
  readonly size?: number;
}

/** A key of one part for each type of its map: a name (interface, protocol), or numbers from `low` to `high`. */
export type KeyPart = string | AddressRange;

export interface VerdictMap {
  readonly name: string;
  readonly types: readonly KeyType[];
  /** Hash or interval map: in a hash map all keys are exact. Elements of a map are disjoint either way. */
  readonly interval: boolean;
  readonly elements: readonly MapElement[];
}

export interface MapElement {
  readonly key: readonly KeyPart[];
  readonly verdict: Verdict;
}

/** Where connections are led to: a port of the gateway for each key. */
export interface PortMap {
  readonly name: string;
  readonly types: readonly KeyType[];
  readonly elements: readonly { readonly key: readonly KeyPart[]; readonly port: number }[];
}

export interface Chain {
  readonly name: string;
  readonly base?: BaseChain;
  readonly rules: readonly Rule[];
}

export interface BaseChain {
  /** nat: only the first packet of a connection comes by, and where it is led the others follow. */
  readonly type: 'filter' | 'nat';
  readonly hook: 'prerouting' | 'input' | 'forward' | 'output';
  readonly priority: number;
  readonly policy: 'accept' | 'drop';
}

export interface Rule {
  readonly statements: readonly Statement[];
  readonly comment?: string;
}

export type Verdict = 'accept' | 'drop' | { readonly goto: string };

/** What of a packet can be looked at. */
export type Field =
  | 'iifname'
  | 'oifname'
  | 'nfproto'
  | 'l4proto'
  | 'ct state'
  | 'ether saddr'
  | 'ip saddr'
  | 'ip daddr'
  | 'ip6 saddr'
  | 'ip6 daddr'
  | 'ip6 hoplimit'
  | 'icmp type'
  | 'icmpv6 type'
  | 'th dport'
  | 'tcp dport'
  /** Length of the header of IPv4 in words of four bytes; 5 is one without options. */
  | 'ip header words'
  | 'ip length'
  | 'ip6 nexthdr'
  | 'ip6 length'
  /** Two bytes, of which the upper four bits (length in words) and the urgent flag are left. */
  | 'tcp header words and urgent'
  /** Six bytes behind the header of TCP: protocol id, length, no unit, function. */
  | 'modbus request'
  /** Where a connection wanted to go before it was led elsewhere. */
  | 'ct original ip daddr'
  | 'ct original ip6 daddr'
  | 'ct original proto-dst';

export type Operand =
  | { readonly value: string | number }
  | { readonly oneOf: readonly number[] }
  | { readonly prefix: string; readonly length: number }
  | { readonly set: string };

export type Statement =
  | { readonly kind: 'match'; readonly field: Field; readonly op: '==' | '!='; readonly to: Operand }
  /** The verdict of the element of a map that has this key; without one the next rule is looked at. */
  | { readonly kind: 'look up'; readonly key: readonly Field[]; readonly map: string }
  | {
      readonly kind: 'choose';
      readonly key: Field;
      readonly cases: readonly (readonly [string | number, Verdict])[];
    }
  | { readonly kind: 'count'; readonly counter: string }
  /** The connection ends at the port of the gateway that a port map has for this key. */
  | { readonly kind: 'redirect'; readonly key: readonly Field[]; readonly map: string }
  /** Dropped, and the sender of a TCP segment is told. */
  | { readonly kind: 'reset' }
  /** Goes on with the rule only while this source keeps below its rate. */
  | { readonly kind: 'limit'; readonly set: string; readonly by: Field }
  | { readonly kind: 'log'; readonly group: number; readonly prefix: string }
  /** Only while the clock shows a time from `from` on and before `until`, in seconds since 1970. */
  | { readonly kind: 'while'; readonly from: number; readonly until: number }
  | { readonly kind: 'verdict'; readonly verdict: Verdict };
