import { closeSync, existsSync, openSync, readSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import type { Config } from '../config/config.ts';
import { SluiceError } from '../core/errors.ts';
import { usage } from './options.ts';

/** What a command may replace, and how such a file begins. */
export interface Kind {
  readonly noun: string;
  readonly begins: readonly string[];
}

/** The first header has the name of the first file. */
export const BACKUP: Kind = { noun: 'backup', begins: ['telemetry.db\0'] };
/** As CSV, lines of JSON, Parquet. */
export const EXPORT: Kind = { noun: 'export', begins: ['device,point,time,value,', '{"device":', 'PAR1'] };

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

/** What is there is replaced where that was asked for, and where it is of this kind: never something else by mistake. */
export function assertReplaceable(path: string, force: boolean, kind: Kind): void {
  if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) return; // what is no file is refused elsewhere
  if (!isOf(kind, path))
    throw new SluiceError('SETUP', `${path} is there already, and is no ${kind.noun}`, {
      remedy: `name another file, or remove it first; --force replaces ${kind.noun}s only`,
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
function isOf({ begins }: Kind, path: string): boolean {
  const begin = Buffer.alloc(Math.max(...begins.map((text) => text.length)));
  const file = openSync(path, 'r');
  try {
    const read = readSync(file, begin, 0, begin.length, 0);
    return read === 0 || begins.some((text) => begin.toString('latin1').startsWith(text));
  } finally {
    closeSync(file);
  }
}
