import { type Box, type Dimension, exactly, inState, type Interval, ofFamily } from './boxes.ts';
import { ICMP, ICMPV6 } from './packet.ts';

/** Name of an nft data type, as `nft -j list` prints it for sets. */
export type DataType =
  | 'ifname'
  | 'ipv4_addr'
  | 'ipv6_addr'
  | 'inet_proto'
  | 'inet_service'
  | 'icmp_type'
  | 'icmpv6_type'
  | 'ct_state'
  | 'nf_proto'
  | 'ether_type'
  | 'ether_addr'
  | 'integer'
  | 'boolean';

/** What a rule looks at, and what must hold for the packet to have it: otherwise the rule does not match at all. */
export interface Field {
  readonly text: string;
  readonly dimension: Dimension;
  readonly type: DataType;
  readonly guard: Box;
  /** Where nft lists alike what asks for less: the least that it may ask for. */
  readonly leastGuard?: Box;
}

const IPV4: Box = { family: ofFamily('ipv4') };
const IPV6: Box = { family: ofFamily('ipv6') };
const HAS_PORT: readonly Interval[] = [{ low: 0, high: 65_535 }];
const HAS_ETHER: Box = { ether: [{ low: 0, high: 2 ** 48 - 1 }] };
const ofProtocol = (protocol: number): Box => ({ protocol: [exactly(protocol)], port: HAS_PORT });

/**
 * The guards are those that nft 1.0.6 puts in front (seen with `--debug=netlink`). Where "meta l4proto" stands in front,
 * it asks for no family before a type of ICMP, and leaves that condition out of the listing all the same.
 */
const PAYLOAD: ReadonlyMap<string, Omit<Field, 'text'>> = new Map(
  Object.entries({
    'ip saddr': { dimension: 'source', type: 'ipv4_addr', guard: IPV4 },
    'ip daddr': { dimension: 'destination', type: 'ipv4_addr', guard: IPV4 },
    'ip protocol': { dimension: 'protocol', type: 'inet_proto', guard: IPV4 },
    'ip ttl': { dimension: 'hopLimit', type: 'integer', guard: IPV4 },
    'ip6 saddr': { dimension: 'source', type: 'ipv6_addr', guard: IPV6 },
    'ip6 daddr': { dimension: 'destination', type: 'ipv6_addr', guard: IPV6 },
    'ip6 hoplimit': { dimension: 'hopLimit', type: 'integer', guard: IPV6 },
    // No guard but that the header reaches that far; with ICMP it reads the checksum, see `readsChecksum`.
    'th dport': { dimension: 'port', type: 'inet_service', guard: { port: HAS_PORT } },
    'tcp dport': { dimension: 'port', type: 'inet_service', guard: ofProtocol(6) },
    'udp dport': { dimension: 'port', type: 'inet_service', guard: ofProtocol(17) },
    'icmp type': {
      dimension: 'port',
      type: 'icmp_type',
      guard: { ...IPV4, ...ofProtocol(ICMP) },
      leastGuard: ofProtocol(ICMP),
    },
    'icmpv6 type': {
      dimension: 'port',
      type: 'icmpv6_type',
      guard: { ...IPV6, ...ofProtocol(ICMPV6) },
      leastGuard: ofProtocol(ICMPV6),
    },
    'ether saddr': { dimension: 'ether', type: 'ether_addr', guard: HAS_ETHER },
  } satisfies Record<string, Omit<Field, 'text'>>),
);

const META: ReadonlyMap<string, Omit<Field, 'text'>> = new Map(
  Object.entries({
    iifname: { dimension: 'in', type: 'ifname', guard: {} },
    oifname: { dimension: 'out', type: 'ifname', guard: {} },
    nfproto: { dimension: 'family', type: 'nf_proto', guard: {} },
    protocol: { dimension: 'family', type: 'ether_type', guard: {} },
    l4proto: { dimension: 'protocol', type: 'inet_proto', guard: {} },
  } satisfies Record<string, Omit<Field, 'text'>>),
);

/** Of a packet that conntrack knows no connection of, nothing of this can be loaded. */
const TRACKED: Box = { state: inState('new', 'established', 'related') };
const ORIGINAL: ReadonlyMap<string, Omit<Field, 'text'>> = new Map(
  Object.entries({
    'ip daddr': { dimension: 'originalDestination', type: 'ipv4_addr', guard: { ...IPV4, ...TRACKED } },
    'ip6 daddr': { dimension: 'originalDestination', type: 'ipv6_addr', guard: { ...IPV6, ...TRACKED } },
    'proto-dst': { dimension: 'originalPort', type: 'inet_service', guard: TRACKED },
  } satisfies Record<string, Omit<Field, 'text'>>),
);

const STATE: Field = { text: 'ct state', dimension: 'state', type: 'ct_state', guard: {} };

/** "A route back to the source leaves by the interface it came in by", as a boolean. */
const REVERSE_PATH: Field = {
  text: 'fib reverse path',
  dimension: 'reversePath',
  type: 'boolean',
  guard: {},
};
/** One way to ask alone: with the mark or without it, the answers may differ. */
const REVERSE_PATH_FLAGS = 'iif,mark,saddr';

/** The destination port where the transport protocol is not fixed by the field itself. */
export function readsChecksum(field: Field): boolean {
  return field.text === 'th dport';
}

/** It is read out of the packet itself, at a place in a header. */
export function isPayload(field: Field): boolean {
  return PAYLOAD.has(field.text);
}

/** One field of an expression that is no concatenation; undefined where it is not known here. */
export function fieldOf(expression: Readonly<Record<string, unknown>>): Field | undefined {
  const keys = Object.keys(expression);
  if (keys.length !== 1) return undefined;
  const inside = expression[keys[0] ?? ''];
  if (!isRecord(inside)) return undefined;
  switch (keys[0]) {
    case 'meta':
      return hasOnly(inside, ['key']) ? named(META, text(inside['key'])) : undefined;
    case 'payload':
      if (!hasOnly(inside, ['protocol', 'field'])) return undefined;
      return named(PAYLOAD, `${text(inside['protocol'])} ${text(inside['field'])}`);
    case 'ct':
      if (inside['dir'] === 'original' && hasOnly(inside, ['key', 'dir'])) return original(inside['key']);
      return hasOnly(inside, ['key']) && inside['key'] === 'state' ? STATE : undefined;
    case 'fib':
      return hasOnly(inside, ['result', 'flags']) ? reversePath(inside) : undefined;
    default:
      return undefined;
  }
}

function original(key: unknown): Field | undefined {
  const field = ORIGINAL.get(text(key));
  return field === undefined ? undefined : { text: `ct original ${text(key)}`, ...field };
}

function named(fields: ReadonlyMap<string, Omit<Field, 'text'>>, name: string): Field | undefined {
  const field = fields.get(name);
  return field === undefined ? undefined : { text: name, ...field };
}

function reversePath(fib: Readonly<Record<string, unknown>>): Field | undefined {
  const flags = Array.isArray(fib['flags']) ? fib['flags'].map(text).sort().join(',') : text(fib['flags']);
  return fib['result'] === 'oif' && flags === REVERSE_PATH_FLAGS ? REVERSE_PATH : undefined;
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function hasOnly(record: Readonly<Record<string, unknown>>, keys: readonly string[]): boolean {
  return Object.keys(record).every((key) => keys.includes(key));
}

export function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}

/** The beginning of something unknown, so that a person can find it. */
export function short(what: unknown, most: number): string {
  const full = JSON.stringify(what) ?? 'nothing';
  return full.length > most ? `${full.slice(0, most - 3)}...` : full;
}
