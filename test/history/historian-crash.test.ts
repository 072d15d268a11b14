import t from 'tap';
import { days, mebibytes } from '../../src/core/units.ts';
import type { Stage } from '../../src/store/history/filing.ts';
import { isComplete, isRolledUp } from './complete.ts';
import { DAY, HOUR, MINUTE, NOON, SECOND, Site, linesOf, rawIn, regular } from './fixture.ts';

/** A segment with samples of three days: long past raw, of yesterday, of today. */
function overMidnight(site: Site): void {
  const midnight = Math.floor(NOON / DAY) * DAY;
  site.log.start(site.clock.wall);
  site.commit(regular(midnight - 3 * DAY + 5 * HOUR, 100));
  site.commit(regular(midnight - 600 * SECOND, 1_200));
  site.commit(regular(midnight - 3 * DAY - HOUR, 50));
}

const HALF_PAST = Math.floor(NOON / DAY) * DAY + 30 * MINUTE;
const ONE_DAY = { raw: days(1), minute: days(90), hour: days(1825), disk: mebibytes(1_000) };

t.test('a crash between any two steps leaves every sample once in raw and in rollups', async (t) => {
  const stages: readonly (readonly [Stage, number])[] = [
    ['raw filed', 1],
    ['raw filed', 2],
    ['late merged', 1],
    ['late merged', 2],
    ['late merged', 3],
    ['all filed', 1],
    ['mark kept', 1],
    ['minutes written', 1],
    ['hours written', 1],
    ['minutes written', 2],
    ['hours written', 2],
  ];
  for (const [stage, times] of stages)
    for (const forgetful of [true, false])
      await t.test(
        `${stage}, ${times}, the log ${forgetful ? 'forgets at once' : 'is slow to forget'}`,
        async (t) => {
          const site = new Site(t, { retention: ONE_DAY, wall: HALF_PAST });
          site.forgetful = forgetful;
          overMidnight(site);
          await site.settle();
          site.clock.advance(HOUR);

          await site.crash(stage, times);
          site.commit(regular(site.clock.wall - 60 * SECOND, 60));
          await site.settle();
          await site.nextHour();

          isComplete(t, site, Math.floor(NOON / DAY) * DAY - DAY);
        },
      );
});

t.test('crash after crash the same segment is taken up again', async (t) => {
  const site = new Site(t, { retention: ONE_DAY, wall: HALF_PAST });
  site.forgetful = false;
  overMidnight(site);
  await site.settle();
  site.clock.advance(HOUR);

  for (const stage of [
    'raw filed',
    'raw filed',
    'late merged',
    'late merged',
    'late merged',
    'all filed',
  ] as const)
    await site.crash(stage);
  site.commit(regular(site.clock.wall - 60 * SECOND, 60));
  await site.crash('mark kept');
  await site.crash('minutes written');
  await site.settle();
  await site.nextHour();

  isComplete(t, site, Math.floor(NOON / DAY) * DAY - DAY);
});

t.test('raw gives a day up between a crash and the start after it: nothing of it counts twice', async (t) => {
  for (const stage of ['raw filed', 'late merged', 'all filed'] as const) {
    const site = new Site(t, { retention: ONE_DAY, wall: HALF_PAST });
    overMidnight(site);
    await site.settle();
    site.clock.advance(HOUR);

    await site.crash(stage, 1, () => site.clock.advance(DAY - 70 * MINUTE)); // past midnight
    await site.settle();
    await site.nextHour();

    isRolledUp(t, site, () => true);
    const today = Math.floor(NOON / DAY) * DAY;
    t.same(rawIn(site), linesOf(site.truth.filter(({ time }) => time >= today)), stage);
  }
});

t.test('what is filed is not read again when its file is gone and the log is slow to forget', async (t) => {
  const site = new Site(t);
  site.forgetful = false;
  site.commit(regular(NOON, 300));
  await site.settle();
  await site.nextHour();
  site.historian.shed();
  await site.settle();
  t.same(site.files('raw'), [], 'raw is given up');

  site.restart();
  await site.settle();
  await site.nextHour();

  isRolledUp(t, site, () => true);
});
