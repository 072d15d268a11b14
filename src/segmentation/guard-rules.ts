import { flowChain } from './names.ts';
import { apart } from './elements.ts';
import { denial } from './denials.ts';
import { filterChain, filterChains, tellingClient } from './filter-rules.ts';
import type { Flow, FlowListener, Policy } from './policy.ts';
import { FAMILIES, type Family, ofFamily } from './ranges.ts';
import type {
  Chain, Field, KeyPart, KeyType, MapElement, PortMap, Rule, Verdict, VerdictMap,
} from './ruleset.ts'; // biome-ignore format: one line reads better
import { accept, is, lookUp, redirect, rule } from './statements.ts';

// Conduits that are looked into. Their connections are led to a listener of the gateway before they are routed; what
// comes past that is dropped in front of everything that trusts a known connection. Rules are as many as families.

/** Where destinations are rewritten, behind connection tracking (linux/netfilter_ipv4.h: NF_IP_PRI_NAT_DST). */
const DESTINATIONS = -100;
const LEADING = 'g_guard';
const PAST_THE_GUARD = 'd_guard';
const leadMap = (family: Family): string => `p_guard_${family}`;
const guardedMap = (family: Family): string => `m_guarded_${family}`;
const toldMap = (family: Family): string => `m_told_${family}`;
const inspectedMap = (family: Family): string => `m_inspected_${family}`;
const KNOCKS = 'm_knock';
const LISTENERS = 'm_listeners';
const OTHER_GUARD = 'd_knock';

export interface GuardRules {
  readonly chains: readonly Chain[];
  readonly maps: readonly VerdictMap[];
  readonly portMaps: readonly PortMap[];
  readonly guarded: readonly Rule[];
  readonly inspected: readonly Rule[];
  readonly told: readonly Rule[];
  readonly knocks: readonly Rule[];
}

type Fields = Readonly<Record<Family, Field>>;
const SOURCE: Fields = { 4: 'ip saddr', 6: 'ip6 saddr' };
const DESTINATION: Fields = { 4: 'ip daddr', 6: 'ip6 daddr' };
const ORIGINAL: Fields = { 4: 'ct original ip daddr', 6: 'ct original ip6 daddr' };
const ADDRESS: Readonly<Record<Family, KeyType>> = { 4: 'ipv4_addr', 6: 'ipv6_addr' };

export function guardRules(policy: Policy): GuardRules {
  const { flows } = policy;
  const guarded = flows.filter(({ guard }) => guard !== undefined);
  if (guarded.length === 0)
    return { chains: [], maps: [], portMaps: [], guarded: [], inspected: [], told: [], knocks: [] };
  const maps: VerdictMap[] = [];
  const portMaps: PortMap[] = [];
  const leading: Rule[] = [];
  const past: Rule[] = [];
  const inspected: Rule[] = [];
  const told: Rule[] = [];
  const filtering: Family[] = [];
  for (const family of FAMILIES) {
    const address = ADDRESS[family];
    const direct: readonly Field[] = ['iifname', SOURCE[family], DESTINATION[family], 'tcp dport'];
    const types: readonly KeyType[] = ['ifname', address, address, 'inet_service'];
    const elements = guarded.flatMap((flow) => directElements(flow, family));
    if (elements.length === 0) continue;
    maps.push({ name: guardedMap(family), types, interval: true, elements });
    past.push(rule(lookUp(direct, guardedMap(family))));
    if (guarded.some((flow) => isFiltered(flow) && directElements(flow, family).length > 0))
      filtering.push(family);
    maps.push({
      name: toldMap(family),
      types: ['ifname', address, address, 'inet_proto'],
      interval: true,
      elements: toldElements(guarded, family),
    });
    told.push(rule(lookUp(['oifname', SOURCE[family], DESTINATION[family], 'l4proto'], toldMap(family))));
    const led = guarded.flatMap((flow) => ledElements(flow, family));
    if (led.length === 0) continue;
    portMaps.push({
      name: leadMap(family),
      types,
      elements: led.map(({ client, device, port }) => ({ key: [...client, ...device], port })),
    });
    leading.push(
      // As nft lists it: the map of ports says by itself which packets it is for.
      rule(is('l4proto', 'tcp'), is('nfproto', `ipv${family}`), redirect(direct, leadMap(family))),
    );
    maps.push({
      name: inspectedMap(family),
      types: ['ifname', address, 'inet_service', address, 'inet_service'],
      interval: true,
      elements: led.map(({ flow, client, device, port }) => ({
        key: [...client, single(port), ...device],
        verdict: { goto: flowChain(flow) },
      })),
    });
    // The port first: it tells nft what protocol the original one is of.
    const then: readonly Field[] = [
      'iifname',
      SOURCE[family],
      'tcp dport',
      ORIGINAL[family],
      'ct original proto-dst',
    ];
    inspected.push(rule(lookUp(then, inspectedMap(family))));
  }
  const chains: Chain[] = [pastTheGuard(policy), ...filterChains(policy, filtering)];
  if (leading.length === 0) return { chains, maps, portMaps, guarded: past, inspected, told, knocks: [] };
  chains.push({
    name: LEADING,
    base: { type: 'nat', hook: 'prerouting', priority: DESTINATIONS, policy: 'accept' },
    rules: [...leading, rule(accept)],
  });
  const listeners = guarded.flatMap(({ guard }) => guard?.listeners ?? []);
  maps.push(...knockMaps(listeners));
  chains.push(otherGuard());
  const knocks = [
    rule(is('iifname', 'lo'), lookUp(['ip saddr', 'ip daddr', 'tcp dport'], KNOCKS)),
    rule(is('iifname', 'lo'), lookUp(['tcp dport'], LISTENERS)),
  ];
  return { chains, maps, portMaps, guarded: past, inspected, told, knocks };
}

/** From the machine itself nobody comes to a listener but the gateway that these rules are of. */
function knockMaps(listeners: readonly FlowListener[]): VerdictMap[] {
  const elements = (key: (one: FlowListener) => readonly KeyPart[], verdict: Verdict): MapElement[] =>
    listeners.map((one) => ({ key: key(one), verdict }));
  return [
    {
      name: KNOCKS,
      types: ['ipv4_addr', 'ipv4_addr', 'inet_service'],
      interval: false,
      elements: elements(({ knock, port }) => [same(knock.from), same(knock.to), single(port)], 'accept'),
    },
    {
      name: LISTENERS,
      types: ['inet_service'],
      interval: false,
      elements: elements(({ port }) => [single(port)], { goto: OTHER_GUARD }),
    },
  ];
}

/** A gateway that runs another file than the rules are of has to know it at once, in mode observe too. */
function otherGuard(): Chain {
  const chain = denial(OTHER_GUARD, 'knock of another guard', { mode: 'enforce' });
  return { ...chain, rules: chain.rules.flatMap(tellingClient) };
}

/** Packets that come past the guard, or belong to a connection from before there was one: its client is told, and asks again. */
function pastTheGuard({ mode, observeUntil }: Policy): Chain {
  const chain = denial(PAST_THE_GUARD, 'past the guard', { mode, until: observeUntil });
  return { ...chain, rules: chain.rules.flatMap(tellingClient) };
}

const isFiltered = ({ guard }: Flow): boolean => guard?.grade === 'filtered';

/** Resets come from the device, as far as the client can tell; the kernel sends them as related to the connection. */
function toldElements(guarded: readonly Flow[], family: Family): MapElement[] {
  const entries = guarded.map((flow) =>
    ofFamily(flow.to, family).flatMap((device) =>
      ofFamily(flow.from, family).map((client) => ({
        key: [flow.from.interface ?? '', device, client, 'tcp'],
        target: PAST_THE_GUARD,
      })),
    ),
  );
  return apart(entries).map(({ key }) => ({ key, verdict: 'accept' }));
}

const same = (value: bigint): KeyPart => ({ low: value, high: value });
const single = (port: number): KeyPart => same(BigInt(port));

/** Packets of a guarded flow as they come from the client. */
function directElements(flow: Flow, family: Family): MapElement[] {
  const destinations = ofFamily(flow.to, family);
  return ofFamily(flow.from, family).flatMap((source) =>
    destinations.map((destination) => ({
      key: [flow.from.interface ?? '', source, destination, single(flow.ports[0])],
      verdict: { goto: isFiltered(flow) ? filterChain(family) : PAST_THE_GUARD },
    })),
  );
}

interface Led {
  readonly flow: Flow;
  /** Interface and address that it comes from. */
  readonly client: readonly KeyPart[];
  /** Address and port that it wants to. */
  readonly device: readonly KeyPart[];
  readonly port: number;
}

function ledElements(flow: Flow, family: Family): Led[] {
  const listeners = flow.guard?.listeners.filter((one) => one.family === family) ?? [];
  return ofFamily(flow.from, family).flatMap((source) =>
    listeners.map(({ address, port }) => ({
      flow,
      client: [flow.from.interface ?? '', source],
      device: [same(address), single(flow.ports[0])],
      port,
    })),
  );
}
