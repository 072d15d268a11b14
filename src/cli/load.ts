import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Config, Problem } from '../config/config.ts';
import { type Parsed, parseConfig } from '../config/parse.ts';
import { formatProblem } from '../config/problem.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import { shellWord } from '../core/shell-word.ts';
import { contradictionsOf } from '../segmentation/declare.ts';

/** The configuration that a command takes where none is named. */
export const DEFAULT_FILE = 'gateway.yaml';

/**
 * Reads and checks a configuration; `path` is relative to the working directory. Every problem goes to standard error,
 * as a compiler would print it. Throws CONFIG_INVALID where there is one, or where the file cannot be read.
 */
export async function loadConfig(path: string = DEFAULT_FILE): Promise<Config> {
  return (await loadChecked(path)).config;
}

/** Of a file that may be wrong just now. */
export type Known =
  | {
      readonly gateway: Config['gateway'];
      /** Undefined where anything is wrong. */
      readonly config: Config | undefined;
    }
  | { readonly gateway: undefined; readonly config: undefined; readonly error: SluiceError };

/**
 * What a command needs that works with what is in force: whose file it is. What else is wrong with it is told on standard
 * error, and keeps nobody. Throws CONFIG_INVALID where it cannot be read.
 */
export async function loadGateway(
  path: string,
  tell: (wrong: string) => void = toStandardError,
): Promise<Known> {
  const parsed = await readConfig(path);
  if ('config' in parsed) return { gateway: parsed.config.gateway, config: parsed.config };
  const { problems, gateway } = parsed;
  if (gateway === undefined) return { gateway, config: undefined, error: wrong(path, problems) };
  tell(`${wrongText(path, problems)}, which ./sluice check ${shellWord(path)} tells: nothing but gateway.id and gateway.data
is taken from it, and the rules are those that were applied or confirmed before`);
  return { gateway, config: undefined };
}

const toStandardError = (text: string): void => void process.stderr.write(`${text}\n`);

/** Throws CONFIG_INVALID where not even that could be read. */
export function gatewayOf(known: Known): Config['gateway'] {
  if (known.gateway === undefined) throw known.error;
  return known.gateway;
}

/** The same, with the way back from a path to its line. */
export async function loadChecked(path: string): Promise<Extract<Parsed, { readonly config: Config }>> {
  const parsed = await readConfig(path);
  if ('config' in parsed) return parsed;
  throw wrong(path, parsed.problems);
}

/** Each problem goes to standard error. */
function wrong(path: string, problems: readonly Problem[]): SluiceError {
  process.stderr.write(problems.map((problem) => `${formatProblem(problem)}\n`).join(''));
  return new SluiceError('CONFIG_INVALID', wrongText(path, problems), { remedy: 'nothing was started' });
}

const wrongText = (path: string, { length }: readonly Problem[]): string =>
  `${path} has ${length === 1 ? 'a problem' : `${length} problems`}`;

/** The same without a word: problems are returned. Throws CONFIG_INVALID only where the file cannot be read. */
export async function readConfig(path: string): Promise<Parsed> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(path);
  } catch (error) {
    throw unreadable(path, error);
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw new SluiceError('CONFIG_INVALID', `${path} is not text in UTF-8`, {
      cause: error,
      remedy: 'save it as UTF-8',
    });
  }
  return parseConfig(text, resolve(path), path, contradictionsOf);
}

function unreadable(path: string, error: unknown): SluiceError {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  switch (code) {
    case 'ENOENT':
      return new SluiceError('CONFIG_INVALID', `there is no file ${path}`, {
        cause: error,
        remedy: 'name the configuration as last argument, as in ./sluice check plant/gateway.yaml',
      });
    case 'EISDIR':
      return new SluiceError('CONFIG_INVALID', `${path} is a folder`, {
        cause: error,
        remedy: `name the file, as in ${path.replace(/\/$/, '')}/${DEFAULT_FILE}`,
      });
    case 'EACCES':
      return new SluiceError('CONFIG_INVALID', `${path} may not be read by this user`, {
        cause: error,
        remedy: 'check its owner and mode',
      });
    default:
      return new SluiceError('CONFIG_INVALID', `cannot read ${path}: ${errorText(error)}`, {
        cause: error,
        remedy: 'check the path and the disk',
      });
  }
}
