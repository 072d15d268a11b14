import { isRecord } from './field.ts';

/** What is wrong with a value, beginning with its place, and how many more of its parts are right than wrong. */
export interface Complaint {
  readonly what: string;
  readonly near: number;
}

/** Undefined where nothing is wrong. */
export type Shape = (value: unknown, at: string) => Complaint | undefined;

const wrong = (what: string, near = -1): Complaint => ({ what, near });

export const literal =
  (...values: readonly unknown[]): Shape =>
  (value, at) =>
    values.includes(value)
      ? undefined
      : wrong(`${at} is ${shown(value)}, not ${values.map(shown).join(' or ')}`);

export const text =
  (pattern: RegExp, maxBytes: number): Shape =>
  (value, at) =>
    typeof value === 'string' && pattern.test(value) && Buffer.byteLength(value) <= maxBytes
      ? undefined
      : wrong(`${at} is ${shown(value)}, not a text of at most ${maxBytes} bytes like ${pattern.source}`);

export const whole =
  (low: number, high: number): Shape =>
  (value, at) =>
    Number.isInteger(value) && Number(value) >= low && Number(value) <= high
      ? undefined
      : wrong(`${at} is ${shown(value)}, not a whole number from ${low} to ${high}`);

/** nft takes an empty list for an error, or for everything. */
export const listOf =
  (item: Shape, fewest = 1): Shape =>
  (value, at) => {
    if (!Array.isArray(value) || value.length < fewest)
      return wrong(`${at} is no list of at least ${fewest}`);
    for (const [i, one] of value.entries()) {
      const found = item(one, `${at}[${i}]`);
      if (found !== undefined) return wrong(found.what, i + found.near);
    }
    return undefined;
  };

export const pairOf =
  (first: Shape, second: Shape): Shape =>
  (value, at) => {
    if (!Array.isArray(value) || value.length !== 2) return wrong(`${at} is no pair`);
    return worst([first(value[0], `${at}[0]`), second(value[1], `${at}[1]`)]);
  };

type Keys = Readonly<Record<string, Shape>>;

/** All of `keys`, perhaps some of `more`, and nothing else: an unknown key would be ignored in silence. */
export const object =
  (keys: Keys, more: Keys = {}): Shape =>
  (value, at) => {
    if (!isRecord(value)) return wrong(`${at} is ${shown(value)}, not a mapping`);
    for (const key of Object.keys(value)) {
      if (!Object.hasOwn(keys, key) && !Object.hasOwn(more, key))
        return wrong(`${at} has the unknown key ${key}`);
    }
    const needed = Object.entries(keys).map(([key, shape]) =>
      Object.hasOwn(value, key) ? shape(value[key], `${at}.${key}`) : wrong(`${at} has no ${key}`),
    );
    const others = Object.entries(more).flatMap(([key, shape]) =>
      Object.hasOwn(value, key) ? [shape(value[key], `${at}.${key}`)] : [],
    );
    return worst([...needed, ...others]);
  };

/** The first of them, with all that is right and wrong beside it. */
function worst(parts: readonly (Complaint | undefined)[]): Complaint | undefined {
  const first = parts.find((part) => part !== undefined);
  if (first === undefined) return undefined;
  return wrong(
    first.what,
    parts.reduce((sum, part) => sum + (part === undefined ? 1 : part.near), 0),
  );
}

/** A mapping with exactly one of these keys. */
export const oneOf =
  (keys: Keys): Shape =>
  (value, at) => {
    const [key, ...others] = isRecord(value) ? Object.keys(value) : [];
    if (!isRecord(value) || key === undefined || others.length > 0)
      return wrong(`${at} is ${shown(value)}, not a mapping with one key`);
    const shape = Object.hasOwn(keys, key) ? keys[key] : undefined;
    return shape === undefined
      ? wrong(`${at} has the unknown key ${key}`)
      : shape(value[key], `${at}.${key}`);
  };

/** The complaint of the one that comes nearest speaks for all; of several, that of the last. */
export const either =
  (...shapes: readonly Shape[]): Shape =>
  (value, at) => {
    let nearest: Complaint | undefined;
    for (const shape of shapes) {
      const found = shape(value, at);
      if (found === undefined) return undefined;
      if (nearest === undefined || found.near >= nearest.near) nearest = found;
    }
    return nearest;
  };

const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 60) ?? 'missing';
