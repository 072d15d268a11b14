import { type Backup, backupBytes, makeBackup, removeCopy } from '../backup/backup.ts';
import { interrupted } from '../backup/swap.ts';
import type { Config } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { check, isDamaged, isHeld, isSealed, snapshot } from '../store/history/snapshot.ts';
import { version } from '../version.ts';
import { loadConfig } from './load.ts';
import { HELP, JSON_TOO, oneFile, parsedOptions, usage } from './options.ts';
import { BACKUP, assertOutside, assertReplaceable } from './output-place.ts';
import { PartialFile } from './partial-file.ts';
import { counted, size } from './progress.ts';
import { Transfer } from './transfer.ts';
import { untilInterrupted } from './until-interrupted.ts';

const TEXT = `Usage: ./sluice backup FILE [--force] [--json] [gateway.yaml]

Writes what the gateway remembers into one file: what still has to go up, every sample, the rollups. The gateway may run
and is not held up; everything that was acknowledged before the backup began is in it. FILE appears when it is complete,
on the disk and read back.

Keys and certificates are not in it: keep data/identity and gateway.yaml apart from it. FILE is a plain tar archive: any
tar unpacks it, and sha256sum -c SHA256SUMS checks it there. ./sluice restore puts it back.

  --force  replaces a FILE that is there, where it is a backup
  --json   one object on standard output: {"file", "gateway", "made", "bytes", "files", "leftOut": [{"name", "why"}]}

A database that is damaged is left out and told; the rest is backed up, and the exit status is 1. One that another program
holds is waited for. Where a database cannot be read for another reason, or was written by a newer Sluice, there is no
backup.

Exit status: 0 done, 1 failed, stopped, or something was left out, 64 wrong usage, 78 wrong configuration.
`;

export async function run(args: readonly string[]): Promise<number> {
  const { values, positionals } = parsedOptions('backup', args, {
    ...HELP,
    ...JSON_TOO,
    force: { type: 'boolean', default: false },
  });
  if (values.help) {
    process.stdout.write(TEXT);
    return 0;
  }
  const [path, ...rest] = positionals;
  if (path === undefined) throw usage('backup', 'FILE is missing: where the backup is to be written');
  const config = await loadConfig(oneFile('backup', rest));
  assertWhole(config.gateway.data);
  assertOutside('backup', path, config);
  assertReplaceable(path, values.force, BACKUP);
  const made = new Date();
  const { files, leftOut, bytes } = await untilInterrupted(
    'backup',
    `nothing is left of ${path}`,
    async (signal) => written(path, config, made, signal),
  );
  for (const { name, why } of leftOut)
    process.stderr.write(`sluice: ${name} is not in it: ${visible(why)}\n`);
  const summary = {
    file: path,
    gateway: config.gateway.id,
    made: made.toISOString(),
    bytes,
    files: files.length,
    leftOut,
  };
  process.stdout.write(
    values.json
      ? `${JSON.stringify(summary)}\n`
      : `${path}: ${counted(files.length, 'database')} of ${config.gateway.id}, ${size(bytes)}, as of ${summary.made}\n`,
  );
  return leftOut.length === 0 ? 0 : 1; // whoever runs it by a timer reads nothing else
}

async function written(
  path: string,
  { gateway }: Config,
  made: Date,
  signal: AbortSignal,
): Promise<Backup & { readonly bytes: number }> {
  const draft = await PartialFile.create(path);
  const transfer = new Transfer('backup', 2 * backupBytes(gateway.data));
  const scratch = `${draft.partial}.snapshot`;
  try {
    const backup = await makeBackup({
      folder: gateway.data,
      gateway: gateway.id,
      sluice: version(),
      made,
      draft,
      draftPath: draft.partial,
      scratch,
      databases: { snapshot, isSealed, check, isDamaged, isHeld },
      advance: transfer.advance,
      signal,
    });
    await draft.finish();
    return { ...backup, bytes: draft.bytes };
  } catch (error) {
    await draft.discard();
    throw error;
  } finally {
    removeCopy(scratch);
    transfer.end();
  }
}

function assertWhole(data: string): void {
  if (interrupted(data) === undefined) return;
  throw new SluiceError(
    'SETUP',
    `a restore into ${data} was interrupted, and is finished by the next start of the gateway`,
    { remedy: 'start it, or run ./sluice restore again' },
  );
}
