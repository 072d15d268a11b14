import {
  ADDRESS,
  INTERFACE,
  insideOf,
  log,
  NAME,
  REFERENCE,
  remembering,
  SHORT,
  tableOf,
  updateOf,
  verdict,
} from './check-words.ts';
import { either, listOf, literal, object, oneOf, pairOf, type Shape, text, whole } from './shape.ts';
import type { Chain, Ruleset, Statement, Verdict, VerdictMap } from './ruleset.ts';

// nft 1.0.6 ignores keys that it does not know, takes some lists only where they are not empty, and accepts names that
// it cannot read again. So what is emitted is checked here, against what is known to survive a listing.

const KEY_TYPE = literal('ifname', 'ipv4_addr', 'ipv6_addr', 'ether_addr', 'inet_proto', 'inet_service');

const here = insideOf('inet');
const prefix = object({ addr: ADDRESS, len: whole(0, 128) });
const part = either(
  SHORT,
  oneOf({ range: either(pairOf(SHORT, SHORT), pairOf(ADDRESS, ADDRESS)), prefix }),
  literal('tcp', 'udp'),
  ADDRESS,
  INTERFACE,
);
const key = either(part, object({ concat: listOf(part, 2) }));

const META = literal('iifname', 'oifname', 'nfproto', 'l4proto');
const field = oneOf({
  meta: object({ key: META }),
  ct: either(
    object({ key: literal('state') }),
    object({ key: literal('ip daddr', 'ip6 daddr', 'proto-dst'), dir: literal('original') }),
  ),
  payload: either(
    object({ protocol: literal('ip', 'ip6'), field: literal('saddr', 'daddr') }),
    object({ protocol: literal('ip6'), field: literal('hoplimit') }),
    object({ protocol: literal('ether'), field: literal('saddr') }),
    object({ protocol: literal('icmp', 'icmpv6'), field: literal('type') }),
    object({ protocol: literal('th', 'tcp'), field: literal('dport') }),
  ),
});
const raw = (base: string, offset: number, len: number, mask: number): Shape =>
  object({
    '&': pairOf(
      object({ payload: object({ base: literal(base), offset: literal(offset), len: literal(len) }) }),
      literal(mask),
    ),
  });
/** Lengths, and what of a segment is compared as it is: exactly these, and with nothing else. */
const LENGTH = object({ payload: object({ protocol: literal('ip', 'ip6'), field: literal('length') }) });
const SEGMENT = raw('th', 96, 16, 0xf020);
const CASES = literal('established', 'related', 'invalid', 'ipv4', 'ipv6');

const statement = oneOf({
  match: either(
    object({
      op: literal('>=', '<'),
      left: object({ meta: object({ key: literal('time') }) }),
      right: whole(0, 2 ** 33),
    }),
    object({ op: literal('=='), left: raw('nh', 0, 8, 0x0f), right: literal(5) }),
    object({
      op: literal('=='),
      left: raw('ih', 16, 48, 0xffff_ffff_00ff),
      right: object({ set: listOf(whole(0x6_0001, 0x6_0004)) }),
    }),
    object({
      op: literal('=='),
      left: object({ payload: object({ protocol: literal('ip6'), field: literal('nexthdr') }) }),
      right: literal('tcp'),
    }),
    object({
      op: literal('==', '!='),
      left: field,
      right: either(
        REFERENCE,
        whole(0, 255),
        oneOf({ set: listOf(whole(0, 255)), prefix }),
        literal('lo', 'ipv4', 'ipv6', 'tcp', '::'),
      ),
    }),
  ),
  vmap: either(
    object({
      key: either(LENGTH, SEGMENT),
      data: object({ set: listOf(pairOf(whole(0, 65_535), oneOf(verdict))) }),
    }),
    object({
      key: either(field, object({ concat: listOf(field, 2) })),
      data: either(REFERENCE, object({ set: listOf(pairOf(CASES, oneOf(verdict))) })),
    }),
  ),
  counter: NAME,
  redirect: object({
    port: object({ map: object({ key: object({ concat: listOf(field, 2) }), data: REFERENCE }) }),
  }),
  reject: object({ type: literal('tcp reset') }),
  set: updateOf(field),
  log,
  ...verdict,
});

const table = object({ table: tableOf('inet') });
const COMMAND: Shape = oneOf({
  delete: table,
  add: oneOf({
    table: tableOf('inet'),
    counter: object({ ...here, name: NAME }),
    set: either(
      object({ ...here, name: NAME, type: KEY_TYPE }, { ...remembering, elem: listOf(INTERFACE) }),
      object({
        ...here,
        name: NAME,
        type: literal('ipv4_addr', 'ipv6_addr'),
        flags: listOf(literal('interval')),
        elem: listOf(either(ADDRESS, oneOf({ range: pairOf(ADDRESS, ADDRESS), prefix }))),
      }),
    ),
    map: either(
      object({
        ...here,
        name: NAME,
        type: listOf(KEY_TYPE, 2),
        map: literal('inet_service'),
        flags: listOf(literal('interval')),
        elem: listOf(pairOf(key, whole(1, 65_535))),
      }),
      object(
        { ...here, name: NAME, type: either(KEY_TYPE, listOf(KEY_TYPE, 2)), map: literal('verdict') },
        { flags: listOf(literal('interval')), elem: listOf(pairOf(key, oneOf(verdict))) },
      ),
    ),
    chain: object(
      { ...here, name: NAME },
      {
        type: literal('filter', 'nat'),
        hook: literal('prerouting', 'input', 'forward', 'output'),
        prio: whole(-300, 300),
        policy: literal('accept', 'drop'),
      },
    ),
    rule: object(
      { ...here, chain: NAME, expr: listOf(statement) },
      { comment: text(/^[^\p{C}"\\]+$/u, 120) },
    ),
  }),
});

/** Throws where commands are not the subset that nft is known to understand: a bug of the compiler. */
export function checkCommands(commands: readonly unknown[]): void {
  for (const [i, command] of commands.entries()) {
    const wrong = COMMAND(command, `nftables[${i}]`);
    need(wrong === undefined, wrong?.what ?? '');
  }
}

/** Throws where a rule leads to something that is not there, or a map cannot hold its keys: a bug of the compiler. */
export function checkReferences({ counters, sets, maps, portMaps, chains }: Ruleset): void {
  const known = {
    counter: new Set(counters),
    set: new Set(sets.map(({ name }) => name)),
    chain: new Set(chains.map(({ name }) => name)),
    map: new Map(maps.map((map) => [map.name, map])),
    ports: new Map(portMaps.map((map) => [map.name, map])),
  };
  const all = [...counters, ...chains.map(({ name }) => name)];
  need(known.chain.size + known.counter.size === all.length, 'two chains or counters have one name');
  const tables = [...sets, ...maps, ...portMaps];
  need(new Set(tables.map(({ name }) => name)).size === tables.length, 'two sets or maps have one name');
  const leads = (to: Verdict, from: string): void =>
    need(typeof to === 'string' || known.chain.has(to.goto), `${from} leads to a chain that is not there`);
  for (const map of maps) checkKeys(map, leads);
  for (const chain of chains) checkEnds(chain);
  const check = (one: Statement, chain: string): void => {
    if (one.kind === 'count') need(known.counter.has(one.counter), `${chain} counts with ${one.counter}`);
    if (one.kind === 'verdict') leads(one.verdict, chain);
    if (one.kind === 'choose') for (const [, to] of one.cases) leads(to, chain);
    if (one.kind === 'limit') need(known.set.has(one.set), `${chain} remembers in ${one.set}`);
    if (one.kind === 'match' && 'set' in one.to)
      need(known.set.has(one.to.set), `${chain} asks ${one.to.set}`);
    if (one.kind === 'redirect')
      need(known.ports.get(one.map)?.types.length === one.key.length, `${chain} is led by ${one.map}`);
    if (one.kind === 'look up')
      need(known.map.get(one.map)?.types.length === one.key.length, `${chain} looks into ${one.map}`);
  };
  for (const { name, rules } of chains) {
    for (const { statements } of rules) for (const one of statements) check(one, name);
  }
}

function need(there: boolean, what: string): void {
  if (!there) throw new Error(`these rules would not be what was meant: ${what}`);
}

function checkKeys(
  { name, types, interval, elements }: VerdictMap,
  leads: (to: Verdict, from: string) => void,
): void {
  for (const { key: parts, verdict: to } of elements) {
    need(parts.length === types.length, `a key of ${name} has ${parts.length} parts`);
    leads(to, name);
    for (const range of parts) {
      if (typeof range === 'string') continue;
      need(range.low <= range.high && (interval || range.low === range.high), `a key of ${name} has a range`);
    }
  }
}

/** No packet falls off the end of a chain: it would be the policy of the hook that decides, and nobody counted it. */
function checkEnds({ name, rules }: Chain): void {
  const last = rules.at(-1)?.statements.at(-1);
  const unconditional = rules.at(-1)?.statements.every(({ kind }) => kind === 'count' || kind === 'verdict');
  need(last?.kind === 'verdict' && unconditional === true, `${name} has an open end`);
}
