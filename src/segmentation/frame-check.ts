import type { FrameRuleset, FrameStatement } from './frame-rules.ts';
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

// As `check.ts` for packets: what is emitted for the bridge is what is known to survive a listing of nft 1.0.6.

const MAC = text(/^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/, 17);
/** Below 2^63 nft lists a number in place of it. */
const RAW = text(/^0x[0-9a-f]{17,32}$/, 34);
const KEY_TYPE = literal('ifname', 'ether_addr', 'ipv4_addr', 'ipv6_addr', 'mark');
const MARK = whole(0, 2 ** 32 - 1);

const here = insideOf('bridge');
const part = either(MARK, MAC, ADDRESS, INTERFACE);

const about = object({
  payload: object({ base: literal('th'), offset: literal(64), len: literal(128) }),
});
const field = oneOf({
  meta: object({ key: literal('iifname', 'oifname', 'mark') }),
  exthdr: object({ name: literal('frag') }, { field: literal('nexthdr') }),
  payload: either(
    object({ protocol: literal('ether'), field: literal('saddr', 'daddr', 'type') }),
    object({
      protocol: literal('arp'),
      field: literal('htype', 'ptype', 'hlen', 'plen', 'saddr ether', 'saddr ip'),
    }),
    object({ protocol: literal('ip', 'ip6'), field: literal('saddr', 'daddr') }),
    object({ protocol: literal('udp'), field: literal('sport') }),
    object({ protocol: literal('icmp', 'icmpv6'), field: literal('type') }),
    object({ base: literal('th'), offset: literal(64), len: literal(128) }),
  ),
});
const TYPE = literal('8021q', '8021ad');

const statement = oneOf({
  match: object({
    op: literal('==', '!=', '<'),
    left: either(field, object({ concat: listOf(field, 2) })),
    right: either(
      REFERENCE,
      SHORT,
      oneOf({
        set: either(listOf(SHORT), listOf(TYPE), listOf(RAW)),
        prefix: object({ addr: literal('fe80::'), len: literal(10) }),
      }),
      literal('arp', 'ip', 'ip6', '::', true),
    ),
  }),
  mangle: object({
    key: object({ meta: object({ key: literal('mark') }) }),
    value: either(
      literal(0),
      object({ map: object({ key: about, data: object({ set: listOf(pairOf(RAW, MARK)) }) }) }),
    ),
  }),
  counter: NAME,
  set: updateOf(field),
  log,
  ...verdict,
});

const table = object({ table: tableOf('bridge') });
const COMMAND: Shape = oneOf({
  delete: table,
  add: oneOf({
    table: tableOf('bridge'),
    counter: object({ ...here, name: NAME }),
    set: object(
      { ...here, name: NAME, type: either(KEY_TYPE, listOf(KEY_TYPE, 2)) },
      {
        ...remembering,
        elem: listOf(either(part, object({ concat: listOf(part, 2) }))),
      },
    ),
    chain: object(
      { ...here, name: NAME },
      {
        type: literal('filter'),
        hook: literal('prerouting', 'forward'),
        prio: literal(-300),
        policy: literal('accept'),
      },
    ),
    rule: object({ ...here, chain: NAME, expr: listOf(statement) }),
  }),
});

/** Throws where commands are not the subset that nft is known to understand: a bug of the compiler. */
export function checkFrameCommands(commands: readonly unknown[]): void {
  for (const [i, command] of commands.entries()) {
    const wrong = COMMAND(command, `nftables[${i}]`);
    need(wrong === undefined, wrong?.what ?? '');
  }
}

/** Throws where a rule leads to something that is not there, or a chain has an open end: a bug of the compiler. */
export function checkFrameReferences({ counters, sets, chains }: FrameRuleset): void {
  const names = new Set(chains.map(({ name }) => name));
  const known = new Map(sets.map((set) => [set.name, set]));
  need(names.size === chains.length && known.size === sets.length, 'two chains or sets have one name');
  for (const { name, types, elements } of sets) {
    need(
      elements.every((key) => key.length === types.length),
      `a key of ${name} has not ${types.length} parts`,
    );
  }
  const check = (one: FrameStatement, chain: string): void => {
    if (one.kind === 'count') need(counters.includes(one.counter), `${chain} counts with ${one.counter}`);
    if (one.kind === 'limit') need(known.has(one.set), `${chain} remembers in ${one.set}`);
    if (one.kind === 'member')
      need(known.get(one.set)?.types.length === one.key.length, `${chain} asks ${one.set}`);
    if (one.kind === 'verdict' && typeof one.verdict !== 'string')
      need(names.has(one.verdict.goto), `${chain} leads to ${one.verdict.goto}`);
  };
  for (const { name, rules } of chains) {
    for (const one of rules.flat()) check(one, name);
    const last = rules.at(-1);
    const closed = last?.every(({ kind }) => kind === 'count' || kind === 'verdict');
    need(closed === true && last?.at(-1)?.kind === 'verdict', `${name} has an open end`);
  }
}

function need(there: boolean, what: string): void {
  if (!there) throw new Error(`the rules of the bridge would not be what was meant: ${what}`);
}
