import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import * as fc from 'fast-check';
import t, { type Test } from 'tap';
import type { Tier } from '../../src/core/history.ts';
import { epochMs } from '../../src/core/units.ts';
import { LATEST, TIERS, fileAt, fileOf, filesIn, nextPart, pathsOf } from '../../src/store/history/files.ts';

const NOON = epochMs(Date.UTC(2026, 10, 22, 12));

function folderWith(t: Test, tier: Tier, names: readonly string[]): string {
  const folder = mkdtempSync(join(tmpdir(), 'files-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  mkdirSync(join(folder, tier));
  for (const name of names) writeFileSync(join(folder, tier, name), '');
  return folder;
}

t.test('a file is named after its UTC day, that of hours after its month', async (t) => {
  t.match(fileAt('data', 'raw', NOON), {
    path: 'data/raw/2026-11-22.db',
    period: '2026-11-22',
    part: 1,
    from: Date.UTC(2026, 10, 22),
    to: Date.UTC(2026, 10, 23),
  });
  t.match(fileAt('data', 'minute', NOON), { path: 'data/minute/2026-11-22.db' });
  t.match(fileAt('data', 'raw', NOON, 3), { path: 'data/raw/2026-11-22.3.db', part: 3 });
  t.match(fileAt('data', 'hour', epochMs(Date.UTC(2026, 11, 31, 23))), {
    path: 'data/hour/2026-12.db',
    from: Date.UTC(2026, 11, 1),
    to: Date.UTC(2027, 0, 1),
  });
  t.match(fileAt('d', 'raw', epochMs(0)), { period: '1970-01-01' });
  t.match(fileAt('d', 'raw', LATEST), { period: '9999-12-31' });
  for (const time of [-1, LATEST + 1, Number.NaN])
    t.throws(() => fileAt('d', 'raw', epochMs(time)), RangeError);
});

t.test('every time has one file, whose name says its period', async (t) => {
  fc.assert(
    fc.property(
      fc.integer({ min: 0, max: LATEST }),
      fc.constantFrom(...TIERS),
      fc.integer({ min: 1, max: 9_999 }),
      (time, tier, part) => {
        const file = fileAt('/data', tier, epochMs(time), part);
        t.ok(file.from <= time && time < file.to);
        t.same(fileOf(file.path), file);
        t.same(fileAt('/data', tier, file.from, part), file);
        t.same(fileAt('/data', tier, epochMs(file.to - 1), part), file);
      },
    ),
  );
});

t.test('files are listed by time and part, and strangers are not', async (t) => {
  const folder = folderWith(t, 'raw', [
    '2026-11-22.db',
    '2026-11-22.10.db',
    '2026-11-22.2.db',
    '2025-12-31.db',
    '2026-11-22.db-wal',
    '2026-11-22.db-shm',
    '2026-11-23.db.damaged-20261123T101500000Z',
    '2026-11-23.db.new',
    '2026-11-24.1.db',
    '2026-11-24.02.db',
    '2026-02-30.db',
    '1969-12-31.db',
    '2026-11.db',
    'README',
  ]);
  mkdirSync(join(folder, 'hour'));
  for (const name of ['2026-11.db', '2026-13.db', '2026-11-22.db', '2024-02.db'])
    writeFileSync(join(folder, 'hour', name), '');

  t.same(
    filesIn(folder, 'raw').map(({ path }) => basename(path)),
    ['2025-12-31.db', '2026-11-22.db', '2026-11-22.2.db', '2026-11-22.10.db'],
  );
  t.same(
    filesIn(folder, 'hour').map(({ period, from, to }) => [period, (to - from) / 86_400_000]),
    [
      ['2024-02', 29],
      ['2026-11', 30],
    ],
  );
  t.same(filesIn(folder, 'minute'), [], 'a folder that is not there yet');
  t.equal(fileOf('/data/other/2026-11-22.db'), undefined);
});

t.test('the next part follows all that are there', async (t) => {
  const folder = folderWith(t, 'raw', ['2026-11-22.2.db', '2026-11-22.7.db', '2026-11-23.9.db']);

  t.equal(basename(nextPart(folder, 'raw', NOON).path), '2026-11-22.8.db');
  t.equal(basename(nextPart(folder, 'raw', epochMs(Date.UTC(2026, 10, 24))).path), '2026-11-24.db');
  t.same(
    pathsOf(fileAt('d', 'raw', NOON)).map((path) => basename(path)),
    ['2026-11-22.db', '2026-11-22.db-wal', '2026-11-22.db-shm'],
  );
});
