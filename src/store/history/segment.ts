import { type Batch, BatchBuilder } from '../../core/batch.ts';
import type { Catalog } from './catalog.ts';

/** Samples of consecutive rows of one sample log, in memory: what is filed together. `points` are series of the log, 0 for what was refused. */
export class Segment {
  readonly log: number;
  readonly catalog: Catalog;
  /** The rows above this one are in it, */
  readonly after: number;
  /** up to this one. */
  upTo: number;
  /** It takes no more rows. */
  closed = false;
  /** That its rows take in the log, pages of theirs included. */
  bytes = 0;
  /** Commits of the first and the last row. */
  begun: number | undefined;
  ended = 0;
  /** Times of its samples, both inclusive. */
  earliest = Number.POSITIVE_INFINITY;
  latest = Number.NEGATIVE_INFINITY;
  /** From which sample on so much has to be added to their times; see `RowClock`. One for the first, and for each change. */
  readonly ahead: { readonly at: number; readonly ahead: number }[] = [];
  readonly builder = new BatchBuilder();

  constructor(log: number, after: number, catalog: Catalog) {
    this.log = log;
    this.after = after;
    this.upTo = after;
    this.catalog = catalog;
  }

  get count(): number {
    return this.builder.count;
  }

  get batch(): Batch {
    return this.builder.peek();
  }

  /** Samples of the next row follow. */
  begin({ time, ahead }: { readonly time: number; readonly ahead: number }): void {
    this.begun ??= time;
    if (this.ahead.at(-1)?.ahead !== ahead) this.ahead.push({ at: this.count, ahead });
  }

  /** Takes note of samples [from, count) of a row committed at `commit`, which have to lie in [earliest, latest]; returns how many do not. */
  admit(from: number, earliest: number, latest: number): number {
    const { points, times, count } = this.builder.peek();
    let refused = 0;
    for (let i = from; i < count; i++) {
      const time = times[i] ?? 0;
      if (time < earliest || time > latest || points[i] === 0) {
        points[i] = 0;
        refused++;
        continue;
      }
      if (time < this.earliest) this.earliest = time;
      if (time > this.latest) this.latest = time;
    }
    return refused;
  }
}
