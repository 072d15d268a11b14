import {
  type Dimension,
  DIMENSIONS,
  dimensionNumber,
  type Interval,
  maximum,
  minimum,
  type Value,
} from './boxes.ts';
import { BELOW_ALL, type PacketSet } from './packet-set.ts';
import type { PacketSpace } from './packet-space.ts';

/** What people are told of a set of packets; a dimension that does not matter is undefined. */
export interface Rectangle {
  readonly family: 4 | 6;
  /** Numbers of interfaces. */
  readonly in: readonly Interval[] | undefined;
  readonly out: readonly Interval[] | undefined;
  readonly source: readonly Interval[] | undefined;
  readonly destination: readonly Interval[] | undefined;
  readonly protocol: readonly Interval[] | undefined;
  readonly port: readonly Interval[] | undefined;
}

const TOLD = [
  'in',
  'out',
  'source',
  'destination',
  'protocol',
  'port',
] as const satisfies readonly Dimension[];
type Told = (typeof TOLD)[number];
const FAMILY = dimensionNumber('family');

/** A set as products that do not overlap; values with the same rest are one. Stops after `most` of them. */
export function rectanglesOf(space: PacketSpace, set: PacketSet, most: number): Rectangle[] {
  const found: Rectangle[] = [];
  const walk = (
    node: PacketSet,
    family: 4 | 6 | undefined,
    so: Partial<Record<Told, readonly Interval[]>>,
  ): void => {
    if (node === space.nothing || found.length >= most) return;
    const name = DIMENSIONS[node.dimension];
    if (name === undefined) {
      const whole = { in: so.in, out: so.out, source: so.source, destination: so.destination };
      for (const one of family === undefined ? ([4, 6] as const) : [family]) {
        found.push({ family: one, ...whole, protocol: so.protocol, port: so.port });
      }
      return;
    }
    for (const [child, intervals] of branchesOf(node)) {
      if (node.dimension === FAMILY) walk(child, intervals[0]?.low === 0 ? 4 : 6, so);
      else if (isTold(name)) walk(child, family, { ...so, [name]: intervals });
      else walk(child, family, so);
    }
  };
  // Families have addresses of different kinds: they are never walked together.
  for (const family of [0, 1]) {
    walk(space.and(set, space.set({ family: [{ low: family, high: family }] })), undefined, {});
  }
  return found;
}

const isTold = (name: Dimension): name is Told => TOLD.some((one) => one === name);

/** What stands behind each branch, with all values that lead there. */
function branchesOf(node: PacketSet): Map<PacketSet, Interval[]> {
  const branches = new Map<PacketSet, Interval[]>();
  for (const [i, child] of node.branches.entries()) {
    const [start, next] = [node.starts[i] ?? BELOW_ALL, node.starts[i + 1]];
    const like: Value = typeof next === 'bigint' || typeof start === 'bigint' ? 0n : 0;
    const low = start === BELOW_ALL ? lowest(node.dimension, like) : start;
    const high = next === undefined ? maximum(node.dimension, like) : before(next);
    const intervals = branches.get(child) ?? [];
    intervals.push({ low, high });
    branches.set(child, intervals);
  }
  return branches;
}

const lowest = (dimension: number, like: Value): Value =>
  typeof like === 'bigint' ? 0n : minimum(dimension);
const before = (value: Value): Value => (typeof value === 'bigint' ? value - 1n : value - 1);
