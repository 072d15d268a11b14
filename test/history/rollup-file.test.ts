import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import type { PointValue } from '../../src/core/batch.ts';
import type { PointName } from '../../src/core/point.ts';
import { type Duration, epochMs, hours, minutes } from '../../src/core/units.ts';
import { RollupFile } from '../../src/store/history/rollup-file.ts';
import { isDamage } from '../../src/store/open.ts';
import { meanOf, type Rollup, rollUp } from '../../src/telemetry/rollup.ts';
import { missingPeer } from '../support/peer.ts';
import { bad, batchOf, good, type Row, uncertain } from '../telemetry/rows.ts';
import { deviationOf } from '../telemetry/rollups.ts';

const noShell = { skip: missingPeer('sqlite3', 'sqlite3') };
const MIDNIGHT = Date.UTC(2026, 10, 26);
const HOUR = 3_600_000;
const VOLTAGE: PointName = { device: 'meter-main', point: 'voltage-l1', unit: 'V' };
const STATE: PointName = { device: 'press-1', point: 'state' };

const at = (hour: number, minute = 0, second = 0) =>
  epochMs(MIDNIGHT + hour * HOUR + minute * 60_000 + second * 1_000);

function folder(t: { teardown(after: () => void): void }): string {
  const path = mkdtempSync(join(tmpdir(), 'rollup-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function rolled(rows: readonly Row[], width: Duration): Rollup[] {
  return rollUp(batchOf(rows), Uint32Array.from(rows.keys()), 0, rows.length, width);
}

/** One value a minute, from `hour` on. */
function minutesOf(hour: number, values: readonly PointValue[]): Rollup[] {
  return rolled(
    values.map((value, i) => good(0, at(hour, i), value)),
    minutes(1),
  );
}

function hourOf(hour: number, ...values: readonly PointValue[]): Rollup[] {
  return rolled(
    values.map((value, i) => good(0, at(hour, i), value)),
    hours(1),
  );
}

function write(file: RollupFile, act: () => void): void {
  file.begin();
  act();
  file.commit();
}

function shell(file: string, query: string): string {
  const ran = spawnSync('sqlite3', ['-readonly', '-separator', ' | ', file, query], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout.trimEnd();
}

function alter(file: string, sql: string): void {
  const ran = spawnSync('sqlite3', [file, sql], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(ran.stderr);
}

const means = (rollups: readonly Rollup[]) =>
  rollups.map((rollup) => [(rollup.start - MIDNIGHT) / HOUR, meanOf(rollup)]);

t.test('a person reads minutes in the stock shell', noShell, (t) => {
  const path = join(folder(t), 'minute', '2026-11-26.db');
  const file = RollupFile.openForWriting(path, 'minute');
  const numbers = [2, 4, 4, 4, 5, 5, 7, 9].map((value, i) => good(0, at(12, 0, i * 7), value));
  const mixed = [
    bad(0, at(12, 2)),
    uncertain(0, at(12, 2, 1), -3),
    good(0, at(12, 2, 2), -4),
    bad(0, at(12, 2, 3)),
  ];
  const words = ['run', 'run', 'größer', true].map((value, i) => good(0, at(12, 0, i), value));
  write(file, () => {
    file.replace(VOLTAGE, at(12), rolled([...numbers, ...mixed], minutes(1)));
    file.replace(STATE, at(12), rolled([...words, bad(0, at(12, 59))], minutes(1)));
  });
  file.seal();

  t.equal(
    shell(path, 'SELECT * FROM minute'),
    [
      'meter-main | voltage-l1 | 2026-11-26 12:00:00 | 8 | 1.0 | 2 | 9 | 5.0 | 2.0 | 2 | 9 | 4 | V',
      'meter-main | voltage-l1 | 2026-11-26 12:02:00 | 4 | 0.25 | -4 | -3 | -3.5 | 0.5 | -3 | -4 | 1 | V',
      'press-1 | state | 2026-11-26 12:00:00 | 4 | 1.0 | 1 | 1 | 1.0 | 0.0 | run | 1 | 2 | ',
      'press-1 | state | 2026-11-26 12:59:00 | 1 | 0.0 |  |  |  |  |  |  | 0 |',
    ].join('\n'),
  );
  t.equal(shell(path, 'PRAGMA user_version; PRAGMA integrity_check'), '1\nok');
  t.end();
});

t.test('what the shell shows is what the shell calculates from the samples themselves', noShell, (t) => {
  const path = folder(t);
  const rows = Array.from({ length: 30_000 }, (_, i): Row => {
    const value = Math.round(1e6 * Math.sin(i / 700) + 40 * Math.cos(i * 1.7)) / 100;
    return i % 97 === 0 ? bad(0, MIDNIGHT + i * 2_500) : good(0, MIDNIGHT + i * 2_500, value);
  });
  const plain = rows.map(({ time, value }) => `${time},${value ?? ''}`).join('\n');
  writeFileSync(join(path, 'samples.csv'), `time,value\n${plain}\n`);
  for (const [tier, width] of [
    ['minute', minutes(1)],
    ['hour', hours(1)],
  ] as const) {
    const database = join(path, `${tier}.db`);
    const file = RollupFile.openForWriting(database, tier);
    const rollups = rolled(rows, width);
    write(file, () => {
      for (const [hour, now] of Map.groupBy(rollups, ({ start }) => Math.floor((start - MIDNIGHT) / HOUR)))
        file.replace(VOLTAGE, at(hour), now);
    });
    file.seal();
    const calculated = figures(
      ':memory:',
      `WITH valued AS (SELECT time / ${width} AS bucket, nullif(value, '') + 0.0 AS v FROM samples)
      SELECT count(*), count(v) * 1.0 / count(*), min(v), max(v), avg(v), sqrt(sum((v - mean) * (v - mean)) / count(v))
      FROM valued JOIN (SELECT bucket AS b, avg(v) AS mean FROM valued GROUP BY bucket) ON b = bucket
      GROUP BY bucket ORDER BY bucket`,
      ['-cmd', `.import --csv ${join(path, 'samples.csv')} samples`],
    );

    const shown = figures(
      database,
      `SELECT count, good, min, max, mean, deviation FROM ${tier} ORDER BY time`,
    );

    t.equal(calculated.length, tier === 'minute' ? 1_250 : 21);
    t.equal(shown.length, calculated.length);
    t.same(
      shown.filter((row, i) => row.some((value, k) => !isClose(value, calculated[i]?.[k] ?? Number.NaN))),
      [],
      tier,
    );
  }
  t.end();
});

function figures(database: string, query: string, more: readonly string[] = []): number[][] {
  const ran = spawnSync('sqlite3', [...more, database, query], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout
    .trimEnd()
    .split('\n')
    .map((line) => line.split('|').map(Number));
}

/** Sums of squares are stored with seven digits, of which the root halves the error. */
function isClose(a: number, b: number): boolean {
  return Math.abs(a - b) <= 2.5e-7 * Math.abs(b);
}

t.test('a file answers what was written, bucket by bucket, also across its rows', (t) => {
  const path = join(folder(t), 'minute.db');
  const file = RollupFile.openForWriting(path, 'minute');
  const [ten, eleven] = [minutesOf(10, Array(60).keys().toArray()), minutesOf(11, [7, 8])];
  write(file, () => {
    file.replace(VOLTAGE, at(10), ten);
    file.replace(VOLTAGE, at(11), eleven);
    file.replace({ ...VOLTAGE, unit: 'kV' }, at(11), minutesOf(11, [0.23]));
  });

  t.same(file.read(VOLTAGE, at(0), at(24)), [...ten, ...eleven]);
  t.same(file.read(VOLTAGE, at(10, 58), at(11, 1)), [...ten.slice(58), ...eleven.slice(0, 1)]);
  t.same(file.read(VOLTAGE, at(10, 58, 1), at(10, 59, 1)), ten.slice(59), 'buckets that begin in the time');
  t.same(
    file.read({ ...VOLTAGE, unit: 'kV' }, at(0), at(24)),
    minutesOf(11, [0.23]),
    'another unit, another series',
  );
  t.same(file.read(STATE, at(0), at(24)), []);
  t.same(
    file.names().map(({ unit }) => unit),
    ['V', 'kV'],
  );
  t.equal(file.newestRow(), at(11));
  file.close();
  t.end();
});

t.test('an hour that is computed again replaces that hour and nothing beside it', (t) => {
  const path = folder(t);
  for (const tier of ['minute', 'hour'] as const) {
    const file = RollupFile.openForWriting(join(path, `${tier}.db`), tier);
    const of = (hour: number, value: number) =>
      tier === 'hour' ? hourOf(hour, value) : minutesOf(hour, [value, value]).slice(0, 1);
    write(file, () => {
      for (const hour of [5, 3, 4, 27]) file.replace(VOLTAGE, at(hour), of(hour, hour));
    });

    write(file, () => file.replace(VOLTAGE, at(4), of(4, 400)));
    const again = means(file.read(VOLTAGE, at(0), at(48)));
    write(file, () => file.replace(VOLTAGE, at(3), []));
    const gone = means(file.read(VOLTAGE, at(0), at(48)));

    t.same(again, [
      [3, 3],
      [4, 400],
      [5, 5],
      [27, 27],
    ]);
    t.same(gone, again.slice(1));
    file.close();
  }
  t.end();
});

t.test('late samples are merged into what is there, once', (t) => {
  const path = join(folder(t), '2026-11.db');
  const file = RollupFile.openForWriting(path, 'hour');
  write(file, () => file.replace(VOLTAGE, at(4), hourOf(4, 1, 3)));
  const late = [...hourOf(4, 8), ...hourOf(30, 5)];

  write(file, () => {
    file.mergeInto(VOLTAGE, late);
    file.mergeInto(STATE, hourOf(4, 'run'));
    file.mark(77, 12);
  });

  t.equal(file.filedRow(77), 12, 'who replays the log sees that it is in');
  t.equal(file.filedRow(78), 0);
  const [four, thirty] = file.read(VOLTAGE, at(0), at(48));
  t.match(four, { start: at(4), count: 3, sum: 12, m2: 26, min: 1, max: 8 });
  t.match(thirty, { start: at(30), count: 1, sum: 5 });
  t.match(file.read(STATE, at(0), at(48)), [{ start: at(4), last: 'run', numbers: 0 }]);
  write(file, () => file.mark(77, 9));
  t.equal(file.filedRow(77), 12, 'a mark never goes back');
  file.close();
  t.end();
});

t.test('nothing of a transaction that is rolled back stays, not even a name', (t) => {
  const file = RollupFile.openForWriting(join(folder(t), 'minute.db'), 'minute');

  file.begin();
  file.replace(VOLTAGE, at(1), minutesOf(1, [1]));
  file.mark(1, 1);
  file.rollback();
  file.rollback();

  t.same([file.read(VOLTAGE, at(0), at(24)), file.names(), file.filedRow(1)], [[], [], 0]);
  write(file, () => file.replace(VOLTAGE, at(1), minutesOf(1, [1])));
  t.same(file.read(VOLTAGE, at(0), at(24)), minutesOf(1, [1]));
  t.same(file.names(), [VOLTAGE]);
  file.close();
  t.end();
});

t.test('a sealed file is one file; it is taken up again where something comes late', noShell, (t) => {
  const path = join(folder(t), 'minute.db');
  const file = RollupFile.openForWriting(path, 'minute');
  write(file, () => file.replace(VOLTAGE, at(1), minutesOf(1, [1])));
  t.ok(existsSync(`${path}-wal`));

  file.seal();

  t.notOk(existsSync(`${path}-wal`));
  t.equal(shell(path, 'PRAGMA journal_mode; SELECT count(*) FROM minute'), 'delete\n1');
  t.notOk(existsSync(`${path}-wal`), 'nor does a reader make one');
  const again = RollupFile.openForWriting(path, 'minute');
  write(again, () => again.mergeInto(VOLTAGE, minutesOf(1, [3])));
  again.seal();
  t.equal(shell(path, 'PRAGMA journal_mode; SELECT count, mean FROM minute'), 'delete\n2 | 2.0');
  t.end();
});

t.test(
  'a reader sees whole transactions of the writer beside it, and does not keep it from sealing for good',
  (t) => {
    const path = join(folder(t), 'hour.db');
    const file = RollupFile.openForWriting(path, 'hour');
    const reader = RollupFile.openForReading(path, 'hour');

    file.begin();
    file.replace(VOLTAGE, at(1), hourOf(1, 1));
    const before = reader.read(VOLTAGE, at(0), at(24));
    file.commit();

    t.same(before, []);
    t.same(reader.read(VOLTAGE, at(0), at(24)), hourOf(1, 1));
    file.seal();
    t.same(reader.read(VOLTAGE, at(0), at(24)), hourOf(1, 1));
    reader.close();
    const again = RollupFile.openForWriting(path, 'hour');
    again.seal();
    t.notOk(existsSync(`${path}-wal`));
    t.end();
  },
);

t.test(
  'a file of a newer Sluice is neither read nor written; one of something else is damaged',
  noShell,
  (t) => {
    const path = join(folder(t), 'minute.db');
    RollupFile.openForWriting(path, 'minute').seal();
    alter(path, 'PRAGMA user_version = 2');
    const content = readFileSync(path);
    const newer = {
      code: 'STORE_FAILED',
      message: /minute\.db was written by a newer Sluice \(its schema is 2/,
    };

    t.throws(() => RollupFile.openForWriting(path, 'minute'), newer);
    t.throws(() => RollupFile.openForReading(path, 'minute'), newer);
    t.ok(readFileSync(path).equals(content), 'it is as it was');
    t.throws(() => RollupFile.openForReading(`${path}.missing`, 'minute'), { code: 'ENOENT' });
    for (const other of ['something else', '']) {
      writeFileSync(`${path}.other`, other);
      t.ok(isDamage(thrownBy(() => RollupFile.openForWriting(`${path}.other`, 'minute'))), `"${other}"`);
      t.ok(isDamage(thrownBy(() => RollupFile.openForReading(`${path}.other`, 'minute'))), `"${other}"`);
    }
    const hours = join(folder(t), 'hour.db');
    RollupFile.openForWriting(hours, 'hour').seal();
    alter(hours, 'DROP TABLE raw_filed');
    t.ok(
      isDamage(thrownBy(() => RollupFile.openForWriting(hours, 'hour'))),
      'without a table of its own too',
    );
    t.end();
  },
);

t.test('a row whose body is damaged is left out and counted; the others are read', noShell, (t) => {
  const path = join(folder(t), 'minute.db');
  const file = RollupFile.openForWriting(path, 'minute');
  write(file, () => {
    for (const hour of [1, 2, 3])
      file.replace(VOLTAGE, at(hour), minutesOf(hour, Array(60).keys().toArray()));
  });
  file.seal();
  alter(path, `UPDATE rollup SET body = CAST(substr(hex(body), 1, 40) AS BLOB) WHERE start = ${at(2)}`);

  const reader = RollupFile.openForReading(path, 'minute');
  const found = reader.read(VOLTAGE, at(0), at(24));
  const counted = reader.damagedRows;
  reader.close();
  const writer = RollupFile.openForWriting(path, 'minute');
  write(writer, () => writer.replace(VOLTAGE, at(2), minutesOf(2, [1])));

  t.same(new Set(found.map(({ start }) => Math.floor((start - MIDNIGHT) / HOUR))), new Set([1, 3]));
  t.equal(counted, 1);
  t.equal(writer.read(VOLTAGE, at(0), at(24)).length, 121, 'and computed again');
  writer.close();
  t.end();
});

/** Temperatures, flows, counters, switches and setpoints, once a second. */
function plant(series: number, second: number): PointValue {
  const wave = Math.sin((second + series * 997) / 900) + 0.3 * Math.sin(second / 7 + series);
  switch (series % 6) {
    case 0:
      return Math.round((60 + 4 * wave) * 10) / 10;
    case 1:
      return Math.round((120 + 9 * wave) * 1_000) / 1_000;
    case 2:
      return 1_234_567 + second * 7 + Math.round(wave);
    case 3:
      return wave > 0;
    case 4:
      return 50;
    default:
      return Math.round(1_480 + 10 * wave);
  }
}

t.test('a minute takes less than 16 bytes on disk, with everything', (t) => {
  const path = join(folder(t), 'minute.db');
  const file = RollupFile.openForWriting(path, 'minute');
  let buckets = 0;
  const all = Array.from({ length: 60 }, (_, series) => {
    const rows = Array.from({ length: 6 * 3_600 }, (_, i) => good(0, MIDNIGHT + i * 1_000, plant(series, i)));
    return {
      name: { device: `device-${series % 6}`, point: `point-${series}` },
      rollups: rolled(rows, minutes(1)),
    };
  });
  for (let hour = 0; hour < 6; hour++)
    write(file, () => {
      for (const { name, rollups } of all) {
        file.replace(name, at(hour), rollups.slice(hour * 60, hour * 60 + 60));
        buckets += 60;
      }
    });
  file.seal();

  const each = statSync(path).size / buckets;

  t.comment(`${each.toFixed(1)} bytes a minute`);
  t.ok(each < 16);
  t.end();
});

t.test('means and deviations of the view are those of the code', noShell, (t) => {
  const path = join(folder(t), 'hour.db');
  const file = RollupFile.openForWriting(path, 'hour');
  const rollups = [
    ...hourOf(1, 1e15, 1e15 + 3),
    ...hourOf(2, 4e18, 5e18, 9e18),
    ...hourOf(3, 0.1 + 0.2, 0.1 + 0.2),
  ];
  write(file, () => file.mergeInto(VOLTAGE, rollups));
  file.seal();
  const reader = RollupFile.openForReading(path, 'hour');

  const shown = shell(path, 'SELECT mean, deviation FROM hour')
    .split('\n')
    .map((line) => line.split(' | ').map(Number));

  const read = reader.read(VOLTAGE, at(0), at(24)).map((rollup) => [meanOf(rollup), deviationOf(rollup)]);
  for (const [i, pair] of shown.entries())
    for (const [k, value] of pair.entries()) {
      const wanted = read[i]?.[k] ?? Number.NaN;
      t.ok(Math.abs(value - wanted) <= 1e-14 * Math.abs(wanted), `${value} ${wanted}`);
    }
  reader.close();
  t.end();
});

function thrownBy(act: () => unknown): unknown {
  try {
    act();
    return undefined;
  } catch (error) {
    return error;
  }
}
