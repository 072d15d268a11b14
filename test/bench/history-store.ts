import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../../src/core/log.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import type { SampleLog } from '../../src/core/sample-log.ts';
import { type Duration, days, epochMs, mebibytes } from '../../src/core/units.ts';
import { type HistoryFile, fileAt } from '../../src/store/history/files.ts';
import { type GatewayHistory, openHistory } from '../../src/store/history/history.ts';
import type { Thresholds } from '../../src/store/history/thresholds.ts';
import { RollupFile } from '../../src/store/history/rollup-file.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import type { RecordedPoint } from '../../src/store/series.ts';
import type { Rollup } from '../../src/telemetry/rollup.ts';

const KEEP = days(3_650);
export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;

export interface OpenStore {
  readonly outbox: Outbox & SampleLog;
  readonly history: GatewayHistory;
  close(): Promise<void>;
}

export interface StoreOptions {
  readonly folder: string;
  readonly points: readonly RecordedPoint[];
  readonly commitEvery?: Duration;
  readonly keepRaw?: Duration;
  readonly thresholds?: Partial<Thresholds>;
}

/** What a problem of the store says is seen; the rest is not. */
const log: Log = {
  info: () => {},
  warn: (what, facts) => void process.stderr.write(`${what} ${JSON.stringify(facts ?? {})}\n`),
  error: (what, facts) => void process.stderr.write(`${what} ${JSON.stringify(facts ?? {})}\n`),
};

/** Outbox and history as a gateway has them, with its own thresholds unless others are given. */
export async function openStore({
  folder,
  points,
  commitEvery,
  keepRaw = KEEP,
  thresholds,
}: StoreOptions): Promise<OpenStore> {
  const limit = mebibytes(512);
  const outbox = await openOutbox({
    file: join(folder, 'telemetry.db'),
    points,
    limit,
    log,
    ...(commitEvery === undefined ? {} : { commitEvery }),
  });
  const history = await openHistory({
    folder,
    sampleLog: outbox,
    log,
    outbox: limit,
    retention: { raw: keepRaw, minute: KEEP, hour: KEEP, disk: mebibytes(100_000) },
    ...(thresholds === undefined ? {} : { thresholds }),
  });
  return {
    outbox,
    history,
    close: async () => {
      await history.close();
      await outbox.close();
    },
  };
}

/** Hours of a year that ends at the last midnight, for these points; as their samples would give them. */
export function writeYear(folder: string, points: readonly RecordedPoint[]): void {
  const end = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  let file: HistoryFile | undefined;
  for (let from = end - 365 * DAY_MS; from < end; from = file.to) {
    file = fileAt(folder, 'hour', epochMs(from));
    mkdirSync(join(folder, 'hour'), { recursive: true });
    const into = RollupFile.openForWriting(file.path, 'hour');
    into.begin();
    for (const [i, point] of points.entries())
      into.mergeInto(point, hoursOf(i, from, Math.min(end, file.to)));
    into.commit();
    into.seal();
  }
}

function hoursOf(point: number, from: number, to: number): Rollup[] {
  const hours: Rollup[] = [];
  for (let start = from; start < to; start += HOUR_MS) hours.push(hourAt(point, start));
  return hours;
}

/** A value that wanders with two decimals, as an hour at 1 Hz sees it. */
function hourAt(point: number, start: number): Rollup {
  const hour = start / HOUR_MS;
  const mean = Math.round((20 + 5 * Math.sin(hour / 3.8 + point) + 3 * Math.sin(hour * 1.7)) * 100) / 100;
  const count = 3_600;
  return {
    start: epochMs(start),
    count,
    good: count,
    bad: 0,
    numbers: count,
    min: Math.round((mean - 1.37) * 100) / 100,
    max: Math.round((mean + 1.41) * 100) / 100,
    sum: Math.round(mean * count * 100) / 100,
    m2: Number((count * 0.31).toPrecision(7)),
    firstTime: start,
    first: Math.round((mean + 0.3) * 100) / 100,
    lastTime: start + HOUR_MS - 1_000,
    last: Math.round((mean - 0.2) * 100) / 100,
    changes: 2_911,
  };
}
