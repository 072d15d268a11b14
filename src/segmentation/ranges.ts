import type { AddressRange, Side } from './policy.ts';

export type Family = 4 | 6;
export const FAMILIES = [4, 6] as const;

export const ofFamily = ({ v4, v6 }: Pick<Side, 'v4' | 'v6'>, family: Family): readonly AddressRange[] =>
  family === 4 ? v4 : v6;

const LAST = { 4: (1n << 32n) - 1n, 6: (1n << 128n) - 1n } as const;

/** Every address of a family. */
export const EVERY: Readonly<Record<Family, readonly AddressRange[]>> = {
  4: [{ low: 0n, high: LAST[4] }],
  6: [{ low: 0n, high: LAST[6] }],
};

export const isEvery = (family: Family, [first, ...more]: readonly AddressRange[]): boolean =>
  first?.low === 0n && first.high === LAST[family] && more.length === 0;

export const isSingle = ({ low, high }: AddressRange): boolean => low === high;

const net = (family: Family, first: bigint, length: number): AddressRange => ({
  low: first,
  high: first + (1n << BigInt((family === 4 ? 32 : 128) - length)) - 1n,
});

/** Addresses that no packet between two hosts of different networks carries (RFC 6890), so that no zone has them by default. */
export const NEVER: Readonly<Record<Family, readonly AddressRange[]>> = {
  4: [
    net(4, 0n, 8), // this network
    net(4, 127n << 24n, 8), // loopback
    net(4, 224n << 24n, 3), // multicast, reserved, broadcast
  ],
  6: [
    net(6, 0n, 127), // unspecified, loopback
    net(6, 0xffffn << 32n, 96), // IPv4 in IPv6 clothes
    net(6, 0xfe80n << 112n, 10), // link-local
    net(6, 0xff00n << 112n, 8), // multicast
  ],
};

/** Sorted and disjoint. What touches stays apart: two hosts that are neighbours are still two hosts. */
export function disjoint(ranges: readonly AddressRange[]): AddressRange[] {
  const sorted = ranges.toSorted((a, b) => compare(a.low, b.low) || compare(a.high, b.high));
  const result: AddressRange[] = [];
  for (const range of sorted) {
    const last = result.at(-1);
    if (last === undefined || range.low > last.high) result.push(range);
    else if (range.high > last.high) result[result.length - 1] = { low: last.low, high: range.high };
  }
  return result;
}

/** Neighbours as one range. */
export function merged(ranges: readonly AddressRange[]): AddressRange[] {
  const result: AddressRange[] = [];
  for (const range of ranges.toSorted((a, b) => (a.low < b.low ? -1 : 1))) {
    const last = result.at(-1);
    if (last === undefined || range.low > last.high + 1n) result.push(range);
    else if (range.high > last.high) result[result.length - 1] = { low: last.low, high: range.high };
  }
  return result;
}

/** What is in `from` and not in `what`. */
export function without(from: readonly AddressRange[], what: readonly AddressRange[]): AddressRange[] {
  let left = disjoint(from);
  for (const { low, high } of what) {
    left = left.flatMap((range) => {
      if (high < range.low || low > range.high) return [range];
      const parts: AddressRange[] = [];
      if (range.low < low) parts.push({ low: range.low, high: low - 1n });
      if (range.high > high) parts.push({ low: high + 1n, high: range.high });
      return parts;
    });
  }
  return left;
}

function compare(a: bigint, b: bigint): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
