import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { bytes, days, milliseconds } from '../../src/core/units.ts';
import { type HistoryOptions, openHistory } from '../../src/store/history/history.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { until } from '../support/wait.ts';

/** Outbox and history as a gateway opens them, on a disk of this size, with the default of `telemetry.outbox`. */
async function gateway(t: Test, points: number, disk: number, more: Partial<HistoryOptions> = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'limits-'));
  const limit = bytes(disk / 4);
  // Ample where the log is not what is tested.
  const sampleLog = more.thresholds === undefined ? {} : { sampleLog: bytes(64_000_000) };
  const outbox = await openOutbox({
    file: join(folder, 'telemetry.db'),
    limit,
    ...sampleLog,
    points: Array.from({ length: points }, (_, i) => ({
      device: 'line',
      point: `p${i}`,
      every: milliseconds(1_000),
    })),
    commitEvery: milliseconds(5),
    log: silentLog,
  });
  const history = await openHistory({
    folder,
    retention: { raw: days(7), minute: days(90), hour: days(1_825), disk: bytes(disk) },
    outbox: limit,
    sampleLog: outbox,
    ...more,
    log: silentLog,
  });
  t.teardown(async () => {
    await history.close();
    await outbox.close();
    rmSync(folder, { recursive: true, force: true });
  });
  return { folder, outbox, history };
}

/** Scans of all points, 250 ms apart, of values that hardly shrink. */
function scansOf(points: number, time: number, scans = 1) {
  const into = new BatchBuilder();
  for (let scan = 0; scan < scans; scan++)
    for (let point = 0; point < points; point++)
      into.addNumber(point, time + scan * 250, Math.round(Math.random() * 1e6) / 100);
  const batch = into.take();
  if (batch === undefined) throw new Error('no points');
  return batch;
}

t.test(
  'a small sample log is filed before it is full, also where rows are a little longer than a page',
  async (t) => {
    // A body of 4.2 kB takes two pages of 4 kB in telemetry.db.
    const points = 1_200;
    const { outbox } = await gateway(t, points, 16_000_000);
    const start = Date.now() - 600_000;
    let lost = 0;

    for (let scan = 0; scan < 300; scan++)
      await outbox.record(scansOf(points, start + scan * 500)).catch(() => lost++);

    t.equal(lost, 0, 'every scan was recorded');
  },
);

t.test('a part of a raw day is a small piece of what the disk may hold', async (t) => {
  const points = 1_000;
  const disk = 16_000_000;
  const { folder, outbox, history } = await gateway(t, points, disk, {
    thresholds: { tick: milliseconds(10), logBytes: bytes(1_000_000) },
  });
  const start = Date.now() - 1_800_000;

  for (let scan = 0; scan < 2_000; scan += 20) await outbox.record(scansOf(points, start + scan * 250, 20));
  await until('most of it is filed', async () => (await history.state()).samplesFiled > 1_500_000);

  const sizes = readdirSync(join(folder, 'raw'))
    .filter((name) => name.endsWith('.db'))
    .map((name) => statSync(join(folder, 'raw', name)).size);
  // A part is closed when it is an eighth of the disk; what is filed at once may come on top.
  t.ok(
    Math.max(...sizes) < disk / 4,
    `parts of ${sizes.map((size) => Math.round(size / 1e6)).join(', ')} MB`,
  );
});
