import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import t from 'tap';
import { hours, milliseconds, minutes, seconds } from '../../src/core/units.ts';
import { FakeLine, fakePolls } from '../support/fake-line.ts';
import { Plant } from './plant.ts';

t.test('a day with a dead unit, a flapping one and a dead endpoint leaves nothing behind', async (t) => {
  const plant = new Plant();
  let requests = 0;
  const line = new FakeLine(plant.clock, fakePolls(6, [minutes(1)]), {
    rtt: milliseconds(0),
    behave: (unit) => {
      if (unit === '2') return 'timeout';
      return unit === '3' && requests++ % 3 === 0 ? 'timeout' : 'answers';
    },
  });
  const gone = new FakeLine(plant.clock, fakePolls(2, [seconds(1)], 6), { reachable: () => false });
  const runner = plant.run([line, gone], seeded());
  let samples = 0;
  let mostPending = 0;
  let mostSleeping = 0;
  const heaps: number[] = [];

  for (let hour = 0; hour < 24; hour++) {
    for (let quarter = 0; quarter < 4; quarter++) {
      await plant.clock.advance(minutes(15));
      const rows = plant.take().length;
      samples += rows;
      mostPending = Math.max(mostPending, rows);
      mostSleeping = Math.max(mostSleeping, plant.clock.sleeping);
      line.seen.splice(0, line.seen.length - 100);
      gone.connects.splice(0);
    }
    collectGarbage();
    heaps.push(process.memoryUsage().heapUsed);
  }

  t.equal(plant.clock.elapsed() - plant.start, hours(24));
  const states = runner.lineStates();
  const [first, dead] = states[0]?.units ?? [];
  t.ok((first?.counters.polls ?? 0) >= 24 * 60, 'a healthy unit is read every minute');
  t.equal(first?.counters.missed, 0);
  t.equal(first?.counters.late, 0);
  const attempts = dead?.counters.polls ?? 0;
  t.ok(
    attempts > 5_000 && attempts * 1_000 <= 0.1 * hours(24),
    `the dead unit took ${attempts} s of the day`,
  );
  const connects = states[1]?.counters.connects ?? 0;
  t.ok(connects > 24 * 60 * 0.8 && connects < 24 * 60 * 1.2, `${connects} connects in vain`);
  t.ok(mostPending < 15 * 60 * 2, `${mostPending} samples at most in a quarter of an hour`);
  t.ok(mostSleeping <= 12, `${mostSleeping} wake-ups at most under way`);
  t.ok(plant.logged.length < 50, `${plant.logged.length} lines of log in a day`);
  t.ok(samples > 6 * 24 * 60);
  t.same([...line.breaches, ...gone.breaches], []);
  // The second half of the day must not need more than the first: a leak of 100 bytes a wake-up would show.
  const grown = median(heaps.slice(14)) - median(heaps.slice(4, 14));
  t.ok(grown < 500_000, `the heap has grown by ${grown} bytes`);
  await plant.end();
});

/** Without this the heap tells when the collector ran last, not what is alive. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') collect();
}

/** Jitter that is the same in every run. */
function seeded(): () => number {
  let state = 1;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return state / 2_147_483_647;
  };
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;
}
