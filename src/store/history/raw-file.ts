import { statSync } from 'node:fs';
import { type Batch, BatchBuilder } from '../../core/batch.ts';
import type { PointName } from '../../core/point.ts';
import { type EpochMs, epochMs, hours } from '../../core/units.ts';
import { type Chunk, decodeChunk, encodeChunks, sortedOrder } from '../../telemetry/chunk.ts';
import { MAX_MISSED } from '../../telemetry/step.ts';
import { unpacked } from '../body.ts';
import {
  type Database,
  assertDurable,
  copiedBack,
  isExclusive,
  openForReading,
  openForWriting,
  sealed,
} from '../open.ts';
import { copyRow } from './copy-row.ts';
import type { HistoryFile } from './files.ts';
import { packedColumns } from './packed.ts';
import { makeInPlace, refuseNewer } from './make-file.ts';
import { RAW_VERSION, addReasons, checkRawTables, makeRawTables } from './raw-schema.ts';

/** A series of this file; its number means something in this file only. */
export interface RawSeries extends PointName {
  readonly id: number;
}

/** A chunk as it is on disk. */
export interface StoredChunk {
  /** They were filed in the order of their numbers. */
  readonly id: number;
  readonly t0: number;
  readonly t1: number;
  readonly step: number;
  readonly n: number;
  /** Of the text. */
  readonly len: number;
  readonly body: Buffer;
}

/** A UTC hour in which samples were written since it was rolled up last. */
export interface UnrolledHour {
  readonly hour: EpochMs;
  /** Hand it to `setRolled` when the rollups of these series are on disk. */
  readonly upTo: number;
  /** Series that were touched, as numbers of this file. */
  readonly series: readonly number[];
}

/**
 * A body is some kilobytes and spills into pages of its own, of which only the last one is not full: an hour of a point
 * takes 0.92 bytes a sample here, 1.04 in pages of 4 KiB and 1.15 in pages of 16 KiB.
 */
const PAGE_BYTES = 1024;
/** A chunk of fewer samples is written again together with those that follow. */
const SMALL_CHUNK = 256;
/** Of a batch that has one series; sorting takes a place for each number up to it. */
const POINT = 0;
const HOUR: number = hours(1);

/** Rows of a log up to `row` are in, of those their samples from `floor` on. */
export interface RawMark {
  readonly log: number;
  readonly row: number;
  readonly floor: number;
}

/**
 * One part of a UTC day: every sample, in chunks of one series each. SQLite's own errors come through; `isTrouble`,
 * `isFull` and `isDamage` sort them.
 */
export class RawFile {
  readonly at: HistoryFile;
  readonly #db: Database;
  readonly #sql: ReturnType<typeof statementsOf>;
  #durable = false;
  /** Numbers of series by name, as far as they were asked for. */
  readonly #ids = new Map<string, number>();
  /** Series written in this transaction, by the hour of their samples. */
  readonly #touched = new Map<number, Set<number>>();
  /** By series the chunk that was filed last, as far as one was asked for. */
  readonly #newest = new Map<number, number>();
  #latest = 0;
  readonly #merged = new BatchBuilder();

  private constructor(at: HistoryFile, db: Database) {
    this.at = at;
    this.#db = db;
    try {
      checkRawTables(db);
      this.#sql = statementsOf(db);
    } catch (error) {
      db.close();
      throw error;
    }
  }

  /**
   * Makes the file where it is missing; a sealed one can be written again. `limit` is what it and its log may take.
   * Refuses a file of a newer Sluice.
   */
  static forWriting(at: HistoryFile, limit: number): RawFile {
    makeInPlace(at.path, PAGE_BYTES, makeRawTables);
    refuseNewer(at.path, RAW_VERSION);
    const file = new RawFile(at, openForWriting(at.path, limit, PAGE_BYTES));
    addReasons(file.#db);
    return file;
  }

  /** Any process may read along while another one writes. */
  static forReading(at: HistoryFile): RawFile {
    refuseNewer(at.path, RAW_VERSION);
    return new RawFile(at, openForReading(at.path));
  }

  /** Nobody else can read along: it was opened on a full disk. */
  get exclusive(): boolean {
    return isExclusive(this.#db);
  }

  /** The log takes no more room, where that is possible. */
  copyBack(): void {
    copiedBack(this.#db);
  }

  /** With the write-ahead log. */
  get bytes(): number {
    return sizeOf(this.at.path) + sizeOf(`${this.at.path}-wal`);
  }

  /** The last row of this sample log that is in the file; 0 where none is. */
  filedRow(log: number): number {
    return this.#sql.filed.get(log)?.row ?? 0;
  }

  /** Samples of the log before this time are not in the file, though their rows may be. */
  filedFrom(log: number): EpochMs {
    return epochMs(this.#sql.filed.get(log)?.floor ?? 0);
  }

  /** Of all logs. */
  marks(): readonly RawMark[] {
    return this.#sql.marks.all();
  }

  /** Time of the latest sample; undefined where there is none. */
  get latest(): EpochMs | undefined {
    const latest = this.#sql.latest.get();
    return latest === undefined ? undefined : epochMs(latest);
  }

  begin(): void {
    this.#db.exec('BEGIN IMMEDIATE');
  }

  /** Takes rows order[from..to) of one series, sorted by time, all of this day. Between `begin` and `commit`. */
  add(name: PointName, batch: Batch, order: Uint32Array, from: number, to: number): void {
    if (from >= to) return;
    const rows = order.subarray(from, to);
    const series = this.#seriesOf(name);
    const chunks = this.#withSmallOne(series, batch, rows) ?? encodeChunks(batch, order, from, to);
    for (const { t0, t1, step, n, text } of chunks) {
      const body = packedColumns(text, n);
      const { lastInsertRowid } = this.#sql.insert.run(series, t0, t1, step, n, text.length, body);
      this.#newest.set(series, Number(lastInsertRowid));
    }
    this.#latest = Math.max(this.#latest, batch.times[rows.at(-1) ?? 0] ?? 0);
    this.#touch(series, batch.times, rows);
  }

  /**
   * Everything of the log up to this row that belongs into this day, and is not before `floor`, is in the file once this
   * is committed.
   */
  mark(log: number, row: number, floor = 0): void {
    this.#sql.mark.run(log, row, floor);
  }

  commit(): void {
    for (const [hour, series] of this.#touched) this.#sql.touch.run(hour, JSON.stringify([...series]));
    if (this.#latest > 0) this.#sql.setLatest.run(this.#latest);
    this.#db.exec('COMMIT');
    this.#touched.clear();
    this.#latest = 0;
    if (this.#durable) return;
    assertDurable(this.#db);
    this.#durable = true;
  }

  /** May be called where no transaction is open (any more). */
  rollback(): void {
    this.#touched.clear();
    this.#ids.clear();
    this.#newest.clear();
    this.#latest = 0;
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
  }

  series(): readonly RawSeries[] {
    return this.#sql.series
      .all()
      .map(({ id, device, point, unit }) => ({ id, device, point, unit: unit === '' ? undefined : unit }));
  }

  /** The number of a series; undefined where the file has nothing of it. */
  find({ device, point, unit = '' }: PointName): number | undefined {
    return this.#sql.find.get(device, point, unit);
  }

  /** The chunks of a series that have to do with [from, to), by t0. They may overlap. */
  chunks(series: number, from: EpochMs, to: EpochMs): readonly StoredChunk[] {
    return this.#sql.chunks.all(series, to, from);
  }

  /** What `read` reads sees one state of the file: marks and chunks belong together. Keep it short. */
  snapshot<T>(read: () => T): T {
    return this.#db.transaction(read)();
  }

  /** Hours that were touched since they were rolled up last, oldest first, whoever's log it came from. */
  unrolled(): readonly UnrolledHour[] {
    const found = new Map<number, { upTo: number; series: Set<number> }>();
    for (const { id, hour, series } of this.#sql.unrolled.all()) {
      const known = found.get(hour) ?? { upTo: id, series: new Set() };
      known.upTo = Math.max(known.upTo, id);
      for (const number of numbersIn(series)) known.series.add(number);
      found.set(hour, known);
    }
    return [...found].map(([hour, { upTo, series }]) => ({ hour: epochMs(hour), upTo, series: [...series] }));
  }

  /** Its own transaction, unless one is open. */
  setRolled(hour: EpochMs, upTo: number): void {
    this.#sql.rolled.run(hour, upTo);
  }

  /**
   * Makes it one self-contained file that a read-only directory can serve. False where somebody else has it open: try
   * again later. It is closed either way.
   */
  seal(): boolean {
    try {
      return sealed(this.#db);
    } finally {
      this.close();
    }
  }

  close(): void {
    this.#db.close();
  }

  #seriesOf({ device, point, unit = '' }: PointName): number {
    const key = `${device}\n${point}\n${unit}`;
    const known = this.#ids.get(key) ?? this.#sql.find.get(device, point, unit);
    const id = known ?? Number(this.#sql.addSeries.run(device, point, unit).lastInsertRowid);
    this.#ids.set(key, id);
    return id;
  }

  /**
   * The rows together with the chunk that was filed before them, where that is a small one and there is no long hole
   * between. With no older one: samples of the same time are told apart by the order in which they were filed.
   */
  #withSmallOne(series: number, batch: Batch, rows: Uint32Array): Chunk[] | undefined {
    const id = this.#newest.get(series) ?? this.#sql.newest.get(series);
    const stored = id === undefined ? undefined : this.#sql.small.get(id);
    if (stored === undefined) return undefined;
    const { t0, t1, step } = stored;
    const [first, last] = [batch.times[rows[0] ?? 0] ?? 0, batch.times[rows.at(-1) ?? 0] ?? 0];
    if (step > 0 && Math.max(first - t1, t0 - last) > MAX_MISSED * step) return undefined;
    const into = this.#merged;
    into.clear();
    if (!isReadable(stored, into)) return undefined;
    for (const row of rows) copyRow(batch, row, POINT, into);
    this.#sql.remove.run(stored.id);
    const merged = into.peek();
    return encodeChunks(merged, sortedOrder(merged).order, 0, merged.count);
  }

  #touch(series: number, times: Float64Array, rows: Uint32Array): void {
    let end = Number.NEGATIVE_INFINITY; // of the hour that the last row was in
    for (let i = 0; i < rows.length; i++) {
      const time = times[rows[i] ?? 0] ?? 0;
      if (time < end) continue;
      const hour = Math.floor(time / HOUR) * HOUR;
      const touched = this.#touched.get(hour);
      if (touched === undefined) this.#touched.set(hour, new Set([series]));
      else touched.add(series);
      end = hour + HOUR;
    }
  }
}

/** Appends every sample of a chunk, as samples of `point`. Throws where the body is damaged. */
export function readChunk(chunk: StoredChunk, point: number, into: BatchBuilder): void {
  const before = into.count;
  decodeChunk(chunk, unpacked(chunk.body, chunk.len), point, into);
  const found = into.count - before;
  if (found !== chunk.n) throw new Error(`a chunk of ${found} samples where ${chunk.n} were stored`);
}

/** What is damaged stays where it is, for the reader to tell; nothing is merged with it. */
function isReadable(chunk: StoredChunk, into: BatchBuilder): boolean {
  try {
    readChunk(chunk, POINT, into);
    return true;
  } catch {
    return false;
  }
}

function numbersIn(text: string): number[] {
  const list: unknown = JSON.parse(text);
  return Array.isArray(list) ? list.filter((item) => typeof item === 'number') : [];
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

interface SeriesRow {
  readonly id: number;
  readonly device: string;
  readonly point: string;
  readonly unit: string;
}

function statementsOf(db: Database) {
  const chunk = 'SELECT id, t0, t1, step, n, len, body FROM chunk';
  return {
    filed: db.prepare<[number], RawMark>('SELECT log, row, floor FROM filed WHERE log = ?'),
    marks: db.prepare<[], RawMark>('SELECT log, row, floor FROM filed'),
    mark: db.prepare<[number, number, number]>(
      `INSERT INTO filed(log, row, floor) VALUES (?, ?, ?)
       ON CONFLICT(log) DO UPDATE SET row = max(row, excluded.row), floor = max(floor, excluded.floor)`,
    ),
    latest: db.prepare<[], number>("SELECT value FROM meta WHERE key = 'latest'").pluck(),
    setLatest: db.prepare<[number]>(
      `INSERT INTO meta(key, value) VALUES ('latest', ?)
       ON CONFLICT(key) DO UPDATE SET value = max(value, excluded.value)`,
    ),
    series: db.prepare<[], SeriesRow>('SELECT id, device, point, unit FROM series ORDER BY id'),
    find: db
      .prepare<[string, string, string], number>(
        'SELECT id FROM series WHERE device = ? AND point = ? AND unit = ?',
      )
      .pluck(),
    addSeries: db.prepare<[string, string, string]>(
      'INSERT INTO series(device, point, unit) VALUES (?, ?, ?)',
    ),
    chunks: db.prepare<[number, number, number], StoredChunk>(
      `${chunk} WHERE series = ? AND t0 < ? AND t1 >= ? ORDER BY t0, id`,
    ),
    small: db.prepare<[number], StoredChunk>(`${chunk} WHERE id = ? AND n < ${SMALL_CHUNK}`),
    // By the index of the series: from the end of the table it would look through everything for one that is new.
    newest: db
      .prepare<[number], number>(
        'SELECT id FROM chunk INDEXED BY chunk_key WHERE series = ? ORDER BY id DESC LIMIT 1',
      )
      .pluck(),
    insert: db.prepare<[number, number, number, number, number, number, Buffer]>(
      'INSERT INTO chunk(series, t0, t1, step, n, len, body) VALUES (?, ?, ?, ?, ?, ?, ?)',
    ),
    remove: db.prepare<[number]>('DELETE FROM chunk WHERE id = ?'),
    touch: db.prepare<[number, string]>('INSERT INTO unrolled(hour, series) VALUES (?, ?)'),
    unrolled: db.prepare<[], { id: number; hour: number; series: string }>(
      'SELECT id, hour, series FROM unrolled ORDER BY hour',
    ),
    rolled: db.prepare<[number, number]>('DELETE FROM unrolled WHERE hour = ? AND id <= ?'),
  };
}
