import { after, compare, type Interval, sortIntervals, type Value } from './boxes.ts';

/**
 * A set of packets as a decision diagram: each node looks at one dimension and branches by intervals of it. Equal
 * nodes are one object and dimensions that do not matter are skipped, so there is exactly one diagram for each set:
 * two sets are equal if and only if they are the same object, however they were put together.
 */
export interface PacketSet {
  readonly id: number;
  readonly dimension: number;
  /** Where each branch begins; the first one begins below every value. */
  readonly starts: readonly Value[];
  readonly branches: readonly PacketSet[];
}

/** Where diagrams end: more dimensions than any space has. */
export const LEAF = 32;
export const BELOW_ALL = -Infinity;
/** Ids of nodes are packed in pairs into one double: 2^26 nodes at most. */
const PAIR = 2 ** 26;

type Operation = 'and' | 'or' | 'minus';

/** What the dimensions of a space are called, in the order of the diagram, and the ends of their values. */
export interface Dimensions<Name extends string> {
  readonly names: readonly Name[];
  minimum(dimension: number): number;
  /** Of the values that are of one type with this one. */
  maximum(dimension: number, like: Value): Value;
}

/** The algebra of sets of packets, or of whatever has other dimensions, and where their nodes live. */
export class PacketSets<Name extends string> {
  readonly #dimensions: Dimensions<Name>;
  readonly nothing: PacketSet = { id: 0, dimension: LEAF, starts: [], branches: [] };
  readonly everything: PacketSet = { id: 1, dimension: LEAF, starts: [], branches: [] };
  readonly #nodes = new Map<number, PacketSet[]>();
  #size = 2;
  readonly #results = {
    and: new Map<number, PacketSet>(),
    or: new Map<number, PacketSet>(),
    minus: new Map<number, PacketSet>(),
  };

  constructor(dimensions: Dimensions<Name>) {
    if (dimensions.names.length > LEAF) throw new Error('more dimensions than a node can tell apart');
    this.#dimensions = dimensions;
  }

  set(box: { readonly [N in Name]?: readonly Interval[] }): PacketSet {
    let node = this.everything;
    const { names } = this.#dimensions;
    for (let dimension = names.length - 1; dimension >= 0; dimension -= 1) {
      const name = names[dimension];
      const intervals = name === undefined ? undefined : box[name];
      if (intervals === undefined) continue;
      node = this.#layer(
        dimension,
        sortIntervals(intervals).map((interval) => ({ interval, child: node })),
      );
    }
    return node;
  }

  /**
   * The union of many small boxes: each key holds one interval per given dimension. `dimensions` ascend. Intervals that
   * are shared as objects between keys make it fast.
   */
  ofKeys(dimensions: readonly Name[], keys: readonly (readonly Interval[])[]): PacketSet {
    const numbers = dimensions.map((name) => this.#dimensions.names.indexOf(name));
    return keys.length === 0 ? this.nothing : this.#ofKeys(numbers, keys, 0);
  }

  #ofKeys(dimensions: readonly number[], keys: readonly (readonly Interval[])[], depth: number): PacketSet {
    const dimension = dimensions[depth];
    if (dimension === undefined) return this.everything;
    const [only] = keys;
    if (only !== undefined && keys.length === 1) return this.#chain(dimensions, only, depth);
    const groups = new Map<Interval, (readonly Interval[])[]>();
    for (const key of keys) {
      const interval = key[depth];
      if (interval === undefined)
        throw new Error(`a key has no ${this.#dimensions.names[dimension] ?? 'value'}`);
      const group = groups.get(interval);
      if (group === undefined) groups.set(interval, [key]);
      else group.push(key);
    }
    const parts: Part[] = [];
    for (const [interval, group] of groups) {
      parts.push({ interval, child: this.#ofKeys(dimensions, group, depth + 1) });
    }
    parts.sort((a, b) => compare(a.interval.low, b.interval.low));
    return this.#layer(dimension, parts);
  }

  #chain(dimensions: readonly number[], key: readonly Interval[], from: number): PacketSet {
    let node = this.everything;
    for (let depth = dimensions.length - 1; depth >= from; depth -= 1) {
      const [dimension, interval] = [dimensions[depth], key[depth]];
      if (dimension === undefined || interval === undefined) throw new Error('a key is too short');
      node = this.#layer(dimension, [{ interval, child: node }]);
    }
    return node;
  }

  /** One node from intervals in the order of their lower ends. */
  #layer(dimension: number, parts: readonly Part[]): PacketSet {
    const row = new RowBuilder(this.nothing);
    if (areDisjoint(parts)) {
      for (const { interval, child } of parts) {
        if (this.#isBeyond(dimension, interval)) continue;
        row.put(this.#startOf(dimension, interval), child);
        const end = this.#endOf(dimension, interval);
        if (end !== Infinity) row.put(end, this.nothing);
      }
    } else this.#sweep(dimension, parts, row);
    return this.#node(dimension, row.starts, row.branches);
  }

  /** Where intervals overlap, what is behind them is united. */
  #sweep(dimension: number, parts: readonly Part[], row: RowBuilder): void {
    let open: { end: Value; child: PacketSet }[] = [];
    const close = (until: Value) => {
      for (;;) {
        const first = open[0];
        if (first === undefined || first.end > until) return;
        open = open.filter((one) => one.end > first.end);
        if (first.end !== Infinity) row.put(first.end, this.union(open.map((one) => one.child)));
      }
    };
    for (const { interval, child } of parts) {
      if (this.#isBeyond(dimension, interval)) continue;
      const start = this.#startOf(dimension, interval);
      close(start);
      open.push({ end: this.#endOf(dimension, interval), child });
      open.sort((a, b) => compare(a.end, b.end));
      row.put(start, this.union(open.map((one) => one.child)));
    }
    close(Infinity);
  }

  /** "Above the highest value" is a rule that somebody may write, and no packet. */
  #isBeyond(dimension: number, { low }: Interval): boolean {
    return low > this.#dimensions.maximum(dimension, low);
  }

  #startOf(dimension: number, { low }: Interval): Value {
    return low <= this.#dimensions.minimum(dimension) ? BELOW_ALL : low;
  }

  #endOf(dimension: number, { high }: Interval): Value {
    return high >= this.#dimensions.maximum(dimension, high) ? Infinity : after(high);
  }

  and(a: PacketSet, b: PacketSet): PacketSet {
    return this.#combine('and', a, b);
  }

  or(a: PacketSet, b: PacketSet): PacketSet {
    return this.#combine('or', a, b);
  }

  minus(a: PacketSet, b: PacketSet): PacketSet {
    return this.#combine('minus', a, b);
  }

  /** Halves first, so that no large set is walked once for each small one. */
  union(sets: readonly PacketSet[]): PacketSet {
    if (sets.length <= 2) return this.or(sets[0] ?? this.nothing, sets[1] ?? this.nothing);
    const middle = sets.length >> 1;
    return this.or(this.union(sets.slice(0, middle)), this.union(sets.slice(middle)));
  }

  #combine(operation: Operation, a: PacketSet, b: PacketSet): PacketSet {
    const known = this.#trivial(operation, a, b);
    if (known !== undefined) return known;
    const swap = operation !== 'minus' && a.id > b.id;
    const [left, right] = swap ? [b, a] : [a, b];
    const key = left.id * PAIR + right.id;
    const results = this.#results[operation];
    const before = results.get(key);
    if (before !== undefined) return before;
    const dimension = Math.min(left.dimension, right.dimension);
    const { starts, pairs } = merge(at(left, dimension), at(right, dimension));
    const branches = pairs.map(([x, y]) => this.#combine(operation, x, y));
    const result = this.#node(dimension, starts, branches);
    results.set(key, result);
    return result;
  }

  #trivial(operation: Operation, a: PacketSet, b: PacketSet): PacketSet | undefined {
    const { nothing, everything } = this;
    switch (operation) {
      case 'and':
        if (a === nothing || b === nothing) return nothing;
        if (a === everything || a === b) return b;
        return b === everything ? a : undefined;
      case 'or':
        if (a === everything || b === everything) return everything;
        if (a === nothing || a === b) return b;
        return b === nothing ? a : undefined;
      case 'minus':
        if (a === nothing || b === everything || a === b) return nothing;
        return b === nothing ? a : undefined;
      default:
        return operation satisfies never;
    }
  }

  #node(dimension: number, starts: readonly Value[], branches: readonly PacketSet[]): PacketSet {
    const keptStarts: Value[] = [];
    const kept: PacketSet[] = [];
    let last: PacketSet | undefined;
    for (let i = 0; i < branches.length; i += 1) {
      const branch = branches[i];
      if (branch === undefined || branch === last) continue;
      last = branch;
      kept.push(branch);
      keptStarts.push(starts[i] ?? BELOW_ALL);
    }
    const only = kept[0];
    if (kept.length === 1 && only !== undefined) return only;
    const hash = hashOf(dimension, keptStarts, kept);
    const bucket = this.#nodes.get(hash);
    const found = bucket?.find((node) => isNode(node, dimension, keptStarts, kept));
    if (found !== undefined) return found;
    if (this.#size >= PAIR) throw new Error('too many ranges to compare');
    const node = { id: this.#size, dimension, starts: keptStarts, branches: kept };
    this.#size += 1;
    if (bucket === undefined) this.#nodes.set(hash, [node]);
    else bucket.push(node);
    return node;
  }

  /** In how many boxes, none of which overlaps another, the diagram falls; a measure of its size for people. */
  count(set: PacketSet, counted = new Map<PacketSet, number>()): number {
    if (set === this.everything) return 1;
    const before = counted.get(set);
    if (before !== undefined) return before;
    const sum = set.branches.reduce((total, branch) => total + this.count(branch, counted), 0);
    counted.set(set, sum);
    return sum;
  }
}

interface Part {
  readonly interval: Interval;
  readonly child: PacketSet;
}

/** Branches in the order of their starts; a later one at the same start replaces the earlier one. */
class RowBuilder {
  readonly starts: Value[] = [BELOW_ALL];
  readonly branches: PacketSet[];

  constructor(first: PacketSet) {
    this.branches = [first];
  }

  put(start: Value, branch: PacketSet): void {
    if (start <= (this.starts.at(-1) ?? BELOW_ALL)) this.branches[this.branches.length - 1] = branch;
    else {
      this.starts.push(start);
      this.branches.push(branch);
    }
  }
}

function areDisjoint(parts: readonly Part[]): boolean {
  for (let i = 1; i < parts.length; i += 1) {
    const [before, here] = [parts[i - 1], parts[i]];
    if (before !== undefined && here !== undefined && here.interval.low <= before.interval.high) return false;
  }
  return true;
}

interface Row {
  readonly starts: readonly Value[];
  readonly branches: readonly PacketSet[];
}

/** A node as seen by one dimension: a node of a later dimension does not care about this one. */
function at(node: PacketSet, dimension: number): Row {
  return node.dimension === dimension ? node : { starts: [BELOW_ALL], branches: [node] };
}

function merge(a: Row, b: Row): { starts: Value[]; pairs: (readonly [PacketSet, PacketSet])[] } {
  const starts: Value[] = [];
  const pairs: (readonly [PacketSet, PacketSet])[] = [];
  let [i, j] = [0, 0];
  let start: Value = BELOW_ALL;
  for (;;) {
    const [x, y] = [a.branches[i], b.branches[j]];
    if (x === undefined || y === undefined) throw new Error('a branch is missing');
    starts.push(start);
    pairs.push([x, y]);
    const [nextA, nextB] = [a.starts[i + 1], b.starts[j + 1]];
    if (nextA === undefined && nextB === undefined) return { starts, pairs };
    start = nextB === undefined || (nextA !== undefined && nextA < nextB) ? (nextA ?? 0) : nextB;
    if (nextA === start) i += 1;
    if (nextB === start) j += 1;
  }
}

/** Where a value goes at a node of its dimension. */
export function branchAt(node: PacketSet, value: Value): PacketSet | undefined {
  let [low, high] = [0, node.starts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((node.starts[middle] ?? BELOW_ALL) <= value) low = middle;
    else high = middle - 1;
  }
  return node.branches[low];
}

function isNode(
  node: PacketSet,
  dimension: number,
  starts: readonly Value[],
  branches: readonly PacketSet[],
): boolean {
  if (node.dimension !== dimension || node.branches.length !== branches.length) return false;
  return branches.every((branch, i) => node.branches[i] === branch && node.starts[i] === starts[i]);
}

function hashOf(dimension: number, starts: readonly Value[], branches: readonly PacketSet[]): number {
  let hash = dimension + 1;
  for (let i = 0; i < branches.length; i += 1) {
    const start = starts[i] ?? 0;
    const bits = typeof start === 'bigint' ? Number(BigInt.asUintN(32, start)) : start;
    hash = Math.imul(hash ^ bits, 0x9e37_79b1);
    hash = Math.imul(hash ^ (hash >>> 15) ^ (branches[i]?.id ?? 0), 0x85eb_ca6b);
  }
  return hash ^ (hash >>> 13);
}
