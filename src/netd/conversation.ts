import type { Socket } from 'node:net';
import { errorText } from '../core/errors.ts';
import { type Duration, milliseconds, minutes, seconds } from '../core/units.ts';
import { Bucket } from './bucket.ts';
import { sinceBoot } from './monotonic.ts';
import { answeredBy, challenge, proofFolder } from './peer.ts';
import { BUSY_CODE, type Request, requestOf, VERSION } from './request.ts';
import type { Caller, ServerParts } from './server.ts';
import { failed, failureFor } from './tell.ts';

// One connection: a challenge, then requests, one line each, answered in their order. Everything it may use is bounded.

const LONGEST_LINE = 4_096;
/**
 * To make a file and say something takes milliseconds, on a box that is busy with worse a second or more. It keeps nobody
 * else out: where many wait, the oldest gives way.
 */
const PROOF_TIME: Duration = seconds(10);
const IDLE: Duration = minutes(1);
const AT_ONCE = 20;
const EACH: Duration = milliseconds(100);

export interface Circumstances extends ServerParts {
  readonly identity: string;
  readonly isPermitted: (uid: number) => boolean;
  /** They proved who they are, and may ask. False where there is no place for one more. */
  readonly admit: () => boolean;
}

const BUSY = failed('netd has too many connections', 'try again in a moment', BUSY_CODE);

/** One that did not say yet who it is. What it sent is not looked at. */
export function turnAway(socket: Socket): void {
  socket.end(`${JSON.stringify(BUSY)}\n`);
  socket.destroySoon();
}

export async function converse(socket: Socket, around: Circumstances): Promise<void> {
  socket.on('error', () => {}); // it is gone; nobody is left to be told
  socket.on('timeout', () => socket.destroy());
  const opened = sinceBoot();
  const asked = challenge();
  await send(socket, { v: VERSION, ...around.greeting, challenge: asked.word });
  const late = setTimeout(() => socket.destroy(), PROOF_TIME);
  const rate = new Bucket(AT_ONCE, EACH);
  let caller: Caller | undefined;
  try {
    for await (const line of linesOf(socket)) {
      clearTimeout(late);
      socket.setTimeout(0);
      if (line === undefined) {
        around.refuse(caller?.uid, `a line longer than ${LONGEST_LINE} bytes`);
        await send(socket, failed(`a line is longer than ${LONGEST_LINE} bytes`));
        break;
      }
      if (caller === undefined) {
        const uid = answeredBy(proofFolder(around.socket), asked, around.identity);
        const why = refusal(uid, around);
        if (typeof uid === 'string' || why !== undefined) {
          around.refuse(typeof uid === 'string' ? undefined : uid, why ?? 'no proof');
          await send(socket, failed(`netd does not answer: ${why}`, REMEDY, 'SETUP'));
          break;
        }
        if (!around.admit()) {
          await send(socket, BUSY);
          break;
        }
        caller = { uid, opened };
      }
      await send(socket, await answerTo(line, caller, rate, around));
      socket.setTimeout(IDLE);
    }
  } finally {
    clearTimeout(late);
    // Whoever said nothing at all leaves a file perhaps.
    if (caller === undefined) answeredBy(proofFolder(around.socket), asked, around.identity);
  }
  socket.end();
}

const REMEDY = 'ask as root, or let root name your user: ./sluice netd --allow-uid, --allow-group';

function refusal(uid: number | string, { isPermitted }: Circumstances): string | undefined {
  if (typeof uid === 'string') return uid;
  return isPermitted(uid) ? undefined : `user ${uid} may not ask`;
}

async function answerTo(
  line: string,
  caller: Caller,
  rate: Bucket,
  { handle, refuse }: Circumstances,
): Promise<object> {
  if (!rate.take()) {
    refuse(caller.uid, 'too many requests');
    return failed(`more than ${1_000 / EACH} requests a second`, 'wait a moment');
  }
  let request: Request;
  try {
    request = requestOf(line);
  } catch (error) {
    refuse(caller.uid, `a request that is none: ${errorText(error)}`);
    return failureFor(error);
  }
  try {
    return { ok: true, ...(await handle(request, caller)) };
  } catch (error) {
    return failureFor(error);
  }
}

/** Each line; undefined where one is too long, which is the last. Nothing is read ahead of what is answered. */
async function* linesOf(socket: Socket): AsyncGenerator<string | undefined> {
  let rest: Buffer = Buffer.alloc(0);
  for await (const chunk of socket) {
    rest = Buffer.concat([rest, bytesOf(chunk)]);
    for (let end = rest.indexOf('\n'); end >= 0; end = rest.indexOf('\n')) {
      if (end > LONGEST_LINE) break;
      yield rest.subarray(0, end).toString();
      rest = rest.subarray(end + 1);
    }
    if (rest.length > LONGEST_LINE) {
      yield undefined;
      return;
    }
  }
}

const bytesOf = (chunk: unknown): Buffer => (Buffer.isBuffer(chunk) ? chunk : Buffer.alloc(0));

/** Returns when the other side took it: answers never pile up here. */
async function send(socket: Socket, answer: object): Promise<void> {
  const late = setTimeout(() => socket.destroy(), IDLE);
  try {
    await new Promise<void>((resolve) => {
      socket.write(`${JSON.stringify(answer)}\n`, () => resolve());
    });
  } finally {
    clearTimeout(late);
  }
}
