import {
  closeSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { lockFile, openForWriting } from '../../src/store/open.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import {
  backUp,
  databases,
  folderOf,
  makeData,
  makeDatabase,
  refusal,
  restore,
  rowsIn,
  verified,
} from './support.ts';

function scene(
  t: Test,
  rows = 20,
): { readonly folder: string; readonly data: string; readonly path: string } {
  const folder = folderOf(t);
  const data = join(folder, 'data');
  makeData(data, rows);
  return { folder, data, path: join(folder, 'backup.tar') };
}

const namesIn = async (path: string): Promise<string[]> =>
  (await verified(path)).entries.map(({ name }) => name);

t.test('files that are written are copied as of one moment, finished ones as they are', async (t) => {
  const { folder, data, path } = scene(t);
  const open = makeDatabase(join(data, 'raw/2026-11-26.db'), 33, false);
  t.teardown(() => open?.close());
  const snapshots: string[] = [];
  const snapshot = (file: string, copy: string): void => {
    snapshots.push(file.slice(data.length + 1));
    databases.snapshot(file, copy);
    open?.exec("INSERT INTO row(text) VALUES('later')");
  };

  await backUp(data, path, { databases: { ...databases, snapshot } });

  t.strictSame(snapshots, ['telemetry.db', 'raw/2026-11-26.db', 'history.db']);
  t.strictSame(
    (await namesIn(path)).map((name) => name.split('/')[0]),
    ['telemetry.db', 'raw', 'raw', 'raw', 'raw', 'minute', 'hour', 'history.db'],
    'the order that makes the copies fit each other',
  );
  const into = join(folder, 'into');
  await restore(path, into);
  t.equal(
    rowsIn(join(into, 'raw/2026-11-26.db')),
    34,
    'with what was written after the first copy, and no more',
  );
});

t.test('late samples that go into a finished file while it is copied do not tear the copy', async (t) => {
  const { folder, data, path } = scene(t);
  const file = join(data, 'raw/2026-11-24.db');
  let late: ReturnType<typeof openForWriting> | undefined;
  const check = (path: string, name: string): number => {
    const version = databases.check(path, name);
    if (path === file && late === undefined) {
      late = openForWriting(file, 2 ** 26);
      late.exec("INSERT INTO row(text) VALUES('late')");
    }
    return version;
  };

  await backUp(data, path, { databases: { ...databases, check } });

  late?.close();
  const into = join(folder, 'into');
  await restore(path, into);
  t.equal(rowsIn(join(into, 'raw/2026-11-24.db')), 21);
  t.equal((await namesIn(path)).length, 7);
});

t.test('what retention takes while the backup is made is left out', async (t) => {
  const { folder, data, path } = scene(t);
  const dropped = join(data, 'raw/2026-11-24.db');
  const isSealed = (file: string): boolean => {
    if (file === dropped) rmSync(file);
    return databases.isSealed(file);
  };

  const { leftOut } = await backUp(data, path, { databases: { ...databases, isSealed } });

  t.strictSame(leftOut, [], 'nothing is wrong with that');
  t.notOk((await namesIn(path)).includes('raw/2026-11-24.db'));
  await restore(path, join(folder, 'into'));
});

t.test('a damaged day is left out and told; without telemetry.db there is no backup', async (t) => {
  const { folder, data, path } = scene(t);
  writeFileSync(join(data, 'raw/2026-11-24.db'), 'torn');
  utimesSync(join(data, 'raw/2026-11-24.db'), 1_700_000_000, 1_700_000_000);
  writeFileSync(join(data, 'minute/2026-11-24.db'), 'torn');

  const { leftOut } = await backUp(data, path);

  t.match(leftOut, [
    { name: 'raw/2026-11-24.db', why: /file is not a database/ },
    { name: 'minute/2026-11-24.db', why: /file is not a database/ },
  ]);
  t.strictSame((await verified(path)).manifest.leftOut, leftOut);
  await restore(path, join(folder, 'into'));
  writeFileSync(join(data, 'telemetry.db'), 'torn');
  t.match(
    await refusal(async () => backUp(data, join(folder, 'other.tar'))),
    /cannot read .*telemetry.db: file is not a database/,
  );
  t.strictSame(readdirSync(folder).sort(), ['backup.tar', 'data', 'into']);
});

t.test('a day that somebody holds is waited for; held on and on it fails the backup', async (t) => {
  const { folder, data, path } = scene(t);
  const file = join(data, 'raw/2026-11-25.db');
  let letGo = lockFile(file);
  const isHeld = (error: unknown): boolean => {
    letGo?.();
    return databases.isHeld(error);
  };

  const { leftOut } = await backUp(data, path, { databases: { ...databases, isHeld } });

  t.strictSame(leftOut, []);
  t.ok((await namesIn(path)).includes('raw/2026-11-25.db'));

  letGo = lockFile(file);
  t.teardown(() => letGo?.());
  t.match(
    await refusal(async () => backUp(data, join(folder, 'other.tar'), { patience: 0 })),
    /^cannot read raw\/2026-11-25.db: database is locked; another program holds it: end that one/,
  );
  t.strictSame(readdirSync(folder).sort(), ['backup.tar', 'data'], 'no half backup');
});

function failing(file: string): boolean {
  if (file.includes('/raw/')) throw Object.assign(new Error('EIO: i/o error, read'), { code: 'EIO' });
  return databases.isSealed(file);
}

t.test('a database of a newer Sluice, or one that may not be read, is never left out', async (t) => {
  const { folder, data, path } = scene(t);
  for (const name of ['raw/2026-11-25.db', 'history.db', 'telemetry.db']) {
    const db = openForWriting(join(data, name), 2 ** 26);
    const version = Number(db.pragma('user_version', { simple: true }));
    db.pragma('user_version = 9');

    t.match(
      await refusal(async () => backUp(data, path)),
      new RegExp(`^${name} was written by a newer Sluice \\(its schema is 9, this one reads \\d\\); install`),
    );
    t.strictSame(readdirSync(folder), ['data'], 'no half backup');
    db.pragma(`user_version = ${version}`);
    db.close();
  }

  t.match(
    await refusal(async () => backUp(data, path, { databases: { ...databases, isSealed: failing } })),
    /^cannot read raw\/2026-11-24.db: EIO: i\/o error, read; .* look what the kernel says of this disk/,
  );
  t.strictSame(readdirSync(folder), ['data']);
});

t.test('a disk that has no room for a copy fails the backup', { skip: cannotMount() }, async (t) => {
  const { folder, data } = scene(t);
  makeDatabase(join(data, 'raw/2026-11-26.db'), 50_000, false)?.close();
  const disk = mountSmallDisk(join(folder, 'disk'), 32);
  t.teardown(() => disk.unmount());
  const snapshot = (file: string, copy: string): void => {
    if (file.endsWith('2026-11-26.db')) fillDisk(join(folder, 'disk'), 200_000);
    databases.snapshot(file, copy);
  };

  t.match(
    await refusal(async () =>
      backUp(data, join(folder, 'disk/backup.tar'), { databases: { ...databases, snapshot } }),
    ),
    /^cannot read raw\/2026-11-26.db: database or disk is full; make room there, or name a file on another disk/,
  );
  t.strictSame(readdirSync(join(folder, 'disk')), ['stone']);
});

t.test('a backup that is stopped, or that the disk garbles, leaves nothing behind', async (t) => {
  const { folder, data, path } = scene(t, 5_000);
  const stop = new AbortController();

  await t.rejects(backUp(data, path, { signal: stop.signal, advance: () => stop.abort() }), {
    name: 'AbortError',
  });
  t.strictSame(readdirSync(folder), ['data']);

  let garbled = false;
  const advance = (): void => {
    if (garbled) return;
    garbled = true;
    const file = openSync(`${path}.${process.pid}.partial`, 'r+');
    writeSync(file, 'X', 700);
    closeSync(file);
  };
  t.match(
    await refusal(async () => backUp(data, path, { advance })),
    /^the backup is damaged: telemetry.db is not what was backed up/,
  );
  t.strictSame(readdirSync(folder), ['data']);
});

t.test(
  'a disk that fills while the backup is written is told, and gets its room back',
  { skip: cannotMount() },
  async (t) => {
    const { folder, data } = scene(t, 100_000);
    const disk = mountSmallDisk(join(folder, 'disk'), 96);
    t.teardown(() => disk.unmount());
    const path = join(folder, 'disk/backup.tar');
    let stone: string | undefined;
    const advance = (): void => {
      stone ??= fillDisk(join(folder, 'disk'), 3_000_000);
    };
    t.ok(statSync(join(data, 'raw/2026-11-24.db')).size > 3_000_000);

    const says = await refusal(async () => backUp(data, path, { advance }));

    t.match(says, /^cannot write .*backup.tar: ENOSPC.*; make room there, or name a file on another disk/);
    t.strictSame(readdirSync(join(folder, 'disk')), ['stone']);
  },
);
