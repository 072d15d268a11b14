import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { days, epochMs } from '../../src/core/units.ts';
import { LogTail } from '../../src/store/history/log-tail.ts';
import { Reader } from '../../src/store/history/reader.ts';
import { DAY, HOUR, MINUTE, NOON, SECOND, Site, WEEK } from './fixture.ts';

// The newest sample is told by what was recorded last, where the clock of the gateway was set.

const POWER = ['meter-1/power'];
const IN_2099 = Date.UTC(2099, 0, 1, 3);
const IN_1970 = 3 * HOUR;

const sampleAt = (time: number, value: number) => ({ point: 0, time, value });

/** What the gateway answers, and what a command beside it does. */
function lastOf(site: Site): (readonly [time: number, value: unknown])[] {
  const [inside] = site.historian.reader.last(POWER);
  const tail = new LogTail(site.folder, silentLog);
  tail.refresh();
  const beside = new Reader({
    folder: site.folder,
    tail,
    book: () => {
      throw new Error('it is not asked for');
    },
    log: silentLog,
    now: () => site.clock.now(),
  });
  const [outside] = beside.last(POWER);
  beside.close();
  tail.close();
  return [inside, outside].map((sample) => [sample?.time ?? 0, sample?.value]);
}

const both = (time: number, value: number) => [
  [time, value],
  [time, value],
];

t.test('a clock that was 40 minutes ahead, and is set right', async (t) => {
  const site = new Site(t);
  site.log.start(NOON);
  site.commit([sampleAt(NOON - SECOND, 1)], NOON);
  site.clock.wall = NOON + 40 * MINUTE;
  site.commit([sampleAt(site.clock.wall, 2)]);
  site.clock.advance(SECOND);
  await site.settle();
  t.same(lastOf(site), both(NOON + 40 * MINUTE, 2));

  site.clock.wall = NOON + 2 * SECOND;
  site.commit([sampleAt(site.clock.wall, 3)]);
  await site.settle();
  t.same(lastOf(site), both(NOON + 2 * SECOND, 3), 'what was recorded last');

  site.commit([sampleAt(NOON - 31 * DAY, 4)]);
  await site.settle();
  t.same(lastOf(site), both(NOON + 2 * SECOND, 3), 'what comes late displaces nothing');

  site.clock.advance(SECOND);
  site.commit([sampleAt(site.clock.wall + HOUR, 5)]);
  site.commit([sampleAt(site.clock.wall, 6)]);
  await site.settle();
  t.same(lastOf(site), both(NOON + 3 * SECOND + HOUR, 5), 'under one clock time decides');
});

t.test('the same, with what was recorded ahead in a file already', async (t) => {
  const site = new Site(t, { wall: NOON + 59 * MINUTE });
  site.log.start(site.clock.wall);
  const ahead = site.clock.wall;
  site.commit([sampleAt(ahead, 1)]);
  await site.nextHour();
  t.same(site.files('raw').length, 1);
  site.clock.wall = NOON + 20 * MINUTE;
  site.commit([sampleAt(site.clock.wall, 2)]);
  await site.settle();

  t.same(lastOf(site), both(NOON + 20 * MINUTE, 2));

  site.clock.advance(SECOND);
  site.commit([sampleAt(NOON - 31 * DAY, 3)]);
  await site.nextHour();
  await site.nextHour(); // it was set back by an hour
  t.equal(site.historian.state().samplesWaiting, 0);
  site.commit([sampleAt(NOON - 30 * DAY, 4)], site.clock.wall);
  await site.settle();
  t.same(lastOf(site), both(ahead, 1), 'a late sample displaces nothing that is in a file');
});

t.test('a clock that says 2099 for two hours, and is right again', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(2) } });
  site.log.start(NOON);
  site.commit([sampleAt(NOON, 1)]);
  await site.nextHour();
  const real = site.clock.wall;
  site.clock.wall = IN_2099;
  site.commit([sampleAt(IN_2099, 2), { point: 1, time: IN_2099, value: 9 }]);
  site.clock.advance(2 * HOUR);
  await site.settle();
  t.same(lastOf(site), both(IN_2099, 2), 'in a file, and nothing is newer by the clock of now');

  site.clock.wall = real + 2 * HOUR;
  const right = site.clock.wall;
  site.commit([sampleAt(right, 3)]);
  await site.settle();
  t.same(lastOf(site), both(right, 3), 'in the log');
  await site.nextHour();
  await site.nextHour();
  t.same(lastOf(site), both(right, 3), 'in a file');
  t.match(
    site.historian.reader.last(['meter-1/energy']),
    [{ time: IN_2099, value: 9 }],
    'nothing else is there',
  );

  const ofFuture = (tier: string): number => site.files(tier).filter((file) => file.includes('2099')).length;
  for (let day = 0; day < 3; day++) {
    t.same([ofFuture('raw'), ofFuture('hour')], [day < 2 ? 1 : 0, 1], `after ${day} days`);
    site.clock.advance(DAY);
    site.commit([sampleAt(site.clock.wall, day)]);
    await site.settle();
  }
  t.same(site.historian.state().samplesLate, 0, 'raw goes on');
});

t.test('hours of the future go when they are older than hours are kept', async (t) => {
  const site = new Site(t, {
    retention: { ...WEEK, raw: days(1), minute: days(1), hour: days(2) },
    wall: IN_2099,
  });
  site.log.start(IN_2099);
  site.commit([sampleAt(IN_2099, 1)]);
  await site.nextHour();
  site.clock.wall = NOON;
  for (let day = 0; day < 3; day++) {
    site.clock.advance(DAY);
    site.commit([sampleAt(site.clock.wall, day)]);
    await site.settle();
  }

  t.same(
    [...site.files('raw'), ...site.files('minute'), ...site.files('hour')].filter((file) =>
      file.includes('2099'),
    ),
    [],
  );
});

t.test('a gateway that starts in 1970', async (t) => {
  const site = new Site(t);
  site.log.start(NOON);
  site.commit([sampleAt(NOON, 1), { point: 1, time: NOON, value: 9 }]);
  await site.nextHour();
  site.clock.wall = IN_1970;
  site.restart();
  site.log.start(IN_1970);
  site.commit([sampleAt(IN_1970, 2)]);
  await site.settle();
  t.same(lastOf(site), both(IN_1970, 2), 'what it reads now');
  t.match(
    site.historian.reader.last(['meter-1/energy']),
    [{ time: NOON, value: 9 }],
    'nothing else is there',
  );

  await site.nextHour();
  t.same(lastOf(site), both(IN_1970, 2), 'also where that is in a file');
  site.clock.wall = NOON + DAY;
  site.commit([sampleAt(NOON + DAY, 3)]);
  await site.settle();
  t.same(lastOf(site), both(NOON + DAY, 3));
});

t.test('what finds no place in memory is newer than what did', async (t) => {
  const site = new Site(t, { small: { headSamples: 1 } });
  site.log.start(NOON);
  const ahead = epochMs(NOON + 40 * MINUTE);
  site.commit([sampleAt(ahead, 1), sampleAt(ahead, 1)], ahead);
  site.historian.reader.last(POWER); // reads them in
  for (let k = 1; k <= 3; k++) site.commit([sampleAt(NOON + k * SECOND, 1 + k)], NOON + k * SECOND);
  site.clock.wall = NOON + 4 * SECOND;

  t.same(
    site.historian.reader.last(POWER).map(({ value }) => value),
    [4],
  );
  t.equal(site.historian.state().samplesWaiting, 2, 'not everything is in memory');
});
