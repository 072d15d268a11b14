import type { PointName } from '../core/point.ts';
import { REASONS } from '../core/quality.ts';
import type { Duration } from '../core/units.ts';
import type { Database } from './open.ts';

export interface RecordedPoint extends PointName {
  /** How often it is polled, or how long its silence is normal; nothing where nobody knows. */
  readonly every?: Duration | undefined;
  /** Goes into the sample log where it is not false. */
  readonly recorded?: boolean | undefined;
}

interface SeriesRow {
  readonly id: number;
  readonly device: string;
  readonly point: string;
  readonly unit: string;
}

/**
 * Which series of the table each point is. Numbers are given when the file is opened, so that samples can be encoded,
 * and written with the first commit: a full disk may be in between. Points that follow one another and are new get
 * numbers that follow one another, which keeps the runs of a scan long.
 */
export class SeriesTable {
  /** Series by point, 0 where the point is not recorded. */
  readonly of: Uint32Array<ArrayBuffer>;
  readonly #insert;
  readonly #insertReason;
  #missing: readonly SeriesRow[];
  readonly #reasons: number;
  #written = false;

  /** `given` are the numbers of this run, which what waits is encoded with, where the file is a new one. */
  constructor(db: Database, points: readonly RecordedPoint[], given?: Uint32Array<ArrayBuffer>) {
    const known = new Map(
      db
        .prepare<[], SeriesRow>('SELECT id, device, point, unit FROM series')
        .all()
        .map((row) => [keyOf(row), row.id]),
    );
    const last = db
      .prepare<[], number>("SELECT seq FROM sqlite_sequence WHERE name = 'series'")
      .pluck()
      .get();
    let next = (last ?? 0) + 1;
    const missing: SeriesRow[] = [];
    this.of = new Uint32Array(points.length);
    for (const [index, { device, point, unit = '', recorded = true }] of points.entries()) {
      if (!recorded) continue;
      const key = keyOf({ device, point, unit });
      let id = known.get(key);
      if (id === undefined) {
        id = given?.[index] ?? next++;
        known.set(key, id);
        missing.push({ id, device, point, unit });
      }
      this.of[index] = id;
    }
    this.#missing = missing;
    this.#reasons = db.prepare<[], number>('SELECT count(*) FROM reason').pluck().get() ?? 0;
    this.#insert = db.prepare<[number, string, string, string]>(
      'INSERT INTO series(id, device, point, unit) VALUES(?,?,?,?)',
    );
    this.#insertReason = db.prepare<[number, string]>('INSERT INTO reason(code, text) VALUES(?,?)');
  }

  /** Writes what the file does not have yet, inside the caller's transaction. */
  write(): void {
    if (this.#written) return;
    for (const { id, device, point, unit } of this.#missing) this.#insert.run(id, device, point, unit);
    for (const [code, text] of REASONS.entries())
      if (code >= this.#reasons) this.#insertReason.run(code, text);
  }

  /** The transaction of `write` is on disk. */
  committed(): void {
    this.#written = true;
    this.#missing = [];
  }
}

function keyOf({ device, point, unit }: Omit<SeriesRow, 'id'>): string {
  return JSON.stringify([device, point, unit]);
}
