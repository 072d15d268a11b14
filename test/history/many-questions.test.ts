import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { days, epochMs, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { openHistory } from '../../src/store/history/history.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { sortedOrder } from '../../src/telemetry/chunk.ts';
import { until } from '../support/wait.ts';
import { DAY, SECOND } from './fixture.ts';

const POINTS = Array.from({ length: 10 }, (_, i) => ({
  device: 'meter',
  point: `voltage-${i}`,
  every: seconds(1),
  recorded: true,
}));
/** Yesterday, of which there are twelve hours, a sample a second. */
const BEGIN = (Math.floor(Date.now() / DAY) - 1) * DAY;
const SECONDS = 43_200;
const QUESTIONS = 12;
const BATCHES = 15;
const BATCH = 2_000;
const BUCKET_BYTES = 13 * 8;
/** Two answers that are made, two that were handed over and wait for the collector of garbage, and what reading takes. */
const MOST_BYTES = 6 * SECONDS * POINTS.length * BUCKET_BYTES;

/** What is measured is what is held, not when the collector finds time. */
setFlagsFromString('--expose-gc');
const collectGarbage: unknown = runInNewContext('gc');

function writeDay(folder: string): void {
  const file = RawFile.forWriting(fileAt(folder, 'raw', epochMs(BEGIN)), mebibytes(256));
  const builder = new BatchBuilder();
  for (const point of POINTS.keys())
    for (let k = 0; k < SECONDS; k++) builder.addNumber(point, BEGIN + k * SECOND, k % 100);
  const batch = builder.peek();
  const { order, runs } = sortedOrder(batch);
  file.begin();
  for (const { series, from, to } of runs)
    file.add(POINTS[series] ?? { device: '', point: '' }, batch, order, from, to);
  file.mark(1, 1);
  file.commit();
  file.close();
}

function batchOf(number: number): Batch {
  const builder = new BatchBuilder();
  const start = BEGIN + DAY / 2 + number * BATCH * SECOND;
  for (let k = 0; k < BATCH; k++) builder.addNumber(k % POINTS.length, start + k, k);
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

t.test('many wide questions at once leave filing its time, and memory within bounds', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'history-'));
  writeDay(folder);
  const outbox = await openOutbox({
    ...{ file: join(folder, 'telemetry.db'), points: POINTS, log: silentLog },
    ...{ limit: mebibytes(64), commitEvery: milliseconds(5) },
  });
  const history = await openHistory({
    ...{ folder, outbox: mebibytes(64), sampleLog: outbox, log: silentLog },
    retention: { raw: days(7), minute: days(90), hour: days(1825), disk: mebibytes(1_000) },
    // Hours are rolled up later: what is measured is filing.
    thresholds: { headSamples: BATCH, tick: milliseconds(10), grace: days(30) },
  });
  t.teardown(async () => {
    await history.close();
    await outbox.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const span = { points: ['*/*'], from: epochMs(BEGIN), to: epochMs(BEGIN + SECONDS * SECOND) };
  await history.history({ ...span, width: 10 });
  const before = process.memoryUsage().rss;
  let [most, answered] = [0, 0];
  const watch = setInterval(() => {
    most = Math.max(most, process.memoryUsage().rss - before);
  }, 20);
  t.teardown(() => clearInterval(watch));

  const counted = new Set<number>();
  const filed = new AbortController();
  /** Of a whole answer, which nobody holds any longer than this. */
  const ask = async (): Promise<number> => {
    const traces = await history.history({ ...span, width: SECONDS });
    return traces.reduce((sum, { counts }) => sum + counts.reduce((all, count) => all + count, 0), 0);
  };
  const askers = Array.from({ length: QUESTIONS }, async () => {
    while (!filed.signal.aborted) {
      counted.add(await ask());
      answered++;
      if (typeof collectGarbage === 'function') collectGarbage();
    }
  });
  const meanwhile: number[] = [];
  for (let batch = 0; batch < BATCHES; batch++) {
    const earlier = answered;
    await outbox.record(batchOf(batch));
    await until('it is filed', async () => {
      return (await history.state()).samplesFiled >= (batch + 1) * BATCH;
    });
    meanwhile.push(answered - earlier);
  }
  filed.abort();
  await Promise.all(askers);

  t.same(counted, new Set([SECONDS * POINTS.length]), 'every answer is complete');
  const longest = Math.max(...meanwhile);
  t.ok(
    longest <= QUESTIONS / 2,
    `a batch was filed while at most ${longest} of ${QUESTIONS} questions were answered`,
  );
  t.ok(most < MOST_BYTES, `${Math.round(most / 1e6)} MB more, of at most ${Math.round(MOST_BYTES / 1e6)}`);
});
