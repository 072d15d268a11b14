import { visible } from '../core/visible.ts';
import type { Problem } from './config.ts';

/** Keys and indices from the root of the file to a value. */
export type Path = readonly (string | number)[];

/** Takes a problem at a place; `key` points at the name of the place instead of its value. */
export type Report = (path: Path, found: string, fix: string, at?: 'value' | 'key') => void;

/** `file:line:column: path: found; fix` */
export function formatProblem(problem: Problem): string {
  const { file, line, column, path, found, fix } = problem;
  return visible(`${file}:${line}:${column}: ${path === '' ? '' : `${path}: `}${found}; ${fix}`);
}

/** `devices.meter-main.at`, `conduits[0].allow[1]` */
export function formatPath(path: Path): string {
  return path
    .map((step, i) => (typeof step === 'number' ? `[${step}]` : `${i === 0 ? '' : '.'}${printable(step)}`))
    .join('');
}

/** The way back from a text that `formatPath` made of names and indices. */
export function parsePath(text: string): Path {
  return [...text.matchAll(/\[(\d+)\]|([^.[\]]+)/g)].map(([, index, key = '']) =>
    index === undefined ? key : Number(index),
  );
}

/** A value of the file inside a sentence. */
export function describe(value: unknown): string {
  if (value === undefined) return 'missing';
  if (value === null) return 'no value';
  if (typeof value === 'string') return JSON.stringify(shortened(withoutSecret(value)));
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : 'a list';
  return 'a mapping';
}

function printable(key: string): string {
  return /^[\w./*-]+$/.test(key) ? key : JSON.stringify(shortened(key));
}

/** Somebody may have put a password into an address; it must not reach a terminal or a log. */
function withoutSecret(text: string): string {
  return text.replace(/\/\/[^/]*@/, '//***@');
}

function shortened(text: string): string {
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
