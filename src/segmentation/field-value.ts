import type { EpochMs } from '../core/units.ts';
import { ipv4Value, ipv6Value } from './addresses.ts';
import { exactly, type Interval, type Value } from './boxes.ts';
import { type DataType, hasOnly, isRecord } from './field.ts';
import { type State, STATES } from './packet.ts';

/** As nft 1.0.6 prints them; others come as numbers or are not understood. */
const PROTOCOLS: Readonly<Record<string, number>> = {
  ip: 0,
  icmp: 1,
  igmp: 2,
  tcp: 6,
  udp: 17,
  dccp: 33,
  gre: 47,
  'ipv6-route': 43,
  'ipv6-frag': 44,
  esp: 50,
  ah: 51,
  icmpv6: 58,
  'ipv6-icmp': 58,
  'ipv6-opts': 60,
  ospf: 89,
  vrrp: 112,
  sctp: 132,
  udplite: 136,
};
const ICMP_TYPES: Readonly<Record<string, number>> = {
  'echo-reply': 0,
  'destination-unreachable': 3,
  'source-quench': 4,
  redirect: 5,
  'echo-request': 8,
  'router-advertisement': 9,
  'router-solicitation': 10,
  'time-exceeded': 11,
  'parameter-problem': 12,
  'timestamp-request': 13,
  'timestamp-reply': 14,
};
const ICMPV6_TYPES: Readonly<Record<string, number>> = {
  'destination-unreachable': 1,
  'packet-too-big': 2,
  'time-exceeded': 3,
  'parameter-problem': 4,
  'echo-request': 128,
  'echo-reply': 129,
  'mld-listener-query': 130,
  'mld-listener-report': 131,
  'mld-listener-done': 132,
  'mld-listener-reduction': 132,
  'nd-router-solicit': 133,
  'nd-router-advert': 134,
  'nd-neighbor-solicit': 135,
  'nd-neighbor-advert': 136,
  'nd-redirect': 137,
  'router-renumbering': 138,
  'ind-neighbor-solicit': 141,
  'ind-neighbor-advert': 142,
  'mld2-listener-report': 143,
};
/** Names, and the numbers that `nft -n` prints for them (linux/netfilter.h). */
const FAMILIES: Readonly<Record<string, number>> = { ipv4: 0, 2: 0, ipv6: 1, 10: 1 };
/** Without numbers: nft 1.0.6 prints them with their bytes swapped. */
const ETHER_TYPES: Readonly<Record<string, number>> = { ip: 0, ip6: 1 };
/** The bits of NF_CT_STATE_BIT, one at a time. */
const STATE_BITS: Readonly<Record<State, number>> = {
  invalid: 1,
  established: 2,
  related: 4,
  new: 8,
  untracked: 64,
};
const CT_STATES: Readonly<Record<string, number>> = Object.fromEntries(
  STATES.flatMap((name, i) => [
    [name, i],
    [STATE_BITS[name], i],
  ]),
);
const WIDTHS: Partial<Record<DataType, number>> = {
  inet_proto: 255,
  inet_service: 65_535,
  icmp_type: 255,
  icmpv6_type: 255,
  integer: 255,
};

/** Types whose values have an order that a rule may compare or give ranges of. */
export const ORDERED: ReadonlySet<DataType> = new Set([
  'ipv4_addr',
  'ipv6_addr',
  'inet_proto',
  'inet_service',
  'icmp_type',
  'icmpv6_type',
  'integer',
]);

/** Rules may ask whether one of these moments has come, and for no other. */
export interface Clock {
  readonly now: EpochMs;
  readonly moments: ReadonlySet<EpochMs>;
}

/**
 * Reads values out of a listing. The same text gives the same object, so that many elements of one host are grouped
 * without a comparison. Everything that is not known gives undefined.
 */
export class ValueReader {
  readonly #known = new Map<DataType, Map<unknown, Interval>>();
  readonly #interfaceNumber: (name: string) => number;
  /** What the clock shows; undefined where no rule may depend on it. */
  readonly clock: Clock | undefined;

  constructor(interfaceNumber: (name: string) => number, clock?: Clock) {
    this.clock = clock;
    this.#interfaceNumber = interfaceNumber;
  }

  /** A single value, a prefix or a range. */
  interval(type: DataType, json: unknown): Interval | undefined {
    const key = typeof json === 'object' ? JSON.stringify(json) : json;
    let known = this.#known.get(type);
    if (known === undefined) this.#known.set(type, (known = new Map<unknown, Interval>()));
    const before = known.get(key);
    if (before !== undefined) return before;
    const interval = isRecord(json) ? this.#wide(type, json) : this.#single(type, json);
    if (interval !== undefined) known.set(key, interval);
    return interval;
  }

  #single(type: DataType, json: unknown): Interval | undefined {
    const value = this.#value(type, json);
    return value === undefined ? undefined : exactly(value);
  }

  #wide(type: DataType, json: Readonly<Record<string, unknown>>): Interval | undefined {
    if (!ORDERED.has(type)) return undefined;
    const { range, prefix } = json;
    if (Array.isArray(range) && range.length === 2 && hasOnly(json, ['range'])) {
      const [low, high] = [this.#value(type, range[0]), this.#value(type, range[1])];
      return low === undefined || high === undefined || low > high ? undefined : { low, high };
    }
    if (!isRecord(prefix) || !hasOnly(json, ['prefix']) || !hasOnly(prefix, ['addr', 'len']))
      return undefined;
    const [first, len] = [this.#value(type, prefix['addr']), prefix['len']];
    if (first === undefined || typeof len !== 'number') return undefined;
    if (type !== 'ipv4_addr' && type !== 'ipv6_addr') return undefined;
    return prefixInterval(first, type === 'ipv4_addr' ? 32 - len : 128 - len);
  }

  #value(type: DataType, json: unknown): Value | undefined {
    switch (type) {
      case 'ifname':
        return this.#interface(json);
      case 'ipv4_addr':
        return typeof json === 'string' ? ipv4Value(json) : undefined;
      case 'ipv6_addr':
        return typeof json === 'string' ? ipv6Value(json) : undefined;
      case 'ether_addr':
        return typeof json === 'string' ? etherValue(json) : undefined;
      case 'boolean':
        return typeof json === 'boolean' ? Number(json) : undefined;
      case 'inet_proto':
        return numberOr(PROTOCOLS, type, json);
      case 'icmp_type':
        return numberOr(ICMP_TYPES, type, json);
      case 'icmpv6_type':
        return numberOr(ICMPV6_TYPES, type, json);
      case 'inet_service':
      case 'integer':
        return numberOr({}, type, json);
      case 'ct_state':
        return nameOrNumber(CT_STATES, json);
      case 'nf_proto':
        return nameOrNumber(FAMILIES, json);
      case 'ether_type':
        return nameOf(ETHER_TYPES, json);
      default:
        return type satisfies never;
    }
  }

  #interface(json: unknown): number | undefined {
    return isInterfaceName(json) ? this.#interfaceNumber(json) : undefined;
  }
}

/**
 * A name with a star is a prefix of names: not known here, it would need the names of all interfaces. One with a space is
 * of none: the kernel takes no such name.
 */
export function isInterfaceName(json: unknown): json is string {
  return typeof json === 'string' && /^[^*\s]+$/.test(json);
}

function prefixInterval(first: Value, hostBits: number): Interval | undefined {
  if (!Number.isInteger(hostBits) || hostBits < 0) return undefined;
  if (typeof first === 'number') {
    const size = 2 ** hostBits;
    return first % size === 0 ? { low: first, high: first + size - 1 } : undefined;
  }
  const size = 1n << BigInt(hostBits);
  return first % size === 0n ? { low: first, high: first + size - 1n } : undefined;
}

function numberOr(
  names: Readonly<Record<string, number>>,
  type: DataType,
  json: unknown,
): number | undefined {
  if (typeof json !== 'number') return nameOf(names, json);
  return Number.isInteger(json) && json >= 0 && json <= (WIDTHS[type] ?? -1) ? json : undefined;
}

function nameOrNumber(names: Readonly<Record<string, number>>, json: unknown): number | undefined {
  return nameOf(names, typeof json === 'number' ? String(json) : json);
}

function nameOf(names: Readonly<Record<string, number>>, json: unknown): number | undefined {
  return typeof json === 'string' && Object.hasOwn(names, json) ? names[json] : undefined;
}

function etherValue(text: string): number | undefined {
  return /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/i.test(text)
    ? Number.parseInt(text.replaceAll(':', ''), 16)
    : undefined;
}
