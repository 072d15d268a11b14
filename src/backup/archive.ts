import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { Header } from 'tar';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';

/** POSIX ustar: everything is in blocks of 512 bytes, and two empty ones are the end. */
const BLOCK = 512;
const END = 2 * BLOCK;
const PIECE = 1_048_576;
const MODE = 0o640;

/** Where an archive is written. */
export interface Draft {
  readonly bytes: number;
  write(bytes: Uint8Array): Promise<void>;
  /** Forgets what was written after the first `bytes`. */
  back(bytes: number): Promise<void>;
}

/** Where an archive is read: what is used of a `FileHandle`. */
export interface Source {
  stat(): Promise<{ readonly size: number }>;
  read(
    into: Buffer,
    offset: number,
    length: number,
    position: number,
  ): Promise<{ readonly bytesRead: number }>;
}

export interface Content {
  readonly bytes: number;
  readonly sha256: string;
}

/** One file of an archive and the place of its bytes. */
export interface Entry {
  readonly name: string;
  readonly bytes: number;
  readonly offset: number;
}

export type Advance = (bytes: number) => void;

/** Appends the first `bytes` of a file. Throws where it has fewer. */
export async function appendFile(
  draft: Draft,
  entry: { readonly name: string; readonly bytes: number; readonly path: string; readonly made: Date },
  advance: Advance,
): Promise<Content> {
  await using file = await open(entry.path);
  await draft.write(headerOf(entry.name, entry.bytes, entry.made));
  const sha256 = await readThrough(
    file,
    { offset: 0, bytes: entry.bytes, name: entry.name },
    async (piece) => {
      await draft.write(piece);
      advance(piece.length);
    },
  );
  await draft.write(Buffer.alloc(paddingOf(entry.bytes)));
  return { bytes: entry.bytes, sha256 };
}

export async function appendText(draft: Draft, name: string, text: string, made: Date): Promise<Content> {
  const content = Buffer.from(text);
  await draft.write(headerOf(name, content.length, made));
  await draft.write(content);
  await draft.write(Buffer.alloc(paddingOf(content.length)));
  return { bytes: content.length, sha256: createHash('sha256').update(content).digest('hex') };
}

export async function appendEnd(draft: Draft): Promise<void> {
  await draft.write(Buffer.alloc(END));
}

/**
 * What is in an archive, as `appendFile` and `appendText` write it and not a bit else: plain files, one after the
 * other, nothing behind the end. `known` refuses a name by throwing.
 */
export async function entriesOf(file: Source, known: (name: string) => void): Promise<Entry[]> {
  const { size } = await file.stat();
  const entries: Entry[] = [];
  const names = new Set<string>();
  const block = Buffer.alloc(BLOCK);
  for (let at = 0; ; ) {
    const { bytesRead } = await file.read(block, 0, BLOCK, at);
    if (bytesRead < BLOCK) throw at === 0 ? foreign() : broken('it ends too early');
    if (isEmpty(block)) {
      if (at === 0) throw foreign();
      if (size !== at + END || !(await isEmptyAt(file, at, END))) throw broken('something follows its end');
      return entries;
    }
    const { name, bytes } = readHeader(block, at);
    known(name);
    if (names.has(name)) throw broken(`${name} is in it twice`);
    const next = at + BLOCK + bytes + paddingOf(bytes);
    if (next > size) throw broken('it ends too early');
    if (!(await isEmptyAt(file, at + BLOCK + bytes, paddingOf(bytes)))) throw broken(`after ${name}`);
    names.add(name);
    entries.push({ name, bytes, offset: at + BLOCK });
    at = next;
  }
}

/** Hands the bytes of an entry on, piece by piece, and returns their SHA-256. */
export async function readThrough(
  file: Source,
  { name, bytes, offset }: Entry,
  take: (piece: Uint8Array) => Promise<void> | void,
): Promise<string> {
  const hash = createHash('sha256');
  const room = Buffer.allocUnsafe(Math.min(PIECE, bytes));
  for (let done = 0; done < bytes; ) {
    const { bytesRead } = await file.read(room, 0, Math.min(room.length, bytes - done), offset + done);
    if (bytesRead === 0) throw new SluiceError('SETUP', `${name} became shorter while it was read`);
    const piece = room.subarray(0, bytesRead);
    hash.update(piece);
    await take(piece);
    done += bytesRead;
  }
  return hash.digest('hex');
}

export async function readText(file: Source, entry: Entry): Promise<string> {
  const pieces: Buffer[] = [];
  await readThrough(file, entry, (piece) => void pieces.push(Buffer.from(piece)));
  return Buffer.concat(pieces).toString();
}

/** The archive is ours but not as it was written. */
export function broken(what: string): SluiceError {
  return new SluiceError('SETUP', `the backup is damaged: ${what}`, {
    remedy: 'nothing was touched; take another copy of it, or an older backup',
  });
}

export function foreign(what?: string): SluiceError {
  const says = what === undefined ? 'it is no tar archive' : what;
  return new SluiceError('SETUP', `this is no backup of Sluice: ${says}`, {
    remedy: 'nothing was touched; name a file that ./sluice backup wrote',
  });
}

function headerOf(name: string, size: number, made: Date): Buffer {
  const mtime = new Date(Math.floor(made.getTime() / 1_000) * 1_000);
  const header = new Header({ path: name, size, mtime, mode: MODE, uid: 0, gid: 0, type: 'File' });
  // It says that it would like an extended header where a size is beyond 8 GiB; the number is there without it, in the
  // form that GNU tar introduced and everybody reads.
  header.encode();
  if (header.block === undefined) throw new Error('a header without its block');
  return header.block;
}

/** A header is right when writing what was read gives the same bytes: then no bit of it can have changed. */
function readHeader(block: Buffer, at: number): { readonly name: string; readonly bytes: number } {
  const header = decoded(block);
  if (header?.cksumValid !== true)
    throw at === 0 ? foreign() : broken('what should describe a file does not');
  const { path = '', size = -1, mtime, type } = header;
  const shown = visible(path);
  if (type !== 'File') throw foreign(`${shown} in it is no plain file`);
  if (!Number.isSafeInteger(size) || size < 0 || mtime === undefined) throw broken(`the size of ${shown}`);
  if (!headerOf(path, size, mtime).equals(block))
    throw foreign(`${shown} in it was written by another program`);
  return { name: path, bytes: size };
}

function decoded(block: Buffer): Header | undefined {
  try {
    return new Header(block);
  } catch {
    return undefined; // numbers that are none
  }
}

const paddingOf = (bytes: number): number => (BLOCK - (bytes % BLOCK)) % BLOCK;

const isEmpty = (bytes: Buffer): boolean => bytes.every((byte) => byte === 0);

async function isEmptyAt(file: Source, offset: number, length: number): Promise<boolean> {
  const bytes = Buffer.alloc(length, 1);
  if (length === 0) return true;
  const { bytesRead } = await file.read(bytes, 0, length, offset);
  return bytesRead === length && isEmpty(bytes);
}
