import t from 'tap';
import type { HistoryGap } from '../../src/core/history.ts';
import { silentLog } from '../../src/core/log.ts';
import { epochMs } from '../../src/core/units.ts';
import { type Reader, openReader } from '../../src/store/history/reader.ts';
import { MINUTE, NOON, SECOND, Site, regular } from './fixture.ts';

/** A minute of samples, of which each second is a commit. */
function record(site: Site, from: number): void {
  for (let k = 0; k < 60; k++) site.commit(regular(from + k * SECOND, 1), from + k * SECOND);
}

function gapsBy(reader: Reader, to: number): readonly HistoryGap[] {
  const query = { points: ['meter-1/energy'], from: epochMs(NOON), to: epochMs(to) };
  return (reader.completeness(query)[0]?.gaps ?? []).filter(({ reason }) => reason === 'store');
}

t.test('samples that were only in a log that is gone are a gap, and why is told', async (t) => {
  const site = new Site(t);
  site.log.start(NOON);
  record(site, NOON);
  site.clock.advance(MINUTE);
  await site.nextHour(); // these are filed
  site.log.start(site.clock.wall);
  const filed = site.clock.wall + 59 * SECOND;
  record(site, site.clock.wall);
  await site.nextHour();
  const lost = site.clock.wall;
  record(site, lost);
  site.clock.advance(10 * MINUTE);
  await site.settle(); // these are read, but not filed

  site.historian.stop();
  site.historian.close();
  site.log.replace();
  site.clock.advance(5 * MINUTE);
  const begin = site.clock.wall;
  site.log.start(begin);
  record(site, begin);
  site.historian = site.started();
  site.clock.advance(MINUTE);
  await site.settle();

  const beside = openReader({ folder: site.folder, log: silentLog });
  t.teardown(() => beside.close());
  for (const reader of [site.historian.reader, beside]) {
    const gaps = gapsBy(reader, begin + MINUTE);
    t.ok(gaps.every(({ detail }) => detail === 'store damaged'));
    t.ok((gaps[0]?.from ?? 0) - filed <= 2 * SECOND, 'from the last one that was filed');
    t.equal(gaps.at(-1)?.to, begin, 'to the begin of the new log');
  }
  t.same(gapsBy(site.historian.reader, NOON + MINUTE), [], 'what is in files is no gap');
  t.match(
    site.said.filter(({ level }) => level === 'error'),
    [{ what: /new sample log/, facts: { to: new Date(begin).toISOString() } }],
    'told once',
  );
});

t.test('what was read of a log that is replaced while the gateway runs is no gap', async (t) => {
  const site = new Site(t);
  site.log.start(NOON);
  record(site, NOON);
  site.clock.advance(MINUTE);
  await site.settle(); // read, but not filed
  site.log.replace();
  const begin = NOON + 3 * MINUTE;
  site.clock.wall = begin;
  site.log.start(begin);
  record(site, begin);
  site.clock.advance(MINUTE);
  await site.settle();

  const gaps = gapsBy(site.historian.reader, begin + MINUTE);
  t.match(gaps, [{ detail: 'store damaged', to: begin }]);
  t.ok((gaps[0]?.from ?? 0) >= NOON + 59 * SECOND);
  site.restart();
  await site.settle();
  await site.nextHour();
  t.same(gapsBy(site.historian.reader, begin + MINUTE), gaps, 'the same when it is in the book');
});
