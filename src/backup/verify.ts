import { type FileHandle, open } from 'node:fs/promises';
import { SluiceError, errorText } from '../core/errors.ts';
import {
  type Advance,
  type Entry,
  type Source,
  broken,
  entriesOf,
  foreign,
  readText,
  readThrough,
} from './archive.ts';
import { MANIFEST, SUMS, assertKnown, type Manifest, parseManifest, sumsText } from './manifest.ts';

/** A manifest of a million files would be smaller. */
const MAX_TEXT = 67_108_864;

export interface Verified {
  readonly manifest: Manifest;
  /** Of the databases, in the order of the manifest. */
  readonly entries: readonly Entry[];
  /** Of the manifest: another backup has another. */
  readonly id: string;
}

/** Throws SETUP where the file cannot be opened. */
export async function openArchive(path: string): Promise<FileHandle> {
  try {
    const file = await open(path);
    if ((await file.stat()).isFile()) return file;
    await file.close();
    throw new Error('it is no file');
  } catch (cause) {
    throw new SluiceError('SETUP', `cannot read ${path}: ${errorText(cause)}`, {
      cause,
      remedy: 'name a file that ./sluice backup wrote',
    });
  }
}

/**
 * Reads the whole archive: its structure, that it holds what its manifest says, and every checksum. Throws SETUP and
 * says what is wrong. Nothing is written anywhere.
 */
export async function verifyArchive(
  file: Source,
  advance: Advance = () => {},
  signal?: AbortSignal,
): Promise<Verified> {
  const entries = await entriesOf(file, assertKnown);
  const [manifestEntry, sumsEntry] = entries.slice(-2);
  if (manifestEntry?.name !== MANIFEST || sumsEntry?.name !== SUMS) {
    const text = entries.find(({ name }) => name === MANIFEST);
    if (text === undefined) throw foreign(`it has no ${MANIFEST} at its end`);
    throw broken('its files are not in order');
  }
  if (Math.max(manifestEntry.bytes, sumsEntry.bytes) > MAX_TEXT) throw broken(`${MANIFEST} is too large`);
  const text = await readText(file, manifestEntry);
  const manifest = parseManifest(text);
  const databases = entries.slice(0, -2);
  assertSame(databases, manifest);
  for (const [i, entry] of databases.entries()) {
    const sum = await readThrough(file, entry, (piece) => {
      signal?.throwIfAborted();
      advance(piece.length);
    });
    if (sum !== manifest.files[i]?.sha256) throw broken(`${entry.name} is not what was backed up`);
  }
  const id = await readThrough(file, manifestEntry, () => {});
  if ((await readText(file, sumsEntry)) !== sumsText(manifest.files, id))
    throw broken(`${SUMS} does not fit ${MANIFEST}`);
  return { manifest, entries: databases, id };
}

function assertSame(entries: readonly Entry[], { files }: Manifest): void {
  if (files[0]?.name !== 'telemetry.db') throw broken('it has no telemetry.db at its beginning');
  for (let i = 0; i < Math.max(entries.length, files.length); i++) {
    const [held, said] = [entries[i], files[i]];
    if (held === undefined || held.name !== said?.name || held.bytes !== said.bytes)
      throw broken(`${MANIFEST} does not tell what is in it (${said?.name ?? held?.name ?? ''})`);
  }
}
