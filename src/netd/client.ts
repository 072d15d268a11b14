import { connect, type Socket } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { errorText, type ErrorCode, SluiceError } from '../core/errors.ts';
import { type Duration, milliseconds, minutes, seconds } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { answer } from './peer.ts';
import { BUSY_CODE, isObject, lineOf, type Request } from './request.ts';
import type { Told } from './tell.ts';

/** Where netd of a gateway listens unless told otherwise. */
export const socketOf = (gateway: string): string => `/run/sluice/${gateway}.sock`;

const GREETING_TIME: Duration = seconds(5);
/** An apply waits for another one, and for nft; then somebody has to look. */
const ANSWER_TIME: Duration = minutes(5);
/** A plan of the first rules of 64 zones with a conduit between each two of them is two megabytes. */
const LONGEST_ANSWER = 16_777_216;

/** A netd that answers. */
export interface Connection extends Disposable {
  readonly gateway: string;
  /** The configuration it was started with. */
  readonly config: string;
  ask(request: Request): Promise<Told>;
}

/** Somebody may crowd netd with connections that say nothing: then a place is a matter of luck. */
const TRIES = 50;
const PAUSE: Duration = milliseconds(20);

/** Undefined where nobody listens there. Throws where somebody does who may not be asked, or is not to be trusted. */
export async function netdAt(path: string): Promise<Connection | undefined> {
  const first = await withLuck(path, async () => greeted(path));
  if (first === undefined) return undefined;
  let open = first;
  return {
    gateway: first.gateway,
    config: first.config,
    ask: async (request) =>
      withLuck(path, async () => {
        const answered = await open.ask(request);
        if (answered !== TURNED_AWAY) return toldBy(answered);
        open[Symbol.dispose]();
        const next = await greeted(path);
        if (next !== undefined && next !== TURNED_AWAY) open = next;
        return TURNED_AWAY;
      }),
    [Symbol.dispose]: () => open[Symbol.dispose](),
  };
}

/** Nobody looked at what was asked, so that it may be asked again. */
const TURNED_AWAY = 'turned away';

async function withLuck<T>(path: string, attempt: () => Promise<T | typeof TURNED_AWAY>): Promise<T> {
  for (let tries = 0; tries < TRIES; tries += 1) {
    const result = await attempt();
    if (result !== TURNED_AWAY) return result;
    await pause(PAUSE);
  }
  throw new SluiceError('SETUP', `netd at ${path} has no place for one more connection`, {
    remedy:
      'somebody opens connections all the time: its log says so; stopped, the commands of root work without it',
  });
}

interface Greeted extends Disposable {
  readonly gateway: string;
  readonly config: string;
  ask(request: Request): Promise<Json | typeof TURNED_AWAY>;
}

async function greeted(path: string): Promise<Greeted | typeof TURNED_AWAY | undefined> {
  const socket = await connected(path);
  if (socket === undefined || socket === TURNED_AWAY) return socket;
  const lines = new Lines(socket, path);
  try {
    const greeting = parsed(await lines.next(GREETING_TIME), path);
    const { gateway, config, challenge } = greeting;
    if (typeof gateway !== 'string' || typeof config !== 'string' || typeof challenge !== 'string')
      throw stranger(path);
    answer(path, challenge);
    return {
      gateway,
      config,
      ask: async (request) => {
        socket.write(lineOf(request));
        try {
          const answered = parsed(await lines.next(ANSWER_TIME), path);
          return answered['code'] === BUSY_CODE ? TURNED_AWAY : answered;
        } catch (error) {
          // Nobody was there any more to read it.
          if (socket.errored !== null && codeOf(socket.errored) === 'EPIPE') return TURNED_AWAY;
          throw error;
        }
      },
      [Symbol.dispose]: () => socket.destroy(),
    };
  } catch (error) {
    socket.destroy();
    throw error;
  }
}

const codeOf = (error: Error): unknown => ('code' in error ? error.code : undefined);

async function connected(path: string): Promise<Socket | typeof TURNED_AWAY | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => resolve(socket));
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED' || error.code === 'ENOTDIR')
        return resolve(undefined);
      // So many wait to be let in that the kernel takes no more (connect(2)).
      if (error.code === 'EAGAIN') return resolve(TURNED_AWAY);
      reject(
        new SluiceError('SETUP', `cannot ask netd at ${path}: ${errorText(error)}`, {
          cause: error,
          remedy: 'ask as root, or let root name your user: ./sluice netd --allow-uid, --allow-group',
        }),
      );
    });
  });
}

class Lines {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #chunks: AsyncIterator<unknown>;
  #rest = '';

  constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    socket.setEncoding('utf8');
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  async next(limit: Duration): Promise<string> {
    const late = setTimeout(
      () => this.#socket.destroy(new Error(`no answer within ${limit / 1_000} s`)),
      limit,
    );
    try {
      for (;;) {
        const end = this.#rest.indexOf('\n');
        if (end >= 0) {
          const line = this.#rest.slice(0, end);
          this.#rest = this.#rest.slice(end + 1);
          return line;
        }
        const next: IteratorResult<unknown, unknown> = await this.#chunks.next();
        if (next.done === true || this.#rest.length > LONGEST_ANSWER)
          throw new Error('the connection was closed');
        this.#rest += String(next.value);
      }
    } catch (cause) {
      throw new SluiceError('SETUP', `netd at ${this.#path} did not answer: ${errorText(cause)}`, {
        cause,
        remedy: './sluice firewall status tells whether something was changed; the log of netd tells more',
      });
    } finally {
      clearTimeout(late);
    }
  }
}

type Json = Readonly<Record<string, unknown>>;

function parsed(line: string, path: string): Json {
  try {
    const json: unknown = JSON.parse(line);
    if (isObject(json)) return json;
  } catch {
    // Said below.
  }
  throw stranger(path);
}

function stranger(path: string): SluiceError {
  return new SluiceError('SETUP', `what listens at ${path} does not speak like netd of this version`, {
    remedy: 'restart netd after an update: systemctl restart sluice-netd',
  });
}

const KNOWN: readonly ErrorCode[] = ['CONFIG_INVALID', 'USAGE', 'SETUP'];

const lines = (text: string): string => text.split('\n').map(visible).join('\n');

function toldBy(json: Json): Told {
  if (json['ok'] === true && isObject(json['result']) && typeof json['text'] === 'string')
    return { result: json['result'], text: lines(json['text']), good: json['good'] === true };
  const { error, remedy, code } = json;
  throw new SluiceError(
    KNOWN.find((one) => one === code) ?? 'SETUP',
    typeof error === 'string' ? lines(error) : 'netd refused, and did not say why',
    typeof remedy === 'string' ? { remedy: lines(remedy) } : {},
  );
}
