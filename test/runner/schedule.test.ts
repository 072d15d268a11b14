import * as fc from 'fast-check';
import t from 'tap';
import { placeInPeriod, Schedule } from '../../src/drivers/schedule.ts';

t.test('every tick of every grid is used once or counted as missed, whenever the schedule is asked', (t) => {
  const polls = fc.array(
    fc.record({
      period: fc.integer({ min: 1, max: 500 }),
      place: fc.double({ min: 0, max: 0.999, noNaN: true }),
    }),
    { minLength: 1, maxLength: 20 },
  );
  const steps = fc.array(fc.integer({ min: 0, max: 700 }), { maxLength: 60 });
  fc.assert(
    fc.property(polls, steps, (planned, pauses) => {
      const schedule = new Schedule(
        planned.map(({ period }) => period),
        planned.map(({ place }) => place),
      );
      let now = 1_000;
      schedule.begin(now);
      const seen = planned.map(() => 0);
      for (const pause of [0, ...pauses]) {
        now += pause;
        let before = Number.NEGATIVE_INFINITY;
        while (schedule.nextDue <= now) {
          const poll = schedule.first;
          if (schedule.dueOf(poll) < before) return false; // earliest first
          before = schedule.dueOf(poll);
          seen[poll] = (seen[poll] ?? 0) + 1 + schedule.advance(now);
        }
      }
      return planned.every(({ period, place }, i) => {
        const origin = 1_000 + place * period;
        let ticks = 0;
        while (origin + ticks * period <= now) ticks += 1;
        return seen[i] === ticks;
      });
    }),
  );
  t.pass('no tick is lost or used twice');
  t.end();
});

t.test('rounding never holds a poll at a tick that was used', (t) => {
  const duration = fc.double({ min: 0.1, max: 10_000, noNaN: true });
  fc.assert(
    fc.property(
      duration,
      duration,
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (start, period, place) => {
        const schedule = new Schedule([period], [place]);
        schedule.begin(start);
        for (let i = 0; i < 100; i++) {
          const now = schedule.nextDue;
          schedule.advance(now);
          if (schedule.nextDue <= now) return false;
        }
        return true;
      },
    ),
  );
  t.pass('used at the very moment it is due');
  t.end();
});

t.test('a poll of an hour is read within a second of the start, and then on its grid', (t) => {
  const schedule = new Schedule([3_600_000], [0.5]);
  schedule.begin(0);

  t.equal(schedule.nextDue, 500);
  schedule.advance(500);
  t.equal(schedule.nextDue, 1_800_000);
  schedule.advance(1_800_000);
  t.equal(schedule.nextDue, 5_400_000);
  t.end();
});

t.test('what is brought forward is read once more and keeps its grid', (t) => {
  const schedule = new Schedule([1_000, 1_000], [0, 0.5]);
  schedule.begin(0);
  schedule.advance(0);

  schedule.soon([0], 200);

  t.equal(schedule.first, 0);
  t.equal(schedule.nextDue, 200);
  t.equal(schedule.advance(200), 0);
  t.equal(schedule.nextDue, 500);
  schedule.advance(500);
  t.equal(schedule.nextDue, 1_000);
  t.end();
});

t.test('after a pause everything is due at once, and no tick of the pause is missed', (t) => {
  const schedule = new Schedule([1_000, 60_000], [0, 0]);
  schedule.begin(0);
  schedule.advance(0);
  schedule.advance(0);

  schedule.begin(10_300);

  t.equal(schedule.advance(10_300), 0);
  t.equal(schedule.advance(10_300), 0);
  t.equal(schedule.nextDue, 11_000);
  t.end();
});

t.test('an empty schedule has nothing due', (t) => {
  const schedule = new Schedule([], []);
  schedule.begin(0);

  t.equal(schedule.first, -1);
  t.equal(schedule.nextDue, Number.POSITIVE_INFINITY);
  t.equal(schedule.advance(1), 0);
  t.end();
});

t.test('the places of all units of all lines are even over the period', (t) => {
  const places: number[] = [];
  for (let line = 0; line < 4; line++) {
    for (let unit = 0; unit < 5; unit++) places.push(placeInPeriod(line, 4, unit, 5));
  }

  places.sort((a, b) => a - b);

  t.ok(places.every((place, i) => Math.abs(place - i / 20) < 1e-9));
  t.end();
});
