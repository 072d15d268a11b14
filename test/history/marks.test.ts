import { join } from 'node:path';
import t from 'tap';
import { days, epochMs, mebibytes } from '../../src/core/units.ts';
import { fileAt, filesIn } from '../../src/store/history/files.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { openForWriting } from '../../src/store/open.ts';
import { isRolledUp } from './complete.ts';
import { DAY, HOUR, MINUTE, NOON, SECOND, Site, linesOf, rawIn, regular } from './fixture.ts';

// Each file knows up to which row of the sample log it has everything. These marks decide what is taken again after a
// crash, or from a backup, and nothing may count twice.

const TODAY = Math.floor(NOON / DAY) * DAY;
const HALF_PAST = TODAY + 30 * MINUTE;
const TWO_DAYS = { raw: days(2), minute: days(90), hour: days(1825), disk: mebibytes(1_000) };

/** A segment of two days, of which the first one is filed when it all ends. */
async function halfFiled(site: Site, meanwhile: () => void = () => {}): Promise<void> {
  site.commit(regular(TODAY - 600 * SECOND, 1_200), HALF_PAST);
  await site.settle();
  site.clock.advance(HOUR);
  await site.crash('raw filed', 1, meanwhile);
}

t.test(
  'the mark of a file that was sealed before the other half of its segment was filed counts',
  async (t) => {
    const site = new Site(t, { wall: HALF_PAST });
    site.commit(regular(TODAY - 2 * HOUR, 60), HALF_PAST);
    await site.settle();
    await site.nextHour(); // there is a mark in the book

    await halfFiled(site, () => {
      site.commit(regular(site.clock.wall - 60 * SECOND, 60));
      site.historian.stop();
      site.historian.close();
      const [yesterday] = filesIn(site.folder, 'raw');
      if (yesterday !== undefined) t.ok(RawFile.forWriting(yesterday, 1_000_000).seal(), 'sealed');
    });
    await site.settle();
    await site.nextHour();

    t.same(rawIn(site), linesOf(site.truth), 'each sample once');
  },
);

t.test('a raw day that is given up before the book knows what was filed does not count twice', async (t) => {
  const site = new Site(t, { wall: HALF_PAST, retention: TWO_DAYS });
  await halfFiled(site);

  site.historian.shed();
  await site.historian.step();
  t.equal(site.historian.state().filesDropped, 1, 'yesterday is given up');
  site.restart();
  await site.settle();
  await site.nextHour();

  isRolledUp(t, site, () => true);
  t.same(rawIn(site), linesOf(site.truth.filter(({ time }) => time >= TODAY)), 'today is there once');
});

t.test(
  'a log that is read again beside a book without marks, as of a backup, brings nothing twice',
  async (t) => {
    const site = new Site(t, { wall: HALF_PAST, retention: TWO_DAYS });
    site.forgetful = false;
    site.commit(regular(TODAY - 600 * SECOND, 1_200), HALF_PAST);
    site.commit(regular(TODAY - 3 * DAY, 100), HALF_PAST); // older than raw: merged into rollups at once
    await site.settle();
    await site.nextHour();
    site.commit(regular(site.clock.wall - 60 * SECOND, 60));
    await site.settle();
    await site.nextHour();
    for (let file = 0; file < 2; file++) {
      site.historian.shed();
      await site.settle();
    }
    t.same(site.files('raw'), [], 'raw is given up');

    site.historian.stop();
    site.historian.close();
    const book = openForWriting(join(site.folder, 'history.db'), 1_000_000);
    book.exec("DELETE FROM meta WHERE key LIKE 'filed:%'");
    book.close();
    site.historian = site.started();
    await site.settle();
    await site.nextHour();

    isRolledUp(t, site, () => true);
    t.same(rawIn(site), []);
  },
);

t.test('marks of a file say what they are in the stock shell', (t) => {
  const site = new Site(t);
  const file = RawFile.forWriting(fileAt(site.folder, 'raw', epochMs(TODAY)), 1_000_000);
  file.begin();
  file.mark(77, 12, TODAY);
  file.mark(77, 9, TODAY - DAY);
  file.mark(-5, 3);
  file.commit();

  t.same(file.marks(), [
    { log: -5, row: 3, floor: 0 },
    { log: 77, row: 12, floor: TODAY },
  ]);
  t.equal(file.filedRow(77), 12);
  t.equal(file.filedFrom(77), epochMs(TODAY));
  t.equal(file.latest, undefined);
  file.close();
  t.end();
});
