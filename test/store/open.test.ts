import { copyFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { assertDurable, isDamage, isTrouble, openForReading, openForWriting } from '../../src/store/open.ts';
import { directory } from './fixture.ts';

t.test('a database is written with an fsync for every commit, also when it is opened again', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  for (const time of ['first', 'second']) {
    const db = openForWriting(file, 67_108_864);
    db.exec('CREATE TABLE IF NOT EXISTS some(thing); INSERT INTO some VALUES(1)');

    t.equal(db.pragma('synchronous', { simple: true }), 2, `the ${time} time`);
    t.doesNotThrow(() => assertDurable(db));
    db.close();
  }
});

t.test('a database that would lose acknowledged samples on a power cut is refused', async (t) => {
  const db = openForWriting(join(directory(t), 'telemetry.db'), 67_108_864);
  db.pragma('synchronous = NORMAL');
  db.exec('CREATE TABLE some(thing)');

  t.throws(() => assertDurable(db), { code: 'STORE_FAILED', message: /synchronous is 1, not FULL/ });
  db.pragma('synchronous = FULL');
  db.pragma('journal_mode = DELETE');
  t.throws(() => assertDurable(db), { code: 'STORE_FAILED', message: /journal mode delete/ });
  db.close();
});

t.test('damage and trouble are told apart', async (t) => {
  const db = openForWriting(join(directory(t), 'telemetry.db'), 67_108_864);
  db.pragma('max_page_count = 2');
  const full = (): void => {
    db.exec('CREATE TABLE some(thing); INSERT INTO some VALUES(zeroblob(100000))');
  };
  let error: unknown;
  try {
    full();
  } catch (found) {
    error = found;
  }

  t.match(error, { code: 'SQLITE_FULL' });
  t.ok(isTrouble(error) && !isDamage(error));
  t.ok(isTrouble(Object.assign(new Error('no space'), { code: 'ENOSPC' })));
  t.notOk(isTrouble(new TypeError('a bug')) || isDamage(new TypeError('a bug')));
  db.close();
});

t.test('what a power cut left half done in a sealed file is rolled back before it is read', async (t) => {
  const folder = directory(t);
  const live = join(folder, 'live.db');
  const cut = join(folder, 'cut.db');
  const db = openForWriting(live, 67_108_864);
  db.exec("CREATE TABLE some(thing); INSERT INTO some VALUES('whole')");
  db.pragma('journal_mode = DELETE');
  db.pragma('cache_size = 1'); // what does not fit is written before the commit
  db.exec(
    "BEGIN; UPDATE some SET thing = 'half'; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500) INSERT INTO some SELECT randomblob(1000) FROM n",
  );

  copyFileSync(live, cut);
  copyFileSync(`${live}-journal`, `${cut}-journal`);
  const again = openForReading(cut);

  t.same(again.prepare('SELECT thing FROM some').pluck().all(), ['whole']);
  again.close();
  db.exec('ROLLBACK');
  db.close();
});
