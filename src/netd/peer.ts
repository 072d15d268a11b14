import { randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  lstatSync,
  openSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import { type EpochMs, epochMs } from '../core/units.ts';

// Who is at the other end of a unix socket. The kernel knows (SO_PEERCRED), Node does not ask it. So whoever connects
// makes a new file, named as a challenge says, in a folder that both reach: the kernel writes its owner. Decision 11
// says what was thought of, and why this cannot be borrowed, prepared or passed on.

const WORD_BYTES = 16;
/** Times of files are those of the last tick of the kernel, at least a hundred a second. */
const TICK_MS = 20;
/** Whoever else may write to a proof could have written it. Setuid and its like have no place here either. */
const NOT_OTHERS = 0o7022;
/** netd has no capability that lets it read what is closed to it. */
const READABLE = 0o444;

export interface Challenge {
  readonly word: string;
  readonly at: EpochMs;
}

export const proofFolder = (socket: string): string => `${socket}.proof`;

export const challenge = (): Challenge => ({
  word: randomBytes(WORD_BYTES).toString('hex'),
  at: epochMs(Date.now()),
});

/** The socket as both ends see it: a proof that was made for another one is worth nothing here. */
export function identityOf(socket: string): string {
  const { dev, ino } = statSync(socket);
  return `${dev}:${ino}`;
}

const contentOf = (word: string, socket: string): string => `${word} ${socket}\n`;

/** The uid that answered the challenge, or why that is not known. The proof is gone afterwards. */
export function answeredBy(folder: string, { word, at }: Challenge, socket: string): number | string {
  const path = join(folder, word);
  let file: number;
  try {
    // No link is followed, and a pipe that nobody writes to keeps nobody waiting.
    file = openSync(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    removed(path);
    return `the proof cannot be read: ${codeOf(error)}`;
  }
  try {
    // Everything is asked of the file that is open, not of a name, under which another may lie a moment later.
    return doubt(file, at, contentOf(word, socket)) ?? fstatSync(file).uid;
  } finally {
    closeSync(file);
    removed(path);
  }
}

function doubt(file: number, at: EpochMs, content: string): string | undefined {
  const stat = fstatSync(file);
  if (!stat.isFile()) return 'the proof is no regular file';
  if (stat.nlink !== 1) return `the proof has ${stat.nlink} names`;
  if ((stat.mode & NOT_OTHERS) !== 0) return 'others than its owner may write to the proof';
  const born = stat.birthtimeMs;
  if (!(born >= at - TICK_MS && born <= Date.now() + TICK_MS)) return 'the proof was not made for this';
  const found = Buffer.alloc(content.length + 1);
  const length = readSync(file, found, 0, found.length, 0);
  return found.toString('latin1', 0, length) === content ? undefined : 'the proof says something else';
}

function removed(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // A folder, which is no proof; it is swept later.
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : errorText(error);

/**
 * The other side: answers a challenge of `socket`. Throws where the folder of proofs is not one of root or of this user:
 * an answer that is made elsewhere could be handed on to the real socket by somebody in between.
 */
export function answer(socket: string, word: string): void {
  if (!/^[0-9a-f]{32}$/.test(word)) throw stranger(socket, 'its challenge is none of netd');
  const folder = proofFolder(socket);
  const { uid } = lstatSync(folder);
  if (!lstatSync(folder).isDirectory() || (uid !== 0 && uid !== process.geteuid?.())) {
    throw stranger(socket, `${folder} is no folder of root`);
  }
  const file = openSync(join(folder, word), 'wx', READABLE);
  try {
    writeSync(file, contentOf(word, identityOf(socket)));
    fchmodSync(file, READABLE);
  } finally {
    closeSync(file);
  }
}

function stranger(socket: string, why: string): SluiceError {
  return new SluiceError('SETUP', `what listens at ${socket} is not trusted: ${why}`, {
    remedy: 'look who made that socket; netd listens below /run/sluice unless told otherwise',
  });
}
