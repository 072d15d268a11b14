import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import type { SampleLog } from '../../src/core/sample-log.ts';
import { days, epochMs, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { type GatewayHistory, type HistoryOptions, openHistory } from '../../src/store/history/history.ts';
import { openForWriting } from '../../src/store/open.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { listeningLog } from '../store/fixture.ts';
import { until } from '../support/wait.ts';
import { HOUR, SECOND, rawIn } from './fixture.ts';

const POINTS = Array.from({ length: 20 }, (_, i) => ({
  device: `meter-${Math.floor(i / 10)}`,
  point: `voltage-${i % 10}`,
  unit: 'V',
  every: seconds(1),
  recorded: true,
}));

interface Teardown {
  teardown(after: () => unknown): void;
}

interface Opened {
  readonly folder: string;
  readonly outbox: Outbox & SampleLog;
  readonly history: GatewayHistory;
  readonly log: ReturnType<typeof listeningLog>;
}

async function opened(t: Teardown, options: Partial<HistoryOptions> = {}): Promise<Opened> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), 'history-'));
  const log = listeningLog();
  const file = join(folder, 'telemetry.db');
  const outbox = await openOutbox({
    file,
    points: POINTS,
    limit: mebibytes(64),
    log,
    commitEvery: milliseconds(5),
  });
  let history: GatewayHistory | undefined;
  t.teardown(async () => {
    await history?.close();
    await outbox.close();
    rmSync(folder, { recursive: true, force: true });
  });
  history = await openHistory({
    folder,
    retention: { raw: days(7), minute: days(90), hour: days(1825), disk: mebibytes(1_000) },
    outbox: mebibytes(64),
    sampleLog: outbox,
    log,
    thresholds: { headSamples: 2_000, tick: milliseconds(10), look: milliseconds(100) },
    ...options,
  });
  return { folder, outbox, history, log };
}

/** Scans first, first + 1, … of all points, a second apart; the value is the number of the scan. */
function scans(first: number, count: number, start: number): Batch {
  const builder = new BatchBuilder();
  for (let k = first; k < first + count; k++)
    for (const point of POINTS.keys()) builder.addNumber(point, start + k * SECOND, k);
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

t.test('a sample that is recorded is in the next answer, and stays in it when it is filed', async (t) => {
  const { folder, outbox, history } = await opened(t);
  const start = Math.floor(Date.now() / HOUR) * HOUR - 2 * HOUR;
  const ask = {
    points: ['meter-1/voltage-3'],
    from: epochMs(start),
    to: epochMs(start + HOUR),
    width: 4_000,
  };

  await outbox.record(scans(0, 50, start));
  const [before] = await history.history(ask);
  await outbox.record(scans(50, 450, start));
  await until('most of it is filed', async () => (await history.state()).samplesFiled >= 8_000);
  const [after] = await history.history(ask);
  const raw = rawIn({ files: () => [join(folder, `raw/${new Date(start).toISOString().slice(0, 10)}.db`)] });

  t.same(
    [...(before?.lasts ?? [])],
    Array.from({ length: 50 }, (_, k) => k),
  );
  t.same(
    [...(after?.lasts ?? [])],
    Array.from({ length: 500 }, (_, k) => k),
  );
  t.ok(raw.length >= 8_000 && raw.length <= 10_000);
  t.equal(new Set(raw).size, raw.length, 'each of them once');
  t.match(await history.last(['meter-0/voltage-0']), [{ time: start + 499 * SECOND, value: 499 }]);
  t.equal((await history.names(['*/*'])).length, POINTS.length);
});

t.test('a stream brings every sample once, from files and memory, while they are filed', async (t) => {
  const { outbox, history } = await opened(t);
  const start = Math.floor(Date.now() / HOUR) * HOUR - 3 * HOUR;
  await outbox.record(scans(0, 330, start));

  const { names, batches } = history.samples({
    points: ['meter-0/*'],
    from: epochMs(start + 10 * SECOND),
    to: epochMs(start + HOUR),
  });
  const found = new Map<string, number[]>();
  for await (const batch of batches)
    for (let i = 0; i < batch.count; i++) {
      const name = names[batch.points[i] ?? 0]?.point ?? '';
      found.set(name, [...(found.get(name) ?? []), batch.values[i] ?? 0]);
    }

  t.equal(found.size, 10);
  const wanted = Array.from({ length: 320 }, (_, k) => k + 10);
  for (const [name, values] of found) t.same(values, wanted, name);
});

t.test('it closes in the middle of its work, and goes on with it at the next start', async (t) => {
  const start = Math.floor(Date.now() / HOUR) * HOUR - 2 * HOUR;
  const folder = mkdtempSync(join(tmpdir(), 'history-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  for (let round = 0; round < 4; round++) {
    const { outbox, history } = await opened({ teardown: () => {} }, { folder });
    await outbox.record(scans(round * 300, 300, start));
    if (round > 0) await history.names(['*/*']); // it has read what it has to file
    await history.close();
    await outbox.close();
  }

  const { history } = await opened(t, { folder });
  // How much of it was filed before depends on who was faster: anything from nothing to all but a rest.
  await history.names(['*/*']);
  await until('nothing is due any more', async () => (await history.state()).samplesWaiting < 2_000);
  const ask = { points: ['*/*'], from: epochMs(start), to: epochMs(start + HOUR), width: 4_000 };
  const traces = await history.history(ask);

  const wanted = Array.from({ length: 1_200 }, (_, k) => k);
  t.equal(traces.length, POINTS.length);
  for (const { lasts, counts } of traces) {
    t.same([...lasts], wanted);
    t.ok(counts.every((count) => count === 1));
  }
});

t.test('files of a newer Sluice keep it from opening, with what to do', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'history-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const first = await opened({ teardown: () => {} }, { folder });
  await first.history.close();
  await first.outbox.close();
  const db = openForWriting(join(folder, 'history.db'), 1_000_000);
  db.pragma('user_version = 99');
  db.close();

  await t.rejects(opened(t, { folder }), {
    code: 'STORE_FAILED',
    message: /newer Sluice/,
    remedy: /install that version/,
  });
});

t.test('a word of a full disk that has room again is told, and costs nothing', async (t) => {
  const told: unknown[] = [];
  const { outbox, history } = await opened(t, {
    thresholds: { headSamples: 100, tick: milliseconds(10), look: milliseconds(50), grace: milliseconds(0) },
    onEvent: (kind, subject) => told.push([kind, subject]),
  });
  const start = Math.floor(Date.now() / HOUR) * HOUR - 30 * HOUR;
  await outbox.record(scans(0, 100, start));
  await until('it is filed', async () => (await history.state()).samplesFiled >= 2_000);

  for (let words = 0; words < 3; words++) history.shed();
  await outbox.record(scans(100, 100, start));
  await until('more is filed, after what the words asked for', async () => {
    return (await history.state()).samplesFiled >= 4_000;
  });

  t.equal((await history.state()).filesDropped, 0);
  t.same(told, [['disk-full', 'disk']]);
  const [trace] = await history.history({
    ...{ points: ['meter-0/voltage-0'], from: epochMs(start), to: epochMs(start + HOUR), width: 60 },
    tier: 'minute',
  });
  t.equal(
    trace?.counts.reduce((sum, count) => sum + count, 0),
    200,
    'everything is there',
  );
});
