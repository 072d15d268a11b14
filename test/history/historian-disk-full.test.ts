import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { mebibytes } from '../../src/core/units.ts';
import type { Stage } from '../../src/store/history/filing.ts';
import { openForReading } from '../../src/store/open.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import {
  HOUR,
  MINUTE,
  NOON,
  Site,
  WEEK,
  bucketsIn,
  bucketsOf,
  differences,
  linesOf,
  rawIn,
  regular,
} from './fixture.ts';

/** A site on a disk of its own, with an hour of history. */
async function onSmallDisk(t: Test): Promise<Site> {
  const parent = mkdtempSync(join(tmpdir(), 'history-disk-'));
  const folder = join(parent, 'disk');
  const disk = mountSmallDisk(folder, 24);
  t.teardown(() => {
    disk.unmount();
    rmSync(parent, { recursive: true, force: true });
  });
  const site = new Site(t, { folder, retention: { ...WEEK, disk: mebibytes(100) } });
  site.commit(regular(NOON, 600));
  await site.settle();
  await site.nextHour();
  return site;
}

function bookSays(site: Site, key: string): number {
  const book = openForReading(join(site.folder, 'history.db'));
  const value = book.prepare<[string], number>('SELECT value FROM meta WHERE key = ?').pluck().get(key) ?? 0;
  book.close();
  return value;
}

/** Whatever of raw and of minutes had to be given up: hours have everything, and the others what they say. */
function isSound(t: Test, site: Site): void {
  t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour'), { merged: true }), [], 'hours');
  const since = bookSays(site, 'floor:minute');
  const minutes = bucketsOf(
    site.truth.filter(({ time }) => time >= since),
    'minute',
  );
  t.same(differences(bucketsIn(site, 'minute'), minutes, { merged: true }), [], 'minutes');
  const floor = bookSays(site, 'floor');
  const raw = rawIn(site);
  t.same(
    raw.filter((line) => Number(/ (\d{13}) /.exec(line)?.[1]) >= floor),
    linesOf(site.truth.filter(({ time }) => time >= floor)),
    'raw',
  );
  t.equal(new Set(raw).size, raw.length, 'none twice');
  t.match(site.historian.state(), { failing: null, samplesWaiting: 0 });
}

const skip = cannotMount();
const STAGES: readonly (Stage | 'at once')[] = [
  'at once',
  'raw filed',
  'all filed',
  'mark kept',
  'minutes written',
  'hours written',
];

for (const left of [0, 50_000, 200_000])
  for (const stage of STAGES)
    t.test(`the disk is full but for ${left} bytes: ${stage}`, { skip }, async (t) => {
      const site = await onSmallDisk(t);
      let stone = '';
      const fill = (): void => {
        if (stone === '') stone = fillDisk(site.folder, left);
      };
      site.commit(regular(NOON + HOUR, 600));
      await site.settle();
      if (stage === 'at once') fill();
      else
        site.onStage = (reached) => {
          if (reached === stage) fill();
        };

      for (let attempt = 0; attempt < 12; attempt++) {
        site.clock.advance(10 * MINUTE);
        await site.settle();
      }
      site.restart();
      await site.settle();
      rmSync(stone, { force: true });
      site.commit(regular(site.clock.wall, 60));
      for (let hour = 0; hour < 3; hour++) {
        site.clock.advance(HOUR);
        await site.settle();
      }

      isSound(t, site);
    });
