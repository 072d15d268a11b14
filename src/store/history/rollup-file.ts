import type { PointName } from '../../core/point.ts';
import {
  type Bytes,
  type Duration,
  type EpochMs,
  days,
  epochMs,
  hours,
  mebibytes,
  minutes,
} from '../../core/units.ts';
import { type FilledRollup, encodeRollups, fillRollups } from '../../telemetry/rollup-text.ts';
import { type Rollup, merge } from '../../telemetry/rollup.ts';
import { unpacked } from '../body.ts';
import { type Database, assertDurable, copiedBack, openForReading, openForWriting, sealed } from '../open.ts';
import { StoreFile } from '../file.ts';
import { checkTables } from './check-tables.ts';
import { makeInPlace, refuseNewer } from './make-file.ts';
import { packedColumns } from './packed.ts';
import type { RawMark } from './raw-file.ts';
import { ROLLUP_VERSION, type RollupTier, rollupTables } from './rollup-schema.ts';
import { nameKey } from './tail.ts';

export type { RollupTier } from './rollup-schema.ts';

/** Widths of a tier, and pages in which its rows of about 700 and 350 bytes leave little room unused. */
const SHAPES = {
  minute: { bucket: minutes(1), row: hours(1), pageBytes: 8192, limit: mebibytes(64) },
  hour: { bucket: hours(1), row: days(1), pageBytes: 4096, limit: mebibytes(16) },
} as const satisfies Record<RollupTier, Shape>;

interface Shape {
  readonly bucket: Duration;
  readonly row: Duration;
  readonly pageBytes: number;
  /** Its log may take a quarter of it: 10,000 points need about as much for some hours of minutes, or of hours. */
  readonly limit: Bytes;
}

const HOUR = hours(1);
const COLUMNS = 13; // numbers of a bucket, in the text
const NO_LOG = 0; // the identity of none

interface StoredRow {
  readonly start: number;
  readonly len: number;
  readonly body: Buffer;
}

/**
 * One file of rollups: `minute/YYYY-MM-DD.db`, whose rows hold a UTC hour of a series each, or `hour/YYYY-MM.db`, whose
 * rows hold a UTC day. Whatever is written stands between `begin` and `commit`. SQLite's own errors come through;
 * `isTrouble`, `isFull` and `isDamage` sort them.
 */
export class RollupFile {
  readonly path: string;
  readonly tier: RollupTier;
  readonly stored: StoreFile;
  /** Rows whose body was damaged when it was read; they are left out. */
  damagedRows = 0;
  readonly #db: Database;
  readonly #ids = new Map<string, number>();
  readonly #sql: Statements;
  /** The row that was read last; it is used again for the next one. */
  readonly #filled: FilledRollup[] = [];

  private constructor(db: Database, tier: RollupTier) {
    this.#db = db;
    this.path = db.name;
    this.tier = tier;
    this.stored = new StoreFile(db);
    this.#sql = statementsOf(db);
  }

  /** Makes the file where it is missing, and takes a sealed one up again. Refuses a file of a newer Sluice. */
  static openForWriting(path: string, tier: RollupTier): RollupFile {
    const { bucket, pageBytes, limit } = SHAPES[tier];
    makeInPlace(path, pageBytes, (db) => db.transaction(() => db.exec(rollupTables(tier, bucket)))());
    refuseNewer(path, ROLLUP_VERSION);
    return RollupFile.#of(openForWriting(path, limit, pageBytes), tier);
  }

  /** Beside whoever writes it. Throws where there is none, and where a newer Sluice wrote it. */
  static openForReading(path: string, tier: RollupTier): RollupFile {
    refuseNewer(path, ROLLUP_VERSION);
    return RollupFile.#of(openForReading(path), tier);
  }

  static #of(db: Database, tier: RollupTier): RollupFile {
    try {
      checkTables(db, ROLLUP_VERSION, tier === 'hour' ? 'raw_filed' : 'rollup');
      return new RollupFile(db, tier);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /** Nobody else can read along: it was opened on a full disk. */
  get exclusive(): boolean {
    return this.stored.exclusive;
  }

  /** Somebody reads it for so long that its log grows. */
  get heldUp(): boolean {
    return this.stored.heldUp(SHAPES[this.tier].limit);
  }

  /** The log takes no more room, where that is possible. */
  copyBack(): void {
    copiedBack(this.#db);
  }

  begin(): void {
    this.#db.exec('BEGIN IMMEDIATE');
  }

  commit(): void {
    this.#db.exec('COMMIT');
    assertDurable(this.#db);
  }

  /** May be called where no transaction is open (any more). */
  rollback(): void {
    this.#ids.clear(); // of series that are not there after all
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
  }

  /**
   * The buckets of the UTC hour that begins at `hour` are these and no others (of either tier). False where the others
   * of its day were damaged, and are gone.
   */
  replace(name: PointName, hour: EpochMs, rollups: readonly Rollup[]): boolean {
    const { row } = SHAPES[this.tier];
    const series = rollups.length > 0 ? this.#idFor(name) : this.#idOf(name);
    if (series === undefined) return true;
    const start = floor(hour, row);
    const damaged = this.damagedRows;
    const others = row === HOUR ? [] : this.#row(series, start);
    const kept = others.filter((rollup) => rollup.start < hour || rollup.start >= hour + HOUR);
    this.#write(series, start, [...kept, ...rollups]);
    return this.damagedRows === damaged;
  }

  /**
   * Late samples: buckets that exist already are merged with these, others added. Returns where rows begin that were
   * damaged, and of which these buckets are all that is left.
   */
  mergeInto(name: PointName, rollups: readonly Rollup[]): readonly EpochMs[] {
    const { row } = SHAPES[this.tier];
    const series = this.#idFor(name);
    const lost: EpochMs[] = [];
    for (const [start, late] of Map.groupBy(rollups, (rollup) => floor(rollup.start, row))) {
      const damaged = this.damagedRows;
      const buckets = new Map(this.#row(series, start).map((rollup) => [rollup.start, rollup]));
      if (this.damagedRows > damaged) lost.push(start);
      for (const rollup of late) {
        const there = buckets.get(rollup.start);
        buckets.set(rollup.start, there === undefined ? rollup : merge(there, rollup));
      }
      this.#write(series, start, [...buckets.values()]);
    }
    return lost;
  }

  /** Rows of this log up to `row` are in, as far as they were merged into this file. */
  mark(log: number, row: number): void {
    this.#sql.mark.run(log, row);
  }

  /** 0 where nothing of this log was. */
  filedRow(log: number): number {
    return this.#sql.filedRow.get(log) ?? 0;
  }

  /**
   * A raw file of this day is about to be given up: what was filed in it is in the rollups, and must not count again. In
   * files of hours only.
   */
  keepRawMarks(day: EpochMs, marks: readonly RawMark[]): void {
    const keep = this.#db.prepare<[number, number, number, number]>(
      `INSERT INTO raw_filed(day, log, row, floor) VALUES (?, ?, ?, ?) ON CONFLICT(day, log)
       DO UPDATE SET row = max(row, excluded.row), floor = max(floor, excluded.floor)`,
    );
    for (const { log, row, floor: from } of marks) keep.run(day, log, row, from);
  }

  /** Raw of this day begins then: what came before was given up, or went into the rollups only. In the same files. */
  keepRawFloor(day: EpochMs, begin: EpochMs): void {
    this.keepRawMarks(day, [{ log: NO_LOG, row: 0, floor: begin }]);
  }

  /** Where raw begins, of all days up to this one; undefined where nothing says so. */
  rawFloor(until: EpochMs): EpochMs | undefined {
    const begin = this.#db
      .prepare<[number, number], number | null>('SELECT max(floor) FROM raw_filed WHERE log = ? AND day <= ?')
      .pluck()
      .get(NO_LOG, until);
    return begin === undefined || begin === null ? undefined : epochMs(begin);
  }

  /** Marks of raw files that were given up, of one day or all. */
  rawMarks(log: number, day?: EpochMs): readonly RawMark[] {
    if (this.tier === 'minute') return [];
    return this.#db
      .prepare<[number, number | null], RawMark>(
        'SELECT log, row, floor FROM raw_filed WHERE log = ? AND day = coalesce(?, day)',
      )
      .all(log, day ?? null);
  }

  /** Another number after each commit of anybody else, whatever is asked for in between. */
  get version(): number {
    return this.#sql.version.get() ?? 0;
  }

  /** Buckets that begin in [from, to), in time order. */
  read(name: PointName, from: EpochMs, to: EpochMs): Rollup[] {
    const found: Rollup[] = [];
    this.each(name, from, to, (rollup) => found.push({ ...rollup }));
    return found;
  }

  /** The same one after the other; what is handed over is valid until the next one. */
  each(name: PointName, from: EpochMs, to: EpochMs, visit: (rollup: Rollup) => void): void {
    const { row } = SHAPES[this.tier];
    const series = this.#idOf(name);
    if (series === undefined) return;
    for (const { start, len, body } of this.#sql.rows.all(series, floor(from, row), to)) {
      const count = this.#fill(epochMs(start), len, body);
      for (let i = 0; i < count; i++) {
        const rollup = this.#filled[i];
        if (rollup !== undefined && rollup.start >= from && rollup.start < to) visit(rollup);
      }
    }
  }

  /** Every series that the file has. */
  names(): readonly PointName[] {
    return this.#sql.names.all();
  }

  /** Start of the newest row of any series, or undefined; an hour of the minute tier, a day of the hour tier. */
  newestRow(): EpochMs | undefined {
    const start = this.#sql.newest.get() ?? undefined;
    return start === undefined ? undefined : epochMs(start);
  }

  /** Nothing more is expected: closes it as one file that stands alone, readable on read-only media. */
  seal(): void {
    sealed(this.#db); // or somebody reads it: it is as good as it is
    this.#db.close();
  }

  close(): void {
    this.#db.close();
  }

  #idOf(name: PointName): number | undefined {
    const key = nameKey(name);
    const known = this.#ids.get(key);
    if (known !== undefined) return known;
    const found = this.#sql.id.get(name.device, name.point, name.unit ?? '');
    if (found !== undefined) this.#ids.set(key, found);
    return found;
  }

  #idFor(name: PointName): number {
    const known = this.#idOf(name);
    if (known !== undefined) return known;
    const id = Number(this.#sql.add.run(name.device, name.point, name.unit ?? '').lastInsertRowid);
    this.#ids.set(nameKey(name), id);
    return id;
  }

  #row(series: number, start: EpochMs): Rollup[] {
    const stored = this.#sql.row.get(series, start);
    if (stored === undefined) return [];
    const count = this.#fill(start, stored.len, stored.body);
    return this.#filled.slice(0, count).map((rollup) => ({ ...rollup }));
  }

  /** Nothing of a row that is damaged. */
  #fill(start: EpochMs, len: number, body: Buffer): number {
    try {
      return fillRollups(start, SHAPES[this.tier].bucket, unpacked(body, len), this.#filled);
    } catch {
      this.damagedRows += 1;
      return 0;
    }
  }

  #write(series: number, start: EpochMs, rollups: readonly Rollup[]): void {
    if (rollups.length === 0) {
      this.#sql.remove.run(series, start);
      return;
    }
    const sorted = rollups.toSorted((a, b) => a.start - b.start);
    const text = Buffer.from(encodeRollups(start, SHAPES[this.tier].bucket, sorted));
    this.#sql.write.run(
      series,
      start,
      rollups.length,
      text.length,
      packedColumns(text, COLUMNS * rollups.length),
    );
  }
}

function floor(time: number, width: number): EpochMs {
  return epochMs(Math.floor(time / width) * width);
}

type Statements = ReturnType<typeof statementsOf>;

function statementsOf(db: Database) {
  return {
    id: db
      .prepare<[string, string, string], number>(
        'SELECT id FROM series WHERE device = ? AND point = ? AND unit = ?',
      )
      .pluck(),
    add: db.prepare<[string, string, string]>('INSERT INTO series(device, point, unit) VALUES (?, ?, ?)'),
    version: db.prepare<[], number>('PRAGMA data_version').pluck(),
    names: db.prepare<[], PointName>('SELECT device, point, unit FROM series'),
    row: db.prepare<[number, number], StoredRow>(
      'SELECT start, len, body FROM rollup WHERE series = ? AND start = ?',
    ),
    rows: db.prepare<[number, number, number], StoredRow>(
      'SELECT start, len, body FROM rollup WHERE series = ? AND start >= ? AND start < ? ORDER BY start',
    ),
    // Not REPLACE: rows that grow by an hour would move to the end each time and leave pages half empty.
    write: db.prepare<[number, number, number, number, Buffer]>(
      `INSERT INTO rollup(series, start, n, len, body) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT(series, start) DO UPDATE SET n = excluded.n, len = excluded.len, body = excluded.body`,
    ),
    remove: db.prepare<[number, number]>('DELETE FROM rollup WHERE series = ? AND start = ?'),
    newest: db.prepare<[], number | null>('SELECT max(start) FROM rollup').pluck(),
    mark: db.prepare<[number, number]>(
      'INSERT INTO filed(log, row) VALUES (?, ?) ON CONFLICT(log) DO UPDATE SET row = max(row, excluded.row)',
    ),
    filedRow: db.prepare<[number], number>('SELECT row FROM filed WHERE log = ?').pluck(),
  };
}
