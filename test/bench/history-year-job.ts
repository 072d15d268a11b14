import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Tier } from '../../src/core/history.ts';
import { type EpochMs, epochMs, hours, mebibytes, minutes } from '../../src/core/units.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { RollupFile } from '../../src/store/history/rollup-file.ts';
import { sortedOrder } from '../../src/telemetry/chunk.ts';
import { rollUp } from '../../src/telemetry/rollup.ts';
import { Histogram } from './histogram.ts';
import { Load } from './history-load.ts';
import { DAY_MS, HOUR_MS, openStore, writeYear } from './history-store.ts';
import { Rows } from './rows.ts';

/** Points with a year of hours behind them. */
const YEAR_POINTS = 100;
/** Of these, with a month of samples at 1 Hz. */
const RAW_POINTS = 2;
const MONTH_DAYS = 30;
const WIDTH = 1_000;
const COLD_RUNS = 4;

export const yearSetup = z.object({ job: z.literal('year'), folder: z.string(), seconds: z.number() });

/** Milliseconds, with their fractions. */
export interface Times {
  readonly warm: { readonly p50: number; readonly p99: number };
  /** In a history that was just opened, with nothing of the files in memory where the process may see to it. */
  readonly cold: { readonly p50: number; readonly max: number };
  readonly buckets: number;
}

export interface Year {
  readonly charts: Readonly<Record<'year' | 'month' | 'day', Times>>;
  /** Of a table of rows; the year is that of a month, times the months. */
  readonly rows: Readonly<Record<'year' | 'month' | 'day', number>>;
  readonly building: number;
  readonly dropsCaches: boolean;
}

const CHARTS = {
  year: { days: 365, tier: undefined, points: YEAR_POINTS },
  month: { days: MONTH_DAYS, tier: 'raw', points: RAW_POINTS },
  day: { days: 1, tier: 'raw', points: RAW_POINTS },
} as const satisfies Record<string, { days: number; tier: Tier | undefined; points: number }>;

export async function year({ folder, seconds }: z.infer<typeof yearSetup>): Promise<Year> {
  const { points } = new Load(YEAR_POINTS);
  mkdirSync(folder, { recursive: true });
  const began = performance.now();
  await (await openStore({ folder, points })).close(); // the book is there before the files
  writeYear(folder, points.slice(RAW_POINTS));
  const rows = new Rows(join(folder, 'rows.db'), 'without rowid');
  const end = epochMs(Math.floor(Date.now() / DAY_MS) * DAY_MS);
  writeMonth(folder, end, rows);
  const building = (performance.now() - began) / 1_000;

  const charts = {
    year: await timesOf(folder, 'year', end, seconds),
    month: await timesOf(folder, 'month', end, seconds),
    day: await timesOf(folder, 'day', end, seconds),
  };
  const month = medianOf(rows, end, MONTH_DAYS, 3);
  const rowTimes = { day: medianOf(rows, end, 1, 20), month, year: (month * 365) / MONTH_DAYS };
  rows.close();
  return { charts, rows: rowTimes, building, dropsCaches: dropCaches() };
}

/** Raw, minutes and hours of a month, as the historian would have filed them hour by hour, and the same as rows. */
function writeMonth(folder: string, end: EpochMs, rows: Rows): void {
  const load = new Load(RAW_POINTS);
  for (let day = end - MONTH_DAYS * DAY_MS; day < end; day += DAY_MS) {
    const files = {
      raw: RawFile.forWriting(fileAt(folder, 'raw', epochMs(day)), mebibytes(256)),
      minute: RollupFile.openForWriting(fileAt(folder, 'minute', epochMs(day)).path, 'minute'),
      hour: RollupFile.openForWriting(fileAt(folder, 'hour', epochMs(day)).path, 'hour'),
    };
    for (const file of Object.values(files)) file.begin();
    rows.begin();
    for (let hour = day; hour < day + DAY_MS; hour += HOUR_MS) {
      const batch = load.scans(Array.from({ length: 3_600 }, (_, i) => hour + i * 1_000));
      rows.add(batch);
      const sorted = sortedOrder(batch);
      for (const { series, from, to } of sorted.runs) {
        const name = load.points[series];
        if (name === undefined) continue;
        files.raw.add(name, batch, sorted.order, from, to);
        const of = { order: sorted.order, from, to };
        files.minute.replace(name, epochMs(hour), rollUp(batch, of.order, from, to, minutes(1)));
        files.hour.replace(name, epochMs(hour), rollUp(batch, of.order, from, to, hours(1)));
      }
    }
    rows.commit();
    for (const file of Object.values(files)) file.commit();
    for (const { hour, upTo } of files.raw.unrolled()) files.raw.setRolled(hour, upTo);
    for (const file of Object.values(files)) file.seal();
  }
}

async function timesOf(
  folder: string,
  chart: keyof typeof CHARTS,
  end: EpochMs,
  seconds: number,
): Promise<Times> {
  const { days, tier, points } = CHARTS[chart];
  const all = new Load(YEAR_POINTS).points;
  const ask = async (
    history: Awaited<ReturnType<typeof openStore>>['history'],
    n: number,
  ): Promise<number> => {
    const { device, point } = all[n % points] ?? { device: '', point: '' };
    const span = { from: epochMs(end - days * DAY_MS), to: end, width: WIDTH };
    const query = { ...span, points: [`${device}/${point}`], ...(tier === undefined ? {} : { tier }) };
    const [trace] = await history.history(query);
    return trace?.starts.length ?? 0;
  };
  const cold: number[] = [];
  for (let run = 0; run < COLD_RUNS; run++) {
    const store = await openStore({ folder, points: all });
    await store.history.state();
    dropCaches();
    const began = performance.now();
    await ask(store.history, run);
    cold.push(performance.now() - began);
    await store.close();
  }
  const store = await openStore({ folder, points: all });
  const warm = new Histogram();
  let buckets = 0;
  for (let n = 0; n < points; n++) buckets = Math.max(buckets, await ask(store.history, n));
  const until = performance.now() + seconds * 1_000;
  for (let n = 0; performance.now() < until; n++) {
    const began = performance.now();
    await ask(store.history, n);
    warm.add((performance.now() - began) * 100); // hundredths of a millisecond
  }
  await store.close();
  return {
    warm: { p50: warm.quantile(0.5) / 100, p99: warm.quantile(0.99) / 100 },
    cold: { p50: median(cold), max: Math.max(...cold) },
    buckets,
  };
}

/** A chart of as many buckets from rows, warm; the median of some runs. */
function medianOf(rows: Rows, end: EpochMs, days: number, runs: number): number {
  const from = end - days * DAY_MS;
  const width = (days * DAY_MS) / WIDTH;
  const query = rows.db.prepare<[number, number, number]>(
    `SELECT CAST(time / ? AS INTEGER) AS bucket, count(*), min(value), max(value), avg(value)
     FROM sample WHERE series = 1 AND time >= ? AND time < ? GROUP BY bucket`,
  );
  const times: number[] = [];
  for (let run = 0; run <= runs; run++) {
    const began = performance.now();
    query.raw().all(width, from, end);
    times.push(performance.now() - began);
  }
  return median(times.slice(1));
}

function median(list: readonly number[]): number {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? Number.NaN;
}

/** Needs root; false where the kernel does not let us. */
function dropCaches(): boolean {
  spawnSync('sync');
  try {
    writeFileSync('/proc/sys/vm/drop_caches', '3');
    return true;
  } catch {
    return false;
  }
}
