import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Batch, BatchBuilder, type PointValue, valueAt } from '../../src/core/batch.ts';
import { type Facts, silentLog } from '../../src/core/log.ts';
import type { PointName } from '../../src/core/point.ts';
import { REASONS, type Reason, reasonCode } from '../../src/core/quality.ts';
import { type Duration, type EpochMs, epochMs, mebibytes, seconds } from '../../src/core/units.ts';
import { fileAt, filesIn } from '../../src/store/history/files.ts';
import type { Chronicle } from '../../src/store/history/query.ts';
import { RawFile, readChunk } from '../../src/store/history/raw-file.ts';
import { Reader } from '../../src/store/history/reader.ts';
import { RollupFile } from '../../src/store/history/rollup-file.ts';
import {
  nameKey,
  type Newest,
  noTimes,
  type RowMark,
  type Start,
  type Tail,
  type TailQuery,
} from '../../src/store/history/tail.ts';
import { sortedOrder } from '../../src/telemetry/order.ts';
import type { Outage } from '../../src/telemetry/sample-log.ts';
import { TIER_WIDTH } from '../../src/telemetry/chart-plan.ts';
import { rollUp } from '../../src/telemetry/rollup.ts';
import type { Row } from '../telemetry/rows.ts';

export const SECOND = 1_000;
export const MINUTE = 60_000;
export const HOUR = 3_600_000;
export const DAY = 24 * HOUR;
/** A Thursday in UTC. */
export const TODAY = Date.UTC(2026, 10, 26);
export const LOG = 4_711;

export const POWER: PointName = { device: 'meter-1', point: 'power', unit: 'W' };
export const BREAKER: PointName = { device: 'press-1', point: 'breaker' };
export const STATE: PointName = { device: 'press-1', point: 'state' };
/** `point` of a row is an index into this. */
export const NAMES = [POWER, BREAKER, STATE, { ...POWER, unit: 'kW' }];

interface Teardown {
  teardown(after: () => unknown): void;
}

/** What the book says. */
export interface Known {
  readonly drops?: ReturnType<Chronicle['drops']>;
  readonly floor?: EpochMs;
  readonly runs?: readonly (readonly [started: number, ended: number])[];
  readonly outages?: readonly Outage[];
  /** By run and name. */
  readonly period?: (run: number, name: PointName) => Duration | undefined;
  readonly now?: number;
}

/** A data folder with files of a history, made with the real ones; its tail is a list. */
export class Past {
  readonly folder: string;
  readonly tail = new ListTail();
  readonly said: { readonly what: string; readonly facts: Facts }[] = [];
  #row = 0;
  #filed = 0;

  constructor(t: Teardown) {
    this.folder = mkdtempSync(join(tmpdir(), 'past-'));
    for (const tier of ['raw', 'minute', 'hour']) mkdirSync(join(this.folder, tier));
    t.teardown(() => rmSync(this.folder, { recursive: true, force: true }));
  }

  /** What is committed and in no file; returns its row in the log. */
  commit(rows: readonly Row[]): number {
    this.#row++;
    this.tail.rows.push({ row: this.#row, rows });
    return this.#row;
  }

  /** Files everything that was committed, and these, as the historian does. The tail keeps it where `keep`. */
  file(rows: readonly Row[], { part = 1, keep = false } = {}): void {
    if (rows.length > 0) this.commit(rows);
    const all = this.tail.rows.filter(({ row }) => row > this.#filed).flatMap((commit) => commit.rows);
    this.#filed = this.#row;
    for (const [day, ofDay] of Map.groupBy(all, ({ time }) => Math.floor(time / DAY) * DAY))
      this.#fileDay(day, ofDay, part);
    if (!keep) this.tail.rows.length = 0;
  }

  /** Rolls up every hour that is due. */
  rollUp(): void {
    for (const at of filesIn(this.folder, 'raw')) {
      const file = RawFile.forWriting(at, mebibytes(64));
      for (const { hour, upTo } of file.unrolled()) {
        for (const name of file.series()) this.#rollUpHour(name, hour);
        file.setRolled(hour, upTo);
      }
      file.close();
    }
  }

  reader({ drops = [], floor, runs = [], outages = [], period, now }: Known = {}): Reader {
    const take = (what: string, facts: Facts = {}): void => void this.said.push({ what, facts });
    const known = runs.map(([started, ended], id) => ({
      id,
      started: epochMs(started),
      ended: epochMs(ended),
    }));
    return new Reader({
      folder: this.folder,
      tail: this.tail,
      book: () => ({
        floor,
        runs: (from, to) => known.filter(({ started, ended }) => started < to && ended >= from),
        outages: () => outages,
        drops: (from, to) => drops.filter((drop) => drop.from < to && drop.to > from),
        period: period ?? (() => seconds(1)),
      }),
      log: { ...silentLog, warn: take, error: take },
      ...(now === undefined ? {} : { now: () => epochMs(now) }),
    });
  }

  #fileDay(day: number, rows: readonly Row[], part: number): void {
    const file = RawFile.forWriting(fileAt(this.folder, 'raw', epochMs(day), part), mebibytes(64));
    const batch = batchOfRows(rows);
    const { order, runs } = sortedOrder(batch);
    file.begin();
    for (const { series, from, to } of runs) file.add(NAMES[series] ?? POWER, batch, order, from, to);
    file.mark(LOG, this.#row);
    file.commit();
    file.close();
  }

  #rollUpHour(name: PointName, hour: EpochMs): void {
    const batch = this.#rawOf(name, hour);
    const { order } = sortedOrder(batch);
    for (const tier of ['minute', 'hour'] as const) {
      const file = RollupFile.openForWriting(fileAt(this.folder, tier, hour).path, tier);
      file.begin();
      file.replace(name, hour, rollUp(batch, order, 0, batch.count, TIER_WIDTH[tier]));
      file.commit();
      file.close();
    }
  }

  #rawOf(name: PointName, hour: EpochMs): Batch {
    const all = new BatchBuilder();
    for (const at of filesIn(this.folder, 'raw')) {
      const file = RawFile.forReading(at);
      const series = file.find(name);
      const chunks = series === undefined ? [] : file.chunks(series, hour, epochMs(hour + HOUR));
      for (const chunk of chunks) readChunk(chunk, 0, all);
      file.close();
    }
    return batchOfRows(rowsOfBatch(all.peek()).filter(({ time }) => time >= hour && time < hour + HOUR));
  }
}

class ListTail implements Tail {
  readonly log = LOG;
  readonly rows: { readonly row: number; readonly rows: readonly Row[] }[] = [];
  beginnings: Start[] = [];
  lastSign: EpochMs | undefined;
  failures: Outage[] = [];

  refresh(): void {}

  names(): readonly PointName[] {
    return NAMES.filter((_, point) => this.rows.some(({ rows }) => rows.some((row) => row.point === point)));
  }

  samples({ names, from, to }: TailQuery, into: BatchBuilder): readonly RowMark[] {
    return this.rows.map(({ row, rows }) => {
      const at = into.count;
      for (const sample of rows) {
        const place = placeOf(sample, names);
        if (place >= 0 && sample.time >= from && sample.time < to) addRow(into, { ...sample, point: place });
      }
      return { at, row };
    });
  }

  last(names: readonly PointName[], into: BatchBuilder): Newest {
    const times = noTimes(names.length);
    const all = this.rows.flatMap(({ rows }) => rows);
    for (const place of names.keys()) {
      const own = all
        .filter((sample) => placeOf(sample, names) === place)
        .toSorted((a, b) => a.time - b.time);
      const newest = own.at(-1);
      if (newest === undefined) continue;
      addRow(into, { ...newest, point: place });
      times[place] = newest.time;
    }
    return { since: epochMs(Number.MAX_SAFE_INTEGER), times };
  }

  alive(): EpochMs | undefined {
    return this.lastSign;
  }

  starts(): readonly Start[] {
    return this.beginnings;
  }

  outages(): readonly Outage[] {
    return this.failures;
  }

  close(): void {}
}

function placeOf({ point }: Row, names: readonly PointName[]): number {
  const name = NAMES[point];
  return name === undefined ? -1 : names.findIndex((other) => nameKey(other) === nameKey(name));
}

function addRow(into: BatchBuilder, { point, time, value, quality, reason }: Row): void {
  if (value === null) into.addBad(point, time, reasonCode(reason));
  else into.add(point, time, value, quality, reasonCode(reason));
}

export function batchOfRows(rows: readonly Row[]): Batch {
  const builder = new BatchBuilder();
  for (const row of rows) addRow(builder, row);
  return builder.peek();
}

export function rowsOfBatch(batch: Batch): Row[] {
  return Array.from({ length: batch.count }, (_, i) => ({
    point: batch.points[i] ?? -1,
    time: batch.times[i] ?? Number.NaN,
    value: valueAt(batch, i) satisfies PointValue | null,
    quality: batch.qualities[i] ?? -1,
    reason: (REASONS[batch.reasons[i] ?? 0] ?? '') satisfies Reason,
  }));
}
