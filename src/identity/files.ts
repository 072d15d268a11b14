import { randomBytes } from 'node:crypto';
import {
  type FileHandle,
  chmod,
  constants,
  link,
  lstat,
  mkdir,
  open,
  readFile,
  readdir,
  rename,
  rm,
  stat,
} from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { SluiceError, errorText } from '../core/errors.ts';

/** Private keys: the owner alone. */
export const PRIVATE = 0o600;
/** Certificates: nothing secret in them. */
export const PUBLIC = 0o644;

const FOLDER = 0o700;
const DRAFT = /^\..+\.draft$/;
/** Writing a draft takes milliseconds; one that is this old was left behind by a process that was killed. */
const ABANDONED_MS = 600_000;

/** Makes the folder, readable by the owner alone, and takes away what a killed process left half-written in it. */
export async function openFolder(folder: string): Promise<void> {
  await onDisk('make the folder', folder, async () => {
    await mkdir(folder, { recursive: true, mode: FOLDER });
    if (((await stat(folder)).mode & 0o777) !== FOLDER) await chmod(folder, FOLDER);
    for (const name of await readdir(folder)) {
      if (DRAFT.test(name)) await removeAbandoned(join(folder, name));
    }
  });
}

/** Whether something has this name, be it a link to nowhere. */
export async function isThere(path: string): Promise<boolean> {
  return onDisk('look at', path, async () => {
    try {
      await lstat(path);
      return true;
    } catch (error) {
      if (isCode(error, 'ENOENT')) return false;
      throw error;
    }
  });
}

/** The text of a file, or undefined where there is none. */
export async function readIfThere(path: string): Promise<string | undefined> {
  return onDisk('read', path, async () => {
    try {
      return await readFile(path, 'utf8');
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined;
      throw error;
    }
  });
}

/**
 * The text of a secret in a folder where others may write too, or undefined where there is none. A link, a file of
 * somebody else and one that others may read are refused: whoever put it there may know what it holds.
 */
export async function readSecret(path: string): Promise<string | undefined> {
  return onDisk('read', path, async () => {
    let file: FileHandle;
    try {
      file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    } catch (error) {
      if (isCode(error, 'ENOENT')) return undefined;
      if (isCode(error, 'ELOOP')) throw new Error('it is a link, and it may lead anywhere', { cause: error });
      throw error;
    }
    try {
      const found = await file.stat();
      if (!found.isFile()) throw new Error('it is no file');
      if (found.uid !== process.geteuid?.()) throw new Error('it belongs to another user');
      if ((found.mode & 0o077) !== 0) throw new Error('others may read it');
      return await file.readFile('utf8');
    } finally {
      await file.close();
    }
  });
}

/** Whole or not at all, durable when it resolves: a reader sees the old file or the new one. */
export async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  await onDisk('write', path, async () => {
    const draft = await writeDraft(path, text, mode);
    await rename(draft, path);
    await syncFolder(dirname(path));
  });
}

/**
 * Like `replaceFile`, but only where there is no such file: of several processes exactly one wins. Resolves with what
 * the file holds afterwards, which is another one's text where that one was first.
 */
export async function createFile(path: string, text: string, mode: number): Promise<string> {
  return onDisk('write', path, async () => {
    const draft = await writeDraft(path, text, mode);
    try {
      // A link appears at once and with its whole content, and fails where the name is taken.
      await link(draft, path);
      await syncFolder(dirname(path));
      return text;
    } catch (error) {
      if (!isCode(error, 'EEXIST')) throw error;
      return await readFile(path, 'utf8');
    } finally {
      await rm(draft, { force: true });
    }
  });
}

export async function removeFile(path: string): Promise<void> {
  await onDisk('remove', path, async () => {
    await rm(path, { force: true });
    await syncFolder(dirname(path));
  });
}

/** Adds one line, durable when it resolves. A line that a power cut left without its end stays alone on its line. */
export async function appendLine(path: string, line: string): Promise<void> {
  await onDisk('append to', path, async () => {
    const file = await open(path, 'a+', PRIVATE);
    try {
      await file.appendFile(`${(await endsInsideLine(file)) ? '\n' : ''}${line}\n`);
      await file.sync();
    } finally {
      await file.close();
    }
    await syncFolder(dirname(path));
  });
}

/** Takes away what group and others may do with a private key. True where somebody else could read it until now. */
export async function makePrivate(path: string): Promise<boolean> {
  return onDisk('set the mode of', path, async () => {
    const exposed = ((await stat(path)).mode & 0o077) !== 0;
    if (exposed) await chmod(path, PRIVATE);
    return exposed;
  });
}

async function writeDraft(path: string, text: string, mode: number): Promise<string> {
  const name = path.slice(dirname(path).length + 1);
  const draft = join(dirname(path), `.${name}.${randomBytes(6).toString('hex')}.draft`);
  const file = await open(draft, 'wx', mode);
  try {
    await file.writeFile(text);
    await file.chmod(mode); // whatever the umask is
    await file.sync();
  } finally {
    await file.close();
  }
  return draft;
}

async function endsInsideLine(file: FileHandle): Promise<boolean> {
  const { size } = await file.stat();
  if (size === 0) return false;
  const { buffer } = await file.read(Buffer.alloc(1), 0, 1, size - 1);
  return buffer.toString('latin1') !== '\n';
}

async function removeAbandoned(path: string): Promise<void> {
  try {
    if (Date.now() - (await stat(path)).mtimeMs > ABANDONED_MS) await rm(path, { force: true });
  } catch (error) {
    if (!isCode(error, 'ENOENT')) throw error; // its owner is alive and has just finished
  }
}

/** A new name is on disk only when its folder is. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function onDisk<T>(verb: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw new SluiceError('SETUP', `could not ${verb} ${path}: ${errorText(error)}`, {
      cause: error,
      remedy: 'give the user that runs sluice its own folder there, on a disk with free space',
    });
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
