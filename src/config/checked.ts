import type { z } from 'zod';
import { nearest } from './nearest.ts';
import { describe, type Path, type Report } from './problem.ts';

/** Checks one piece of the file. Reports what is wrong; undefined where anything is. */
export function checked<T extends z.ZodType>(
  schema: T,
  value: unknown,
  path: Path,
  report: Report,
): z.output<T> | undefined {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  for (const issue of result.error.issues) reportIssue(issue, value, path, report);
  return undefined;
}

/** A section or entry that has to be a mapping; a missing one is an empty one. */
export function entries(value: unknown, path: Path, report: Report): readonly (readonly [string, unknown])[] {
  if (value === undefined) return [];
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(value);
  report(path, describe(value), 'write a mapping of names, or leave the key out');
  return [];
}

export function unknownKey(path: Path, key: string, known: readonly string[], report: Report): void {
  const meant = nearest(key, known);
  const fix = meant === undefined ? `known keys are ${known.join(', ')}` : `did you mean ${meant}?`;
  report([...path, key], 'unknown key', fix, 'key');
}

function reportIssue(issue: z.core.$ZodIssue, root: unknown, prefix: Path, report: Report): void {
  const inside = issue.path.map((step) => (typeof step === 'number' ? step : String(step)));
  const path = [...prefix, ...inside];
  if (issue.code === 'unrecognized_keys') {
    for (const key of issue.keys) unknownKey(path, key, issue.message.split(' '), report);
    return;
  }
  if (issue.code === 'invalid_union') {
    // The branch that could tell a kind of value apart knows better what is wrong inside it.
    const better = issue.errors.find((branch) => branch.length > 0 && branch.every(isInside));
    if (better !== undefined) {
      for (const inner of better) {
        reportIssue({ ...inner, path: [...issue.path, ...inner.path] }, root, prefix, report);
      }
      return;
    }
  }
  report(path, describe(valueAt(root, inside)), issue.message);
}

function isInside(issue: z.core.$ZodIssue): boolean {
  return issue.path.length > 0 || issue.code === 'unrecognized_keys';
}

function valueAt(root: unknown, path: Path): unknown {
  let value = root;
  for (const step of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = new Map<string | number, unknown>(
      Array.isArray(value) ? value.map((item, i) => [i, item]) : Object.entries(value),
    ).get(step);
  }
  return value;
}
