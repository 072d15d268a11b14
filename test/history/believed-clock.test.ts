import * as fc from 'fast-check';
import t from 'tap';
import { days, epochMs, hours, milliseconds, seconds } from '../../src/core/units.ts';
import {
  type ClockState,
  believed,
  horizon,
  look,
  newClock,
} from '../../src/store/history/believed-clock.ts';

const NOW = Date.UTC(2026, 10, 26, 12);
const HOUR = hours(1);
const DAY = days(1);
const IN_2099 = Date.UTC(2099, 0, 1);
const IN_1970 = 5 * HOUR;

/** The gateway runs for so long with a clock that goes right from `wall` on, and looks every ten seconds. */
function running(state: ClockState, wall: number, duration: number): ClockState {
  let now = state;
  for (let passed = 10_000; passed <= duration; passed += 10_000)
    now = look(now, epochMs(wall + passed), seconds(10));
  return now;
}

/** Switched off, and on again when the clock says `wall`. */
const started = (state: ClockState, wall: number): ClockState => look(state, epochMs(wall), milliseconds(0));

const hoursFrom = (time: number, from: number = NOW) => (time - from) / HOUR;

t.test('a clock that goes right is believed at every moment', (t) => {
  const state = running(newClock(epochMs(NOW)), NOW, 3 * DAY);

  t.same([hoursFrom(believed(state)), hoursFrom(horizon(state))], [72, 72]);
  t.end();
});

t.test('a clock that says 2099 for some hours deletes nothing, and then is right again', (t) => {
  const wrong = running(started(newClock(epochMs(NOW)), IN_2099), IN_2099, 20 * HOUR);
  const right = look(wrong, epochMs(NOW + 20 * HOUR + 10_000), seconds(10));

  t.equal(hoursFrom(believed(wrong)), 20, 'the time went on meanwhile');
  t.equal(hoursFrom(horizon(wrong), IN_2099), 20, 'what is written now is not of the future');
  t.equal(believed(right), NOW + 20 * HOUR + 10_000);
  t.equal(horizon(right), believed(right), 'and what was written then is');
  t.end();
});

t.test('a clock that the gateway has run with for a day is believed, whatever it says', (t) => {
  const jumped = started(newClock(epochMs(NOW)), IN_2099);
  const almost = running(jumped, IN_2099, DAY - 10_000);
  const whole = look(almost, epochMs(IN_2099 + DAY), seconds(10));

  t.equal(hoursFrom(believed(almost)), 24 - 10 / 3_600);
  t.equal(believed(whole), IN_2099 + DAY);
  t.end();
});

t.test('a look that comes late is no jump', (t) => {
  const jumped = running(started(newClock(epochMs(NOW)), IN_2099), IN_2099, HOUR);

  const late = look(jumped, epochMs(IN_2099 + 30 * HOUR), hours(29));

  t.equal(believed(late), IN_2099 + 30 * HOUR);
  t.end();
});

t.test('a gateway that was off for three months deletes a day later', (t) => {
  const off = NOW + 90 * DAY;
  const state = started(running(newClock(epochMs(NOW)), NOW, HOUR), off);

  t.equal(hoursFrom(believed(state)), 1);
  t.equal(horizon(state), off, 'today is not of the future');
  t.equal(believed(running(state, off, 23 * HOUR)), NOW + 24 * HOUR);
  t.equal(believed(running(state, off, 24 * HOUR)), off + 24 * HOUR);
  t.end();
});

t.test('the day is counted over restarts, also where each is after a night', (t) => {
  let state = newClock(epochMs(NOW));
  const seen: number[] = [];
  for (let day = 0; day < 4; day++) {
    const morning = NOW + (90 + day) * DAY;
    state = running(started(state, morning), morning, 10 * HOUR);
    seen.push(Math.round((believed(state) - NOW) / DAY));
  }

  t.same(seen, [0, 1, 92, 93], 'after 24 of the 30 hours');
  t.end();
});

t.test(
  'a clock that begins in 1970 deletes nothing, makes nothing the future, and is set right at once',
  (t) => {
    const reset = running(started(running(newClock(epochMs(NOW)), NOW, HOUR), IN_1970), IN_1970, 2 * HOUR);
    const set = look(reset, epochMs(NOW + 3 * HOUR), seconds(10));

    t.equal(believed(reset), IN_1970 + 2 * HOUR);
    t.equal(hoursFrom(horizon(reset)), 3);
    t.same([hoursFrom(believed(set)), hoursFrom(horizon(set))], [3, 3]);
    t.end();
  },
);

t.test('a clock that leaps to and fro is never believed', (t) => {
  let state = newClock(epochMs(NOW));
  for (let i = 0; i < 1_000; i++) {
    state = running(started(state, IN_2099 + i * HOUR), IN_2099 + i * HOUR, 10_000);
    state = running(started(state, NOW + 100 * DAY + i * HOUR), NOW + 100 * DAY + i * HOUR, HOUR);
  }

  t.ok(hoursFrom(believed(state)) <= 1_003);
  t.end();
});

t.test('a gateway whose book is lost has only what it kept to go by', (t) => {
  const kept = epochMs(NOW - HOUR);

  t.equal(believed(newClock(epochMs(IN_2099), kept)), kept);
  t.equal(believed(newClock(epochMs(NOW), kept)), NOW);
  t.equal(horizon(newClock(epochMs(IN_1970), kept)), kept);
  t.equal(believed(newClock(epochMs(IN_2099))), IN_2099, 'and without anything there is nothing to delete');
  t.end();
});

/** Forward by days, to and fro, or as it should. */
const steps = fc.array(
  fc.record({
    jump: fc.oneof(fc.constant(0), fc.integer({ min: -100 * DAY, max: 100 * DAY })),
    passed: fc.integer({ min: 0, max: 2 * HOUR }),
  }),
  { maxLength: 60 },
);

t.test('the clock is between what is believed and the horizon, or is one of them', (t) => {
  fc.assert(
    fc.property(steps, (all) => {
      let state = newClock(epochMs(NOW));
      let wall = NOW;
      return all.every(({ jump, passed }) => {
        wall += passed + jump;
        state = look(state, epochMs(wall), milliseconds(passed));
        return believed(state) <= wall && horizon(state) >= wall;
      });
    }),
  );
  t.pass();
  t.end();
});

t.test('no leap forward by more than a day is believed before the gateway has run a day with it', (t) => {
  fc.assert(
    fc.property(steps, (all) => {
      let state = newClock(epochMs(NOW));
      let wall = NOW;
      let since: number = DAY;
      return all.every(({ jump, passed }) => {
        const leap = jump < 0 ? 0 : jump + (jump > 0 ? DAY + 1 : 0);
        const before = believed(state);
        wall += passed + leap;
        since = leap > 0 ? 0 : since + passed;
        state = look(state, epochMs(wall), milliseconds(passed));
        return since >= DAY ? believed(state) === wall : believed(state) === before + passed;
      });
    }),
    { numRuns: 1_000 },
  );
  t.pass();
  t.end();
});
