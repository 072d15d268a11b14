import { isAlias, isMap, isScalar, isSeq, type Node, type Pair } from 'yaml';
import { formatPath, type Path } from './problem.ts';

/** The deepest key of the format lies at 6 (`classes.x.points.y.span[0]`); beyond this somebody is playing. */
const MAX_DEPTH = 32;

/** Something that a plain file does not need; `first` is where a key stood before. */
export interface Unwanted {
  readonly offset: number;
  readonly path: Path;
  readonly found: string;
  readonly fix: string;
  readonly first?: number;
}

/** Turns nodes into plain values. Aliases and tags are refused: what a bomb is made of, and nobody needs. */
export class PlainReader {
  readonly complaints: Unwanted[] = [];
  /** Paths whose values were refused, so that nobody complains a second time. */
  readonly spoilt = new Set<string>();
  readonly #path: (string | number)[] = [];

  read(node: Node | null): unknown {
    if (node === null) return null;
    if (isAlias(node)) return this.#refuse(node, `the alias *${node.source}`, WRITE_OUT);
    if (this.#path.length > MAX_DEPTH) {
      return this.#refuse(node, `more than ${MAX_DEPTH} levels`, 'write it flatter');
    }
    if ('anchor' in node && node.anchor !== undefined)
      this.#complain(node, `the anchor &${node.anchor}`, WRITE_OUT);
    if (node.tag !== undefined) {
      return this.#refuse(
        node,
        `the tag ${node.tag.replace('tag:yaml.org,2002:', '!!')}`,
        'leave it out; put text that looks like a number in quotes',
      );
    }
    if (isScalar(node)) return node.value;
    if (isSeq<Node | null>(node)) return node.items.map((item, i) => this.#below(i, item));
    return isMap<Node | null, Node | null>(node) ? this.#mapping(node.items) : undefined;
  }

  #mapping(pairs: readonly Pair<Node | null, Node | null>[]): Record<string, unknown> {
    const value: Record<string, unknown> = {};
    const seen = new Map<string, number>();
    for (const pair of pairs) {
      const key = keyOf(pair);
      const offset = pair.key?.range?.[0] ?? 0;
      const path = [...this.#path, key];
      const first = seen.get(key);
      if (first !== undefined) {
        const found = 'the key is here a second time';
        this.complaints.push({ offset, path, found, fix: 'keep one of them', first });
      } else if (key === '__proto__') {
        this.complaints.push({
          offset,
          path,
          found: 'a name with a meaning of its own',
          fix: 'choose another',
        });
      } else {
        seen.set(key, offset);
        value[key] = this.#below(key, pair.value);
      }
    }
    return value;
  }

  #below(step: string | number, node: Node | null): unknown {
    this.#path.push(step);
    const value = this.read(node);
    this.#path.pop();
    return value;
  }

  #refuse(node: Node, found: string, fix: string): undefined {
    this.#complain(node, found, fix);
    this.spoilt.add(formatPath(this.#path));
  }

  #complain(node: Node, found: string, fix: string): void {
    this.complaints.push({ offset: node.range?.[0] ?? 0, path: [...this.#path], found, fix });
  }
}

const WRITE_OUT = 'write it out; a class is how devices share what they have in common';

/** `stringKeys` makes every key text; only an empty one is null. */
export function keyOf(pair: Pair<Node | null, Node | null>): string {
  return isScalar(pair.key) && typeof pair.key.value === 'string' ? pair.key.value : '';
}
