import { z } from 'zod';
import { DURATION, DURATION_EXAMPLES } from './duration.ts';
import { MOMENT, MOMENT_EXAMPLES } from './moment.ts';
import { SIZE, SIZE_EXAMPLES } from './size.ts';

// What the shapes of gateway.yaml are made of.

/** Names become levels of topics, rule names and file names. */
const NAME = /^[a-z][a-z0-9-]{0,30}$/;
export const NAME_FIX = 'write up to 31 of a-z, 0-9 and "-", beginning with a letter';
export const isName = (text: string): boolean => NAME.test(text);

export const text = (pattern: RegExp, fix: string): z.ZodString =>
  z.string({ error: `write ${fix}` }).regex(pattern, { error: `write ${fix}` });
export const name = z.string({ error: NAME_FIX }).regex(NAME, { error: NAME_FIX });
/** A name that stands for something declared elsewhere. */
export const nameOf = (what: string): z.ZodString => text(NAME, `the name of ${what}`);
export const duration = text(DURATION, DURATION_EXAMPLES);
export const size = text(SIZE, SIZE_EXAMPLES);
export const number = z.number({ error: 'write a number' });
export const yesNo = z.boolean({ error: 'write true or false' });
export const file = z
  .string({ error: 'write the path of a file, relative to this one' })
  .min(1, { error: 'write the path of a file' })
  .refine((path) => !/\p{C}/u.test(path), { error: 'write the path of a file, without control characters' });
export const moment = text(MOMENT, MOMENT_EXAMPLES);
export const hostAndPort = text(
  /^.+:\d{1,5}$/,
  'an IP address and a port, such as 127.0.0.1:8883 or [fd00::1]:8883',
);
/** IFNAMSIZ of the kernel is 16 with its closing zero. */
const INTERFACE = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,14}$/;
export const interfaceName = (example: string): z.ZodString =>
  text(INTERFACE, `the name of a network interface, at most 15 characters, such as ${example}`);

export const oneOf = <const T extends readonly [string, ...string[]]>(
  values: T,
): z.ZodEnum<{ [K in T[number]]: K }> => z.enum(values, { error: `use ${values.join(', ')}` });

export const whole = (low: number, high: number): z.ZodInt => {
  const error = `use a whole number from ${low} to ${high}`;
  return z.int({ error }).min(low, { error }).max(high, { error });
};

/** A mapping that knows its keys. The message of an unknown key lists them, for the search of the nearest. */
export function keys<T extends z.core.$ZodLooseShape>(
  shape: T,
  description: string,
): z.ZodObject<T, z.core.$strict> {
  const known = Object.keys(shape).join(' ');
  return z
    .strictObject(shape, {
      error: ({ code }) =>
        code === 'unrecognized_keys' ? known : `write a mapping with ${known.replaceAll(' ', ', ')}`,
    })
    .describe(description);
}

export const named = <T extends z.core.SomeType>(
  value: T,
  description: string,
): z.ZodRecord<z.ZodString, T> =>
  z.record(name, value, { error: 'write a mapping of names' }).describe(description);

/** Pieces that are checked one by one, so that one wrong leaf does not hide what is wrong elsewhere. */
export const later = z.unknown().optional();
