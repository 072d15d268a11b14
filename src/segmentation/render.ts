import { formatAddress } from '../config/network.ts';
import { checkCommands, checkReferences } from './check.ts';
import { frameCommands } from './frame-render.ts';
import type { AddressRange } from './policy.ts';
import type {
  Chain,
  Field,
  KeyPart,
  KeyType,
  MapElement,
  NamedSet,
  PortMap,
  Rule,
  Ruleset,
  Statement,
  Verdict,
  VerdictMap,
} from './ruleset.ts';
import { written } from './written.ts';

// The subset of libnftables-json(5) that nft 1.0.6 reads and lists again as it was, and nothing else.

const FAMILY = 'inet';
export const TABLE = 'sluice';
const HERE = { family: FAMILY, table: TABLE } as const;

type Json = string | number | boolean | null | readonly Json[] | { readonly [key: string]: Json };
type Command = { readonly add: Json } | { readonly delete: Json };

/**
 * One transaction for `nft -j -f -` that puts these rules in the place of the table `inet sluice`, whether there was
 * one or not, and of `bridge sluice` where access ports are guarded, and touches nothing else. Throws where the rules are not what nft is known to understand: a bug here.
 */
export function render(ruleset: Ruleset): string {
  checkReferences(ruleset);
  const packets = commandsOf(ruleset);
  checkCommands(packets);
  const commands = [...packets, ...(ruleset.frames === undefined ? [] : frameCommands(ruleset.frames))];
  return written(commands);
}

function commandsOf({ loaded, counters, sets, maps, portMaps, chains }: Ruleset): Command[] {
  const table = { table: { family: FAMILY, name: TABLE } };
  // nft 1.0.6 knows no "destroy": what is added can be deleted, whether it was there or not.
  const gone: Command[] = [{ add: table }, { delete: table }];
  if (!loaded) return gone;
  return [
    ...gone,
    { add: table },
    ...counters.map((name) => ({ add: { counter: { ...HERE, name } } })),
    ...sets.map(setCommand),
    // Chains stand before the maps that lead to them.
    ...chains.map(chainCommand),
    ...maps.map(mapCommand),
    ...portMaps.map(portMapCommand),
    ...chains.flatMap(({ name, rules }) => rules.map((rule) => ruleCommand(name, rule))),
  ];
}

function chainCommand({ name, base }: Chain): Command {
  const hook = base && { type: base.type, hook: base.hook, prio: base.priority, policy: base.policy };
  return { add: { chain: { ...HERE, name, ...hook } } };
}

function setCommand({ name, type, kind, interval, elements, timeout, size }: NamedSet): Command {
  const set = {
    ...HERE,
    name,
    type,
    // Without the flag no element may ever have a time; "dynamic" is not said here, the first rule that adds says it.
    ...(kind === 'dynamic' && { flags: ['timeout'] }),
    ...(interval === true && { flags: ['interval'] }),
    ...(timeout !== undefined && { timeout }),
    ...(size !== undefined && { size }),
    ...elem(elements.map((element) => partOf(element, type))),
  };
  return { add: { set } };
}

function mapCommand({ name, types, interval, elements }: VerdictMap): Command {
  const [only, ...more] = types;
  const map = {
    ...HERE,
    name,
    type: more.length === 0 && only !== undefined ? only : types,
    map: 'verdict',
    ...(interval && { flags: ['interval'] }),
    ...elem(elements.map((element) => elementOf(element, types))),
  };
  return { add: { map } };
}

function portMapCommand({ name, types, elements }: PortMap): Command {
  const elem = elements.map(({ key, port }) => [
    { concat: key.map((part, i) => partOf(part, types[i])) },
    port,
  ]);
  return { add: { map: { ...HERE, name, type: types, map: 'inet_service', flags: ['interval'], elem } } };
}

/** An empty list is an error to nft: then there is none. */
const elem = (elements: readonly Json[]): { readonly elem?: readonly Json[] } =>
  elements.length === 0 ? {} : { elem: elements };

function elementOf({ key, verdict }: MapElement, types: readonly KeyType[]): Json {
  const parts = key.map((part, i) => partOf(part, types[i]));
  const [only = null, ...more] = parts;
  return [more.length === 0 ? only : { concat: parts }, verdictOf(verdict)];
}

function partOf(part: KeyPart, type: KeyType | undefined): Json {
  if (typeof part === 'string') return part;
  const { low, high } = part;
  const text = (value: bigint): string | number => {
    if (type === 'ipv4_addr') return formatAddress(4, value);
    return type === 'ipv6_addr' ? formatAddress(6, value) : Number(value);
  };
  if (low === high) return text(low);
  const length = type === 'ipv4_addr' || type === 'ipv6_addr' ? prefixLength(part, type) : undefined;
  if (length !== undefined) return { prefix: { addr: text(low), len: length } };
  return { range: [text(low), text(high)] };
}

/** Undefined where the range is no subnet. */
function prefixLength({ low, high }: AddressRange, type: 'ipv4_addr' | 'ipv6_addr'): number | undefined {
  const size = high - low + 1n;
  if ((size & (size - 1n)) !== 0n || low % size !== 0n) return undefined;
  return (type === 'ipv4_addr' ? 32 : 128) - (size.toString(2).length - 1);
}

function ruleCommand(chain: string, { statements, comment }: Rule): Command {
  const rule = {
    ...HERE,
    chain,
    expr: statements.flatMap(statementOf),
    ...(comment !== undefined && { comment }),
  };
  return { add: { rule } };
}

const timeIs = (op: '>=' | '<', right: number): Json => ({
  match: { op, left: { meta: { key: 'time' } }, right },
});

function statementOf(statement: Statement): Json | readonly Json[] {
  switch (statement.kind) {
    case 'match':
      return { match: { op: statement.op, left: FIELDS[statement.field], right: operandOf(statement.to) } };
    case 'look up':
      return { vmap: { key: keyOf(statement.key), data: `@${statement.map}` } };
    case 'choose': {
      const cases = statement.cases.map(([value, verdict]) => [value, verdictOf(verdict)]);
      return { vmap: { key: FIELDS[statement.key], data: { set: cases } } };
    }
    case 'count':
      return { counter: statement.counter };
    case 'redirect':
      return { redirect: { port: { map: { key: keyOf(statement.key), data: `@${statement.map}` } } } };
    case 'reset':
      return { reject: { type: 'tcp reset' } };
    case 'limit':
      // Without a burst nft takes 5.
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
    case 'while':
      return [timeIs('>=', statement.from), timeIs('<', statement.until)];
    case 'verdict':
      return verdictOf(statement.verdict);
    default:
      return statement satisfies never;
  }
}

function operandOf(operand: Extract<Statement, { kind: 'match' }>['to']): Json {
  if ('set' in operand) return `@${operand.set}`;
  if ('oneOf' in operand) return { set: operand.oneOf };
  if ('prefix' in operand) return { prefix: { addr: operand.prefix, len: operand.length } };
  return operand.value;
}

function keyOf(fields: readonly Field[]): Json {
  const [only, ...more] = fields;
  if (only !== undefined && more.length === 0) return FIELDS[only];
  return { concat: fields.map((field) => FIELDS[field]) };
}

const verdictOf = (verdict: Verdict): Json =>
  typeof verdict === 'string' ? { [verdict]: null } : { goto: { target: verdict.goto } };

const payload = (protocol: string, field: string) => ({ payload: { protocol, field } });
const masked = (base: string, offset: number, len: number, mask: number): Json => ({
  '&': [{ payload: { base, offset, len } }, mask],
});
const FIELDS: Readonly<Record<Field, Json>> = {
  iifname: { meta: { key: 'iifname' } },
  oifname: { meta: { key: 'oifname' } },
  nfproto: { meta: { key: 'nfproto' } },
  l4proto: { meta: { key: 'l4proto' } },
  'ct state': { ct: { key: 'state' } },
  'ether saddr': payload('ether', 'saddr'),
  'ip saddr': payload('ip', 'saddr'),
  'ip daddr': payload('ip', 'daddr'),
  'ip6 saddr': payload('ip6', 'saddr'),
  'ip6 daddr': payload('ip6', 'daddr'),
  'ip6 hoplimit': payload('ip6', 'hoplimit'),
  'icmp type': payload('icmp', 'type'),
  'icmpv6 type': payload('icmpv6', 'type'),
  'th dport': payload('th', 'dport'),
  'tcp dport': payload('tcp', 'dport'),
  // Raw and masked: what is a part of a byte, nft 1.0.6 lists wrongly in some places. Masks have at most 48 bits.
  'ip header words': masked('nh', 0, 8, 0x0f),
  'ip length': payload('ip', 'length'),
  'ip6 nexthdr': payload('ip6', 'nexthdr'),
  'ip6 length': payload('ip6', 'length'),
  'tcp header words and urgent': masked('th', 96, 16, 0xf020),
  'modbus request': masked('ih', 16, 48, 0xffff_ffff_00ff),
  'ct original ip daddr': { ct: { key: 'ip daddr', dir: 'original' } },
  'ct original ip6 daddr': { ct: { key: 'ip6 daddr', dir: 'original' } },
  'ct original proto-dst': { ct: { key: 'proto-dst', dir: 'original' } },
};
