import { closeSync, existsSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import type { Config } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { usage } from './options.ts';

/** How the first header of a backup begins: the name of its first file. */
const BACKUP_BEGINS = 'telemetry.db\0';

/**
 * A command that writes a file must not put it in the place of what it reads. Throws USAGE where `path` is the
 * configuration, which is easily left alone on a line, and SETUP where it lies among the databases.
 */
export function assertOutside(command: string, path: string, { file, gateway }: Config): void {
  const place = realPlace(path);
  if (place === realPlace(file))
    throw usage(command, `${path} is the configuration, and would be replaced: name another file`);
  if (!existsSync(gateway.data) || !place.startsWith(`${realpathSync(gateway.data)}${sep}`)) return;
  throw new SluiceError('SETUP', `${path} lies in the data folder of the gateway`, {
    remedy: 'name a file elsewhere, best on another disk: the gateway would drop history to make room for it',
  });
}

/** What is there is replaced where that was asked for, and where it is a backup: never something else by mistake. */
export function assertReplaceable(path: string, force: boolean): void {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return; // what is no file is refused elsewhere
  if (!isBackup(path))
    throw new SluiceError('SETUP', `${path} is there already, and is no backup`, {
      remedy: 'name another file, or remove it first; --force replaces backups only',
    });
  if (force) return;
  throw new SluiceError('SETUP', `${path} is there already`, { remedy: 'with --force it is replaced' });
}

/** Where the file is or would be, through every link; as it was given where there is no such folder. */
function realPlace(path: string): string {
  if (existsSync(path)) return realpathSync(path);
  const folder = dirname(resolve(path));
  return existsSync(folder) ? join(realpathSync(folder), basename(path)) : resolve(path);
}

/** One that was cut short or damaged is still one; so is an empty file. */
function isBackup(path: string): boolean {
  const begin = Buffer.alloc(BACKUP_BEGINS.length);
  const file = openSync(path, 'r');
  try {
    const read = readSync(file, begin, 0, begin.length, 0);
    return read === 0 || begin.toString('latin1') === BACKUP_BEGINS;
  } finally {
    closeSync(file);
  }
}
