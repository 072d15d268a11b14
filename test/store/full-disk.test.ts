import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { mebibytes } from '../../src/core/units.ts';
import { FullDisk } from '../../src/store/full-disk.ts';
import { noRoom } from '../../src/store/open.ts';
import { type Committed, type Store, openStore } from '../../src/store/store.ts';
import { directory } from './fixture.ts';

/** A store whose commits meet a full disk so often before one finds room; what was told, and after how many. */
function met(
  t: Parameters<typeof directory>[0],
  times: number,
): { readonly commit: () => Committed; readonly told: number[] } {
  const file = join(directory(t), 'telemetry.db');
  const store: Store = openStore({ file, limit: mebibytes(16), log: silentLog });
  t.teardown(() => store.close());
  const told: number[] = [];
  let attempts = 0;
  const onFull = (): void => void told.push(attempts);
  const fullDisk = new FullDisk({ file, log: silentLog, elapsed: () => 0, onFull });
  const attempt = (): Committed => {
    if (++attempts <= times) throw noRoom('database or disk is full');
    return store.commit({ rows: [], log: [], gaps: [] }, Date.now());
  };
  rmSync(file.replace('.db', '.spare'), { force: true }); // there is none to go on in
  return { told, commit: () => fullDisk.commit(store, attempt) };
}

t.test('nobody hears of a full disk where copying the log back is enough', (t) => {
  const { commit, told } = met(t, 1);

  commit();

  t.same(told, []);
  t.end();
});

t.test('where nothing helps it is told once, when everything was tried', (t) => {
  const { commit, told } = met(t, 10);

  t.throws(commit, { code: 'SQLITE_FULL' });

  t.same(told, [2]);
  t.end();
});
