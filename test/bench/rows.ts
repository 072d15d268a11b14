import type { Batch } from '../../src/core/batch.ts';
import { type Database, openForWriting } from '../../src/store/open.ts';

/** Tables as people make them for samples, a row each. WAL, and an fsync for every transaction, as in our own files. */
export const ROW_TABLES: Readonly<Record<RowTable, string>> = {
  'rowid and index': `
    CREATE TABLE sample(series INTEGER NOT NULL, time INTEGER NOT NULL, value REAL, quality INTEGER NOT NULL);
    CREATE INDEX sample_key ON sample(series, time);`,
  'without rowid': `
    CREATE TABLE sample(series INTEGER NOT NULL, time INTEGER NOT NULL, value REAL, quality INTEGER NOT NULL,
      PRIMARY KEY(series, time)) WITHOUT ROWID;`,
};
export const ROW_TABLE_NAMES = ['rowid and index', 'without rowid'] as const;
export type RowTable = (typeof ROW_TABLE_NAMES)[number];

const LIMIT = 4 * 2 ** 30;

/** The naive store of samples. */
export class Rows {
  readonly db: Database;
  readonly #insert;

  constructor(file: string, table: RowTable) {
    this.db = openForWriting(file, LIMIT);
    this.db.exec(ROW_TABLES[table]);
    this.#insert = this.db.prepare<[number, number, number, number]>(
      'INSERT INTO sample VALUES (?, ?, ?, ?)',
    );
  }

  begin(): void {
    this.db.exec('BEGIN IMMEDIATE');
  }

  add({ count, points, times, values, qualities }: Batch): void {
    const insert = this.#insert;
    for (let i = 0; i < count; i++)
      insert.run(points[i] ?? 0, times[i] ?? 0, values[i] ?? 0, qualities[i] ?? 0);
  }

  commit(): void {
    this.db.exec('COMMIT');
  }

  /** Nothing is left in the log. */
  close(): void {
    this.db.pragma('wal_checkpoint(TRUNCATE)');
    this.db.close();
  }
}
