import { denialCounter } from './names.ts';
import { LOG_GROUP } from './denials.ts';
import type {
  FrameChain,
  FrameField,
  FrameKey,
  FrameKeyType,
  FrameRuleset,
  FrameSet,
  FrameStatement,
} from './frame-rules.ts';
import type { Policy } from './policy.ts';
import { type BoundHost, linkLocalOf, marksOf, type PortGuard } from './port-guard.ts';
import { accept, count, drop, goTo } from './statements.ts';

// What a frame that comes in at an access port may claim. Nothing here remembers connections; the number of rules is
// the same for one device and for thousands.

/** Both tags that Linux unpacks by itself: hosts take what is inside, and rules about addresses do not see it. */
const TAGS = ['8021q', '8021ad'];
/** Below, the field is a length: IEEE 802.3 with LLC and SNAP, a second wrapping around the same packets. */
const FIRST_ETHER_TYPE = 0x0600;
const DHCP_SERVERS = [67, 547];
const [ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT, REDIRECT] = [134, 135, 136, 137] as const;
/** RFC 6980: the messages of neighbour discovery are never fragmented. */
const NEIGHBOUR_DISCOVERY = [133, ROUTER_ADVERT, NEIGHBOUR_SOLICIT, NEIGHBOUR_ADVERT, REDIRECT];
/** ICMP redirect and router advertisement of IPv4 (RFC 792, RFC 1256). */
const ICMP_ROUTERS = [5, 9];
/** Behind a fragment header these hide what the packet is: hop-by-hop, routing, fragment, AH, destination options (RFC 7112). */
const HIDING = [0, 43, 44, 51, 60];
const UNSPECIFIED = 0n;

const SETS = {
  access: 's_access',
  apart: 's_apart',
  strict: 's_strict',
  macs: 's_mac',
  plugs: 's_port_mac',
  arp: 's_arp',
  bound: { 4: 's_ip_4', 6: 's_ip_6' },
  owned: { 4: 's_owned_4', 6: 's_owned_6' },
  own: { 4: 's_own_4', 6: 's_own_6' },
  about: 's_about',
  senders: 'q_log_mac',
  places: 'q_log_iif',
  quarantined: { mac: 'q_mac', 4: 'q_ip_4', 6: 'q_ip_6' },
} as const;

const PLACE: readonly FrameField[] = ['iifname', 'ether saddr'];

const isIn = (set: string, ...key: readonly FrameField[]): FrameStatement => ({
  kind: 'member',
  key,
  op: '==',
  set,
});
const isNotIn = (set: string, ...key: readonly FrameField[]): FrameStatement => ({
  kind: 'member',
  key,
  op: '!=',
  set,
});
const is = (field: FrameField, to: number | string | readonly (number | string)[]): FrameStatement => ({
  kind: 'compare',
  field,
  op: '==',
  to,
});
const isNot = (field: FrameField, to: number | string): FrameStatement => ({
  kind: 'compare',
  field,
  op: '!=',
  to,
});
const isBelow = (field: FrameField, to: number): FrameStatement => ({ kind: 'compare', field, op: '<', to });

/** The table of the bridge; undefined where no zone has access ports, or segmentation is off. */
export function compileFrames({ mode, guard }: Policy): FrameRuleset | undefined {
  if (guard === undefined || mode === 'off') return undefined;
  const denials = new Map<string, FrameChain>();
  const deny = (name: string, words: string, ...before: readonly FrameStatement[]): FrameStatement => {
    const limit = MADE_UP.has(name) ? BY_PORT : BY_SENDER;
    denials.set(name, denial(name, { words, before: [...before], limit }, mode));
    return goTo(name);
  };
  const chains = [
    ...arriving(deny),
    arpChain(deny),
    ipv4Chain(deny),
    ...ipv6Chains(guard, deny),
    between(deny),
  ];
  // Somebody put it there: that holds in mode observe too.
  const all = [
    ...chains,
    ...denials.values(),
    denial(QUARANTINED, { words: 'quarantine', before: [], limit: BY_SENDER }, 'enforce'),
  ];
  return { counters: countersOf(all), sets: setsOf(guard), chains: all };
}

type Deny = (chain: string, words: string, ...before: readonly FrameStatement[]) => FrameStatement;

const QUARANTINED = 'd_quarantined';

/**
 * What goes from port to port, also of trunks: nobody else is between them. What goes to the gateway itself, or through
 * it, the rules of packets judge, which hold back neither management nor the search for neighbours. Two access ports are
 * kept apart unless the zones of both let their devices talk: VLANs keep those of two zones apart anyway.
 */
function between(deny: Deny): FrameChain {
  const { mac, 4: v4, 6: v6 } = SETS.quarantined;
  const apart = deny('d_within', 'device of the same zone');
  return {
    name: 'g_between',
    hook: 'forward',
    rules: [
      [isIn(mac, 'ether saddr'), goTo(QUARANTINED)],
      [isIn(mac, 'ether daddr'), goTo(QUARANTINED)],
      [isIn(v4, 'ip saddr'), goTo(QUARANTINED)],
      [isIn(v4, 'ip daddr'), goTo(QUARANTINED)],
      [isIn(v6, 'ip6 saddr'), goTo(QUARANTINED)],
      [isIn(v6, 'ip6 daddr'), goTo(QUARANTINED)],
      [isIn(SETS.apart, 'iifname'), isIn(SETS.access, 'oifname'), apart],
      [isIn(SETS.access, 'iifname'), isIn(SETS.apart, 'oifname'), apart],
      [accept],
    ],
  };
}

function arriving(deny: Deny): FrameChain[] {
  return [
    {
      name: 'g_ports',
      hook: 'prerouting',
      rules: [
        [isNotIn(SETS.access, 'iifname'), accept],
        // First: nothing below sees into these.
        [is('ether type', TAGS), deny('d_tagged', 'tagged frame')],
        [isBelow('ether type', FIRST_ETHER_TYPE), deny('d_length', 'frame with a length')],
        [
          isIn(SETS.macs, 'ether saddr'),
          isNotIn(SETS.plugs, ...PLACE),
          deny('d_moved', 'device at another port'),
        ],
        [
          isIn(SETS.strict, 'iifname'),
          isNotIn(SETS.macs, 'ether saddr'),
          deny('d_unknown', 'unknown device'),
        ],
        [is('udp sport', DHCP_SERVERS), deny('d_dhcp', 'rogue dhcp server')],
        [is('ether type', 'arp'), goTo('g_arp')],
        [is('ether type', 'ip'), goTo('g_ip_4')],
        [is('ether type', 'ip6'), goTo('g_ip_6')],
        [accept],
      ],
    },
  ];
}

function arpChain(deny: Deny): FrameChain {
  const malformed = deny('d_arp_form', 'malformed arp');
  const spoofed = deny('d_arp', 'foreign arp sender');
  return {
    name: 'g_arp',
    rules: [
      // The fields below are where they are for Ethernet and IPv4 alone (RFC 826).
      [isNot('arp htype', 1), malformed],
      [isNot('arp ptype', 'ip'), malformed],
      [isNot('arp hlen', 6), malformed],
      [isNot('arp plen', 4), malformed],
      [isIn(SETS.own[4], 'arp saddr ip'), deny('d_gateway', 'address of the gateway')],
      [isIn(SETS.arp, ...PLACE, 'arp saddr ether', 'arp saddr ip'), accept],
      [isIn(SETS.macs, 'ether saddr'), spoofed],
      [isIn(SETS.macs, 'arp saddr ether'), spoofed],
      [isIn(SETS.owned[4], 'arp saddr ip'), spoofed],
      [accept],
    ],
  };
}

function ipv4Chain(deny: Deny): FrameChain {
  const spoofed = deny('d_address', 'foreign address');
  return {
    name: 'g_ip_4',
    rules: [
      [is('icmp type', ICMP_ROUTERS), rogueRouter(deny)],
      [isIn(SETS.own[4], 'ip saddr'), deny('d_gateway', 'address of the gateway')],
      [isIn(SETS.bound[4], ...PLACE, 'ip saddr'), accept],
      [isIn(SETS.macs, 'ether saddr'), spoofed],
      [isIn(SETS.owned[4], 'ip saddr'), spoofed],
      [accept],
    ],
  };
}

const rogueRouter = (deny: Deny): FrameStatement => deny('d_router', 'rogue router');

function ipv6Chains({ hosts, own }: PortGuard, deny: Deny): FrameChain[] {
  const fragment = deny('d_fragment', 'fragmented neighbour message');
  const spoofed = deny('d_address', 'foreign address');
  const gateway = deny('d_gateway', 'address of the gateway');
  // A frame that passes in mode observe must not carry the mark on.
  const neighbour = deny('d_neighbour', 'foreign neighbour message', { kind: 'unmark' });
  const marks = marksOf(hosts);
  const owners = hosts.flatMap((host) =>
    addresses6(host).map((address) => [address, marks.get(host.mac) ?? 0] as const),
  );
  const about =
    owners.length === 0
      ? []
      : [
          // Whatever others marked it with.
          [{ kind: 'unmark' } as const],
          [{ kind: 'mark owner', owners } as const],
          [isNot('mark', 0), isNotIn(SETS.about, ...PLACE, 'mark'), neighbour],
          [{ kind: 'unmark' } as const],
        ];
  return [
    {
      name: 'g_ip_6',
      // Here what it is has been looked at, which a listing does not tell of conditions about ICMP.
      rules: [
        [is('icmpv6 type', [ROUTER_ADVERT, REDIRECT]), rogueRouter(deny)],
        [{ kind: 'is fragment' }, is('icmpv6 type', NEIGHBOUR_DISCOVERY), fragment],
        [is('frag nexthdr', HIDING), fragment],
        [isIn(SETS.own[6], 'ip6 saddr'), gateway],
        [is('icmpv6 type', NEIGHBOUR_ADVERT), goTo('g_about')],
        // Whether somebody has the address: from who has none yet, it is a claim too (RFC 4862, 5.4).
        [is('icmpv6 type', NEIGHBOUR_SOLICIT), is('ip6 saddr', '::'), goTo('g_about')],
        [goTo('g_source_6')],
      ],
    },
    {
      name: 'g_about',
      rules: [
        ...(own.v6.length === 0 ? [] : [[{ kind: 'about', addresses: own.v6 } as const, gateway]]),
        ...about,
        [goTo('g_source_6')],
      ],
    },
    {
      name: 'g_source_6',
      rules: [
        [isIn(SETS.bound[6], ...PLACE, 'ip6 saddr'), accept],
        [isIn(SETS.owned[6], 'ip6 saddr'), spoofed],
        // Hosts make their own on a link, and not all of them of the hardware address (RFC 7217).
        [{ kind: 'link-local source' }, accept],
        [isIn(SETS.macs, 'ether saddr'), spoofed],
        [accept],
      ],
    },
  ];
}

const addresses6 = ({ mac, v6 }: BoundHost): readonly bigint[] => [...v6, linkLocalOf(mac)];

const set = (name: string, types: readonly FrameKeyType[], elements: readonly FrameKey[]): FrameSet => ({
  name,
  types,
  kind: 'declared',
  elements,
});

function setsOf({ ports, hosts, own }: PortGuard): FrameSet[] {
  const marks = marksOf(hosts);
  const each = (of: (host: BoundHost, port: string) => readonly FrameKey[]): FrameKey[] =>
    hosts.flatMap((host) => host.ports.flatMap((port) => of(host, port)));
  return [
    set(
      SETS.access,
      ['ifname'],
      ports.map(({ name }) => [name]),
    ),
    set(
      SETS.apart,
      ['ifname'],
      ports.filter(({ within }) => within === 'deny').map(({ name }) => [name]),
    ),
    set(
      SETS.strict,
      ['ifname'],
      ports.filter(({ unknown }) => unknown === 'deny').map(({ name }) => [name]),
    ),
    set(
      SETS.macs,
      ['ether_addr'],
      hosts.map(({ mac }) => [mac]),
    ),
    set(
      SETS.plugs,
      ['ifname', 'ether_addr'],
      each(({ mac }, port) => [[port, mac]]),
    ),
    // Who asks whether an address is free has none yet (RFC 5227), nor has who asks for one (RFC 2131).
    set(
      SETS.arp,
      ['ifname', 'ether_addr', 'ether_addr', 'ipv4_addr'],
      each(({ mac, v4 }, port) => [UNSPECIFIED, ...v4].map((address) => [port, mac, mac, address])),
    ),
    set(
      SETS.bound[4],
      ['ifname', 'ether_addr', 'ipv4_addr'],
      each(({ mac, v4 }, port) => [UNSPECIFIED, ...v4].map((address) => [port, mac, address])),
    ),
    set(
      SETS.bound[6],
      ['ifname', 'ether_addr', 'ipv6_addr'],
      each((host, port) => [UNSPECIFIED, ...addresses6(host)].map((address) => [port, host.mac, address])),
    ),
    set(SETS.owned[4], ['ipv4_addr'], unique(hosts.flatMap(({ v4 }) => v4))),
    set(SETS.owned[6], ['ipv6_addr'], unique(hosts.flatMap(addresses6))),
    set(SETS.own[4], ['ipv4_addr'], unique(own.v4)),
    set(SETS.own[6], ['ipv6_addr'], unique(own.v6)),
    set(
      SETS.about,
      ['ifname', 'ether_addr', 'mark'],
      each(({ mac }, port) => [[port, mac, marks.get(mac) ?? 0]]),
    ),
    { name: SETS.senders, types: ['ether_addr'], kind: 'dynamic', elements: [] },
    { name: SETS.places, types: ['ifname'], kind: 'dynamic', elements: [] },
    { name: SETS.quarantined.mac, types: ['ether_addr'], kind: 'quarantine', elements: [] },
    { name: SETS.quarantined[4], types: ['ipv4_addr'], kind: 'quarantine', elements: [] },
    { name: SETS.quarantined[6], types: ['ipv6_addr'], kind: 'quarantine', elements: [] },
  ];
}

const unique = (values: readonly bigint[]): FrameKey[] => [...new Set(values)].map((value) => [value]);

const BY_SENDER = { kind: 'limit', by: 'ether saddr', set: SETS.senders } as const;
const BY_PORT = { kind: 'limit', by: 'iifname', set: SETS.places } as const;
/**
 * What any hardware address may be written into: there are more of them than a set remembers, and a full one hides who is
 * new. Where unknown ones are denied, the others are those of devices.
 */
const MADE_UP: ReadonlySet<string> = new Set(['d_tagged', 'd_length', 'd_unknown']);

interface Told {
  readonly words: string;
  readonly before: readonly FrameStatement[];
  readonly limit: FrameStatement;
}

/** The end of what is not allowed: log, count, drop; in mode observe it passes all the same. */
function denial(name: string, { words, before, limit }: Told, mode: Policy['mode']): FrameChain {
  const denied = mode === 'enforce';
  const prefix = `sluice ${denied ? 'denied' : 'would-deny'} port ${words} `;
  return {
    name,
    rules: [
      ...before.map((statement) => [statement]),
      [limit, { kind: 'log', group: LOG_GROUP, prefix }],
      [count(denialCounter(denied, name)), denied ? drop : accept],
    ],
  };
}

function countersOf(chains: readonly FrameChain[]): string[] {
  const statements = chains.flatMap(({ rules }) => rules.flat());
  return [...new Set(statements.flatMap((one) => (one.kind === 'count' ? [one.counter] : [])))];
}
