import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';

// Files that are replaced as a whole, and on the disk before anything goes on.

export function writeDurably(path: string, text: string): void {
  try {
    const file = openSync(`${path}.partial`, 'w', 0o600);
    try {
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(`${path}.partial`, path);
    syncFolder(dirname(path));
  } catch (cause) {
    throw failure('write', path, cause);
  }
}

/** Undefined where it is not there; throws where it cannot be read. */
export function readWhole(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'ENOENT') return undefined;
    throw failure('read', path, cause);
  }
}

export function removeDurably(path: string): void {
  try {
    rmSync(path, { force: true });
    syncFolder(dirname(path));
  } catch (cause) {
    throw failure('remove', path, cause);
  }
}

function syncFolder(folder: string): void {
  const handle = openSync(folder, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function failure(what: string, path: string, cause: unknown): SluiceError {
  return new SluiceError('SETUP', `cannot ${what} ${path}: ${errorText(cause)}`, {
    cause,
    remedy: 'gateway.data has to be there; check its room and its owner',
  });
}
