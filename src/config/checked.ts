import type { z } from 'zod';
import { nearest } from './nearest.ts';
import { describe, type Path, type Report } from './problem.ts';

/**
 * What a mapping of the file says, as far as it is right. A key that is wrong was reported and is missing here, like
 * one that was left out; `whole` tells whether there was any. So every other key can still be judged.
 */
export interface Checked<T> {
  readonly whole: boolean;
  readonly shape: { readonly [K in keyof T]?: T[K] | undefined };
}

/** Checks one mapping of the file against its keys, and reports everything that is wrong with it. */
export function checked<S extends z.core.$ZodLooseShape>(
  schema: z.ZodObject<S, z.core.$strict>,
  value: unknown,
  path: Path,
  report: Report,
): Checked<z.output<z.ZodObject<S, z.core.$strict>>> {
  type Shape = z.output<z.ZodObject<S, z.core.$strict>>;
  const result = schema.safeParse(value);
  if (result.success) return { whole: true, shape: result.data };
  const { issues } = result.error;
  const guesses = new Set(
    issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? meant(issue) : [])),
  );
  for (const issue of issues) {
    // Where a misspelt key was understood, its absence is no second problem.
    const understood = issue.path.length === 1 && guesses.has(String(issue.path[0]));
    if (!understood) reportIssue(issue, value, path, report);
  }
  const right: Record<string, unknown> = {};
  for (const [key, leaf] of Object.entries<z.ZodType>(schema.shape)) {
    const part = isMapping(value) ? leaf.safeParse(value[key]) : undefined;
    if (part?.success === true) right[key] = part.data;
  }
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- each value is what the schema of its own key made of it
  return { whole: false, shape: right as Partial<Shape> };
}

/** Names and what stands below them; a missing mapping is an empty one. */
export function entries(value: unknown, path: Path, report: Report): readonly (readonly [string, unknown])[] {
  if (value === undefined) return [];
  if (isMapping(value)) return Object.entries(value);
  report(path, describe(value), 'write a mapping of names, or leave the key out');
  return [];
}

export function isMapping(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function unknownKey(path: Path, key: string, known: readonly string[], report: Report): void {
  const guess = nearest(key, known);
  const fix = guess === undefined ? `known keys are ${known.join(', ')}` : `did you mean ${guess}?`;
  report([...path, key], 'unknown key', fix, 'key');
}

function meant({ keys, message }: z.core.$ZodIssueUnrecognizedKeys): string[] {
  return keys.flatMap((key) => nearest(key, message.split(' ')) ?? []);
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
    if (Array.isArray(value)) value = typeof step === 'number' ? value.at(step) : undefined;
    else value = isMapping(value) && Object.hasOwn(value, step) ? value[step] : undefined;
  }
  return value;
}
