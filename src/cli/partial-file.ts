import { constants } from 'node:fs';
import { type FileHandle, open, readdir, realpath, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errorText, SluiceError } from '../core/errors.ts';

const FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
const MODE = 0o640;

/** Of another one, and what may be beside that. */
const PARTIAL = /^\.(\d+)\.partial(?:\..+)?$/;

/**
 * A file that appears under its name when it is complete and on the disk, and not before. Until then it is
 * `.PID.partial` beside it, so that two commands do not write into the same one; what a killed process left there is
 * removed by the next.
 */
export class PartialFile {
  readonly path: string;
  /** Where it is meanwhile; files of the same name with an ending are removed like it. */
  readonly partial: string;
  readonly #file: FileHandle;
  #bytes = 0;

  private constructor(path: string, partial: string, file: FileHandle) {
    this.path = path;
    this.partial = partial;
    this.#file = file;
  }

  /** Throws SETUP where the file cannot be made; one that exists is replaced in the end. */
  static async create(path: string): Promise<PartialFile> {
    return onDisk(path, async () => {
      const target = await targetOf(path);
      await removeLeft(target);
      const partial = `${target}.${process.pid}.partial`;
      return new PartialFile(target, partial, await open(partial, FLAGS, MODE));
    });
  }

  get bytes(): number {
    return this.#bytes;
  }

  readonly write = async (bytes: Uint8Array): Promise<void> => {
    await onDisk(this.path, async () => {
      for (let done = 0; done < bytes.length; ) {
        const { bytesWritten } = await this.#file.write(bytes, done, bytes.length - done, this.#bytes + done);
        done += bytesWritten;
      }
    });
    this.#bytes += bytes.length;
  };

  /** Forgets what was written after the first `bytes`. */
  async back(bytes: number): Promise<void> {
    await onDisk(this.path, async () => this.#file.truncate(bytes));
    this.#bytes = bytes;
  }

  /** Everything so far is on the disk. */
  async sync(): Promise<void> {
    await onDisk(this.path, async () => this.#file.sync());
  }

  /** On the disk, under its name. */
  async finish(): Promise<void> {
    await onDisk(this.path, async () => {
      await this.#file.sync();
      await this.#file.close();
      await rename(this.partial, this.path);
      await using folder = await open(dirname(this.path));
      await folder.sync();
    });
  }

  /** As if it had never been begun. */
  async discard(): Promise<void> {
    await this.#file.close().catch(() => {}); // closed already where `finish` failed after it
    await rm(this.partial, { force: true });
  }
}

/** What processes that are gone left beside the file; a new one may have the number of one of them. */
async function removeLeft(target: string): Promise<void> {
  const [folder, name] = [dirname(target), basename(target)];
  const others = await readdir(folder).catch(() => []); // making the file says what is wrong
  for (const other of others) {
    if (!other.startsWith(name)) continue;
    const [, pid] = PARTIAL.exec(other.slice(name.length)) ?? [];
    if (pid === undefined || (Number(pid) !== process.pid && isAlive(Number(pid)))) continue;
    await rm(join(folder, other), { force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return !isCode(error, 'ESRCH');
  }
}

/** Follows a link to where it leads; a device, a pipe or a folder is not replaced by a file. */
async function targetOf(path: string): Promise<string> {
  const found = await stat(path).catch((error: unknown) => {
    if (isCode(error, 'ENOENT')) return undefined;
    throw error;
  });
  if (found === undefined) return path;
  if (found.isFile()) return realpath(path);
  throw new SluiceError('SETUP', `${path} is no file, and would be replaced by one`, {
    remedy: found.isDirectory()
      ? `name a file in it, such as ${path.replace(/\/$/, '')}/FILE`
      : 'name a file',
  });
}

async function onDisk<T>(path: string, act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (cause) {
    if (cause instanceof SluiceError) throw cause;
    throw new SluiceError('SETUP', `cannot write ${path}: ${errorText(cause)}`, {
      cause,
      remedy: remedy(cause, path),
    });
  }
}

function remedy(error: unknown, path: string): string {
  if (isCode(error, 'ENOENT')) return `make the folder ${dirname(path)} first`;
  if (isCode(error, 'ENOSPC')) return 'make room there, or name a file on another disk';
  return 'check the path, its owner and the disk';
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
