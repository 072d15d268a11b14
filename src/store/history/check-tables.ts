import { type Database, damaged } from '../open.ts';

/** Throws what `isDamage` holds for, where the file is not what it should be. Reads its first pages only. */
export function checkTables(db: Database, version: number, table: string): void {
  const found = db.pragma('user_version', { simple: true });
  const tables = db.prepare<[], string>("SELECT name FROM sqlite_schema WHERE type = 'table'").pluck().all();
  if (found !== version || !tables.includes(table))
    throw damaged(`${db.name} has no table "${table}" of ours`);
}
