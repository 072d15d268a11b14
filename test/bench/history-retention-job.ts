import { copyFileSync, mkdirSync, renameSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { days, epochMs, milliseconds, seconds } from '../../src/core/units.ts';
import { type HistoryFile, fileAt } from '../../src/store/history/files.ts';
import { openForWriting } from '../../src/store/open.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { Histogram, type Spread } from './histogram.ts';
import { Load } from './history-load.ts';
import { DAY_MS, openStore } from './history-store.ts';
import { Rows } from './rows.ts';

const POINTS = 1_000;
const BATCH_MS = 100;
const TICKS = 10; // 100,000 samples a second
const PARTS = 4; // of 256 MB, as a day of so much has
const PART_BYTES = 268_435_456;
const BODY_BYTES = 4_000; // as an hour of a point at 1 Hz
const KEEP = days(7);
const AGE_DAYS = 9;
const ROWS = 2_000_000;

export const retentionSetup = z.object({
  job: z.literal('retention'),
  folder: z.string(),
  seconds: z.number(),
});

export interface Retained {
  readonly bytes: number;
  /** How long until the files were gone. */
  readonly drop: number;
  /** Milliseconds from handing a batch over to its commit. */
  readonly without: Spread;
  readonly with: Spread;
  readonly unrecorded: number;
  /** The same as rows: DELETE of so many, in milliseconds, and bytes of the file before and after. */
  readonly rows: {
    readonly rows: number;
    readonly milliseconds: number;
    readonly before: number;
    readonly after: number;
  };
}

/** A day of a gigabyte is dropped while 100,000 samples a second come in. */
export async function retention({
  folder,
  seconds: window,
}: z.infer<typeof retentionSetup>): Promise<Retained> {
  mkdirSync(folder, { recursive: true });
  const load = new Load(POINTS);
  const store = await openStore({
    folder,
    points: load.points,
    commitEvery: milliseconds(10),
    keepRaw: KEEP,
    thresholds: { look: seconds(1) },
  });
  const parts = writeOldDay(folder);
  const stop = new AbortController();
  let latencies = new Histogram();
  const ingest = async (): Promise<void> => {
    for (let due = Date.now(); !stop.signal.aborted; due += BATCH_MS) {
      await wait(Math.max(0, due - Date.now()));
      const times = Array.from({ length: TICKS }, (_, i) => due + (i * BATCH_MS) / TICKS);
      const [began, into] = [performance.now(), latencies];
      void store.outbox.record(load.scans(times)).then(() => into.add(performance.now() - began));
    }
  };
  const ingesting = ingest();
  await wait(2_000);
  latencies = new Histogram();
  await wait(window * 1_000);
  const without = latencies.spread();

  latencies = new Histogram();
  const bytes = parts.reduce((sum, { path }) => sum + statSync(join(folder, basename(path))).size, 0);
  mkdirSync(join(folder, 'raw'), { recursive: true });
  for (const { path } of parts) renameSync(join(folder, basename(path)), path);
  const began = performance.now();
  while ((await store.history.state()).filesDropped < PARTS) {
    if (performance.now() - began > 60_000) throw new Error('the old day is not dropped');
    await wait(10);
  }
  const drop = performance.now() - began;
  await wait(2_000);
  const during = latencies.spread();
  stop.abort();
  await ingesting;
  const { samplesUnrecorded } = await store.outbox.state();
  await store.close();
  return { bytes, drop, without, with: during, unrecorded: samplesUnrecorded, rows: deletedRows(folder) };
}

/**
 * Its parts lie in the folder itself, where nobody finds them, until they are given their places. Their bodies are
 * rubbish that nobody reads: what is measured is a file of that size.
 */
function writeOldDay(folder: string): HistoryFile[] {
  const day = epochMs(Math.floor(Date.now() / DAY_MS) * DAY_MS - AGE_DAYS * DAY_MS);
  const parts = Array.from({ length: PARTS }, (_, i) => fileAt(folder, 'raw', day, i + 1));
  const first = join(folder, basename(parts[0]?.path ?? ''));
  RawFile.forWriting({ ...fileAt(folder, 'raw', day), path: first }, PART_BYTES).close();
  const db = openForWriting(first, PART_BYTES);
  db.prepare<[number, number, number]>(
    `WITH RECURSIVE k(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM k WHERE i < ?)
     INSERT INTO chunk(series, t0, t1, step, n, len, body)
     SELECT i % 1000, ? + i, ? + i, 1000, 3600, 9000, randomblob(${BODY_BYTES}) FROM k`,
  ).run(PART_BYTES / BODY_BYTES, day, day);
  db.close();
  const file = RawFile.forWriting({ ...fileAt(folder, 'raw', day), path: first }, PART_BYTES);
  file.seal();
  for (const { path } of parts.slice(1)) copyFileSync(first, join(folder, basename(path)));
  return parts;
}

/** Half of a table of rows is deleted, as retention does it there: by time. */
function deletedRows(folder: string): Retained['rows'] {
  const rows = new Rows(join(folder, 'rows.db'), 'without rowid');
  const start = Math.floor(Date.now() / DAY_MS) * DAY_MS;
  const ticks = (2 * ROWS) / 100;
  // By point, as the table is sorted: it is made in a fraction of the time, and lies no worse.
  rows.begin();
  rows.db
    .prepare<[number, number, number]>(
      `WITH RECURSIVE series(s) AS (VALUES (0) UNION ALL SELECT s + 1 FROM series WHERE s < 99),
       tick(t) AS (VALUES (0) UNION ALL SELECT t + 1 FROM tick WHERE t < ? - 1)
       INSERT INTO sample SELECT s, ? + t * ?, (s * 7 + t * 13) % 1000 / 10.0, 0 FROM series, tick`,
    )
    .run(ticks, start, 1_000);
  rows.commit();
  rows.db.pragma('wal_checkpoint(TRUNCATE)');
  const before = statSync(rows.db.name).size;
  const began = performance.now();
  const { changes } = rows.db
    .prepare<[number]>('DELETE FROM sample WHERE time < ?')
    .run(start + (ticks / 2) * 1_000);
  const took = performance.now() - began;
  rows.close();
  return { rows: changes, milliseconds: took, before, after: statSync(join(folder, 'rows.db')).size };
}
