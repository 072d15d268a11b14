import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { type HistoryFile, fileAt } from '../../src/store/history/files.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { isFull } from '../../src/store/open.ts';
import { missingPeer } from '../support/peer.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { DAY, LIMIT, type Written, asRead, dayFile, read, ticks, write } from './raw-fixture.ts';

const skip = cannotMount();

/** A day file on a disk of its own. */
function onSmallDisk(t: Test): { readonly at: HistoryFile; readonly disk: string } {
  const disk = join(dirname(dayFile(t).path), '../disk');
  const mounted = mountSmallDisk(disk, 8);
  t.teardown(() => mounted.unmount());
  return { at: fileAt(disk, 'raw', DAY), disk };
}

function fullError(act: () => void): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  return undefined;
}

/** Values that do not compress. */
function noise(series: number, count: number): Written[] {
  let random = series + 1;
  return Array.from({ length: count }, (_, k) => {
    random = (random * 48_271) % 2_147_483_647;
    return { series, at: k * 1_000, value: random / 1_013 };
  });
}

t.test(
  'on a full disk nothing is half written, and the same samples go in when there is room',
  { skip },
  async (t) => {
    const { at, disk } = onSmallDisk(t);
    const file = RawFile.forWriting(at, LIMIT);
    t.teardown(() => file.close());
    write(file, ticks(1, 0, 100), 1);
    for (const left of [0, 20_000, 200_000]) {
      const stone = fillDisk(disk, left);
      const more = [1, 2, 3, 4, 5, 6].flatMap((series) => noise(series + 10, 20_000));

      const error = fullError(() => write(file, more, 2));
      file.rollback();

      t.ok(isFull(error), `${left} bytes are left: ${String(error)}`);
      t.same([read(file, 1), read(file, 11), file.filedRow(77)], [asRead(ticks(1, 0, 100)), [], 1]);
      rmSync(stone);
    }
    write(file, noise(11, 20_000), 2);
    t.same(read(file, 11), asRead(noise(11, 20_000)));
    t.ok(file.seal());
  },
);

t.test('a file that does not fit on the disk is not there at all', { skip }, async (t) => {
  const { at, disk } = onSmallDisk(t);
  for (const left of [0, 8_192]) {
    const stone = fillDisk(disk, left);

    t.ok(isFull(fullError(() => RawFile.forWriting(at, LIMIT))), `${left} bytes are left`);

    t.notOk(existsSync(at.path));
    t.same(existsSync(dirname(at.path)) ? readdirSync(dirname(at.path)) : [], []);
    rmSync(stone);
  }
  RawFile.forWriting(at, LIMIT).close();
  t.ok(existsSync(at.path));
});

t.test(
  'a sealed file is read where nothing can be written, also by the stock shell',
  { skip: skip === false ? missingPeer('sqlite3', 'sqlite3') : skip },
  async (t) => {
    const { at, disk } = onSmallDisk(t);
    const file = RawFile.forWriting(at, LIMIT);
    write(file, ticks(1, 0, 5_000));
    t.ok(file.seal());
    t.equal(spawnSync('mount', ['-o', 'remount,ro', disk]).status, 0);

    const reading = RawFile.forReading(at);
    t.teardown(() => reading.close());

    t.equal(read(reading, 1).length, 5_000);
    const said = spawnSync('sqlite3', ['-readonly', at.path, 'SELECT count(value) FROM sample'], {
      encoding: 'utf8',
    });
    t.equal(said.stdout.trim(), '5000');
    t.same(readdirSync(dirname(at.path)), [basename(at.path)]);
  },
);
