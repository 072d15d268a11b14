import { cpSync, existsSync, readFileSync, readdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import Sqlite from 'better-sqlite3';
import * as fc from 'fast-check';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { UNCERTAIN, reasonCode } from '../../src/core/quality.ts';
import { epochMs } from '../../src/core/units.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { isSealed } from '../../src/store/history/make-file.ts';
import { RawFile, readChunk } from '../../src/store/history/raw-file.ts';
import { isDamage } from '../../src/store/open.ts';
import {
  DAY,
  HOUR,
  LIMIT,
  type Written,
  addAll,
  asRead,
  chunkSizes,
  dayFile,
  opened,
  read,
  ticks,
  write,
} from './raw-fixture.ts';

const TIMEOUT = reasonCode('timeout');

t.test('what is written is there after it is opened again, of every form and quality', async (t) => {
  const at = dayFile(t);
  const mixed: Written[] = [
    { series: 2, at: 5, value: true },
    { series: 2, at: 5, value: 'text "ä" \u0000' },
    { series: 2, at: 17, value: null, reason: TIMEOUT },
    { series: 2, at: 90, value: 7.25, quality: UNCERTAIN, reason: reasonCode('stale') },
    { series: 2, at: 24 * HOUR - 1, value: -0.1 },
  ];
  const file = RawFile.forWriting(at, LIMIT);
  write(file, [...ticks(1, 0, 5_000), ...mixed], 9);
  file.close();

  const again = opened(t, at);

  t.same(read(again, 1), asRead(ticks(1, 0, 5_000)));
  t.same(read(again, 2), asRead(mixed));
  t.equal(again.filedRow(77), 9);
  t.equal(again.filedRow(78), 0, 'a log that it does not know');
  t.same(
    again.series().map(({ device, point, unit }) => [device, point, unit]),
    [
      ['device-0', 'point-1', 'V'],
      ['device-0', 'point-2', 'V'],
    ],
  );
});

t.test('a part of a day is asked for by time', async (t) => {
  const file = opened(t, dayFile(t));
  for (let hour = 0; hour < 4; hour++) write(file, ticks(1, hour * HOUR, 3_600));
  const [series] = file.series();

  const found = file.chunks(series?.id ?? 0, epochMs(DAY + HOUR), epochMs(DAY + 2 * HOUR));

  t.same(
    found.map(({ t0, t1 }) => [t0 - DAY, t1 - DAY]),
    [[HOUR, 2 * HOUR - 1_000]],
  );
});

t.test('a crash between add and commit leaves nothing, not even the mark', async (t) => {
  const at = dayFile(t);
  const file = opened(t, at);
  write(file, ticks(1, 0, 100), 1);
  file.begin();
  addAll(file, [...ticks(1, 100_000, 100), ...ticks(3, 0, 20_000, 100)]);
  file.mark(77, 2);

  // What a process that is killed at this moment leaves behind.
  const crashed = dayFile(t);
  cpSync(dirname(at.path), dirname(crashed.path), { recursive: true });
  const beside = RawFile.forReading(at);
  const seen = [read(beside, 1).length, read(beside, 3).length, beside.filedRow(77)];
  beside.close();
  const found = opened(t, crashed);

  t.same(seen, [100, 0, 1], 'who reads along sees what is committed');
  t.same(read(found, 1), asRead(ticks(1, 0, 100)));
  t.same([read(found, 3).length, found.filedRow(77), found.unrolled().length], [0, 1, 1]);
  write(found, [...ticks(1, 100_000, 100), ...ticks(3, 0, 10)], 2);
  t.same(read(found, 1), asRead(ticks(1, 0, 200)), 'and the same rows can be written again');
  file.commit();
  t.equal(read(file, 3).length, 20_000);
});

t.test('what was rolled back can be added again, with the series that were new', async (t) => {
  const file = opened(t, dayFile(t));
  file.rollback();
  file.begin();
  addAll(file, ticks(4, 0, 10));
  file.rollback();
  file.rollback();

  write(file, [...ticks(5, 0, 10), ...ticks(4, 0, 10)]);

  t.same([read(file, 4), read(file, 5)], [asRead(ticks(4, 0, 10)), asRead(ticks(5, 0, 10))]);
  t.same(
    file.unrolled().map(({ hour, series }) => [hour - DAY, series.length]),
    [[0, 2]],
  );
});

t.test('small chunks are merged with what follows, instead of becoming many', async (t) => {
  const file = opened(t, dayFile(t));
  for (let k = 0; k < 60; k++) write(file, [...ticks(1, k * 10_000, 10), ...ticks(2, k * 600_000, 1)], k);

  t.same(read(file, 1), asRead(ticks(1, 0, 600)));
  t.same(read(file, 2).length, 60);
  t.same(chunkSizes(file, 2), [60]);
  t.ok(chunkSizes(file, 1).length <= 3, `${chunkSizes(file, 1).length} chunks of 600 samples`);
});

t.test('late samples are merged with the small chunk before them, and overlap what is there', async (t) => {
  const file = opened(t, dayFile(t));
  write(file, ticks(1, 0, 1_000), 1);
  write(file, ticks(1, 7_200_000, 1_000), 2);
  write(file, ticks(1, 3_600_000, 5), 3);
  write(file, ticks(1, 3_605_000, 5), 4);
  write(file, [...ticks(1, 10_500, 3)], 5);

  t.same(chunkSizes(file, 1), [1_000, 3, 10, 1_000]);
  t.same(
    read(file, 1)
      .map(({ at }) => at)
      .sort((a, b) => a - b),
    [...ticks(1, 0, 1_000), ...ticks(1, 10_500, 3), ...ticks(1, 3_600_000, 10), ...ticks(1, 7_200_000, 1_000)]
      .map(({ at }) => at)
      .sort((a, b) => a - b),
  );
});

t.test('whatever comes in whatever order is there once', async (t) => {
  const sample = fc.record({
    series: fc.constantFrom(1, 2, 3),
    at: fc.oneof(
      fc.nat(300).map((n) => n * 1_000),
      fc.nat(24 * HOUR - 1),
    ),
    value: fc.oneof(
      fc.integer(),
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.constantFrom(true, 'a', ''),
    ),
  });
  const files = fc.array(fc.array(sample, { minLength: 1, maxLength: 60 }), { minLength: 1, maxLength: 8 });
  fc.assert(
    fc.property(files, (transactions) => {
      const at = dayFile(t);
      let file = RawFile.forWriting(at, LIMIT);
      for (const [i, samples] of transactions.entries()) {
        write(file, samples, i + 1);
        if (i % 3 === 0) {
          file.close();
          file = RawFile.forWriting(at, LIMIT);
        }
      }
      for (const series of [1, 2, 3]) {
        const expected = transactions.flat().filter((written) => written.series === series);
        t.same(sorted(read(file, series)), sorted(asRead(expected)));
      }
      t.same(
        hoursOf(file),
        [...new Set(transactions.flat().map((one) => Math.floor(one.at / HOUR)))].sort((a, b) => a - b),
      );
      file.close();
    }),
    { numRuns: 15 },
  );
});

function sorted(samples: readonly { at: number }[]): string[] {
  return samples.map((sample) => JSON.stringify(sample)).sort();
}

function hoursOf(file: RawFile): number[] {
  return file.unrolled().map(({ hour }) => (hour - DAY) / HOUR);
}

t.test('hours that were touched are to be rolled up, until they were', async (t) => {
  const file = opened(t, dayFile(t));
  write(file, [...ticks(1, 0, 7_200), ...ticks(2, HOUR, 10)]);
  const [first, second] = file.unrolled();

  t.same(hoursOf(file), [0, 1]);
  t.equal(first?.series.length, 1);
  t.equal(second?.series.length, 2);
  file.setRolled(epochMs(DAY), first?.upTo ?? 0);
  t.same(hoursOf(file), [1]);
  write(file, ticks(2, HOUR + 60_000, 10), 1, 78); // of another log, whose rows begin again
  file.setRolled(epochMs(DAY + HOUR), second?.upTo ?? 0);
  t.same(
    file.unrolled().map(({ hour, series }) => [(hour - DAY) / HOUR, series.length]),
    [[1, 1]],
    'what came meanwhile is still to be rolled up',
  );
});

t.test('an hour is not touched by samples that are only written again with others', async (t) => {
  const file = opened(t, dayFile(t));
  write(file, ticks(1, 0, 5, 600_000));
  for (const { hour, upTo } of file.unrolled()) file.setRolled(hour, upTo);

  write(file, ticks(1, HOUR, 5, 600_000));

  t.same(chunkSizes(file, 1), [10]);
  t.same(hoursOf(file), [1]);
});

t.test('a file that is sealed is one file, and takes late samples all the same', async (t) => {
  const at = dayFile(t);
  const file = RawFile.forWriting(at, LIMIT);
  write(file, ticks(1, 0, 5_000), 1);
  t.ok(file.bytes > readFileSync(at.path).length, 'with its log');
  t.notOk(isSealed(at.path));

  t.ok(file.seal());

  t.ok(isSealed(at.path));
  const reading = RawFile.forReading(at);
  t.equal(read(reading, 1).length, 5_000);
  reading.close();
  t.same(readdirSync(dirname(at.path)), [basename(at.path)], 'reading leaves nothing beside it');
  const late = RawFile.forWriting(at, LIMIT);
  write(late, ticks(1, 6 * HOUR, 10), 2);
  t.ok(late.seal());
  const again = RawFile.forReading(at);
  t.teardown(() => again.close());
  t.equal(read(again, 1).length, 5_010);
  t.equal(again.filedRow(77), 2);
});

t.test('while somebody reads, a file is not sealed', async (t) => {
  const at = dayFile(t);
  const file = RawFile.forWriting(at, LIMIT);
  write(file, ticks(1, 0, 100));
  const reader = RawFile.forReading(at);

  reader.snapshot(() => {
    t.equal(read(reader, 1).length, 100);
    t.notOk(file.seal());
    t.equal(read(reader, 1).length, 100);
  });
  reader.close();

  t.ok(RawFile.forWriting(at, LIMIT).seal());
  t.ok(isSealed(at.path));
});

t.test('a file of a newer Sluice is refused in a clear sentence and left alone', async (t) => {
  const at = dayFile(t);
  RawFile.forWriting(at, LIMIT).seal();
  const db = new Sqlite(at.path);
  db.pragma('user_version = 9');
  db.close();
  const before = readFileSync(at.path);

  for (const open of [() => RawFile.forReading(at), () => RawFile.forWriting(at, LIMIT)])
    t.throws(open, {
      code: 'STORE_FAILED',
      message: /newer Sluice \(its schema is 9/,
      remedy: /install that version/,
    });
  t.ok(readFileSync(at.path).equals(before));
});

t.test('a file that is damaged, or of something else, is told as damage', async (t) => {
  const rubbish = dayFile(t);
  const cut = dayFile(t);
  const foreign = dayFile(t);
  const empty = dayFile(t);
  for (const at of [rubbish, cut, foreign, empty]) {
    const file = RawFile.forWriting(at, LIMIT);
    write(file, ticks(1, 0, 20_000));
    file.seal();
  }
  writeFileSync(rubbish.path, 'rubbish'.repeat(1_000));
  truncateSync(cut.path, 3_000);
  rmSync(foreign.path);
  new Sqlite(foreign.path).exec('CREATE TABLE song(title TEXT)').close();
  writeFileSync(empty.path, '');

  for (const at of [rubbish, cut, foreign, empty])
    for (const open of [() => RawFile.forReading(at), () => RawFile.forWriting(at, LIMIT)]) {
      try {
        const file = open();
        t.teardown(() => file.close());
        read(file, 1);
        t.fail('it was read');
      } catch (error) {
        t.ok(isDamage(error), String(error));
      }
    }
});

t.test('a chunk whose body is damaged costs no other sample, and stays for who looks at it', async (t) => {
  const at = dayFile(t);
  const file = opened(t, at);
  write(file, [...ticks(1, 0, 100), ...ticks(2, 0, 100)]);
  const db = new Sqlite(at.path);
  db.exec(
    "UPDATE chunk SET body = x'789c0102' WHERE series = (SELECT id FROM series WHERE point = 'point-1')",
  );
  db.close();

  write(file, [...ticks(1, 100_000, 100), ...ticks(2, 100_000, 100)]);

  t.same(chunkSizes(file, 1), [100, 100]);
  t.same(read(file, 2), asRead(ticks(2, 0, 200)));
  const [broken, whole] = file.chunks(1, DAY, epochMs(DAY + HOUR));
  if (broken === undefined || whole === undefined) throw new Error('chunks are missing');
  t.throws(() => readChunk(broken, 1, new BatchBuilder()), Error);
  const into = new BatchBuilder();
  readChunk(whole, 1, into);
  t.equal(into.count, 100);
  t.throws(() => readChunk({ ...whole, n: 99 }, 1, new BatchBuilder()), /100 samples where 99/);
});

t.test('what an earlier file of the same name left behind does not get into a new one', async (t) => {
  const at = dayFile(t);
  const old = opened(t, at);
  write(old, ticks(1, 0, 5_000));
  const log = readFileSync(`${at.path}-wal`);
  old.close();
  rmSync(at.path);
  writeFileSync(`${at.path}-wal`, log);
  writeFileSync(`${at.path}.new`, 'half a draft');

  const file = opened(t, at);

  t.same(file.series(), []);
  write(file, ticks(2, 0, 10));
  t.equal(read(file, 2).length, 10);
  t.notOk(existsSync(`${at.path}.new`));
});

t.test('parts of a day are files of their own', async (t) => {
  const first = dayFile(t);
  const second = fileAt(join(dirname(first.path), '..'), 'raw', DAY, 2);
  write(opened(t, first), ticks(1, 0, 10), 1);
  write(opened(t, second), ticks(1, 10_000, 10), 2);

  t.same(
    readdirSync(dirname(first.path)).filter((name) => name.endsWith('.db')),
    ['2026-11-22.2.db', '2026-11-22.db'],
  );
});
