import { ABSENT, type Family, HOOKS, type Hook, STATES, type State } from './packet.ts';

/** Values from `low` to `high`, both inclusive. IPv6 addresses are bigints, everything else is a number. */
export interface Interval {
  readonly low: Value;
  readonly high: Value;
}
export type Value = number | bigint;

/** In the order of the diagram: what has few values first, so that the wide part is shared. */
export const DIMENSIONS = [
  'hook',
  'family',
  'state',
  'in',
  'out',
  'source',
  'destination',
  'protocol',
  'port',
  'hopLimit',
  'ether',
  'reversePath',
  'quarantine',
  'originalDestination',
  'originalPort',
] as const;
export type Dimension = (typeof DIMENSIONS)[number];

/** Product of what it names; a dimension that is left out may have every value. An empty list: no packet at all. */
export type Box = { readonly [D in Dimension]?: readonly Interval[] };

const ETHER_MAX = 2 ** 48 - 1;
/** Numbers of interfaces; far above what anybody names. */
const MAX_INTERFACES = 65_535;
/** The highest value of each dimension; addresses as of IPv4. */
const WIDTHS: Readonly<Record<Dimension, number>> = {
  hook: HOOKS.length - 1,
  family: 1,
  state: STATES.length - 1,
  in: MAX_INTERFACES,
  out: MAX_INTERFACES,
  source: 2 ** 32 - 1,
  destination: 2 ** 32 - 1,
  protocol: 255,
  port: 65_535,
  hopLimit: 255,
  ether: ETHER_MAX,
  reversePath: 1,
  quarantine: 7,
  originalDestination: 2 ** 32 - 1,
  originalPort: 65_535,
};

export const exactly = (value: Value): Interval => ({ low: value, high: value });
export const onHook = (...hooks: readonly Hook[]): Interval[] =>
  hooks.map((hook) => exactly(HOOKS.indexOf(hook)));
export const ofFamily = (family: Family): Interval[] => [exactly(family === 'ipv4' ? 0 : 1)];
export const inState = (...states: readonly State[]): Interval[] =>
  states.map((state) => exactly(STATES.indexOf(state)));

export function dimensionNumber(name: Dimension): number {
  return DIMENSIONS.indexOf(name);
}

export function sortIntervals(intervals: readonly Interval[]): Interval[] {
  return intervals.toSorted((a, b) => compare(a.low, b.low));
}

export function compare(a: Value, b: Value): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function after(value: Value): Value {
  return typeof value === 'bigint' ? value + 1n : value + 1;
}

const MINIMA = DIMENSIONS.map((name) => (name === 'port' || name === 'ether' ? ABSENT : 0));
const MAXIMA = DIMENSIONS.map((name) => WIDTHS[name]);
const IPV6_MAX = 2n ** 128n - 1n;

/** Of a dimension by its number. */
export function minimum(dimension: number): number {
  return MINIMA[dimension] ?? 0;
}

/** Addresses of IPv6 are bigints, so that the value tells the family. */
export function maximum(dimension: number, like: Value): Value {
  return typeof like === 'bigint' ? IPV6_MAX : (MAXIMA[dimension] ?? 0);
}

/** Values of `quarantine` that have all bits of `bits`: see `Quarantined`. */
export function quarantined(bits: number): Interval[] {
  return EIGHT.filter((value) => (value & bits) === bits).map(exactly);
}

/** Values that have none of them. */
export function free(bits: number): Interval[] {
  return EIGHT.filter((value) => (value & bits) === 0).map(exactly);
}

const EIGHT = [0, 1, 2, 3, 4, 5, 6, 7];
