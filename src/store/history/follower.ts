import type { PointName } from '../../core/point.ts';
import { type Database, openForReading } from '../open.ts';
import { Catalog } from './catalog.ts';
import { inodeOf } from './files.ts';

/** A row of the sample log as it is on disk. */
export interface LogRow {
  readonly id: number;
  readonly kind: number;
  /** Of the commit. */
  readonly time: number;
  readonly samples: number;
  readonly len: number;
  readonly body: Buffer;
}

export interface Page {
  /** Where the rows come from; another one than was asked for means that there is a new log, to be read from its place. */
  readonly log: number;
  readonly catalog: Catalog;
  readonly rows: readonly LogRow[];
  /** There may be more. */
  readonly more: boolean;
}

interface SeriesRow {
  readonly id: number;
  readonly device: string;
  readonly point: string;
  readonly unit: string;
}

/** Bodies of one page; a page is read at a stroke. */
const PAGE_BYTES = 1_048_576;

/**
 * Reads the sample log beside the thread that writes it, through a connection of its own, in short transactions. The
 * file may be replaced at any time, by a copy of itself or by a new log.
 */
export class Follower {
  readonly #file: string;
  #open: Open | undefined;

  constructor(file: string) {
    this.#file = file;
  }

  /** Rows after `row` of `log`. Throws what SQLite says where the file cannot be read now. */
  page(log: number, row: number): Page {
    const inode = inodeOf(this.#file);
    if (this.#open !== undefined && this.#open.inode !== inode) {
      const left = this.#remains(log, row);
      if (left !== undefined) return left;
      this.close();
    }
    this.#open ??= new Open(this.#file, inode);
    try {
      return this.#open.page(log, row);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close(): void {
    const open = this.#open;
    this.#open = undefined;
    open?.close();
  }

  /** What a file that was replaced has more than was read of it. */
  #remains(log: number, row: number): Page | undefined {
    try {
      const page = this.#open?.page(log, row);
      return page !== undefined && page.log === log && page.rows.length > 0 ? page : undefined;
    } catch {
      return undefined; // it was replaced because it is damaged
    }
  }
}

class Open {
  readonly inode: number | undefined;
  readonly #db: Database;
  readonly #log: number;
  readonly #catalog = new Catalog();
  readonly #rows;
  readonly #series;

  constructor(file: string, inode: number | undefined) {
    this.inode = inode;
    this.#db = openForReading(file);
    try {
      this.#log = this.#db.prepare<[], number>("SELECT value FROM meta WHERE key = 'log'").pluck().get() ?? 0;
      this.#rows = this.#db.prepare<[number], LogRow>(
        'SELECT id, kind, time, samples, len, body FROM sample_log WHERE id > ? ORDER BY id',
      );
      this.#series = this.#db.prepare<[number], SeriesRow>(
        'SELECT id, device, point, unit FROM series WHERE id > ? ORDER BY id',
      );
    } catch (error) {
      this.#db.close();
      throw error;
    }
  }

  page(log: number, after: number): Page {
    const rows = log === this.#log ? this.#read(after) : { rows: [], more: false };
    // After the rows: a series is on disk when the first row that has it is.
    for (const { id, device, point, unit } of this.#series.all(this.#catalog.size))
      this.#catalog.set(id, nameOf(device, point, unit));
    return { log: this.#log, catalog: this.#catalog, ...rows };
  }

  close(): void {
    this.#db.close();
  }

  #read(after: number): Pick<Page, 'rows' | 'more'> {
    const rows: LogRow[] = [];
    let bytes = 0;
    for (const row of this.#rows.iterate(after)) {
      rows.push(row);
      bytes += row.body.length;
      if (bytes >= PAGE_BYTES) return { rows, more: true };
    }
    return { rows, more: false };
  }
}

function nameOf(device: string, point: string, unit: string): PointName {
  return unit === '' ? { device, point } : { device, point, unit };
}
