import { statSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { silentLog } from '../../src/core/log.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import type { SampleLog } from '../../src/core/sample-log.ts';
import { days, kibibytes, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { filesIn } from '../../src/store/history/files.ts';
import { type GatewayHistory, openHistory } from '../../src/store/history/history.ts';
import { openForReading } from '../../src/store/open.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { directory, noiseOf, points } from '../store/fixture.ts';
import { until } from '../support/wait.ts';

// Somebody begins to read and does not stop: a shell that was left open, a program that hangs.

const LIMIT = mebibytes(8);
const PART = mebibytes(1);
const BATCHES = 400; // of some 40 kilobytes each, and more of log
const BATCH = 100;
const MOST_UNFILED = 8_000; // the log holds about 13,000 of them

interface Site {
  readonly folder: string;
  readonly outbox: Outbox & SampleLog;
  readonly history: GatewayHistory;
}

async function openSite(t: Test): Promise<Site> {
  const folder = directory(t);
  const outbox = await openOutbox({
    file: join(folder, 'telemetry.db'),
    points,
    limit: LIMIT,
    sampleLog: mebibytes(4),
    log: silentLog,
    commitEvery: milliseconds(2),
  });
  const history = await openHistory({
    folder,
    sampleLog: outbox,
    log: silentLog,
    outbox: LIMIT,
    retention: { raw: days(400), minute: days(400), hour: days(400), disk: mebibytes(10_000) },
    thresholds: {
      headSamples: 2_000,
      logBytes: kibibytes(512),
      partBytes: PART,
      tick: milliseconds(10),
      look: seconds(1),
    },
  });
  t.teardown(async () => {
    await history.close();
    await outbox.close();
  });
  return { folder, outbox, history };
}

/** Opens a transaction and does not end it; returns the end of it. */
function readFor(file: string): () => void {
  const db = openForReading(file);
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM sqlite_schema').get();
  return () => db.close();
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Records what does not compress; the largest that these files became together meanwhile. */
async function record(
  { outbox, history }: Site,
  [from, to]: readonly [from: number, to: number],
  files: () => readonly string[],
): Promise<number> {
  let largest = 0;
  for (let i = from; i < to; i++) {
    await outbox.record(noiseOf(i * BATCH, BATCH));
    if (i % 10 > 0) continue;
    largest = Math.max(largest, ...files().map(sizeOf));
    const filed = async (): Promise<boolean> => {
      const { samplesFiled } = await history.state();
      return i * BATCH - samplesFiled < MOST_UNFILED;
    };
    await until('the historian follows', filed, 60_000);
  }
  return largest;
}

t.test('a reader that never ends leaves telemetry.db and its log within bounds', async (t) => {
  const site = await openSite(t);
  const file = join(site.folder, 'telemetry.db');
  await site.outbox.record(noiseOf(0, BATCH));
  const end = readFor(file);

  const largest = await record(site, [1, BATCHES], () => [`${file}-wal`]);
  const during = sizeOf(file);
  end();
  await record(site, [BATCHES, BATCHES + 20], () => []);

  t.ok(largest < LIMIT, `${largest} bytes of log`);
  t.ok(during < 2 * LIMIT, `${during} bytes of database`);
  t.ok(sizeOf(`${file}-wal`) <= LIMIT, 'and it is small again when the reader has gone');
});

t.test('a reader of a day that is written leaves each part within its size', async (t) => {
  const site = await openSite(t);
  await site.outbox.record(noiseOf(0, BATCH));
  const parts = (): string[] => filesIn(site.folder, 'raw').map(({ path }) => path);
  await until('a day is there', async () => {
    await site.outbox.record(noiseOf(1, 1_000));
    return parts().length > 0;
  });
  const end = readFor(parts().at(-1) ?? '');

  const largest = await record(site, [11, BATCHES], () => parts().flatMap((path) => [path, `${path}-wal`]));
  end();

  t.ok(parts().length > 3, `${parts().length} parts`);
  t.ok(largest < 3 * PART, `the largest file had ${largest} bytes`);
});
