import t from 'tap';
import { days } from '../../src/core/units.ts';
import { DAY, HOUR, MINUTE, NOON, SECOND, Site, WEEK, regular } from './fixture.ts';

// A clock that is set far back, or starts there.

const IN_1970 = 3 * HOUR;
/** One of `regular`. */
const SAMPLES = 4;

t.test('samples that come right after the clock was set to 1970 are not refused', async (t) => {
  const site = new Site(t);
  site.log.start(NOON);
  site.commit(regular(NOON, 60));
  await site.nextHour();
  site.clock.advance(SECOND);
  await site.settle(); // and the next look is due in some seconds

  site.clock.wall = IN_1970;
  for (let second = 0; second < 3; second++) {
    site.commit(regular(site.clock.wall, 1));
    site.clock.advance(SECOND);
    await site.settle();
  }
  const { samplesRefused, samplesFiled, samplesWaiting } = site.historian.state();
  t.same([samplesRefused, samplesFiled + samplesWaiting], [0, 63 * SAMPLES]);

  await site.nextHour();
  t.equal(site.files('raw').filter((file) => file.endsWith('1970-01-01.db')).length, 1);
});

t.test('a start in 1970, when raw samples were given up before, is told once', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(1) } });
  site.log.start(NOON);
  for (let day = 0; day < 3; day++) {
    site.commit(regular(site.clock.wall, 1));
    site.clock.advance(DAY);
    await site.settle();
  }
  const right = site.clock.wall;
  const told = () => site.events.filter(({ subject }) => subject === 'clock');
  t.same(told(), []);

  site.clock.wall = IN_1970;
  site.restart();
  site.log.start(IN_1970);
  for (let minute = 0; minute < 3; minute++) {
    site.commit(regular(site.clock.wall, 1));
    site.clock.advance(MINUTE);
    await site.settle();
  }
  await site.nextHour();
  t.equal(site.historian.state().samplesLate, 3 * SAMPLES, 'counted');
  t.match(told(), [
    {
      kind: 'clock-behind',
      facts: { kept: 'minutes and hours only', clock: /^1970-01-01T0/, rawFrom: /^2026-11-2/ },
    },
  ]);
  t.match(
    site.said.filter(({ what }) => what.includes('behind the history')),
    [{ level: 'error', facts: { remedy: /set the clock/ } }],
  );

  site.clock.wall = right + HOUR;
  site.commit(regular(site.clock.wall, 1));
  site.clock.advance(MINUTE);
  await site.settle();
  t.same(
    told().map(({ kind }) => kind),
    ['clock-behind', 'clock-caught-up'],
  );
});
