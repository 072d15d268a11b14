import { type ParseArgsConfig, parseArgs } from 'node:util';
import { nearest } from '../config/nearest.ts';
import { errorText, SluiceError } from '../core/errors.ts';
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

/** The one configuration that a command takes as its last argument. Throws USAGE. */
export function oneFile(command: string, positionals: readonly string[]): string {
  if (positionals.length > 1) throw usage(command, `${command} takes one file, not ${positionals.length}`);
  return positionals[0] ?? DEFAULT_FILE;
}
