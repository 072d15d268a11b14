import { join } from 'node:path';
import type { Batch } from '../../core/batch.ts';
import { SluiceError } from '../../core/errors.ts';
import type { ChartQuery, Completeness, HistoryQuery, LastSample, Trace } from '../../core/history.ts';
import type { Log } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import { type Book, openBookForReading } from './book.ts';
import { logTail } from './log-tail.ts';
import type { Tail } from './tail.ts';

/** The part of the book that answers are made of. */
export type Ledger = Pick<Book, 'floor' | 'runs' | 'outages' | 'drops' | 'period'>;

export interface ReaderOptions {
  /** `gateway.data`. */
  readonly folder: string;
  readonly tail: Tail;
  /** What was recorded when, and what was given up. */
  readonly book: Ledger;
  readonly log: Log;
}

/**
 * Answers questions about the past from the files of the history and the tail. Reads only: the historian uses it in
 * its thread, a command in another process beside a running gateway.
 */
export class Reader {
  readonly #options: ReaderOptions;

  constructor(options: ReaderOptions) {
    this.#options = options;
  }

  /** Every series that matches, sorted by name; also of points that are not configured any more. */
  names(_points: readonly string[]): readonly PointName[] {
    return [];
  }

  history(query: ChartQuery): readonly Trace[] {
    return [...this.traces(query)];
  }

  /** The same one by one, so that a thread can do something else in between. */
  *traces(_query: ChartQuery): Generator<Trace, void, void> {}

  last(_points: readonly string[]): readonly LastSample[] {
    return [];
  }

  /** UTC day by UTC day, series by series. Between two batches nothing is open that could hold up a writer. */
  samples(query: HistoryQuery): {
    readonly names: readonly PointName[];
    readonly batches: Generator<Batch, void, void>;
  } {
    return { names: this.names(query.points), batches: none() };
  }

  completeness(_query: HistoryQuery): readonly Completeness[] {
    return [];
  }

  /** Closes the handle of a file that is about to be sealed, removed or set aside. */
  forget(_file: string): void {}

  close(): void {
    this.#options.log.info('history closed');
  }
}

function* none(): Generator<Batch, void, void> {}

/** For another process than the gateway's; throws SluiceError where there is no history, or it may not be read. */
export function openReader({ folder, log }: { readonly folder: string; readonly log: Log }): Reader {
  const book = openBookForReading(join(folder, 'history.db'));
  if (book === undefined) throw new SluiceError('SETUP', `there is no history in ${folder}`);
  return new Reader({ folder, log, book, tail: logTail(folder) });
}
