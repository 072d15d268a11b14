import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { bytes, days, epochMs, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { openForWriting } from '../../src/store/open.ts';
import { openHistory } from '../../src/store/history/history.ts';
import { type Reader, openReader } from '../../src/store/history/reader.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { listeningLog } from '../store/fixture.ts';
import { until } from '../support/wait.ts';
import { rowsOfBatch } from './past.ts';

const POINTS = Array.from({ length: 5 }, (_, i) => ({
  device: 'meter-1',
  point: `power-${i}`,
  unit: 'W',
  every: seconds(1),
}));
const BATCH = 50;
const ROUNDS = Number(process.env['BESIDE_ROUNDS'] ?? 60);

function folderOf(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'beside-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** Sample k is of point k modulo 5, has the value k, and comes two seconds after the one before, hours ago. */
function batchAt(first: number, begin: number) {
  const builder = new BatchBuilder();
  for (let k = first; k < first + BATCH; k++) builder.addNumber(k % 5, begin + k * 2_000, k);
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

/** How many samples there are from 0 on; throws where one is missing, doubled or wrong. */
function countedBy(reader: Reader, begin: number): number {
  const query = { points: ['*/*'], from: epochMs(begin - 1), to: epochMs(begin + 1e9) };
  const found = new Set<number>();
  let highest = -1;
  for (const batch of reader.samples(query).batches)
    for (const { point, time, value } of rowsOfBatch(batch)) {
      const k = Number(value);
      if (found.has(k)) throw new Error(`sample ${k} twice`);
      if (point !== k % 5 || time !== begin + k * 2_000)
        throw new Error(`sample ${k} at ${time} of ${point}`);
      found.add(k);
      highest = Math.max(highest, k);
    }
  if (found.size !== highest + 1) throw new Error(`${found.size} samples up to ${highest}`);
  return found.size;
}

function inMinutes(reader: Reader, begin: number): number {
  const query = {
    points: ['*/*'],
    from: epochMs(begin),
    to: epochMs(begin + ROUNDS * BATCH * 2_000),
    width: 10_000,
  };
  return reader
    .history({ ...query, tier: 'minute' })
    .flatMap(({ counts }) => [...counts])
    .reduce((sum, count) => sum + count, 0);
}

t.test(
  'beside a gateway that files all the time, another process finds every acknowledged sample once',
  async (t) => {
    const folder = folderOf(t);
    const log = listeningLog();
    const outbox = await openOutbox({
      file: join(folder, 'telemetry.db'),
      limit: mebibytes(64),
      points: POINTS,
      log,
      commitEvery: milliseconds(2),
    });
    const retention = { raw: days(30), minute: days(90), hour: days(900), disk: bytes(2e9) };
    const history = await openHistory({
      folder,
      retention,
      outbox: mebibytes(64),
      sampleLog: outbox,
      log,
      thresholds: { headSamples: 170, tick: milliseconds(5), grace: milliseconds(0) },
    });
    t.teardown(async () => history.close().then(async () => outbox.close()));
    const begin = Math.floor(Date.now() / 86_400_000) * 86_400_000 - 86_400_000 - ROUNDS * BATCH * 1_000; // over midnight
    const kept = openReader({ folder, log });

    for (let round = 0; round < ROUNDS; round++) {
      await outbox.record(batchAt(round * BATCH, begin));
      const fresh = round % 7 === 0 ? openReader({ folder, log }) : undefined;
      const counts = [kept, fresh].flatMap((reader) =>
        reader === undefined ? [] : [countedBy(reader, begin), inMinutes(reader, begin)],
      );
      fresh?.close();
      if (counts.some((count) => count !== (round + 1) * BATCH))
        throw new Error(`${counts.join()} after ${round + 1} rounds`);
    }

    await until(
      'everything but the last head is filed',
      async () => (await history.state()).samplesFiled > (ROUNDS - 8) * BATCH,
    );
    await until(
      'the hours are rolled up',
      () => log.lines.length === 0 && countedBy(kept, begin) === ROUNDS * BATCH,
    );
    t.equal(inMinutes(kept, begin), ROUNDS * BATCH);
    const last = kept.last(['*/*']);
    t.same(
      last.map(({ value }) => value),
      [0, 1, 2, 3, 4].map((point) => ROUNDS * BATCH - 5 + point),
    );
    const hour = Math.floor(begin / 3_600_000) * 3_600_000 + 3_600_000;
    const { share } =
      kept.completeness({
        points: ['meter-1/power-0'],
        from: epochMs(hour),
        to: epochMs(hour + 600_000),
      })[0] ?? {};
    t.ok((share ?? 1) < 0.2, 'a sample each ten seconds is not one a second');
    kept.close();
    t.same(log.lines, []);
  },
);

t.test(
  'a row of the log that is damaged costs its own samples; a damaged log costs the newest ones',
  async (t) => {
    const folder = folderOf(t);
    const log = listeningLog();
    const file = join(folder, 'telemetry.db');
    const outbox = await openOutbox({
      file,
      limit: mebibytes(64),
      points: POINTS,
      log: silentLog,
      commitEvery: milliseconds(2),
    });
    const begin = Date.now() - 10_000_000;
    for (const first of [0, 1, 2]) await outbox.record(batchAt(first * BATCH, begin));
    await outbox.close();
    const db = openForWriting(file, 64_000_000);
    db.exec("UPDATE sample_log SET body = x'789c0102' WHERE id = (SELECT max(id) FROM sample_log)");
    db.close();

    const reader = openReader({ folder, log });
    t.equal(countedBy(reader, begin), 2 * BATCH);
    t.equal(reader.last(['*/power-0'])[0]?.value, 2 * BATCH - 5);
    t.equal(log.lines.length, 1, 'told once');
    t.match(log.lines[0], {
      what: 'a row of the sample log cannot be read and is left out',
      facts: { samples: BATCH },
    });
    reader.close();

    for (const end of ['-wal', '-shm']) rmSync(`${file}${end}`, { force: true });
    writeFileSync(file, Buffer.alloc(8_192, 'x'));
    const other = openReader({ folder, log });
    t.same(other.names(['*/*']), []);
    t.match(log.lines.at(-1), { what: 'a file of the history is damaged and is left out', facts: { file } });
    other.close();
  },
);

t.test('what a newer Sluice wrote is refused, what an older one wrote has no log yet', async (t) => {
  const folder = folderOf(t);
  const file = join(folder, 'telemetry.db');
  const outbox = await openOutbox({
    file,
    limit: mebibytes(64),
    points: POINTS,
    log: silentLog,
    commitEvery: milliseconds(2),
  });
  await outbox.record(batchAt(0, Date.now()));
  await outbox.close();
  const setVersion = (version: number): void => {
    const db = openForWriting(file, 64_000_000);
    db.pragma(`user_version = ${version}`);
    db.close();
  };

  setVersion(99);
  t.throws(() => openReader({ folder, log: silentLog }), {
    message: /telemetry.db was written by a newer Sluice \(its schema is 99/,
  });
  setVersion(2);
  const reader = openReader({ folder, log: silentLog });
  t.same(reader.names(['*/*']), []);
  reader.close();
  t.throws(() => openReader({ folder: join(folder, 'elsewhere'), log: silentLog }), {
    message: /there is no history in/,
  });
});
