import { execFileSync } from 'node:child_process';
import * as fs from 'node:fs';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { discardStaged, finishRestore, present } from '../../src/backup/swap.ts';
import { silentLog } from '../../src/core/log.ts';
import { openStore } from '../../src/store/store.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import type * as support from './support.ts';
import {
  asideFor,
  backUp,
  contentOf,
  folderOf,
  forge,
  makeData,
  makeDatabase,
  refusal,
  restore,
  rowsIn,
} from './support.ts';

async function scene(
  t: Test,
  rows = 20,
): Promise<{ readonly data: string; readonly path: string; readonly folder: string }> {
  const folder = folderOf(t);
  const data = join(folder, 'data');
  makeData(data, rows);
  const path = join(folder, 'backup.tar');
  await backUp(data, path);
  return { data, path, folder };
}

t.test('what was backed up is restored, file by file, and nothing else is there', async (t) => {
  const { data, path, folder } = await scene(t);
  const into = join(folder, 'into');

  await restore(path, into);

  const names = [...contentOf(into).keys()].sort();
  t.strictSame(names, [
    'history.db',
    'hour/2026-11.db',
    'minute/2026-11-24.db',
    'raw/2026-11-24.db',
    'raw/2026-11-25.2.db',
    'raw/2026-11-25.db',
    'telemetry.db',
    'telemetry.seq',
  ]);
  for (const name of names.filter((name) => name.includes('/')))
    t.strictSame(
      readFileSync(join(into, name)),
      readFileSync(join(data, name)),
      `${name}: sealed, copied as it is`,
    );
});

/** What a book says is filed. */
function marks(file: string): string {
  const sql = "SELECT value FROM meta WHERE key LIKE 'filed:%'";
  return execFileSync('sqlite3', ['-readonly', file, sql], { encoding: 'utf8' });
}

t.test(
  'the book is restored without its marks, so that what the log holds is filed again where it is missing',
  async (t) => {
    const { data, path, folder } = await scene(t);
    const into = join(folder, 'into');

    await restore(path, into);

    t.equal(marks(join(into, 'history.db')), '');
    t.equal(marks(join(data, 'history.db')), '1000\n', 'those of the gateway are untouched');
  },
);

t.test('a restored gateway uses no number twice, and tells which it left out', async (t) => {
  const { data, path, folder } = await scene(t);
  const sequence = join(data, 'telemetry.seq');
  // After the backup it went on and reserved far more.
  writeFileSync(sequence, '{"from":1,"upto":900000,"kept":1}\n');

  await restore(path, data, true);

  const store = openStore({ file: join(data, 'telemetry.db'), limit: 64 * 1_048_576, log: silentLog });
  t.teardown(() => store.close());
  t.ok(store.nextSeq > 900_000, `goes on with ${store.nextSeq}`);
  const told = execFileSync('sqlite3', ['-readonly', join(data, 'telemetry.db'), 'SELECT text FROM outbox'], {
    encoding: 'utf8',
  });
  t.match(told, /"gap":\{"from":1,"to":\d{6,},"reason":"store restored"\}/);
  t.ok(existsSync(join(asideFor(data), 'telemetry.seq')), 'the old is aside');
  t.ok(existsSync(join(folder, 'data/identity')), 'keys stay where they are');
});

t.test('where there is data it needs --force, and the old is moved aside whole', async (t) => {
  const { data, path } = await scene(t);
  makeDatabase(join(data, 'raw/2026-11-26.db'), 3);
  const before = contentOf(data);

  const says = await refusal(async () => restore(path, data));
  t.match(
    says,
    /holds data already: raw, minute, hour, telemetry.seq, telemetry.db, .*; with --force it is moved aside/,
  );
  t.strictSame(contentOf(data), before, 'nothing was touched');

  // Either would be taken for a newer state of the restored database.
  const remains = ['telemetry.db-wal', 'telemetry.db.ready', 'history.db-journal'];
  for (const name of remains) writeFileSync(join(data, name), 'of the old');

  await restore(path, data, true);
  t.notOk(existsSync(join(data, 'raw/2026-11-26.db')));
  t.strictSame(
    remains.filter((name) => existsSync(join(data, name))),
    [],
  );
  t.equal(rowsIn(join(asideFor(data), 'raw/2026-11-26.db')), 3);
  t.ok(existsSync(join(data, 'telemetry.spare')), 'what is no database stays');
});

t.test(
  'a database that is damaged, of a newer Sluice or of another program is refused by name',
  async (t) => {
    const { data, folder } = await scene(t, 2_000);
    const telemetry = { name: 'telemetry.db', path: join(data, 'telemetry.db'), schema: 3 };
    const path = join(folder, 'forged.tar');
    const into = join(folder, 'into');
    const raw = { name: 'raw/2026-11-24.db', path: join(folder, 'raw.db') };
    const says = async (schema: number): Promise<string> =>
      refusal(async () => restore(await forge(path, { files: [telemetry, { ...raw, schema }] }), into));

    const torn = readFileSync(join(data, raw.name));
    torn.fill(0x55, 9_000, 12_000);
    writeFileSync(raw.path, torn);
    t.match(await says(1), /^(raw\/2026-11-24.db is damaged|cannot read .*raw\/2026-11-24.db)/);
    writeFileSync(raw.path, 'no database at all');
    t.match(await says(1), /raw\/2026-11-24.db: file is not a database/);
    for (const [schema, wanted] of [
      [
        2,
        /^raw\/2026-11-24.db was written by a newer Sluice \(its schema is 2, this one reads 1\); install that version/,
      ],
      [0, /^raw\/2026-11-24.db is a database of another program/],
    ] as const) {
      rmSync(raw.path);
      const db = makeDatabase(raw.path, 5, false);
      db?.pragma(`user_version = ${schema}`);
      db?.pragma('journal_mode = DELETE');
      db?.close();
      t.match(await says(schema), wanted);
    }
    t.strictSame(present(into), []);
    t.strictSame(contentOf(into).size, 0);
  },
);

/** `node:fs` that makes `left` more changes, and then fails: the power is gone. */
function mortal(): { readonly fs: object; left: number } {
  const state = { fs: { ...fs }, left: 0 };
  for (const name of ['renameSync', 'mkdirSync', 'rmSync', 'writeFileSync', 'chownSync'] as const)
    Object.assign(state.fs, {
      [name]: (...args: unknown[]): unknown => {
        if (--state.left < 0) throw new Error('power cut');
        return Reflect.apply(fs[name], fs, args);
      },
    });
  return state;
}

t.test('a power cut at any step of a restore leaves the old, or is finished by the next start', async (t) => {
  const { path, folder } = await scene(t);
  const wholeNew = join(folder, 'new');
  await restore(path, wholeNew);
  const newer = databasesOf(wholeNew);
  const template = join(folder, 'template');
  makeData(template, 3);
  makeDatabase(join(template, 'raw/2026-11-23.db'), 7);
  rmSync(join(template, 'telemetry.spare'));
  const older = databasesOf(template);
  const power = mortal();
  const mocked = await t.mockImport<typeof support>('./support.ts', { 'node:fs': power.fs });
  let [olds, news] = [0, 0];

  for (let n = 0, clean = false; !clean; n++) {
    const data = join(folder, `data-${n}`);
    cpSync(template, data, { recursive: true });
    power.left = n;
    try {
      await mocked.restore(path, data, true);
      clean = true;
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'power cut') throw error;
    }
    finishRestore(data); // what the next gateway, or the next restore, does first
    finishRestore(data);
    discardStaged(data); // what the next restore does first

    const found = JSON.stringify(databasesOf(data));
    if (found === JSON.stringify(older)) olds += 1;
    else if (found === JSON.stringify(newer)) {
      news += 1;
      t.strictSame(databasesOf(asideFor(data)), older, `cut ${n}: the old is aside, whole`);
    } else t.fail(`cut ${n}: neither old nor new`);
    rmSync(asideFor(data), { recursive: true, force: true });
    await restore(path, data, true);
    t.strictSame(databasesOf(data), newer, `cut ${n}: and it can be restored again`);
  }
  t.ok(olds > 5 && news > 10, `${olds} cuts left the old, ${news} the new`);
});

t.test('a plan that no restore wrote is refused, and nothing is moved', async (t) => {
  const { data, folder } = await scene(t);
  const elsewhere = join(folder, 'elsewhere');
  mkdirSync(elsewhere);
  const secret = join(folder, 'secret');
  writeFileSync(secret, 'not for everybody');
  const before = contentOf(folder);
  const ready = join(data, 'restore.ready');
  const plant = (aside: unknown): void => {
    rmSync(ready, { recursive: true, force: true });
    mkdirSync(join(ready, 'new'), { recursive: true });
    writeFileSync(join(ready, 'restore.json'), JSON.stringify({ id: 'x', aside }));
  };
  const told = async (): Promise<string> => refusal(async () => finishRestore(data));

  for (const aside of [
    elsewhere,
    `${elsewhere}/new.before-restore-1`,
    `${data}.before-restore-20261126T101112131Z/..`,
    'before-restore-x',
    7,
  ]) {
    plant(aside);
    t.match(await told(), /restore.json .*: no restore of Sluice wrote that; find out who did/);
  }
  rmSync(join(ready, 'restore.json'));
  symlinkSync(secret, join(ready, 'restore.json'));
  const says = await told();
  t.match(says, /restore.json is damaged/);
  t.notMatch(says, /not for everybody/, 'what is behind a link is not shown');
  plant(join(elsewhere, 'before-restore-20261126T101112131Z'));
  const within = join(data, 'before-restore-20261126T101112131Z');
  symlinkSync(elsewhere, within);
  t.match(await told(), /before-restore-20261126T101112131Z is a link/);
  rmSync(ready, { recursive: true });
  rmSync(within);
  t.strictSame(contentOf(folder), before);
  t.strictSame(fs.readdirSync(elsewhere), []);

  plant(join(elsewhere, 'before-restore-20261126T101112131Z'));
  writeFileSync(join(ready, 'new/telemetry.db'), 'new');
  writeFileSync(join(ready, 'new/authorized_keys'), 'planted');
  finishRestore(data);
  t.ok(existsSync(join(within, 'telemetry.db')), 'of a place only the name counts');
  t.equal(readFileSync(join(data, 'telemetry.db'), 'utf8'), 'new');
  t.notOk(existsSync(join(data, 'authorized_keys')), 'only databases are moved in');
});

t.test('the folder that takes the old is on the disk before anything is in it', async (t) => {
  const { data, path } = await scene(t);
  const done: string[] = [];
  const open = new Map<number, string>();
  const watched = {
    ...fs,
    openSync: (file: string, flags: string): number => {
      const handle = fs.openSync(file, flags);
      open.set(handle, file);
      return handle;
    },
    fsyncSync: (handle: number): void => {
      fs.fsyncSync(handle);
      done.push(`sync ${open.get(handle)}`);
    },
    renameSync: (from: string, to: string): void => {
      fs.renameSync(from, to);
      done.push(`to ${to}`);
    },
  };
  const mocked = await t.mockImport<typeof support>('./support.ts', { 'node:fs': watched });

  await mocked.restore(path, data, true);

  const first = done.findIndex((what) => what.startsWith(`to ${asideFor(data)}/`));
  t.ok(first > 0);
  t.equal(done[first - 1], `sync ${join(data, '..')}`);
});

/** Content of every database; the numbers are reserved anew by each restore. */
function databasesOf(folder: string): [string, string][] {
  return [...contentOf(folder)].filter(([name]) => name.endsWith('.db')).sort(([a], [b]) => (a < b ? -1 : 1));
}

t.test('a disk without room is said before anything is written', { skip: cannotMount() }, async (t) => {
  const { data, path, folder } = await scene(t);
  const disk = mountSmallDisk(join(folder, 'disk'), 24);
  t.teardown(() => disk.unmount());
  const into = join(folder, 'disk/data');
  mkdirSync(into);
  const stone = fillDisk(join(folder, 'disk'), 1_000_000);

  t.match(
    await refusal(async () => backUp(data, join(folder, 'disk/backup.tar'))),
    /^the backup needs about 17 MB and there are [01] MB left in .*disk; make room there, or name a file on another disk/,
  );
  t.match(
    await refusal(async () => restore(path, into)),
    /^the restore needs 17 MB and there are [01] MB left in/,
  );
  t.strictSame([...contentOf(join(folder, 'disk')).keys()], ['stone']);
  rmSync(stone);
  await backUp(data, join(folder, 'disk/backup.tar'));
});
