import t from 'tap';
import { bytes, days, mebibytes } from '../../src/core/units.ts';
import { isComplete } from './complete.ts';
import {
  DAY,
  HOUR,
  MINUTE,
  NOON,
  type Sample,
  SECOND,
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

  isComplete(t, site);
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

t.test('an hour of many samples is filed in pieces as they come', async (t) => {
  const site = new Site(t, { small: { headSamples: 500 } });
  for (let minute = 0; minute < 30; minute++) {
    site.clock.advance(MINUTE);
    site.commit(regular(site.clock.wall - MINUTE, 60));
    await site.settle();
    t.ok(site.historian.state().samplesWaiting < 500);
  }
  t.same(site.files('minute'), [], 'no hour is over');

  await site.nextHour();

  isComplete(t, site);
  const state = site.historian.state();
  t.equal(state.samplesFiled, site.truth.length);
});

const ONE_DAY = { raw: days(1), minute: days(90), hour: days(1825), disk: mebibytes(1_000) };

t.test('a sample that comes late is in raw, and its hour is rolled up again', async (t) => {
  const site = new Site(t);
  site.commit(regular(NOON - 20 * MINUTE, 1_200));
  await site.settle();
  await site.nextHour();
  const late: Sample[] = regular(NOON - 40 * MINUTE, 30, 7 * SECOND).map((sample) => ({
    ...sample,
    time: sample.time + 500,
  }));

  site.commit(late);
  site.commit(
    regular(NOON - 10 * MINUTE, 20, 30 * SECOND).map((sample) => ({ ...sample, time: sample.time + 250 })),
  );
  await site.settle();
  await site.nextHour();

  isComplete(t, site);
});

t.test('a sample of a day that raw has given up is merged into the rollups of its time', async (t) => {
  const site = new Site(t, { retention: ONE_DAY });
  const past = NOON - 5 * DAY;
  site.commit(regular(past, 300));
  await site.settle();
  await site.nextHour();

  site.commit(regular(past, 300).map((sample) => ({ ...sample, time: sample.time + 400 })));
  site.commit(regular(NOON, 60));
  await site.settle();
  await site.nextHour();

  t.same(rawIn(site), linesOf(site.truth.filter(({ time }) => time >= NOON)));
  for (const tier of ['minute', 'hour'] as const) {
    const wrong = differences(bucketsIn(site, tier), bucketsOf(site.truth, tier), { merged: true });
    t.same(wrong, [], tier);
  }
  t.equal(site.historian.state().samplesLate, 2 * 300 * 4);
});

t.test(
  'what is more than a day ahead, or before everything that is kept, is refused and told once',
  async (t) => {
    const site = new Site(t);
    const good = [...regular(NOON, 60), ...regular(NOON + 20 * HOUR, 10)];
    site.commit(good);
    site.log.add(regular(NOON + 25 * HOUR, 10), NOON);
    site.log.add(regular(0, 10), NOON);
    site.log.add(regular(NOON - 6 * 365 * DAY, 10), NOON);
    site.log.add([{ point: 0, time: -1e15, value: 1 }], NOON);
    site.log.add([{ point: 0, time: 1e18, value: 1 }], NOON);
    await site.settle();
    for (let hour = 0; hour < 22; hour++) await site.nextHour();

    isComplete(t, site);
    t.equal(site.historian.state().samplesRefused, 122);
    t.equal(site.said.filter(({ what }) => what.startsWith('samples are refused')).length, 1);
  },
);

t.test('a clock that is set back over midnight makes samples late, and no more', async (t) => {
  const site = new Site(t);
  const midnight = Math.floor(NOON / DAY) * DAY + DAY;
  site.clock.wall = midnight - 20 * MINUTE;
  for (const back of [0, 0, 30 * MINUTE, 0, 0, 3 * HOUR, 0, 0]) {
    site.clock.wall -= back;
    const from = Math.ceil(site.clock.wall / SECOND) * SECOND + site.truth.length; // never two at the same time
    site.clock.advance(15 * MINUTE);
    site.commit(regular(from, 100));
    await site.settle();
    if (back > 0) site.restart();
  }
  for (let hour = 0; hour < 6; hour++) await site.nextHour();

  isComplete(t, site);
});

t.test('a jump to 2099 and back loses nothing', async (t) => {
  const site = new Site(t);
  site.commit(regular(NOON, 300));
  await site.settle();

  site.clock.wall = Date.UTC(2099, 0, 1, 3);
  site.commit(regular(site.clock.wall, 100));
  await site.settle();
  site.restart();
  await site.nextHour();
  site.clock.wall = NOON + HOUR;
  site.commit(regular(site.clock.wall, 100));
  await site.settle();
  site.restart();
  await site.nextHour();
  site.commit(regular(NOON + 10 * MINUTE, 50)); // and what was late meanwhile
  await site.nextHour();

  isComplete(t, site);
});

t.test('a day is kept in parts, each of which is sealed when it is full', async (t) => {
  const site = new Site(t, { small: { headSamples: 500, partBytes: bytes(100_000) } });
  for (let minute = 0; minute < 55; minute++) {
    site.clock.advance(MINUTE);
    site.commit(regular(site.clock.wall - MINUTE, 60));
    if (minute === 30) site.restart();
    await site.settle();
  }
  site.commit(regular(NOON - 2 * HOUR, 50));
  await site.nextHour();
  await site.nextHour();

  t.ok(site.files('raw').length >= 2, `${site.files('raw').length} parts`);
  isComplete(t, site);
});
