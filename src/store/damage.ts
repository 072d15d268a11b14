import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const KEPT_FILES = 2; // a disk that damages files again and again must not fill itself with them

/** Renames the database and its log, for a person to look at, and returns the new name. May be called again. */
export function setAside(file: string, now: Date): string {
  const mark = `${file}.damaged-`;
  const aside = `${mark}${now.toISOString().replaceAll(/[-:.]/g, '')}`;
  const older = readdirSync(dirname(file))
    .filter((name) => name.startsWith(basename(mark)) && !name.endsWith('-wal'))
    .sort();
  for (const name of older.slice(0, Math.max(0, older.length - KEPT_FILES + 1))) {
    rmSync(join(dirname(file), name), { force: true });
    rmSync(join(dirname(file), `${name}-wal`), { force: true });
  }
  if (existsSync(file)) renameSync(file, aside);
  if (existsSync(`${file}-wal`)) renameSync(`${file}-wal`, `${aside}-wal`);
  rmSync(`${file}-shm`, { force: true });
  return aside;
}

const ASIDE = /^(.+)\.damaged-(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z$/;

/** Which file was set aside under this name, and when; undefined for any other one, and for a log. */
export function asideOf(path: string): { readonly file: string; readonly time: number } | undefined {
  const [, file, year, month, day, hour, minute, second, millisecond] = ASIDE.exec(path) ?? [];
  if (file === undefined) return undefined;
  const time = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${millisecond}Z`);
  return Number.isNaN(time) ? undefined : { file, time };
}
