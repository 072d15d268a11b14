import { GATEWAY } from '../config/zones.ts';
import { baseChains, baseSets, ENTRANCES, EXITS, PAIRS, relatedMaps, sourceMap } from './base-chains.ts';
import { denialOfPair, logSets } from './denials.ts';
import { apart, type Entry, elementsOf, entriesOf, isWide } from './elements.ts';
import { compileFrames } from './frame-compile.ts';
import { guardRules } from './guard-rules.ts';
import {
  flowChain,
  flowCounter,
  managersSet,
  mapOf,
  type Pair,
  pairChain,
  pairCounter,
  servicesMap,
  sideSet,
} from './names.ts';
import type { AddressRange, Flow, Policy, PolicyZone } from './policy.ts';
import { FAMILIES, type Family, merged, ofFamily } from './ranges.ts';
import type { Chain, Field, KeyType, MapElement, NamedSet, Rule, Ruleset, VerdictMap } from './ruleset.ts';
import { accept, choose, count, goTo, is, isIn, lookUp, rule } from './statements.ts';

/** The rules that allow exactly what a policy says. Their number follows from zones and flows, not from devices. */
export function compile(policy: Policy): Ruleset {
  if (policy.mode === 'off')
    return { loaded: false, counters: [], sets: [], maps: [], portMaps: [], chains: [] };
  const managing = managementOf(policy);
  const guarded = guardRules(policy);
  const pairs = pairsOf(policy).map((pair) => compilePair(pair, policy));
  const chains = [
    ...baseChains(policy, { management: managing.rules, answers: managing.answers, ...guarded }),
    ...guarded.chains,
    ...flowChains(policy),
    ...pairs.flatMap((pair) => pair.chains),
  ];
  const frames = compileFrames(policy);
  return {
    loaded: true,
    ...(frames && { frames }),
    counters: countersOf(chains),
    sets: [...baseSets(policy), ...managing.sets, ...logSets(policy), ...pairs.flatMap((pair) => pair.sets)],
    maps: [
      ...dispatch(policy, pairs),
      ...relatedMaps(policy),
      ...sources(policy),
      ...managing.maps,
      ...guarded.maps,
      ...pairs.flatMap((pair) => pair.maps),
    ],
    portMaps: guarded.portMaps,
    chains,
  };
}

interface CompiledPair {
  readonly pair: Pair;
  /** Where packets of the pair go on. */
  readonly entry: string;
  readonly chains: readonly Chain[];
  readonly sets: readonly NamedSet[];
  readonly maps: readonly VerdictMap[];
}

/** Every way between two zones, within one, and from and to the gateway. */
function pairsOf({ zones }: Policy): Pair[] {
  const names = zones.map(({ name }) => name);
  return [
    ...names.flatMap((from) => names.map((to) => ({ from, to }))),
    ...names.map((from) => ({ from, to: GATEWAY })),
    ...names.map((to) => ({ from: GATEWAY, to })),
  ];
}

function compilePair(pair: Pair, policy: Policy): CompiledPair {
  const { flows } = policy;
  const own = flows.filter(
    ({ kind, guard, from, to }) =>
      kind !== 'management' && guard?.grade !== 'enforced' && from.zone === pair.from && to.zone === pair.to,
  );
  const denied = denialOfPair(pair, policy);
  if (own.length === 0) return { pair, entry: denied.name, chains: [denied], sets: [], maps: [] };
  const families = FAMILIES.map((family) => ({ family, ...lookUps(pair, own, family) }));
  const used = families.filter(({ rules }) => rules.length > 0);
  const top: Chain = {
    name: pairChain(pair),
    rules: [
      rule(count(pairCounter(pair))),
      rule(
        choose(
          'nfproto',
          used.map(({ family }) => [`ipv${family}`, { goto: pairChain(pair, family) }]),
        ),
      ),
      rule(goTo(denied.name)),
    ],
  };
  const below = used.map(({ family, rules }) => ({
    name: pairChain(pair, family),
    rules: [...rules, rule(goTo(denied.name))],
  }));
  return {
    pair,
    entry: top.name,
    chains: [top, ...below, denied],
    sets: used.flatMap(({ sets }) => sets),
    maps: used.flatMap(({ maps }) => maps),
  };
}

const ADDRESS: Readonly<Record<Family, KeyType>> = { 4: 'ipv4_addr', 6: 'ipv6_addr' };
const addressField = (family: Family, end: 'saddr' | 'daddr'): Field =>
  family === 4 ? `ip ${end}` : `ip6 ${end}`;
const PORT_FIELDS: readonly Field[] = ['l4proto', 'th dport'];
const PORT_TYPES: readonly KeyType[] = ['inet_proto', 'inet_service'];

interface LookUps {
  readonly sets: readonly NamedSet[];
  readonly maps: readonly VerdictMap[];
  readonly rules: readonly Rule[];
}

/** What the flows of a pair allow in one family, and the rules that look into it. */
function lookUps(pair: Pair, flows: readonly Flow[], family: Family): LookUps {
  const { wide = [], narrow = [] } = Object.groupBy(flows, (flow) =>
    isWide(flow, family) ? 'wide' : 'narrow',
  );
  const of = [pairLookUps(pair, narrow, family), ...wideLookUps(wide, family)];
  return {
    sets: of.flatMap(({ sets }) => sets),
    maps: of.flatMap(({ maps }) => maps),
    rules: of.flatMap(({ rules }) => rules),
  };
}

/** Flows of one name and with the same ends share their sets: the services of a conduit do, the ports of a guard do not. */
function wideLookUps(flows: readonly Flow[], family: Family): LookUps[] {
  return [...Map.groupBy(flows, flowChain).values()].flatMap((named) =>
    [...Map.groupBy(named, (flow) => endsText(flow, family)).values()].map((own, part) =>
      wideLookUp(own, family, part),
    ),
  );
}

const endsText = ({ from, to }: Flow, family: Family): string =>
  [from, to]
    .map((side) =>
      ofFamily(side, family)
        .map(({ low, high }) => `${low}-${high}`)
        .join(),
    )
    .join(' -> ');

function wideLookUp(flows: readonly Flow[], family: Family, part: number): LookUps {
  const [first] = flows;
  if (first === undefined) return { sets: [], maps: [], rules: [] };
  const [from, to] = [sideSet(first, 'from', family, part), sideSet(first, 'to', family, part)];
  const between = [isIn(addressField(family, 'saddr'), from), isIn(addressField(family, 'daddr'), to)];
  const services = flows.filter(({ protocol }) => protocol === 'tcp' || protocol === 'udp');
  const map = servicesMap(first, family, part);
  const hasEcho = flows.some(({ protocol }) => protocol === (family === 4 ? 'icmp' : 'icmpv6'));
  const entries = services.map(({ protocol, ports: [low, high] }) => [
    { key: [protocol, { low: BigInt(low), high: BigInt(high) }], target: flowChain(first) },
  ]);
  return {
    sets: [
      addressSet(from, family, ofFamily(first.from, family)),
      addressSet(to, family, ofFamily(first.to, family)),
    ],
    maps:
      services.length === 0
        ? []
        : [{ name: map, types: PORT_TYPES, interval: true, elements: apart(entries) }],
    rules: [
      ...(services.length === 0 ? [] : [rule(...between, lookUp(PORT_FIELDS, map))]),
      ...(hasEcho ? [rule(...between, isEchoRequest(family), goTo(flowChain(first)))] : []),
    ],
  };
}

/** The maps of a pair in one family, and the rules that look into them, one each. */
function pairLookUps(pair: Pair, flows: readonly Flow[], family: Family): LookUps {
  const elements = elementsOf(flows, family);
  const [source, destination] = [addressField(family, 'saddr'), addressField(family, 'daddr')];
  const maps: VerdictMap[] = [];
  const rules: Rule[] = [];
  const add = (kind: 'm' | 'r' | 'e', open: boolean, content: readonly MapElement[]): void => {
    if (content.length === 0) return;
    const name = mapOf(kind, pair, family, open);
    const ends = open ? [pair.from === GATEWAY ? destination : source] : [source, destination];
    const [fields, types] = kind === 'e' ? [[], []] : [PORT_FIELDS, PORT_TYPES];
    maps.push({
      name,
      types: [...ends.map(() => ADDRESS[family]), ...types],
      interval: kind !== 'm',
      elements: content,
    });
    const look = lookUp([...ends, ...fields], name);
    rules.push(kind === 'e' ? rule(isEchoRequest(family), look) : rule(look));
  };
  add('m', false, elements.exact);
  add('m', true, elements.exactOpen);
  add('r', false, elements.ranges);
  add('r', true, elements.rangesOpen);
  add('e', false, elements.echo);
  add('e', true, elements.echoOpen);
  return { sets: [], maps, rules };
}

/** RFC 792 and RFC 4443, 4.1. */
const isEchoRequest = (family: Family) => (family === 4 ? is('icmp type', 8) : is('icmpv6 type', 128));

/** A chain for each name: what it allowed is counted under it. */
function flowChains({ flows }: Policy): Chain[] {
  const byName = new Map(flows.toReversed().map((flow) => [flow.name, flow]));
  return [...byName.values()].toReversed().map((flow) => ({
    name: flowChain(flow),
    rules: [{ ...rule(count(flowCounter(flow)), accept), comment: commentOf(flow) }],
  }));
}

/** The kernel takes 253 bytes, and whoever lists rules has to read it. */
const MAX_COMMENT_BYTES = 120;
const MORE = '…';

/** Why, and where in the file; without what a listing could not be read again with. */
function commentOf({ path, because }: Flow): string {
  const text = `${path}: ${because}`.replaceAll(/[\p{C}"\\]+/gu, ' ').trim();
  if (Buffer.byteLength(text) <= MAX_COMMENT_BYTES) return text;
  // What a cut leaves of a letter of several bytes is taken off.
  const cut = Buffer.from(text)
    .subarray(0, MAX_COMMENT_BYTES - Buffer.byteLength(MORE))
    .toString();
  return `${cut.replace(/\uFFFD+$/, '')}${MORE}`;
}

const isBetweenZones = ({ from, to }: Pair): boolean => from !== GATEWAY && to !== GATEWAY;

/** Which chain a packet belongs to, by the interfaces it comes from and goes to: one look for any number of zones. */
function dispatch({ zones }: Policy, pairs: readonly CompiledPair[]): VerdictMap[] {
  const interfaces = new Map(zones.map((zone) => [zone.name, zone.interface]));
  const elements = (of: (pair: Pair) => boolean): MapElement[] =>
    pairs.flatMap(({ pair, entry }) => {
      if (!of(pair)) return [];
      const key = [interfaces.get(pair.from), interfaces.get(pair.to)].filter((one) => one !== undefined);
      return [{ key, verdict: { goto: entry } }];
    });
  return [
    { name: PAIRS, types: ['ifname', 'ifname'], interval: false, elements: elements(isBetweenZones) },
    { name: ENTRANCES, types: ['ifname'], interval: false, elements: elements(({ to }) => to === GATEWAY) },
    { name: EXITS, types: ['ifname'], interval: false, elements: elements(({ from }) => from === GATEWAY) },
  ];
}

function sources({ zones }: Policy): VerdictMap[] {
  return FAMILIES.map((family) => ({
    name: sourceMap(family),
    types: ['ifname', ADDRESS[family]],
    interval: true,
    elements: zones.flatMap((zone: PolicyZone) =>
      ofFamily(zone, family).map((range) => ({ key: [zone.interface, range], verdict: 'accept' as const })),
    ),
  }));
}

const addressSet = (name: string, family: Family, addresses: readonly AddressRange[]): NamedSet => ({
  name,
  type: ADDRESS[family],
  kind: 'declared',
  interval: true,
  elements: merged(addresses),
});

/** Who manages the gateway is looked for before anything else, so that no mistake in the rest locks them out. */
function managementOf({ flows }: Policy): {
  readonly maps: VerdictMap[];
  readonly sets: NamedSet[];
  readonly rules: Rule[];
  readonly answers: Rule[];
} {
  const managing = flows.filter(({ kind }) => kind === 'management');
  const maps: VerdictMap[] = [];
  const sets: NamedSet[] = [];
  const rules: Rule[] = [];
  const answers: Rule[] = [];
  for (const family of FAMILIES) {
    const source = addressField(family, 'saddr');
    const withPorts = managing.filter(({ protocol }) => protocol === 'tcp' || protocol === 'udp');
    const echo = managing.filter(({ protocol }) => protocol === (family === 4 ? 'icmp' : 'icmpv6'));
    const add = (
      name: string,
      content: readonly Flow[],
      fields: readonly Field[],
      types: readonly KeyType[],
    ): Rule | undefined => {
      const elements = apart(content.map((flow) => fromInterface(flow, family)));
      if (elements.length === 0) return undefined;
      maps.push({ name, types: ['ifname', ADDRESS[family], ...types], interval: true, elements });
      return rule(lookUp(['iifname', source, ...fields], name));
    };
    const ports = add(`m_management_${family}`, withPorts, PORT_FIELDS, PORT_TYPES);
    if (ports !== undefined) rules.push(ports);
    const pings = add(`e_management_${family}`, echo, [], []);
    if (pings !== undefined) rules.push(rule(isEchoRequest(family), ...pings.statements));
    const managers = [...withPorts, ...echo].flatMap(({ from }) => ofFamily(from, family));
    if (managers.length === 0) continue;
    sets.push(addressSet(managersSet(family), family, managers));
    answers.push(
      rule(
        isIn(addressField(family, 'daddr'), managersSet(family)),
        choose('ct state', [['established', 'accept']]),
      ),
    );
  }
  return { maps, sets, rules, answers };
}

const fromInterface = (flow: Flow, family: Family): Entry[] =>
  entriesOf(flow, family).entries.map(({ key, target }) => ({
    key: [flow.from.interface ?? '', ...key],
    target,
  }));

/** Every counter that a rule counts with, once. */
function countersOf(chains: readonly Chain[]): string[] {
  const counters = chains.flatMap(({ rules }) =>
    rules.flatMap(({ statements }) =>
      statements.flatMap((statement) => (statement.kind === 'count' ? [statement.counter] : [])),
    ),
  );
  return [...new Set(counters)];
}
