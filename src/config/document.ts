import { type Document, LineCounter, parseDocument } from 'yaml';
import type { Problem } from './config.ts';
import { Places } from './places.ts';
import { PlainReader } from './plain.ts';
import { formatPath, type Path } from './problem.ts';

/** 25,000 points written out one by one take about 3 MB. */
export const MAX_FILE_CHARACTERS = 8_000_000;

/** Beyond these, syntax errors are consequences of the first ones. */
const MAX_SYNTAX_PROBLEMS = 20;

/** A YAML file as plain values, with the way back from a path to its line and column. */
export interface Source {
  readonly value: unknown;
  /** What is wrong with the file before anybody asks what it means. */
  readonly problems: readonly Problem[];
  /** False where the syntax is broken: what seems to be missing may just not have been read. */
  readonly intact: boolean;
  /** Undefined where the value at this place was refused already. */
  problem(path: Path, found: string, fix: string, at?: 'value' | 'key'): Problem | undefined;
}

/** Reads one YAML 1.2 document of plain mappings, lists and scalars: no aliases, no tags. Never throws. */
export function readDocument(text: string, file: string): Source {
  if (text.length > MAX_FILE_CHARACTERS) {
    return refused(
      file,
      `more than ${MAX_FILE_CHARACTERS} characters`,
      'let devices share their points: use classes',
    );
  }
  const lines = new LineCounter();
  const at = (offset: number, path: Path, found: string, fix: string): Problem => {
    const { line, col } = lines.linePos(offset);
    return { file, line: Math.max(1, line), column: Math.max(1, col), path: formatPath(path), found, fix };
  };
  let document: Document.Parsed;
  const reader = new PlainReader();
  let value: unknown;
  try {
    document = parseDocument(text, {
      lineCounter: lines,
      prettyErrors: false,
      stringKeys: true,
      uniqueKeys: false, // the reader does it in linear time
      version: '1.2',
    });
    value = reader.read(document.contents);
  } catch (error) {
    // Thousands of brackets exhaust the stack of whoever reads them.
    if (!(error instanceof RangeError)) throw error;
    return refused(file, 'nested too deeply to be read', 'write it flatter');
  }
  const syntax = [...document.errors, ...document.warnings]
    .slice(0, MAX_SYNTAX_PROBLEMS)
    .map((error) => at(error.pos[0], [], firstLine(error.message), syntaxFix(error.code)));
  const unwanted = reader.complaints.map((complaint) => {
    const { offset, path, found } = complaint;
    const before =
      complaint.first === undefined ? '' : `, first in line ${lines.linePos(complaint.first).line}`;
    return at(offset, path, `${found}${before}`, complaint.fix);
  });
  const places = new Places(document.contents);
  return {
    value,
    problems: [...syntax, ...unwanted],
    intact: syntax.length === 0,
    problem: (path, found, fix, what) =>
      reader.spoilt.has(formatPath(path)) ? undefined : at(places.offset(path, what), path, found, fix),
  };
}

function refused(file: string, found: string, fix: string): Source {
  return {
    value: undefined,
    problems: [{ file, line: 1, column: 1, path: '', found, fix }],
    intact: false,
    problem: () => undefined,
  };
}

function firstLine(message: string): string {
  if (message.startsWith('Maximum call stack')) return 'nested too deeply to be read';
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
