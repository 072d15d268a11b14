import { SluiceError } from '../../core/errors.ts';
import { type Database, damaged } from '../open.ts';

/** Refuses the file of a newer Sluice; one that is not what it should be is damaged. Reads the first pages only. */
export function checkVersion(db: Database, version: number, table: string): void {
  const found = Number(db.pragma('user_version', { simple: true }));
  if (found > version)
    throw new SluiceError(
      'STORE_FAILED',
      `${db.name} was written by a newer Sluice (its schema is ${found}, this one reads ${version})`,
      { remedy: 'install that version again, or move the file away' },
    );
  const tables = db.prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all();
  if (found !== version || !tables.includes(table))
    throw damaged(`${db.name} has no table "${table}" of ours`);
}
