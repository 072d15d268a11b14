import { formatAddress } from '../config/network.ts';
import { checkFrameCommands, checkFrameReferences } from './frame-check.ts';
import type {
  FrameChain,
  FrameField,
  FrameKey,
  FrameKeyType,
  FrameRuleset,
  FrameSet,
  FrameStatement,
} from './frame-rules.ts';
import { QUARANTINE_SIZE } from './quarantine.ts';
import type { Verdict } from './ruleset.ts';

const FAMILY = 'bridge';
const TABLE = 'sluice';
const HERE = { family: FAMILY, table: TABLE } as const;
/** Before the bridge decides where a frame goes, and at each hook before every table that a person adds there. */
const PRIORITY = -300;
/** Senders whose log lines are held back: one of them must not hide another. */
const SENDERS_REMEMBERED = 4_096;
const SECONDS_REMEMBERED = 60;

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
export type Command = { readonly add: Json } | { readonly delete: Json };

/** What puts these rules in the place of the table `bridge sluice`. Throws where nft is not known to understand them. */
export function frameCommands(ruleset: FrameRuleset): Command[] {
  checkFrameReferences(ruleset);
  const table = { table: { family: FAMILY, name: TABLE } };
  const { counters, sets, chains } = ruleset;
  const commands: Command[] = [
    { add: table },
    { delete: table },
    { add: table },
    ...counters.map((name) => ({ add: { counter: { ...HERE, name } } })),
    ...sets.map(setCommand),
    ...chains.map(chainCommand),
    ...chains.flatMap(({ name, rules }) =>
      rules.map((rule) => ({ add: { rule: { ...HERE, chain: name, expr: rule.map(statementOf) } } })),
    ),
  ];
  checkFrameCommands(commands);
  return commands;
}

function chainCommand({ name, hook }: FrameChain): Command {
  const base = hook !== undefined && { type: 'filter', hook, prio: PRIORITY, policy: 'accept' };
  return { add: { chain: { ...HERE, name, ...base } } };
}

function setCommand({ name, types, kind, elements }: FrameSet): Command {
  const [only, ...more] = types;
  const set = {
    ...HERE,
    name,
    type: only !== undefined && more.length === 0 ? only : types,
    ...(kind === 'quarantine' && { size: QUARANTINE_SIZE }),
    ...(kind === 'dynamic' && { flags: ['timeout'], timeout: SECONDS_REMEMBERED, size: SENDERS_REMEMBERED }),
    ...(elements.length > 0 && { elem: elements.map((key) => keyOf(key, types)) }),
  };
  return { add: { set } };
}

function keyOf(key: FrameKey, types: readonly FrameKeyType[]): Json {
  const parts = key.map((part, i) =>
    typeof part === 'bigint' ? formatAddress(types[i] === 'ipv4_addr' ? 4 : 6, part) : part,
  );
  const [only = null, ...more] = parts;
  return more.length === 0 ? only : { concat: parts };
}

function statementOf(statement: FrameStatement): Json {
  switch (statement.kind) {
    case 'compare': {
      const { field, op, to } = statement;
      return { match: { op, left: FIELDS[field], right: typeof to === 'object' ? { set: to } : to } };
    }
    case 'link-local source':
      return {
        match: { op: '==', left: FIELDS['ip6 saddr'], right: { prefix: { addr: 'fe80::', len: 10 } } },
      };
    case 'is fragment':
      return { match: { op: '==', left: { exthdr: { name: 'frag' } }, right: true } };
    case 'member': {
      const [only, ...more] = statement.key.map((field) => FIELDS[field]);
      const left =
        only !== undefined && more.length === 0
          ? only
          : { concat: statement.key.map((field) => FIELDS[field]) };
      return { match: { op: statement.op, left, right: `@${statement.set}` } };
    }
    case 'about':
      return { match: { op: '==', left: ABOUT, right: { set: statement.addresses.map(hex) } } };
    case 'mark owner': {
      const data = { set: statement.owners.map(([address, number]) => [hex(address), number]) };
      return { mangle: { key: FIELDS.mark, value: { map: { key: ABOUT, data } } } };
    }
    case 'unmark':
      return { mangle: { key: FIELDS.mark, value: 0 } };
    case 'count':
      return { counter: statement.counter };
    case 'limit':
      return {
        set: {
          op: 'update',
          elem: FIELDS[statement.by],
          set: `@${statement.set}`,
          stmt: [{ limit: { rate: 1, per: 'second', burst: 3 } }],
        },
      };
    case 'log':
      return { log: { group: statement.group, prefix: statement.prefix } };
    case 'verdict':
      return verdictOf(statement.verdict);
    default:
      return statement satisfies never;
  }
}

const verdictOf = (verdict: Verdict): Json =>
  typeof verdict === 'string' ? { [verdict]: null } : { goto: { target: verdict.goto } };

const payload = (protocol: string, field: string) => ({ payload: { protocol, field } });
/**
 * The target of a neighbour message (RFC 4861, 4.3 and 4.4), which nft 1.0.6 has no name for: 128 bits behind the first
 * 64. It cannot stand in a concatenation there, hence the marks.
 */
const ABOUT = { payload: { base: 'th', offset: 64, len: 128 } };
const hex = (address: bigint): string => `0x${address.toString(16)}`;

const FIELDS: Readonly<Record<FrameField, Json>> = {
  iifname: { meta: { key: 'iifname' } },
  oifname: { meta: { key: 'oifname' } },
  mark: { meta: { key: 'mark' } },
  'ether saddr': payload('ether', 'saddr'),
  'ether daddr': payload('ether', 'daddr'),
  'ether type': payload('ether', 'type'),
  'arp htype': payload('arp', 'htype'),
  'arp ptype': payload('arp', 'ptype'),
  'arp hlen': payload('arp', 'hlen'),
  'arp plen': payload('arp', 'plen'),
  'arp saddr ether': payload('arp', 'saddr ether'),
  'arp saddr ip': payload('arp', 'saddr ip'),
  'ip saddr': payload('ip', 'saddr'),
  'ip daddr': payload('ip', 'daddr'),
  'ip6 saddr': payload('ip6', 'saddr'),
  'ip6 daddr': payload('ip6', 'daddr'),
  'udp sport': payload('udp', 'sport'),
  'icmp type': payload('icmp', 'type'),
  'icmpv6 type': payload('icmpv6', 'type'),
  'frag nexthdr': { exthdr: { name: 'frag', field: 'nexthdr' } },
};
