import { join } from 'node:path';
import t, { type Test } from 'tap';
import { days } from '../../src/core/units.ts';
import { openForWriting } from '../../src/store/open.ts';
import { DAY, HOUR, NOON, Site, WEEK, bucketsIn, bucketsOf, differences, regular } from './fixture.ts';

/** Every row of hours that is there becomes unreadable, as when a page of the disk is gone. */
function damageHours(site: Site): void {
  const db = openForWriting(join(site.folder, 'hour/2026-11.db'), 1_000_000);
  db.exec("UPDATE rollup SET len = 100, body = x'00'");
  db.close();
}

function isTold(t: Test, site: Site): void {
  const told = site.events.filter(({ kind }) => kind === 'history-file-damaged');
  t.match(told, [{ subject: 'hour/2026-11.db' }], 'once, not row by row');
  t.equal(told.length, 1);
}

t.test('an hour is added to a day whose row is damaged: its other hours are made again', async (t) => {
  const site = new Site(t);
  for (let hour = 0; hour < 3; hour++) {
    site.commit(regular(NOON + hour * HOUR, 120));
    await site.settle();
    await site.nextHour();
  }
  damageHours(site);

  site.commit(regular(site.clock.wall, 60));
  await site.settle();
  await site.nextHour();

  t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour'), { merged: true }), []);
  isTold(t, site);
});

t.test('late samples meet a day whose row is damaged, and have no raw file any more: the same', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(1) } });
  for (let hour = 0; hour < 3; hour++) {
    site.commit(regular(NOON + hour * HOUR, 120));
    await site.settle();
    await site.nextHour();
  }
  site.clock.advance(3 * DAY);
  await site.settle();
  t.same(site.files('raw'), []);
  damageHours(site);

  site.commit(regular(NOON + HOUR + 200_000, 60));
  await site.settle();
  await site.nextHour();

  t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour'), { merged: true }), []);
  isTold(t, site);
});
