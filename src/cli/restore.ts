import { existsSync, mkdtempSync, rmSync, rmdirSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { checkBackup, restoreBackup } from '../backup/restore.ts';
import { asideOf, interrupted, isWithin } from '../backup/swap.ts';
import { type Verified, openArchive, verifyArchive } from '../backup/verify.ts';
import type { Config } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { LOCK_FILE, holdData } from '../sole-instance.ts';
import { check, isDamaged, isHeld, isSealed, reserveNumbers, snapshot } from '../store/history/snapshot.ts';
import { becomeOwner } from './as-owner.ts';
import { loadConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions, usage } from './options.ts';
import { counted, size } from './progress.ts';
import { Transfer } from './transfer.ts';
import { untilInterrupted } from './until-interrupted.ts';

const TEXT = `Usage: ./sluice restore FILE [--check] [--force] [--json] [gateway.yaml]

Puts what ./sluice backup wrote into FILE in the place of the data of a gateway that is stopped. Everything is verified
before anything is touched: a file that is damaged, cut short, of another program or of a newer Sluice is refused.

  --check  verifies and touches nothing; a gateway may run, and no configuration is needed
  --force  also where there is data, or where the backup is of a gateway with another id. What is there is moved aside, and
           nothing of it is deleted
  --json   one object on standard output: {"file", "gateway", "made", "files", "bytes", "aside"}

Root becomes the owner of the data folder first, and cannot do more in it than that user.

A restore that is interrupted has either not begun, or is finished by the next start of the gateway or of this command.
The gateway then counts on above every number that it can have sent since the backup, and tells upstream the numbers between
as a gap, "store restored".

Exit status: 0 done, 1 refused or failed, 64 wrong usage, 78 wrong configuration.
`;

/** More messages than any gateway sends: one a millisecond; and a day on top, for clocks that differ. */
const MESSAGES_PER_MS = 1;
const CLOCKS_DIFFER_MS = 86_400_000;

const databases = { snapshot, isSealed, check, isDamaged, isHeld };

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('restore', args, {
    ...HELP,
    ...JSON_TOO,
    check: { type: 'boolean', default: false },
    force: { type: 'boolean', default: false },
  });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const [path, ...rest] = positionals;
  if (path === undefined) throw usage('restore', 'FILE is missing: the backup');
  const configuration = oneFile('restore', rest);
  await using file = await openArchive(path);
  const tell = (verb: string, { manifest }: Verified, aside?: string): void => {
    const { gateway, made, files, leftOut } = manifest;
    const bytes = files.reduce((sum, each) => sum + each.bytes, 0);
    for (const { name, why } of leftOut)
      process.stderr.write(`sluice: ${visible(`${name} was damaged when it was backed up: ${why}`)}\n`);
    if (values.json) {
      const moved = aside === undefined ? {} : { aside };
      process.stdout.write(
        `${JSON.stringify({ file: path, gateway, made, files: files.length, bytes, ...moved })}\n`,
      );
      return;
    }
    process.stdout.write(
      `${path} ${verb}: ${counted(files.length, 'database')} of ${visible(gateway)}, ${size(bytes)}, as of ${made}\n`,
    );
    if (aside !== undefined) process.stdout.write(`what was there is in ${aside}; ${advice(aside)}\n`);
  };
  if (values.check) {
    tell('is whole', await checked(file));
    return 0;
  }
  const config = await loadConfig(configuration);
  becomeOwner(config.gateway.data, 'restore');
  const { verified, aside } = await restored(file, config, values.force);
  tell('is restored', verified, aside);
  return 0;
}

function advice(aside: string): string {
  return isWithin(aside)
    ? 'move it to another disk before the gateway starts: there it counts for telemetry.retention.disk, and history is given up for it'
    : 'remove it when you do not need it any more';
}

async function checked(file: FileHandle): Promise<Verified> {
  const scratch = mkdtempSync(join(tmpdir(), 'sluice-check-'));
  const transfer = new Transfer('check', 2 * (await file.stat()).size);
  try {
    return await untilInterrupted('check', 'nothing was touched', async (signal) =>
      checkBackup({ file, scratch, databases, advance: transfer.advance, signal }),
    );
  } finally {
    transfer.end();
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function restored(
  file: FileHandle,
  { gateway }: Config,
  force: boolean,
): Promise<{ readonly verified: Verified; readonly aside: string | undefined }> {
  const folder = gateway.data;
  const undo = undoing(folder);
  try {
    return await restoredInto(folder, { file, id: gateway.id, force });
  } catch (error) {
    undo();
    throw error;
  }
}

interface Wanted {
  readonly file: FileHandle;
  readonly id: string;
  readonly force: boolean;
}

async function restoredInto(
  folder: string,
  { file, id, force }: Wanted,
): Promise<{ readonly verified: Verified; readonly aside: string | undefined }> {
  const before = existsSync(folder) ? interrupted(folder) : undefined;
  using held = new DisposableStack();
  held.use(holdData(folder)); // which finishes what was interrupted
  if (before !== undefined) {
    const verified = await verifyArchive(file);
    if (verified.id === before.id)
      return { verified, aside: existsSync(before.aside) ? before.aside : undefined };
  }
  const aside = asideOf(folder);
  const transfer = new Transfer('restore', 2 * (await file.stat()).size);
  try {
    const verified = await untilInterrupted('restore', 'nothing was touched', async (signal) =>
      restoreBackup({
        file,
        folder,
        aside,
        force,
        databases,
        assertFits: (found) => assertGateway(found, id, force),
        reserveNumbers: (staged, made) => countOn(folder, staged, made),
        advance: transfer.advance,
        signal,
      }),
    );
    return { verified, aside: existsSync(aside) ? aside : undefined };
  } finally {
    transfer.end();
  }
}

function assertGateway({ manifest }: Verified, id: string, force: boolean): void {
  if (manifest.gateway === id || force) return;
  throw new SluiceError(
    'SETUP',
    `the backup is of the gateway ${visible(manifest.gateway)}, the configuration of ${id}`,
    {
      remedy: 'name the configuration of that gateway, or insist with --force; nothing was touched',
    },
  );
}

function countOn(folder: string, staged: string, made: Date): void {
  const elapsed = Math.max(0, Date.now() - made.getTime()) + CLOCKS_DIFFER_MS;
  reserveNumbers({
    telemetry: join(staged, 'telemetry.db'),
    before: join(folder, 'telemetry.seq'),
    sinceThen: elapsed * MESSAGES_PER_MS,
    into: join(staged, 'telemetry.seq'),
  });
}

/** Takes back what a restore that is refused has made before it could know: the lock, and folders. */
function undoing(folder: string): () => void {
  const made: string[] = [];
  for (let path = folder; !existsSync(path) && dirname(path) !== path; path = dirname(path)) made.push(path);
  const lock = join(folder, LOCK_FILE);
  const isLocked = existsSync(lock);
  return () => {
    try {
      if (!isLocked) rmSync(lock, { force: true });
      for (const path of made) rmdirSync(path);
    } catch {
      // Somebody has put something there.
    }
  };
}
