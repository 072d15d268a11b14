import t from 'tap';
import {
  MINUTE,
  NOON,
  Site,
  bucketsIn,
  bucketsOf,
  differences,
  linesOf,
  rawIn,
  regular,
} from './fixture.ts';

t.test('what is recorded is filed at the end of its hour, and rolled up', async (t) => {
  const site = new Site(t);
  site.log.start(NOON);
  site.clock.advance(10 * MINUTE);
  site.commit(regular(NOON, 600));
  await site.settle();
  t.equal(site.historian.state().samplesWaiting, 2_400);
  t.same(site.files('raw'), [], 'in memory until the hour is over');

  await site.nextHour();

  t.same(rawIn(site), linesOf(site.truth));
  for (const tier of ['minute', 'hour'] as const)
    t.same(differences(bucketsIn(site, tier), bucketsOf(site.truth, tier)), [], tier);
  t.equal(site.log.rows, 0, 'the log may forget it');
  const state = site.historian.state();
  t.match(state, {
    samplesFiled: 2_400,
    samplesWaiting: 0,
    samplesLate: 0,
    samplesRefused: 0,
    failing: null,
  });
});
