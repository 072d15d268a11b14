import type { Field } from './field.ts';
import { ofFamily } from './boxes.ts';
import type { Chain } from './listing.ts';

// Chains that look at what a segment carries. No set of packets says that, so they are compared, word by word, with what
// they have to be: written down here once more, from the headers, and not asked of the compiler.

/** Where such a block begins; where segments go on that are a read, or nothing; and where all others go. */
export const FILTER_ENTRIES = { ipv4: 'x_filter_4', ipv6: 'x_filter_6' } as const;
export const FILTER_PASSED = 'x_read';
export const FILTER_REFUSED = 'd_noread';
const REQUEST = 'x_request';
type Family = keyof typeof FILTER_ENTRIES;

/** RFC 791, 3.1: the fixed header. The length of IPv6 is that of its payload (RFC 8200, 3). */
const FIXED: Readonly<Record<Family, number>> = { ipv4: 20, ipv6: 0 };
/** Of a request that is no longer than a read has to be (Modbus Messaging Guide V1.0b, 3.1.3 and 4.4). */
const REQUEST_BYTES = 12;

const goTo = (target: string): object => ({ goto: { target } });
const raw = (base: string, offset: number, len: number, mask: number): object => ({
  '&': [{ payload: { base, offset, len } }, mask],
});
const equals = (left: object, right: unknown): object => ({ match: { op: '==', left, right } });
const byValue = (key: object, cases: readonly (readonly [number, string])[]): object => ({
  vmap: { key, data: { set: cases.map(([value, target]) => [value, goTo(target)]) } },
});

/** Expressions of all rules of each chain, as nft lists them. */
function expected(family: Family): ReadonlyMap<string, readonly (readonly object[])[]> {
  const entry = FILTER_ENTRIES[family];
  const end = [goTo(FILTER_REFUSED)];
  const plain =
    family === 'ipv4'
      ? equals(raw('nh', 0, 8, 0b1111), 5) // five words: no options
      : equals({ payload: { protocol: 'ip6', field: 'nexthdr' } }, 'tcp');
  const length = { payload: { protocol: family === 'ipv4' ? 'ip' : 'ip6', field: 'length' } };
  const words = Array.from({ length: 11 }, (_, i) => 5 + i);
  // Data offset and, of the flags, URG alone: with it set there is no such case.
  const dispatch = byValue(
    raw('th', 12 * 8, 16, 0b1111_0000_0010_0000),
    words.map((count) => [count * 0x1000, `${entry}_${count}`]),
  );
  const chains = new Map<string, readonly (readonly object[])[]>([[entry, [[plain, dispatch], end]]]);
  for (const count of words) {
    const headers = FIXED[family] + count * 4;
    const look = byValue(length, [
      [headers, FILTER_PASSED],
      [headers + REQUEST_BYTES, REQUEST],
    ]);
    chains.set(`${entry}_${count}`, [[look], end]);
  }
  // Bytes 2 to 7: protocol id 0, length 6, any unit, function 1 to 4.
  const request = equals(raw('ih', 2 * 8, 48, Number('0xffffffff00ff')), {
    set: ['0x000000060001', '0x000000060002', '0x000000060003', '0x000000060004'].map(Number),
  });
  chains.set(REQUEST, [[request, goTo(FILTER_PASSED)], end]);
  return chains;
}

const EXPECTED: Readonly<Record<Family, ReturnType<typeof expected>>> = {
  ipv4: expected('ipv4'),
  ipv6: expected('ipv6'),
};
const NAMES: ReadonlySet<string> = new Set(Object.values(EXPECTED).flatMap((chains) => [...chains.keys()]));

/** Is it a chain whose rules are compared as they stand? */
export const isOfFilter = (chain: string): boolean => NAMES.has(chain);

/** Of the family: a field that every packet of it has. */
const ofTheFamily = (family: Family): Field => ({
  text: `nfproto ${family}`,
  dimension: 'family',
  type: 'nf_proto',
  guard: { family: ofFamily(family) },
});

/**
 * The entry of each block that is as it has to be, as one rule; `complain` hears of others. `raws` are the expressions
 * of the rules of all chains of blocks that are listed.
 */
export function filterEntries(
  raws: ReadonlyMap<string, readonly unknown[]>,
  complain: (place: string, what: string) => void,
): Chain[] {
  const entries: Chain[] = [];
  const known = new Set<string>();
  for (const family of ['ipv4', 'ipv6'] as const) {
    const entry = FILTER_ENTRIES[family];
    if (!raws.has(entry)) continue;
    for (const [name, rules] of EXPECTED[family]) {
      known.add(name);
      if (normal(raws.get(name)) !== normal(rules))
        complain(`chain ${name}`, 'looks at segments otherwise than a filter of reads does');
    }
    const fields = [ofTheFamily(family)];
    entries.push({
      name: entry,
      base: undefined,
      rules: [{ place: entry, comment: '', statements: [{ kind: 'filter', fields }] }],
    });
  }
  for (const name of raws.keys())
    if (!known.has(name)) complain(`chain ${name}`, 'is a part of a filter that is not there');
  return entries;
}

/** The cases of an unnamed map are listed in any order. */
function normal(rules: unknown): string {
  return JSON.stringify(rules, (key, value: unknown) =>
    key === 'set' && Array.isArray(value)
      ? value.map((one: unknown) => JSON.stringify(one)).toSorted()
      : value,
  );
}
