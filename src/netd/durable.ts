import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';
import { shellWord } from '../core/shell-word.ts';

// Files that are replaced as a whole, and on the disk before anything goes on.

export function writeDurably(path: string, text: string): void {
  prepareDurably(path, text);
  nameDurably(path);
}

/** On the disk beside the file, which is as it was until `nameDurably`. */
export function prepareDurably(path: string, text: string): void {
  onDisk('write', path, () => {
    const file = openSync(`${path}.partial`, 'w', 0o600);
    try {
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  });
}

export function nameDurably(path: string): void {
  onDisk('write', path, () => {
    renameSync(`${path}.partial`, path);
    syncFolder(dirname(path));
  });
}

/** Undefined where it is not there; throws where it cannot be read. */
export function readWhole(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (isMissing(cause)) return undefined;
    throw failure('read', path, cause, isDenied(cause) ? AS_ROOT : 'check the disk');
  }
}

/** All of one folder; the first is gone before the others. */
export function removeDurably(path: string, ...others: readonly string[]): void {
  onDisk('remove', path, () => {
    for (const one of [path, ...others]) rmSync(one, { force: true });
    syncFolder(dirname(path));
  });
}

export function makeFolder(path: string): void {
  onDisk('make', path, () => {
    if (!existsSync(path)) mkdirSync(path, { mode: 0o700 });
  });
}

function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** Made here it would be root's alone, and a gateway that runs as a user of its own could not write there. */
const notYet = (data: string): string =>
  `make gateway.data first: mkdir -m 700 ${shellWord(data)}; where the gateway runs as a user of its own, with owner and mode of deploy/tmpfiles/sluice.conf`;
/** Whoever may not look or write there is told no other cause. */
export const AS_ROOT = 'run this as root, or ask netd where it knows you (--socket PATH)';
const NO_ROOM = 'check the room and the owner of gateway.data';

function onDisk(what: string, path: string, act: () => void): void {
  try {
    act();
  } catch (cause) {
    const remedy = isMissing(cause) ? notYet(dirname(path)) : isDenied(cause) ? AS_ROOT : NO_ROOM;
    throw failure(what, path, cause, remedy);
  }
}

function failure(what: string, path: string, cause: unknown, remedy: string): SluiceError {
  return new SluiceError('SETUP', `cannot ${what} ${path}: ${errorText(cause)}`, { cause, remedy });
}

const codeOf = (cause: unknown): unknown =>
  cause instanceof Error && 'code' in cause ? cause.code : undefined;

const isMissing = (cause: unknown): boolean => codeOf(cause) === 'ENOENT';

/** A capability is lacking, or an owner is another one. */
const isDenied = (cause: unknown): boolean => codeOf(cause) === 'EACCES' || codeOf(cause) === 'EPERM';
