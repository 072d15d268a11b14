import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearest } from '../config/nearest.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { DEFAULT_FILE } from './load.ts';

type Options = NonNullable<ParseArgsConfig['options']>;

export const HELP = { help: { type: 'boolean', short: 'h', default: false } } as const;
export const JSON_TOO = { json: { type: 'boolean', default: false } } as const;

/** Wrong usage of a command, in one sentence; exit status 64. */
export function usage(command: string, message: string, cause?: unknown): SluiceError {
  return new SluiceError('USAGE', message, { cause, remedy: `./sluice ${command} --help tells more` });
}

type Parsed<T extends Options> = ReturnType<
  typeof parseArgs<{ args: string[]; allowPositionals: true; options: T }>
>;

/** Options and positional arguments of a command. Throws USAGE. */
export function parsedOptions<T extends Options>(
  command: string,
  args: readonly string[],
  options: T,
): Parsed<T> {
  try {
    return parseArgs({ args: [...args], allowPositionals: true, options });
  } catch (error) {
    throw usage(command, whatIsWrong(errorText(error), Object.keys(options)), error);
  }
}

/** The first sentence of what Node says, which goes on about arguments that begin with a dash; and the nearest option. */
function whatIsWrong(says: string, known: readonly string[]): string {
  const [, option = ''] = /^Option '(--[a-z-]+)' argument is ambiguous/.exec(says) ?? [];
  if (option !== '') return `${option} needs a value; one that begins with a dash is written ${option}=-1`;
  const [sentence = says] = says.split(/\.? ?\n|\. |\.$/);
  const [, unknown = ''] = /^Unknown option '--?([^']+)'/.exec(sentence) ?? [];
  const meant = nearest(unknown, known);
  return meant === undefined ? sentence : `${sentence} (did you mean --${meant}?)`;
}

/** One of what a command does. Throws USAGE. */
export function oneVerb<V extends string>(
  command: string,
  [verb, ...rest]: readonly string[],
  verbs: readonly V[],
): readonly [V, ...string[]] {
  if (verb === undefined) throw usage(command, `${command} wants a verb: there are ${verbs.join(', ')}`);
  const known = verbs.find((one) => one === verb);
  if (known !== undefined) return [known, ...rest];
  const meant = nearest(verb, verbs);
  const hint = meant === undefined ? `there are ${verbs.join(', ')}` : `did you mean ${meant}?`;
  throw usage(command, `${command} knows no ${visible(verb)}: ${hint}`);
}

/** The one configuration that a command takes as its last argument. Throws USAGE. */
export function oneFile(command: string, positionals: readonly string[]): string {
  if (positionals.length > 1) throw usage(command, `${command} takes one file, not ${positionals.length}`);
  return positionals[0] ?? DEFAULT_FILE;
}
