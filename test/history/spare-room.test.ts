import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { bytes, mebibytes } from '../../src/core/units.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { isRolledUp } from './complete.ts';
import { MINUTE, NOON, SECOND, Site, WEEK, regular } from './fixture.ts';

const skip = cannotMount();

/** A disk of 24 MB on which the only file of the history is raw, and its hour is not rolled up. */
async function onSmallDisk(t: Test, spareBytes: number): Promise<Site> {
  const parent = mkdtempSync(join(tmpdir(), 'history-disk-'));
  const folder = join(parent, 'disk');
  const disk = mountSmallDisk(folder, 24);
  t.teardown(() => {
    disk.unmount();
    rmSync(parent, { recursive: true, force: true });
  });
  const small = { headSamples: 2_000, spareBytes: bytes(spareBytes) };
  const site = new Site(t, { folder, retention: { ...WEEK, disk: mebibytes(100) }, small });
  site.commit(regular(NOON, 600));
  await site.settle();
  return site;
}

t.test(
  'on a full disk the only raw file goes, after its hours found room in the spare room',
  { skip },
  async (t) => {
    const site = await onSmallDisk(t, mebibytes(2));
    const spare = join(site.folder, 'history.spare');
    t.equal(statSync(spare).size, mebibytes(2), 'room is kept');
    t.equal(site.files('raw').length, 1);
    t.same(site.files('minute'), [], 'nothing is rolled up');
    const stone = fillDisk(site.folder, 0);

    site.historian.shed();
    await site.settle();

    t.match(site.historian.state(), { filesDropped: 1, failing: null });
    t.same(site.files('raw'), []);
    isRolledUp(t, site, () => true);
    t.match(site.events.at(-1), { kind: 'history-shed', subject: 'raw' });

    rmSync(stone);
    site.clock.advance(20 * SECOND);
    await site.settle();
    t.equal(statSync(spare).size, mebibytes(2), 'it is taken again when there is room');
  },
);

t.test(
  'without room of its own it says that it fails, and goes on when somebody makes some',
  { skip },
  async (t) => {
    const site = await onSmallDisk(t, 0);
    t.notOk(existsSync(join(site.folder, 'history.spare')));
    const stone = fillDisk(site.folder, 0);

    site.historian.shed();
    await site.settle();
    t.match(site.historian.state(), { filesDropped: 0, failing: /full/ });

    rmSync(stone);
    site.clock.advance(MINUTE);
    await site.nextHour();
    t.match(site.historian.state(), { failing: null });
    isRolledUp(t, site, () => true);
  },
);
