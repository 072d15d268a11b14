import type { Statement } from './ruleset.ts';

// What the table of the bridge shall hold, as data: the whole vocabulary of the rules that look at frames. The proof of
// frames understands exactly this.

export interface FrameRuleset {
  readonly counters: readonly string[];
  readonly sets: readonly FrameSet[];
  readonly chains: readonly FrameChain[];
}

export type FrameKeyType = 'ifname' | 'ether_addr' | 'ipv4_addr' | 'ipv6_addr' | 'mark';

export interface FrameSet {
  readonly name: string;
  readonly types: readonly FrameKeyType[];
  /** `dynamic` ones belong to the running system, and who is in `quarantine` is put into the rules as they are loaded. */
  readonly kind: 'declared' | 'dynamic' | 'quarantine';
  readonly elements: readonly FrameKey[];
}

/** A name, a hardware address, an IP address as a number, or the number of a mark. */
export type FrameKey = readonly (string | bigint | number)[];

export type FrameHook = 'prerouting' | 'forward';

export interface FrameChain {
  readonly name: string;
  /** Where frames come in, or where they go from port to port; without one it is only gone to. */
  readonly hook?: FrameHook;
  readonly rules: readonly (readonly FrameStatement[])[];
}

/** What of a frame can be looked at. */
export type FrameField =
  | 'iifname'
  | 'oifname'
  | 'mark'
  | 'ether saddr'
  | 'ether daddr'
  | 'ether type'
  | 'arp htype'
  | 'arp ptype'
  | 'arp hlen'
  | 'arp plen'
  | 'arp saddr ether'
  | 'arp saddr ip'
  | 'ip saddr'
  | 'ip daddr'
  | 'ip6 saddr'
  | 'ip6 daddr'
  | 'udp sport'
  | 'icmp type'
  | 'icmpv6 type'
  | 'frag nexthdr';

export type FrameStatement =
  | Extract<Statement, { readonly kind: 'count' | 'log' | 'verdict' }>
  | {
      readonly kind: 'compare';
      readonly field: FrameField;
      readonly op: '==' | '!=' | '<';
      readonly to: number | string | readonly (number | string)[];
    }
  | { readonly kind: 'link-local source' }
  | { readonly kind: 'is fragment' }
  | {
      readonly kind: 'member';
      readonly key: readonly FrameField[];
      readonly op: '==' | '!=';
      readonly set: string;
    }
  /** The address that a neighbour message is about is one of these. */
  | { readonly kind: 'about'; readonly addresses: readonly bigint[] }
  /** Marks the frame with the number (`marksOf`) of the host that the address belongs to; one of nobody leaves the rule. */
  | { readonly kind: 'mark owner'; readonly owners: readonly (readonly [bigint, number])[] }
  | { readonly kind: 'unmark' }
  /** Goes on with the rule only while this sender, or this port, keeps below its rate. */
  | { readonly kind: 'limit'; readonly by: 'ether saddr' | 'iifname'; readonly set: string };
