import { join } from 'node:path';
import { type Batch, BatchBuilder } from '../../core/batch.ts';
import { errorText } from '../../core/errors.ts';
import type { Log } from '../../core/log.ts';
import type { PointName } from '../../core/point.ts';
import { type EpochMs, days, epochMs, milliseconds } from '../../core/units.ts';
import {
  OUTAGE,
  type Outage,
  SAMPLES,
  START,
  decodeRow,
  outageOf,
  startOf,
} from '../../telemetry/sample-log.ts';
import { unpacked } from '../body.ts';
import type { Catalog } from './catalog.ts';
import { copyRow } from './copy-row.ts';
import { Follower, type LogRow } from './follower.ts';
import { RowClock } from './row-clock.ts';
import {
  type Newest,
  type RowMark,
  type Start,
  type Tail,
  type TailQuery,
  nameKey,
  noTimes,
} from './tail.ts';

/** Samples that are further ahead of their commit are refused by whoever files them. */
const FUTURE = days(1);
/** Candidates for the newest sample that are kept before those that were overtaken are thrown away. */
const MOST_CANDIDATES = 65_536;

/** Where rows go on that were looked through before. */
interface Behind {
  readonly after: number;
  readonly clock: RowClock;
  /** As in `Newest`; changed. */
  readonly times: Float64Array;
}

/**
 * The tail for another process, decoded from the sample log in `telemetry.db`. It keeps no samples: what a query does
 * not ask for is forgotten page by page.
 */
export class LogTail implements Tail {
  readonly #follower: Follower;
  readonly #facts: Log;
  readonly #scratch = new BatchBuilder();
  #log = 0;
  #catalog: Catalog | undefined;
  #starts: Start[] = [];
  #outages: Outage[] = [];
  /** Starts and outages are known up to here. */
  #seen = 0;
  #unreadable = 0;
  readonly #file: string;
  readonly #onUnreadable: (path: string, error: unknown) => void;
  /** Of the commits that were seen. */
  #newest: EpochMs | undefined;

  /** `onUnreadable` hears of rows that cannot be read. */
  constructor(folder: string, facts: Log, onUnreadable: (path: string, error: unknown) => void = () => {}) {
    this.#file = join(folder, 'telemetry.db');
    this.#follower = new Follower(this.#file);
    this.#facts = facts;
    this.#onUnreadable = onUnreadable;
  }

  get log(): number {
    return this.#log;
  }

  /** Throws what SQLite says where the log cannot be read. */
  refresh(): void {
    const { log, catalog } = this.#follower.page(this.#log, Number.MAX_SAFE_INTEGER);
    this.#catalog = catalog;
    if (log === this.#log) return;
    this.#log = log;
    this.#starts = [];
    this.#outages = [];
    this.#seen = 0;
  }

  names(): readonly PointName[] {
    return this.#catalog?.names() ?? [];
  }

  /** Of rows after `after`. */
  samples({ names, from, to }: TailQuery, into: BatchBuilder, after = 0): readonly RowMark[] {
    const marks: RowMark[] = [];
    this.#walk(names, after, (batch, places, row) => {
      const at = into.count;
      for (let i = 0; i < batch.count; i++) {
        const place = places[batch.points[i] ?? 0] ?? 0;
        const time = batch.times[i] ?? 0;
        if (place > 0 && time >= from && time < to && time <= row.time + FUTURE)
          copyRow(batch, i, place - 1, into);
      }
      if (into.count > at) marks.push({ at, row: row.id });
    });
    return marks;
  }

  /** Of rows that follow others: what is not newer than in `times` is left out. */
  last(
    names: readonly PointName[],
    into: BatchBuilder,
    { after, clock, times }: Behind = { after: 0, clock: new RowClock(), times: noTimes(names.length) },
  ): Newest {
    let since: EpochMs | undefined;
    const rows = new Int32Array(names.length).fill(-1);
    let [found, spare] = [new BatchBuilder(), new BatchBuilder()];
    const most = 2 * names.length + MOST_CANDIDATES;
    this.#walk(names, after, (batch, places, row) => {
      since ??= epochMs(row.time);
      const ahead = clock.take(row.time);
      if (found.count > most) {
        keepNewest(found.peek(), rows, spare);
        [found, spare] = [spare, found];
      }
      for (let i = 0; i < batch.count; i++) {
        const name = (places[batch.points[i] ?? 0] ?? 0) - 1;
        const time = batch.times[i] ?? 0;
        if (name < 0 || time + ahead < (times[name] ?? 0) || time > row.time + FUTURE) continue;
        times[name] = time + ahead;
        rows[name] = found.count;
        copyRow(batch, i, name, found);
      }
    });
    const batch = found.peek();
    for (const [name, row] of rows.entries()) if (row >= 0) copyRow(batch, row, name, into);
    return { since, times };
  }

  alive(): EpochMs | undefined {
    this.#walk([], this.#seen, () => {});
    return this.#newest;
  }

  starts(): readonly Start[] {
    this.#walk([], this.#seen, () => {});
    return this.#starts;
  }

  outages(): readonly Outage[] {
    this.#walk([], this.#seen, () => {});
    return this.#outages;
  }

  close(): void {
    this.#follower.close();
  }

  /** Every row that holds samples, and for each series of the log one more than the place of its name, or 0. */
  #walk(
    names: readonly PointName[],
    from: number,
    take: (batch: Batch, places: Uint32Array, row: LogRow) => void,
  ): void {
    for (let after = from; ; ) {
      const page = this.#follower.page(this.#log, after);
      if (page.log !== this.#log) return; // a new log took its place: the files know what is left of the old one
      this.#catalog = page.catalog;
      const places = placesOf(page.catalog, names);
      for (const row of page.rows) {
        this.#guarded(row, () => this.#takeRow(row, names.length > 0, (batch) => take(batch, places, row)));
        after = row.id;
      }
      if (!page.more) return;
    }
  }

  #takeRow(row: LogRow, wanted: boolean, take: (batch: Batch) => void): void {
    const isNew = row.id > this.#seen;
    if (isNew) this.#newest = epochMs(row.time);
    this.#seen = Math.max(this.#seen, row.id);
    if (row.kind === SAMPLES) {
      if (!wanted) return;
      this.#scratch.clear();
      decodeRow(unpacked(row.body, row.len), row.time, this.#scratch);
      take(this.#scratch.peek());
    } else if (isNew && row.kind === START) {
      this.#starts.push({ time: epochMs(row.time), recorded: this.#recordedIn(textOf(row)) });
    } else if (isNew && row.kind === OUTAGE) {
      const outage = outageOf(textOf(row));
      if (outage !== undefined)
        this.#outages.push({ ...outage, from: epochMs(outage.from), to: epochMs(outage.to) });
    }
  }

  #recordedIn(text: string): Start['recorded'] {
    const recorded = new Map<string, ReturnType<typeof milliseconds>>();
    for (const [series, period] of startOf(text)) {
      const name = this.#catalog?.name(series);
      if (name !== undefined) recorded.set(nameKey(name), milliseconds(period));
    }
    return recorded;
  }

  #guarded(row: LogRow, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (row.id <= this.#unreadable) return;
      this.#unreadable = row.id;
      this.#facts.error('a row of the sample log cannot be read and is left out', {
        row: row.id,
        samples: row.samples,
        error: errorText(error),
      });
      this.#onUnreadable(this.#file, error);
    }
  }
}

/** Copies the candidates that are the newest of their names; `rows` then says where they are. */
function keepNewest(batch: Batch, rows: Int32Array, into: BatchBuilder): void {
  into.clear();
  for (const [name, row] of rows.entries()) {
    if (row < 0) continue;
    rows[name] = into.count;
    copyRow(batch, row, name, into);
  }
}

function textOf({ body, len }: LogRow): string {
  return unpacked(body, len).toString();
}

function placesOf(catalog: Catalog, names: readonly PointName[]): Uint32Array {
  const places = new Uint32Array(catalog.size + 1);
  for (const [i, name] of names.entries()) {
    const series = catalog.id(name);
    if (series !== undefined) places[series] = i + 1;
  }
  return places;
}
