import { broken, foreign } from './archive.ts';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';

export const MANIFEST = 'manifest.json';
/** For people: `sha256sum -c SHA256SUMS` in a folder where the archive was unpacked. */
export const SUMS = 'SHA256SUMS';

const FORMAT = 'sluice backup';
/** Raise it with every change that an older Sluice could not restore. */
const VERSION = 1;
/** Nothing else is ever written into a data folder. */
const DATABASE = /^(?:telemetry|history|(?:raw|minute|hour)\/\d{4}-\d{2}(?:-\d{2})?(?:\.\d{1,6})?)\.db$/;
const SHA256 = /^[0-9a-f]{64}$/;

export interface StoredFile {
  /** Below the data folder. */
  readonly name: string;
  readonly bytes: number;
  readonly sha256: string;
  readonly schema: number;
}

export interface Manifest {
  readonly gateway: string;
  /** ISO 8601; everything that was acknowledged before is in the backup. */
  readonly made: string;
  readonly sluice: string;
  /** In the order of the archive. */
  readonly files: readonly StoredFile[];
  readonly leftOut: readonly LeftOut[];
}

export interface LeftOut {
  readonly name: string;
  readonly why: string;
}

export function isDatabase(name: string): boolean {
  return DATABASE.test(name);
}

/** Throws where an archive of Sluice has no such file. */
export function assertKnown(name: string): void {
  if (name === MANIFEST || name === SUMS || isDatabase(name)) return;
  throw foreign(`it holds ${visible(name).slice(0, 100)}; another program wrote it, or a newer Sluice`);
}

export function manifestText(manifest: Manifest): string {
  return `${JSON.stringify({ format: FORMAT, version: VERSION, ...manifest }, undefined, 1)}\n`;
}

export function sumsText(files: readonly StoredFile[], manifestSum: string): string {
  return [...files, { name: MANIFEST, sha256: manifestSum }]
    .map(({ name, sha256 }) => `${sha256}  ${name}\n`)
    .join('');
}

/** Throws SETUP where it is not what `manifestText` writes. */
export function parseManifest(text: string): Manifest {
  const found = parsed(text);
  if (found['format'] !== FORMAT) throw foreign(`${MANIFEST} does not say "${FORMAT}"`);
  const version = found['version'];
  if (typeof version === 'number' && version > VERSION)
    throw new SluiceError(
      'SETUP',
      `the backup was made by a newer Sluice (its version is ${version}, this one reads ${VERSION})`,
      { remedy: 'install that version; nothing was touched' },
    );
  const { gateway, made, sluice, files, leftOut } = found;
  if (
    version !== VERSION ||
    typeof gateway !== 'string' ||
    typeof made !== 'string' ||
    Number.isNaN(Date.parse(made)) ||
    typeof sluice !== 'string' ||
    !isListOf(files, isStoredFile) ||
    !isListOf(leftOut, isLeftOut)
  )
    throw broken(MANIFEST);
  return { gateway, made, sluice, files, leftOut };
}

function parsed(text: string): Record<string, unknown> {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    throw broken(MANIFEST);
  }
  if (!isRecord(found)) throw broken(MANIFEST);
  return found;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isListOf<T>(value: unknown, is: (element: unknown) => element is T): value is readonly T[] {
  return Array.isArray(value) && value.every(is);
}

function isStoredFile(value: unknown): value is StoredFile {
  if (!isRecord(value)) return false;
  const { name, bytes, sha256, schema } = value;
  return (
    typeof name === 'string' &&
    isDatabase(name) &&
    Number.isSafeInteger(bytes) &&
    typeof sha256 === 'string' &&
    SHA256.test(sha256) &&
    Number.isSafeInteger(schema)
  );
}

function isLeftOut(value: unknown): value is LeftOut {
  return isRecord(value) && typeof value['name'] === 'string' && typeof value['why'] === 'string';
}
