import { GATEWAY } from '../config/zones.ts';
import { BY_INTERFACE, denial } from './denials.ts';
import type { Policy } from './policy.ts';
import { QUARANTINE_SIZE } from './quarantine.ts';
import type { Chain, Field, NamedSet, Rule, VerdictMap } from './ruleset.ts';
import {
  accept, choose, goTo, is, isIn, isNotIn, isOneOf, isWithin, lookUp, rule,
} from './statements.ts'; // biome-ignore format: one line reads better

// Where packets enter the table, and in which order they are looked at.

/** Before connection tracking: what is dropped here takes no entry of it. */
const RAW = -300;
/** In front of other firewalls at 0: whatever they accept, a drop of ours is final. */
const PRIORITY = -5;

export const PAIRS = 'm_pairs';
export const ENTRANCES = 'm_in';
export const EXITS = 'm_out';
export const sourceMap = (family: 4 | 6): string => `m_source_${family}`;
const IPV6_INTERFACES = 's_ipv6';
/** Where a router may say that it is one. */
const ROUTER_INTERFACES = 's_router';

export const UNDECLARED = 'd_undeclared';
const SPOOFED = 'd_spoofed';
const NO_IPV6 = 'd_ipv6';
const INVALID = 'd_invalid';
const RELATED = 'g_related';
const relatedOf = (family: 4 | 6): string => `${RELATED}_${family}`;
const TOLD = 'g_told';
/** Where errors are forwarded, and where they come in: to the zones that a connection leads between. */
const RELATED_BETWEEN = 'g_related_between';
const RELATED_IN = 'g_related_in';
export const RELATED_PAIRS = 'm_related';
export const RELATED_ENTRANCES = 'm_related_in';
const UNRELATED = 'd_unrelated';
const QUARANTINED = 'd_quarantined';
const QUARANTINE = { mac: 'q_mac', 4: 'q_ip_4', 6: 'q_ip_6' } as const;

export function baseSets({ zones }: Policy): NamedSet[] {
  const empty = { kind: 'dynamic', elements: [], size: QUARANTINE_SIZE } as const;
  return [
    {
      name: IPV6_INTERFACES,
      type: 'ifname',
      kind: 'declared',
      elements: zones.filter(({ v6 }) => v6.length > 0).map((zone) => zone.interface),
    },
    {
      name: ROUTER_INTERFACES,
      type: 'ifname',
      kind: 'declared',
      elements: zones.filter(({ v6, rest }) => v6.length > 0 && rest === true).map((zone) => zone.interface),
    },
    { name: QUARANTINE.mac, type: 'ether_addr', ...empty },
    { name: QUARANTINE[4], type: 'ipv4_addr', ...empty },
    { name: QUARANTINE[6], type: 'ipv6_addr', ...empty },
  ];
}

/** Rules that stand at a fixed place among those of the hooks. */
export interface Placed {
  /** Who always reaches the gateway. */
  readonly management: readonly Rule[];
  /** What answers them. */
  readonly answers: readonly Rule[];
  /** What a guard looks into is never just forwarded, in whatever state its connection is. */
  readonly guarded: readonly Rule[];
  /** Connections that were led to a guard. */
  readonly inspected: readonly Rule[];
  /** Who is told that its connection does not go past a guard; none where there is no guard. */
  readonly told: readonly Rule[];
  /** Whom of the machine itself the listeners of guards are for. */
  readonly knocks: readonly Rule[];
}

export function baseChains(
  { mode, observeUntil }: Policy,
  { management, answers, guarded, inspected, told, knocks }: Placed,
): Chain[] {
  // A policy cannot know the time: where observing has an end, the rules alone let pass.
  const closed = mode === 'enforce' || observeUntil !== undefined;
  const base = (hook: 'input' | 'forward' | 'output') =>
    ({ type: 'filter', hook, priority: PRIORITY, policy: closed ? 'drop' : 'accept' }) as const;
  return [
    {
      name: 'g_raw',
      base: { type: 'filter', hook: 'prerouting', priority: RAW, policy: 'accept' },
      rules: antiSpoof(),
    },
    {
      name: 'g_forward',
      base: base('forward'),
      rules: [
        ...quarantine(['ether saddr', 'ip saddr', 'ip daddr', 'ip6 saddr', 'ip6 daddr']),
        ...guarded,
        ...byState(),
        rule(lookUp(['iifname', 'oifname'], PAIRS)),
        rule(goTo(UNDECLARED)),
      ],
    },
    {
      name: 'g_input',
      base: base('input'),
      rules: [
        ...knocks,
        rule(is('iifname', 'lo'), accept),
        ...management,
        ...neighbours('in'),
        ...quarantine(['ether saddr', 'ip saddr', 'ip6 saddr']),
        ...byState(RELATED_IN),
        ...inspected,
        rule(lookUp(['iifname'], ENTRANCES)),
        rule(goTo(UNDECLARED)),
      ],
    },
    {
      name: 'g_output',
      base: base('output'),
      rules: [
        rule(is('oifname', 'lo'), accept),
        ...neighbours('out'),
        ...answers,
        ...quarantine(['ip daddr', 'ip6 daddr']),
        ...byState(told.length > 0 ? TOLD : RELATED),
        rule(lookUp(['oifname'], EXITS)),
        rule(goTo(UNDECLARED)),
      ],
    },
    ...(told.length > 0 ? [{ name: TOLD, rules: [...told, rule(goTo(RELATED))] }] : []),
    ...related(),
    denial(UNDECLARED, 'undeclared interface', { mode, until: observeUntil }),
    denial(SPOOFED, 'foreign source', { mode, until: observeUntil, by: BY_INTERFACE }),
    denial(NO_IPV6, 'ipv6 where there is none', { mode, until: observeUntil }),
    denial(INVALID, 'invalid', { mode, until: observeUntil }),
    denial(UNRELATED, 'unrelated', { mode, until: observeUntil }),
    // Somebody put it there: that holds in mode observe too.
    denial(QUARANTINED, 'quarantine', { mode: 'enforce' }),
  ];
}

/** A source has to be one of the zone that its interface belongs to. */
function antiSpoof(): Rule[] {
  return [
    rule(is('iifname', 'lo'), accept),
    rule(is('nfproto', 'ipv6'), isNotIn('iifname', IPV6_INTERFACES), goTo(NO_IPV6)),
    ...neighbours('in'),
    rule(lookUp(['iifname', 'ip saddr'], sourceMap(4))),
    rule(lookUp(['iifname', 'ip6 saddr'], sourceMap(6))),
    rule(goTo(SPOOFED)),
  ];
}

function quarantine(fields: readonly Field[]): Rule[] {
  return fields.map((field) => {
    const set = field === 'ether saddr' ? QUARANTINE.mac : QUARANTINE[field.startsWith('ip6') ? 6 : 4];
    return rule(isIn(field, set), goTo(QUARANTINED));
  });
}

/** `errors` is where errors about a connection are looked at: in general those that are forwarded. */
export function byState(errors = RELATED_BETWEEN): Rule[] {
  return [
    rule(
      choose('ct state', [
        ['established', 'accept'],
        ['related', { goto: errors }],
        ['invalid', { goto: INVALID }],
      ]),
    ),
  ];
}

/**
 * Errors about a connection that is allowed, and nothing that a helper expects: no side channels of FTP and its kin. The
 * kernel looks at what an error is about and not at who sends it: only the zones at both ends of a connection may.
 */
function related(): Chain[] {
  // Apart by family: a listing does not tell whether a look at a type of ICMP is also one at the family.
  const errors = [
    { family: 4, type: isOneOf('icmp type', 3, 11, 12) }, // unreachable, time exceeded, parameter problem (RFC 792)
    { family: 6, type: isOneOf('icmpv6 type', 1, 2, 3, 4) }, // the same and packet too big (RFC 4890, 4.3.1)
  ] as const;
  return [
    {
      name: RELATED,
      rules: [
        rule(
          choose(
            'nfproto',
            errors.map(({ family }) => [`ipv${family}`, { goto: relatedOf(family) }]),
          ),
        ),
        rule(goTo(UNRELATED)),
      ],
    },
    ...errors.map(({ family, type }) => ({
      name: relatedOf(family),
      rules: [rule(type, accept), rule(goTo(UNRELATED))],
    })),
    {
      name: RELATED_BETWEEN,
      rules: [rule(lookUp(['iifname', 'oifname'], RELATED_PAIRS)), rule(goTo(UNRELATED))],
    },
    { name: RELATED_IN, rules: [rule(lookUp(['iifname'], RELATED_ENTRANCES)), rule(goTo(UNRELATED))] },
  ];
}

/** Between which zones errors may go: forward those that a flow leads between, and in from those that the gateway talks to. */
export function relatedMaps({ zones, flows }: Policy): VerdictMap[] {
  const ways = new Set<string>();
  const add = (from: string, to: string): void => {
    ways.add(`${from} ${to}`).add(`${to} ${from}`);
  };
  for (const { from, to, guard } of flows) {
    // A guard ends the connection of its client in the gateway, and opens one of its own.
    add(from.zone, guard?.grade === 'enforced' ? GATEWAY : to.zone);
  }
  const verdict = { goto: RELATED };
  const between = zones.flatMap((one) =>
    zones
      .filter((other) => ways.has(`${one.name} ${other.name}`))
      .map((other) => ({ key: [one.interface, other.interface], verdict })),
  );
  const entrances = zones
    .filter(({ name }) => ways.has(`${name} ${GATEWAY}`))
    .map((zone) => ({ key: [zone.interface], verdict }));
  return [
    { name: RELATED_PAIRS, types: ['ifname', 'ifname'], interval: false, elements: between },
    { name: RELATED_ENTRANCES, types: ['ifname'], interval: false, elements: entrances },
  ];
}

/**
 * What IPv6 needs to find a neighbour, and never leaves its link (RFC 4890, 4.4.1). Routers may only be where the rest of
 * the world is: a device that says to be one would have the gateway send everything to it.
 */
function neighbours(way: 'in' | 'out'): Rule[] {
  const routed = way === 'in' ? [isIn('iifname', ROUTER_INTERFACES)] : [];
  return [
    // Solicitations and advertisements, also inverse; a router would have lowered the hop limit (RFC 4861, 6.1 and 7.1).
    rule(isOneOf('icmpv6 type', 133, 135, 136, 141, 142), is('ip6 hoplimit', 255), accept),
    // Router advertisements.
    rule(is('icmpv6 type', 134), ...routed, isWithin('ip6 saddr', 'fe80::', 10), accept),
    // Multicast listeners, certification paths, multicast routers.
    rule(
      isOneOf('icmpv6 type', 130, 131, 132, 143, 148, 149, 151, 152, 153),
      isWithin('ip6 saddr', 'fe80::', 10),
      accept,
    ),
    // Before a host has an address (RFC 3590; RFC 3971, 6.4.1).
    rule(isOneOf('icmpv6 type', 143, 148), is('ip6 saddr', '::'), accept),
  ];
}
