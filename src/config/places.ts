import { isMap, isScalar, isSeq, type Node, type Pair } from 'yaml';
import { keyOf } from './plain.ts';
import type { Path } from './problem.ts';

type Entry = Pair<Node | null, Node | null>;

/** Where the values of a file stand. Looked up only for problems; a file full of them takes linear time. */
export class Places {
  readonly #root: Node | null;
  readonly #entries = new Map<Node, ReadonlyMap<string, Entry>>();

  constructor(root: Node | null) {
    this.#root = root;
  }

  /** Offset of the value at a path, or of its key; where the path leads nowhere, of the last place it reached. */
  offset(path: Path, what: 'value' | 'key' = 'value'): number {
    let node = this.#root;
    let found = node?.range?.[0] ?? 0;
    for (const [depth, step] of path.entries()) {
      if (isSeq<Node | null>(node) && typeof step === 'number') {
        node = node.items[step] ?? null;
        found = node?.range?.[0] ?? found;
        continue;
      }
      const entry = node === null ? undefined : this.#entriesOf(node).get(String(step));
      if (entry === undefined) return found;
      const isKey = what === 'key' && depth === path.length - 1;
      const keyAt = entry.key?.range?.[0] ?? found;
      node = entry.value;
      found = isKey || !hasContent(node) ? keyAt : (node.range?.[0] ?? keyAt);
    }
    return found;
  }

  #entriesOf(node: Node): ReadonlyMap<string, Entry> {
    let entries = this.#entries.get(node);
    if (entries === undefined) {
      const items = isMap<Node | null, Node | null>(node) ? node.items : [];
      // Backwards, so that the first of several equal keys wins, as it does for the value.
      entries = new Map(items.toReversed().map((item) => [keyOf(item), item]));
      this.#entries.set(node, entries);
    }
    return entries;
  }
}

/** A value that is left out has a place, but nothing to point at. */
function hasContent(node: Node | null): node is Node {
  return node !== null && !(isScalar(node) && node.value === null && node.source === '');
}
