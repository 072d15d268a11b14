import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import t, { type Test } from 'tap';
import { finishRestore, present } from '../../src/backup/swap.ts';
import { openForWriting } from '../../src/store/open.ts';
import { Running } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { backUp, folderOf, makeData, restore, rowsIn, verified } from './support.ts';

/** How often a process is killed. */
const KILLS = Number(process.env['BACKUP_KILLS'] ?? 6);

const scriptOf = (name: string): string => join(import.meta.dirname, name);

function running(t: Test, script: string, ...args: string[]): Running {
  const child = new Running(process.execPath, [scriptOf(script), ...args], {
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  t.teardown(async () => child.stop('SIGKILL'));
  return child;
}

/** The numbers of all samples that were acknowledged so far. */
function acknowledged(said: string): Set<number> {
  const numbers = new Set<number>();
  if (!existsSync(said)) return numbers;
  for (const [, first = '', count = ''] of readFileSync(said, 'utf8').matchAll(/^ack (\d+) (\d+)\n/gm))
    for (let k = Number(first); k < Number(first) + Number(count); k++) numbers.add(k);
  return numbers;
}

t.test(
  'a backup while samples are recorded holds all that were acknowledged before it began, once',
  async (t) => {
    const folder = folderOf(t);
    const data = join(folder, 'data');
    mkdirSync(data);
    const said = join(folder, 'said');
    const child = running(t, 'recording-child.ts', join(data, 'telemetry.db'), said);
    await child.says(/ready/);

    for (const round of [1, 2]) {
      const enough = acknowledged(said).size + 3_000;
      await until('samples to come', () => acknowledged(said).size > enough);
      const before = acknowledged(said);
      const path = join(folder, `backup-${round}.tar`);
      await backUp(data, path);
      t.ok(acknowledged(said).size > 0);
      const into = join(folder, `into-${round}`);
      await restore(path, into);

      const found = execFileSync(
        'sqlite3',
        ['-readonly', join(into, 'telemetry.db'), 'SELECT CAST(value AS INTEGER) FROM recent'],
        { encoding: 'utf8', maxBuffer: 2 ** 30 },
      )
        .trimEnd()
        .split('\n')
        .map(Number);
      const once = new Set(found);
      t.equal(once.size, found.length, `round ${round}: ${found.length} samples, none twice`);
      t.strictSame(
        [...before].filter((k) => !once.has(k)),
        [],
        `${before.size} acknowledged before`,
      );
    }
    t.equal(child.over, undefined, 'the gateway was not disturbed');
  },
);

t.test(
  'kill -9 in the middle of a backup leaves the last one whole, and does not hinder the next',
  async (t) => {
    const folder = folderOf(t);
    const data = join(folder, 'data');
    makeData(data, 3);
    fatten(join(data, 'raw/2026-11-24.db'));
    const path = join(folder, 'backup.tar');
    await backUp(data, path);
    let partial = 0;
    for (let kill = 0; kill < KILLS; kill++) {
      const child = running(t, 'repeating-child.ts', 'backup', data, path);
      await child.says(/ready/);
      const isThere = (): boolean => readdirSync(folder).some((name) => name.endsWith('.partial'));
      await until('the backup to begin', isThere);
      await pause(Math.random() * 150);
      await child.stop('SIGKILL');
      if (isThere()) partial += 1;
      t.equal((await verified(path)).manifest.files.length, 7);
    }
    t.ok(partial > 0, `${partial} of ${KILLS} kills hit a backup`);
    await backUp(data, path);
    t.strictSame(readdirSync(folder).sort(), ['backup.tar', 'data']);
  },
);

t.test('kill -9 in the middle of a restore leaves one state, whole', async (t) => {
  const folder = folderOf(t);
  const source = join(folder, 'source');
  makeData(source, 50);
  fatten(join(source, 'raw/2026-11-24.db'));
  const path = join(folder, 'backup.tar');
  await backUp(source, path);
  const data = join(folder, 'data');
  makeData(data, 3);
  let staged = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const child = running(t, 'repeating-child.ts', 'restore', path, data);
    await child.says(/ready/);
    await until('the restore to begin', () => existsSync(join(data, 'restore.partial')));
    await pause(Math.random() * 400);
    await child.stop('SIGKILL');
    if (['partial', 'ready', 'swap'].some((state) => existsSync(join(data, `restore.${state}`)))) staged += 1;
    finishRestore(data);
    const rows = ['raw/2026-11-25.db', 'minute/2026-11-24.db', 'hour/2026-11.db', 'history.db'].map((name) =>
      rowsIn(join(data, name)),
    );
    t.ok(new Set(rows).size === 1 && [3, 50].includes(rows[0] ?? 0), rows.join());
    t.strictSame(present(data).slice(0, 4), ['raw', 'minute', 'hour', 'telemetry.seq']);
  }
  t.ok(staged > 0, `${staged} of ${KILLS} kills hit a restore`);
});

/** Makes a copy take a while. */
function fatten(file: string): void {
  const db = openForWriting(file, 2 ** 30);
  const insert = db.prepare<[Buffer]>('INSERT INTO row(text) VALUES(hex(?))');
  db.transaction(() => {
    for (let i = 0; i < 20; i++) insert.run(randomBytes(1_000_000));
  })();
  db.pragma('journal_mode = DELETE');
  db.close();
}
