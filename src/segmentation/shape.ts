/** What is wrong with a value, beginning with its place; undefined where nothing is. */
export type Shape = (value: unknown, at: string) => string | undefined;

export const literal =
  (...values: readonly unknown[]): Shape =>
  (value, at) =>
    values.includes(value) ? undefined : `${at} is ${shown(value)}, not ${values.map(shown).join(' or ')}`;

export const text =
  (pattern: RegExp, maxBytes: number): Shape =>
  (value, at) =>
    typeof value === 'string' && pattern.test(value) && Buffer.byteLength(value) <= maxBytes
      ? undefined
      : `${at} is ${shown(value)}, not a text of at most ${maxBytes} bytes like ${pattern.source}`;

export const whole =
  (low: number, high: number): Shape =>
  (value, at) =>
    Number.isInteger(value) && Number(value) >= low && Number(value) <= high
      ? undefined
      : `${at} is ${shown(value)}, not a whole number from ${low} to ${high}`;

/** nft takes an empty list for an error, or for everything. */
export const listOf =
  (item: Shape, fewest = 1): Shape =>
  (value, at) => {
    if (!Array.isArray(value) || value.length < fewest) return `${at} is no list of at least ${fewest}`;
    for (const [i, one] of value.entries()) {
      const wrong = item(one, `${at}[${i}]`);
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  };

export const pairOf =
  (first: Shape, second: Shape): Shape =>
  (value, at) =>
    Array.isArray(value) && value.length === 2
      ? (first(value[0], `${at}[0]`) ?? second(value[1], `${at}[1]`))
      : `${at} is no pair`;

type Keys = Readonly<Record<string, Shape>>;

/** All of `keys`, perhaps some of `more`, and nothing else: an unknown key would be ignored in silence. */
export const object =
  (keys: Keys, more: Keys = {}): Shape =>
  (value, at) => {
    if (!isRecord(value)) return `${at} is ${shown(value)}, not a mapping`;
    for (const key of Object.keys(value)) {
      if (!Object.hasOwn(keys, key) && !Object.hasOwn(more, key)) return `${at} has the unknown key ${key}`;
    }
    for (const [key, shape] of Object.entries(keys)) {
      const wrong = Object.hasOwn(value, key) ? shape(value[key], `${at}.${key}`) : `${at} has no ${key}`;
      if (wrong !== undefined) return wrong;
    }
    for (const [key, shape] of Object.entries(more)) {
      const wrong = Object.hasOwn(value, key) ? shape(value[key], `${at}.${key}`) : undefined;
      if (wrong !== undefined) return wrong;
    }
    return undefined;
  };

/** A mapping with exactly one of these keys. */
export const oneOf =
  (keys: Keys): Shape =>
  (value, at) => {
    const [key, ...others] = isRecord(value) ? Object.keys(value) : [];
    if (!isRecord(value) || key === undefined || others.length > 0)
      return `${at} is ${shown(value)}, not a mapping with one key`;
    const shape = Object.hasOwn(keys, key) ? keys[key] : undefined;
    return shape === undefined ? `${at} has the unknown key ${key}` : shape(value[key], `${at}.${key}`);
  };

/** The complaint of the last one speaks for all. */
export const either =
  (...shapes: readonly Shape[]): Shape =>
  (value, at) => {
    let wrong: string | undefined;
    for (const shape of shapes) {
      wrong = shape(value, at);
      if (wrong === undefined) return undefined;
    }
    return wrong;
  };

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const shown = (value: unknown): string => JSON.stringify(value)?.slice(0, 60) ?? 'missing';
