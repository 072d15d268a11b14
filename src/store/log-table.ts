import { SAMPLES, START } from '../telemetry/sample-log.ts';
import { packed } from './body.ts';
import { type Freed, TRIM_BYTES, TRIM_ROWS, pagesOf } from './journal.ts';
import type { Database } from './open.ts';
import { type RecordedPoint, SeriesTable } from './series.ts';

/** A row as it goes into the sample log. */
export interface LogRow {
  readonly kind: number;
  /** When it was sealed, milliseconds since 1970: the time of its commit, or when it was due on a full disk. */
  readonly time: number;
  readonly samples: number;
  /** Of the text, in bytes. */
  readonly length: number;
  /** Compressed; see `packed`. */
  readonly body: Buffer;
}

interface Header {
  readonly id: number;
  readonly size: number;
}

/** No row after an old copy of the file may get a number that was used since that copy was made. */
const JUMP = 2 ** 32;
/** The text of a row without samples. */
const NOTHING = '[]';

export function logRow(kind: number, text: string | Buffer, at: { time: number; samples: number }): LogRow {
  const plain = typeof text === 'string' ? Buffer.from(text) : text;
  return { kind, ...at, length: plain.length, body: packed(plain) };
}

/** A row without samples: the gateway runs. */
export function signOfLife(time: number): LogRow {
  return logRow(SAMPLES, NOTHING, { time, samples: 0 });
}

/** The statements on table `sample_log`. Everything that writes is called inside the caller's transaction. */
export class LogTable {
  readonly series: SeriesTable;
  readonly #db: Database;
  readonly #points: readonly RecordedPoint[];
  readonly #insert;
  readonly #upto;
  readonly #delete;
  readonly #size;
  readonly #empty;
  #head = 0;
  #taken = 0;
  #started: boolean;
  /** Rows up to here are in files of the history. */
  #filed = 0;
  #jumpTo = 0;
  /** The newest row was filed, and says nothing any more. */
  #emptied = 0;
  #saved = { head: 0, taken: 0, emptied: 0 };

  /** `given`: the series of this run, where it has written into another file before; `started`: and this one is its copy. */
  constructor(
    db: Database,
    points: readonly RecordedPoint[],
    { given, started }: { given?: Uint32Array<ArrayBuffer> | undefined; started: boolean },
  ) {
    this.#db = db;
    this.#points = points;
    this.#started = started;
    this.series = new SeriesTable(db, points, given);
    this.#insert = db.prepare<[number, number, number, number, number, Buffer]>(
      'INSERT INTO sample_log(id, kind, time, samples, len, body) VALUES(?,?,?,?,?,?)',
    );
    this.#upto = db.prepare<[number], Header>(
      `SELECT id, length(body) AS size FROM sample_log WHERE id <= ? ORDER BY id LIMIT ${TRIM_ROWS}`,
    );
    this.#delete = db.prepare<[number]>('DELETE FROM sample_log WHERE id <= ?');
    this.#size = db.prepare<[number], number>('SELECT length(body) FROM sample_log WHERE id = ?').pluck();
    this.#empty = db.prepare<[number]>(
      `UPDATE sample_log SET kind = ${SAMPLES}, samples = 0, len = ${NOTHING.length}, body = CAST('${NOTHING}' AS BLOB) WHERE id = ?`,
    );
  }

  /** Bytes in the file. */
  get taken(): number {
    return this.#taken;
  }

  /** The newest row that was ever written. */
  get head(): number {
    return this.#head;
  }

  load(): void {
    const sizes = this.#db.prepare<[], number>('SELECT length(body) FROM sample_log').pluck().all();
    this.#taken = sizes.reduce((sum, size) => sum + pagesOf(size), 0);
    this.#head = this.#db.prepare<[], number>('SELECT max(id) FROM sample_log').pluck().get() ?? 0;
  }

  /** Goes on where `before`, of which this is a copy, stopped. */
  continueFrom(before: LogTable): void {
    this.#filed = before.#filed;
    this.#jumpTo = before.#jumpTo;
  }

  /** Remembers the counters; `restore` goes back to them after a rollback. */
  save(): void {
    this.#saved = { head: this.#head, taken: this.#taken, emptied: this.#emptied };
  }

  restore(): void {
    this.#head = this.#saved.head;
    this.#taken = this.#saved.taken;
    this.#emptied = this.#saved.emptied;
  }

  /** From the next commit on rows get numbers that were never used, where those up to `used` and some more were. */
  jump(used = this.#head): void {
    this.#jumpTo = used + JUMP;
  }

  /**
   * With the next commits rows up to this one are deleted. Where the history has read further than this file was ever
   * written, it is an old copy that nothing else gave away.
   */
  filed(row: number): void {
    if (row > this.#head && row > this.#jumpTo) this.jump(row);
    this.#filed = Math.max(this.#filed, row);
  }

  /** Is there anything of the run that the file does not know yet? */
  get dirty(): boolean {
    return !this.#started || this.#jumpTo > this.#head;
  }

  /** What comes before the first row of a run, then the rows. */
  write(rows: readonly LogRow[], now: number): void {
    const jumps = this.#jumpTo > this.#head;
    if (jumps) this.#head = this.#jumpTo;
    this.series.write();
    if (!this.#started) this.#add(this.#start(now));
    else if (jumps) this.#add(signOfLife(now));
    for (const row of rows) this.#add(row);
  }

  /** The transaction of `write` is on disk. */
  committed(): void {
    this.#started = true;
    this.series.committed();
  }

  /**
   * Deletes filed rows, some at a time. The newest stays, without what was in it, because it tells what number comes
   * next: SQLite would keep that in another page, which every commit would write.
   */
  trim(): Freed {
    if (this.#filed === 0) return { bytes: 0, more: false };
    const { bytes, last, more } = this.#oldest();
    if (last > 0) this.#delete.run(last);
    this.#taken -= bytes;
    if (this.#filed >= this.#head) this.#emptyNewest();
    return { bytes, more };
  }

  /** What the next `trim` frees: the log has room for as much more. */
  get trimmable(): number {
    if (this.#filed === 0) return 0;
    return this.#oldest().bytes + (this.#filed >= this.#head ? (this.#inNewest() ?? 0) : 0);
  }

  /** Filed rows, as far as they are deleted at once. */
  #oldest(): Freed & { readonly last: number } {
    let [bytes, last] = [0, 0];
    const headers = this.#upto.all(Math.min(this.#filed, this.#head - 1));
    for (const { id, size } of headers) {
      if (bytes >= TRIM_BYTES) break;
      bytes += pagesOf(size);
      last = id;
    }
    const end = headers.length < TRIM_ROWS ? headers.at(-1)?.id : undefined;
    return { bytes, last, more: headers.length > 0 && last !== end };
  }

  #emptyNewest(): void {
    const bytes = this.#inNewest();
    if (bytes === undefined) return;
    this.#empty.run(this.#head);
    this.#taken -= bytes;
    this.#emptied = this.#head;
  }

  /** What emptying the newest row frees; undefined where nothing is in it. */
  #inNewest(): number | undefined {
    const size = this.#emptied === this.#head ? undefined : this.#size.get(this.#head);
    return size === undefined ? undefined : pagesOf(size) - pagesOf(NOTHING.length);
  }

  #add({ kind, time, samples, length, body }: LogRow): void {
    this.#insert.run(++this.#head, kind, time, samples, length, body);
    this.#taken += pagesOf(body.length);
  }

  #start(time: number): LogRow {
    const recorded = this.#points.flatMap(({ every = 0 }, index) => {
      const series = this.series.of[index] ?? 0;
      return series === 0 ? [] : [[series, every]];
    });
    return logRow(START, JSON.stringify(recorded), { time, samples: 0 });
  }
}
