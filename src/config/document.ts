import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseDocument,
} from 'yaml';
import { formatPath, type Path } from './problem.ts';
import type { Problem } from './config.ts';

/** 25,000 points written out one by one take about 3 MB. */
export const MAX_FILE_CHARACTERS = 8_000_000;
/** The deepest key of the format lies at 5 (`classes.x.points.y.span`); beyond this somebody is playing. */
const MAX_DEPTH = 32;

/** A YAML file as plain values, with the way back from a path to its line and column. */
export interface Source {
  readonly value: unknown;
  readonly problems: readonly Problem[];
  /** False where the syntax is broken: what seems to be missing may just not have been read. */
  readonly intact: boolean;
  problem(path: Path, found: string, fix: string, at?: 'value' | 'key'): Problem;
}

/** Reads one YAML 1.2 document of plain mappings, lists and scalars. Never throws. */
export function readDocument(text: string, file: string): Source {
  if (text.length > MAX_FILE_CHARACTERS) {
    return refused(
      file,
      `more than ${MAX_FILE_CHARACTERS} characters`,
      'use classes, so that devices share their points',
    );
  }
  const lines = new LineCounter();
  let document: Document.Parsed;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      stringKeys: true,
      uniqueKeys: false, // the walk below does it in linear time
      version: '1.2',
    });
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return refused(file, 'nested too deeply to be read', `stay below ${MAX_DEPTH} levels`);
  }

  const problems: Problem[] = [];
  const at = (offset: number, path: Path, found: string, fix: string): Problem => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col), path: formatPath(path), found, fix };
  };
  for (const error of [...document.errors, ...document.warnings]) {
    problems.push(at(error.pos[0], [], firstLine(error.message), syntaxFix(error.code)));
  }

  const intact = problems.length === 0;
  const walk = (node: Node | null, path: Path): unknown => {
    if (node === null) return null;
    const offset = node.range?.[0] ?? 0;
    if (isAlias(node) || node.anchor !== undefined) {
      problems.push(
        at(
          offset,
          path,
          isAlias(node) ? `the alias *${node.source}` : `the anchor &${node.anchor}`,
          'write it out; a class is how devices share what they have in common',
        ),
      );
    }
    if (isAlias(node)) return undefined;
    if (node.tag !== undefined) {
      problems.push(
        at(offset, path, `the tag ${node.tag}`, 'leave it out; text that looks like a number goes in quotes'),
      );
    }
    if (path.length > MAX_DEPTH) {
      problems.push(at(offset, path, `more than ${MAX_DEPTH} levels`, 'write it flatter'));
      return undefined;
    }
    if (isScalar(node)) return node.value;
    if (isSeq<Node | null>(node)) return node.items.map((item, i) => walk(item, [...path, i]));
    if (!isMap<Node | null, Node | null>(node)) return undefined;
    const value: Record<string, unknown> = {};
    const seen = new Map<string, number>();
    for (const pair of node.items) {
      const key = keyOf(pair);
      const from = pair.key?.range?.[0] ?? offset;
      const first = seen.get(key);
      if (first !== undefined) {
        const { line } = lines.linePos(first);
        problems.push(
          at(
            from,
            [...path, key],
            `the key is here a second time, first in line ${line}`,
            'keep one of them',
          ),
        );
        continue;
      }
      seen.set(key, from);
      if (key === '__proto__') {
        problems.push(
          at(from, [...path, key], 'a key that no program should have to read', 'choose another name'),
        );
        continue;
      }
      value[key] = walk(pair.value, [...path, key]);
    }
    return value;
  };
  const value = walk(document.contents, []);

  const offset = (path: Path, what: 'value' | 'key' = 'value'): number => {
    let node: unknown = document.contents;
    let found = 0;
    for (const [depth, step] of path.entries()) {
      const last = depth === path.length - 1;
      if (isMap<Node | null, Node | null>(node)) {
        const pair = node.items.find((item) => keyOf(item) === step);
        if (pair === undefined) return found;
        const keyAt = pair.key?.range?.[0] ?? found;
        node = pair.value;
        found =
          (last && what === 'key') || !hasContent(pair.value) ? keyAt : (pair.value.range?.[0] ?? keyAt);
      } else if (isSeq<Node | null>(node) && typeof step === 'number') {
        const item: Node | null | undefined = node.items[step];
        node = item;
        found = item?.range?.[0] ?? found;
      } else {
        return found;
      }
    }
    return found;
  };

  return {
    value,
    problems,
    intact,
    problem: (path, found, fix, what) => at(offset(path, what), path, found, fix),
  };
}

function refused(file: string, found: string, fix: string): Source {
  const problem = { file, line: 1, column: 1, path: '', found, fix };
  return { value: undefined, problems: [problem], intact: false, problem: () => problem };
}

function keyOf(pair: Pair<Node | null, Node | null>): string {
  // `stringKeys` makes every key text; only an empty one is null.
  return isScalar(pair.key) && typeof pair.key.value === 'string' ? pair.key.value : '';
}

/** A value that is left out has a place, but nothing to point at. */
function hasContent(node: Node | null): node is Node {
  return node !== null && !(isScalar(node) && node.value === null && node.source === '');
}

function firstLine(message: string): string {
  return (message.split('\n')[0] ?? message).replace(/[.:;]+$/, '');
}

function syntaxFix(code: string): string {
  switch (code) {
    case 'TAB_AS_INDENT':
      return 'indent with spaces';
    case 'BAD_INDENT':
      return 'give the keys of one mapping the same indentation';
    case 'MULTIPLE_DOCS':
      return 'keep one document in the file';
    case 'MISSING_CHAR':
      return 'add what is missing: a closing quote, bracket or brace, or the space after a colon';
    case 'MULTILINE_IMPLICIT_KEY':
    case 'BLOCK_AS_IMPLICIT_KEY':
      return 'write one "key: value" a line, and put quotes around text with ": " in it';
    default:
      return 'correct the YAML';
  }
}
