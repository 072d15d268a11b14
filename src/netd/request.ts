import { SluiceError } from '../core/errors.ts';
import { type Duration, milliseconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';

// What may be asked for over the socket. Nothing of the policy is in it: netd reads that itself.

export const VERBS = [
  'plan',
  'apply',
  'confirm',
  'rollback',
  'quarantine',
  'release',
  'island',
  'rejoin',
  'status',
] as const;
export type Verb = (typeof VERBS)[number];

export interface Request {
  readonly verb: Verb;
  /** confirm: the change that apply named. */
  readonly change?: string;
  /** quarantine, release: a name of gateway.yaml or an address. */
  readonly device?: string;
  /** quarantine: how long; for good where left out. */
  readonly lasts?: Duration;
  readonly because?: string;
  /** For whom this is asked, as the asker says; goes to the audit. */
  readonly person?: string;
  /** The connection by which the asker came to this machine, where known. */
  readonly session?: string;
}

const READS: readonly Verb[] = ['plan', 'status'];
export const isRead = (verb: Verb): boolean => READS.includes(verb);
/** What only takes away, or returns, is never held up. */
const TAKES: readonly Verb[] = ['rollback', 'quarantine', 'island'];
export const onlyTakes = (verb: Verb): boolean => TAKES.includes(verb);

export const VERSION = 1;
/** Of an answer: there was no place, and nothing was looked at. */
export const BUSY_CODE = 'BUSY';
const LONGEST = 200;
/** As long as a quarantine of a fixed length may be; longer ones are for good. */
const LONGEST_MS = 400 * 86_400_000;

/** Which further keys a verb takes; those with `!` it has to have. */
const KEYS: Readonly<Record<Verb, readonly string[]>> = {
  plan: [],
  apply: [],
  confirm: ['change!'],
  rollback: [],
  quarantine: ['device!', 'lasts-ms', 'because!'],
  release: ['device!', 'because'],
  island: ['because!'],
  rejoin: ['because'],
  status: [],
};
const FOR_ALL = ['v', 'verb', 'person', 'session'];

/** Throws USAGE where it is not exactly what is known. */
export function requestOf(line: string): Request {
  const json = parsed(line);
  if (json['v'] !== VERSION) throw wrong(`"v" has to be ${VERSION}`);
  const verb = VERBS.find((one) => one === json['verb']);
  if (verb === undefined) throw wrong(`"verb" has to be one of ${VERBS.join(', ')}`);
  const keys = KEYS[verb].map((key) => key.replace('!', ''));
  const unknown = Object.keys(json).find((key) => !FOR_ALL.includes(key) && !keys.includes(key));
  if (unknown !== undefined) throw wrong(`${verb} takes no "${visible(unknown.slice(0, 40))}"`);
  for (const key of KEYS[verb]) {
    if (key.endsWith('!') && json[key.slice(0, -1)] === undefined)
      throw wrong(`${verb} needs "${key.slice(0, -1)}"`);
  }
  const change = textOf(json, 'change');
  if (change !== undefined && !/^[0-9a-f]{8}$/.test(change))
    throw wrong('"change" has to be the eight digits that apply named');
  const lasts = lastsOf(json);
  return {
    verb,
    ...(change !== undefined && { change }),
    ...(lasts !== undefined && { lasts }),
    ...texts(json, ['device', 'because', 'person', 'session']),
  };
}

/** A request as a line of the socket. */
export function lineOf({ lasts, ...request }: Request): string {
  return `${JSON.stringify({ v: VERSION, ...request, ...(lasts !== undefined && { 'lasts-ms': lasts }) })}\n`;
}

type Json = Readonly<Record<string, unknown>>;

function parsed(line: string): Json {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (cause) {
    throw wrong('this is not JSON', cause);
  }
  if (isObject(json)) return json;
  throw wrong('a request is a JSON object');
}

export function isObject(json: unknown): json is Json {
  return typeof json === 'object' && json !== null && !Array.isArray(json);
}

function texts(json: Json, keys: readonly ('device' | 'because' | 'person' | 'session')[]): Partial<Request> {
  return Object.fromEntries(
    keys.flatMap((key) => {
      const text = textOf(json, key);
      return text === undefined ? [] : [[key, text]];
    }),
  );
}

function textOf(json: Json, key: string): string | undefined {
  const value = json[key];
  if (value === undefined) return undefined;
  if (typeof value !== 'string' || value === '' || value.length > LONGEST)
    throw wrong(`"${key}" has to be a text of 1 to ${LONGEST} characters`);
  return value;
}

function lastsOf(json: Json): Duration | undefined {
  const value = json['lasts-ms'];
  if (value === undefined) return undefined;
  if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1 || value > LONGEST_MS)
    throw wrong(`"lasts-ms" has to be a whole number from 1 to ${LONGEST_MS}`);
  return milliseconds(value);
}

function wrong(message: string, cause?: unknown): SluiceError {
  return new SluiceError('USAGE', message, { cause, remedy: 'docs/segmentation.md shows what netd takes' });
}
