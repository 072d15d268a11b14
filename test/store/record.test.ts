import { randomBytes } from 'node:crypto';
import { closeSync, copyFileSync, existsSync, openSync, statSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { bytes, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { openForWriting } from '../../src/store/open.ts';
import { until } from '../support/wait.ts';
import { START, batchOf, countTo, directory, listeningLog, noiseOf, opened, points } from './fixture.ts';
import { recordedIn } from './recorded.ts';

function scan(count: number, time: number, value: (point: number) => number): Batch {
  const builder = new BatchBuilder();
  for (let point = 0; point < count; point++) builder.addNumber(point, time, value(point));
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

const named = (...names: string[]) => names.map((point) => ({ device: 'meter', point, unit: 'V' }));

t.test('what was recorded is on disk when record resolves, also while nobody takes messages', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);

  await outbox.record(batchOf(0, 150));
  const found = recordedIn(file);

  t.same(
    found.samples.map(({ name, time, value, quality }) => [name, time, value, quality]),
    countTo(149, 0).map((k) => {
      const { device, point, unit } = points[k % 100] ?? { device: '', point: '', unit: '' };
      return [`${device}/${point} ${unit}`, START + k, k, 0];
    }),
  );
  t.same(found.outages, []);
  const { samplesRecorded, samplesUnrecorded, rows } = await outbox.state();
  t.same([samplesRecorded, samplesUnrecorded, rows], [150, 0, 0]);
});

t.test('while nothing is recorded, rows without samples say that the gateway runs', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file, { signEvery: milliseconds(40) });
  await outbox.record(batchOf(0, 10));

  const rows = await until('some signs', () => {
    const { rows: found } = recordedIn(file);
    return found.length >= 5 ? found : undefined;
  });

  t.same(
    rows.map(({ kind, samples, says }) => [kind, samples, samples === 0 && kind === 0 ? says : []]),
    [[2, 0, []], [0, 10, []], ...rows.slice(2).map(() => [0, 0, []])],
  );
  const times = rows.slice(1).map(({ time }) => time);
  const waits = times.slice(1).map((time, i) => time - (times[i] ?? 0));
  t.ok(
    waits.every((wait) => wait >= 35),
    `they do not come more often: ${waits.join(', ')} ms`,
  );
  const { samplesRecorded, samplesUnrecorded } = await outbox.state();
  t.same([samplesRecorded, samplesUnrecorded], [10, 0]);
});

t.test('samples and messages of the same moment are one commit', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file, { commitEvery: milliseconds(100) });
  await outbox.consumer('upstream');
  const { commits } = await outbox.state();

  await Promise.all([
    outbox.append(batchOf(0, 10)),
    outbox.record(batchOf(0, 10)),
    outbox.record(batchOf(10, 10)),
  ]);

  t.equal((await outbox.state()).commits, commits + 1);
  const { rows, samples } = recordedIn(file);
  t.same(
    rows.map(({ kind, samples }) => [kind, samples]),
    [
      [2, 0],
      [0, 20],
    ],
  );
  t.equal(samples.length, 20);
});

t.test('the first row of a run says what is recorded, and how often it is polled', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const some = [
    { device: 'meter', point: 'power', unit: 'W', every: seconds(1) },
    { device: 'meter', point: 'secret', recorded: false, every: seconds(1) },
    { device: 'door', point: 'open' },
  ];
  for (const run of [1, 2]) {
    const outbox = await opened(t, file, { points: some });
    await outbox.record(scan(3, START + run, (point) => point * 10 + run));
    await outbox.close();
  }

  const { starts, rows, samples } = recordedIn(file);
  t.same(starts, [
    [
      [1, 1_000],
      [2, 0],
    ],
    [
      [1, 1_000],
      [2, 0],
    ],
  ]);
  t.same(
    rows.map(({ kind }) => kind),
    [2, 0, 2, 0],
  );
  t.same(
    rows.map(({ id }) => id),
    [1, 2, 3, 4],
  );
  t.same(
    samples.map(({ name, value }) => [name, value]),
    [
      ['meter/power W', 1],
      ['door/open', 21],
      ['meter/power W', 2],
      ['door/open', 22],
    ],
  );
});

t.test(
  'a series keeps its number for ever; points that follow one another and are new get such numbers',
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const runs = [
      named('a', 'b', 'c'),
      named('b', 'x', 'y', 'a'),
      named('x'),
      named('a', 'b', 'c', 'x', 'y', 'z'),
    ];
    for (const points of runs) {
      const outbox = await opened(t, file, { points });
      await outbox.record(scan(points.length, START, (point) => point));
      await outbox.close();
    }
    const renamed = await opened(t, file, { points: [{ device: 'meter', point: 'a', unit: 'kV' }] });
    await renamed.record(scan(1, START, () => 0));

    const { samples, rows } = recordedIn(file);
    const seriesOf = new Map(samples.map(({ name, series }) => [name, series]));
    t.same(Object.fromEntries(seriesOf), {
      'meter/a V': 1,
      'meter/b V': 2,
      'meter/c V': 3,
      'meter/x V': 4,
      'meter/y V': 5,
      'meter/z V': 6,
      'meter/a kV': 7,
    });
    t.same(
      rows.find(({ kind }) => kind === 0)?.says,
      [[START - (rows[1]?.time ?? 0), 1, [0, 1, 2]]],
      'one run',
    );
  },
);

t.test('many samples are split into rows that can be read one at a time', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file, { commitEvery: milliseconds(1_000) });
  await Promise.all([outbox.record(batchOf(0, 100_000)), outbox.record(batchOf(100_000, 50_000))]);

  const { rows, samples } = recordedIn(file);
  t.same(
    samples.map(({ value }) => value),
    countTo(149_999, 0),
  );
  const sizes = rows.filter(({ kind }) => kind === 0).map(({ samples }) => samples);
  t.same(sizes, [65_536, 65_536, 18_928]);
});

t.test('a batch of unknown points is refused and disturbs nobody', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);

  const good = outbox.record(batchOf(0, 10));
  await t.rejects(outbox.record(scan(101, START, () => 0)), {
    code: 'STORE_FAILED',
    message: /point 100 is not/,
  });
  await good;

  t.equal(recordedIn(file).samples.length, 10);
});

t.test(
  'rows that are filed are forgotten with the commits that follow, and no number comes twice',
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const outbox = await opened(t, file);
    for (const i of countTo(5)) await outbox.record(batchOf(i * 100, 100));
    const before = recordedIn(file).rows.map(({ id }) => id);

    outbox.filed(4);
    await until('they are gone', () => recordedIn(file).rows.length === 2);
    const left = recordedIn(file).samples.map(({ value }) => value);
    outbox.filed(6);
    await until('all are gone', () => recordedIn(file).samples.length === 0);
    const newest = recordedIn(file).rows.map(({ id }) => id);
    outbox.filed(3);
    await outbox.record(batchOf(0, 10));
    await outbox.close();
    const again = await opened(t, file);
    await again.record(batchOf(10, 10));

    t.same(before, countTo(6));
    t.same(left, countTo(599, 400));
    t.same(newest, [6], 'without what was in it');
    t.same(
      recordedIn(file)
        .rows.map(({ id, kind }) => [id, kind])
        .slice(-3),
      [
        [7, 0],
        [8, 2],
        [9, 0],
      ],
    );
  },
);

t.test('a long log is forgotten in steps, so that no commit waits for all of it', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const first = await opened(t, file);
  await first.record(batchOf(0, 10));
  await first.close();
  const db = openForWriting(file, mebibytes(1));
  db.exec(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO sample_log(kind, time, samples, len, body) SELECT 0, 1, 0, 2, CAST('[]' AS BLOB) FROM n",
  );
  db.close();
  const outbox = await opened(t, file);
  await outbox.record(batchOf(10, 10));
  const { commits } = await outbox.state();

  outbox.filed(5_002);
  await until('all are gone', () => recordedIn(file).rows.every(({ id }) => id > 5_002));

  t.equal((await outbox.state()).commits - commits, 3, '2,000 rows a commit');
});

t.test('a log that nobody files takes no more than it may, and remembers what it did not take', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const log = listeningLog();
  const outbox = await opened(t, file, { sampleLog: mebibytes(1), limit: mebibytes(64), log });
  const refused: { k: number; error: unknown }[] = [];
  const took: number[] = [];
  const record = async (k: number): Promise<void> => {
    await outbox.record(noiseOf(k, 100)).then(
      () => took.push(...countTo(k + 99, k)),
      (error: unknown) => refused.push({ k, error }),
    );
  };
  for (const i of countTo(79, 0)) await record(i * 100);
  const { samplesUnrecorded } = await outbox.state();
  const last = recordedIn(file).rows.at(-1)?.id ?? 0;
  outbox.filed(last - 3);
  await until('there is room', () => recordedIn(file).rows.length <= 4);
  await record(8_000);

  const { samples, outages } = recordedIn(file);
  t.ok(took.length > 2_000 && refused.length > 20, `${took.length} samples, ${refused.length} refusals`);
  t.match(refused[0]?.error, {
    code: 'OUTBOX_FULL',
    message: /100 samples were given up: the history does not file/,
  });
  t.equal(samplesUnrecorded, refused.length * 100);
  const values = samples.map(({ value }) => Number.parseInt(String(value), 10));
  t.same(values.slice(-100), countTo(8_099, 8_000), 'it goes on when there is room');
  const times = { from: START + (refused[0]?.k ?? 0), to: START + (refused.at(-1)?.k ?? 0) + 99 };
  t.same(outages, [{ ...times, samples: refused.length * 100, reason: 'history too slow' }]);
  t.same(
    log.lines.map(({ what }) => what),
    [
      'samples are not recorded: the history does not file what is in the sample log',
      'samples are recorded again',
    ],
  );
});

t.test('what is filed takes no room from what comes with the next commit', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const log = listeningLog();
  const outbox = await opened(t, file, { sampleLog: mebibytes(1), limit: mebibytes(64), log });

  // Two of these are more than the log may take, and each is filed before the next one comes.
  for (const i of countTo(9, 0)) {
    await outbox.record(noiseOf(i * 2_000, 2_000));
    outbox.filed(recordedIn(file).rows.at(-1)?.id ?? 0);
  }

  t.equal((await outbox.state()).samplesUnrecorded, 0);
  t.same(log.lines, []);
});

t.test('the sample log does not count as outbox', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file, { limit: mebibytes(2), sampleLog: mebibytes(8) });
  await outbox.consumer('upstream');
  for (const i of countTo(19, 0)) await outbox.record(noiseOf(i * 1_000, 1_000));
  await outbox.append(noiseOf(0, 100));

  t.equal(recordedIn(file).samples.length, 20_000);
  t.same((await outbox.state()).messagesDropped, 0);
});

t.test('after an old copy was restored rows get numbers that were never used', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  await outbox.record(batchOf(0, 10));
  await outbox.close();
  copyFileSync(file, `${file}.copy`);
  const more = await opened(t, file);
  for (const i of countTo(20)) await more.record(batchOf(i * 10, 10));
  await more.close();
  const { log, rows } = recordedIn(file);

  copyFileSync(`${file}.copy`, file);
  writeFileSync(file.replace('.db', '.seq'), JSON.stringify({ from: 50, upto: 200_000, kept: 50 }));
  const restored = await opened(t, file);
  await restored.record(batchOf(0, 10));

  const after = recordedIn(file);
  const highest = rows.at(-1)?.id ?? 0;
  t.equal(after.log, log);
  t.same(
    after.rows.map(({ id }) => id),
    [1, 2, 2 + 2 ** 32 + 1, 2 + 2 ** 32 + 2],
  );
  t.ok(highest < 2 ** 32);
});

t.test('an old copy that nothing else gives away is found out by what the history has', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  await outbox.record(batchOf(0, 10));

  outbox.filed(1_000);
  await until('they are gone', () => recordedIn(file).samples.length === 0);
  await outbox.record(batchOf(10, 10));

  t.same(
    recordedIn(file).samples.map(({ value }) => value),
    countTo(19, 10),
  );
  t.ok((recordedIn(file).rows.at(-1)?.id ?? 0) > 1_000 + 2 ** 32);
});

t.test('in place of a damaged file comes a log of its own, with the series of before', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const few = points.slice(0, 3);
  const first = await opened(t, file, { points: few.toReversed() });
  await first.record(scan(3, START, (point) => point));
  await first.close();
  const outbox = await opened(t, file, { points: few });
  const absent = await outbox.consumer('absent');
  // More than SQLite keeps in memory, so that it has to read what is damaged.
  for (const k of countTo(40)) await outbox.append(large(k));
  await outbox.record(scan(3, START, (point) => point));
  const before = recordedIn(file);

  const handle = openSync(file, 'r+');
  writeSync(handle, Buffer.alloc(statSync(file).size, 0xa5));
  closeSync(handle);
  await absent.rewind();
  await absent.read('history', bytes(1));
  await until('it goes on in a new file', async () => {
    await outbox.record(scan(3, START + 5, (point) => point + 10));
    return existsSync(file) && recordedIn(file).log !== before.log;
  });
  await outbox.record(scan(3, START + 9, (point) => point + 20));
  const after = recordedIn(file);

  t.same(
    after.samples.slice(-3).map(({ name, value, time }) => [name, value, time]),
    few.map(({ device, point, unit }, i) => [`${device}/${point} ${unit}`, i + 20, START + 9]),
  );
  t.equal(after.rows[0]?.kind, 2, 'it begins with what is recorded');
  t.equal(after.rows[0]?.id, (before.rows.at(-1)?.id ?? 0) + 2 ** 32 + 1, 'far above the rows of before');
});

/** Almost a megabyte that do not compress. */
function large(k: number): Batch {
  const builder = new BatchBuilder();
  for (let i = 0; i < 10; i++) builder.addText(i % 3, START + k, randomBytes(60_000).toString('base64'));
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}

t.test('when its thread fails, what was under way is remembered as an outage', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  const deadly = batchOf(0, 7);
  Reflect.set(deadly, 'texts', null);

  await t.rejects(outbox.record(deadly), { code: 'STORE_FAILED' });
  await t.rejects(outbox.record(batchOf(7, 3)), { code: 'STORE_FAILED' }, 'refused while it starts');
  await until('it runs again', async () => outbox.state().catch(() => undefined));
  await outbox.record(batchOf(20, 10));
  await outbox.close();

  const { outages, samples } = recordedIn(file);
  t.same(outages, [{ from: START, to: START + 9, samples: 10, reason: 'store failed' }]);
  t.same(
    samples.map(({ value }) => value),
    countTo(29, 20),
  );
});

t.test('when the store hangs, samples that cannot be kept are refused and remembered', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);

  const records = countTo(11).map(async (i) => outbox.record(batchOf(i * 100_000, 100_000)));
  const outcomes = await Promise.allSettled(records);
  await outbox.record(batchOf(0, 10));
  await outbox.close();

  t.same(
    outcomes.map(({ status }) => status),
    [...countTo(10).map(() => 'fulfilled'), 'rejected'],
  );
  t.match(outcomes[10], { reason: { code: 'OUTBOX_FULL' } });
  const { outages, samples } = recordedIn(file);
  t.same(outages, [
    { from: START + 1_100_000, to: START + 1_199_999, samples: 100_000, reason: 'store too slow' },
  ]);
  t.equal(samples.length, 1_000_010);
});

t.test(
  'an outbox that may take less gives the oldest up, and tells it; with more it holds more',
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const outbox = await opened(t, file, { limit: mebibytes(32) });
    const upstream = await outbox.consumer('upstream');
    for (const i of countTo(79, 0)) await outbox.append(noiseOf(i * 200, 200));
    const before = await outbox.state();

    outbox.allow(mebibytes(2));
    await until('the oldest is gone', async () => (await outbox.state()).messagesDropped > 0);
    const lowered = await outbox.state();
    outbox.allow(mebibytes(512));
    for (const i of countTo(99, 80)) await outbox.append(noiseOf(i * 200, 200));
    const raised = await outbox.state();

    t.equal(before.messagesDropped, 0);
    t.equal(lowered.limit, mebibytes(2));
    t.ok(lowered.bytes < 1.5 * 1_048_576, `${lowered.bytes} bytes are left of ${before.bytes}`);
    t.equal(raised.limit, mebibytes(32), 'never more than its own limit');
    t.equal(raised.messagesDropped, lowered.messagesDropped + 0);
    await upstream.rewind();
    t.ok(
      (await upstream.read('live', bytes(1))).some(({ messages }) => messages.length > 0),
      'the gap is told',
    );
  },
);
