import * as fc from 'fast-check';
import t from 'tap';
import { type Duration, epochMs, hours, milliseconds, minutes, seconds } from '../../src/core/units.ts';
import { ScanTimes } from '../../src/drivers/scan-times.ts';
import { Schedule } from '../../src/drivers/schedule.ts';
import { WallTime } from '../../src/drivers/wall-time.ts';
import { HandClock } from '../support/clock.ts';
import { type Behaviour, FakeLine, fakePolls } from '../support/fake-line.ts';
import { Plant, type Row } from './plant.ts';

/** A wall clock that runs its own way beside the one that never steps, and shows whole milliseconds. */
class TwoClocks extends HandClock {
  /** Parts of a million by which it runs fast. */
  ppm = 0;
  step = 0;
  readonly #start = this.elapsed();

  readonly exactly = (): number =>
    this.elapsed() + this.step + ((this.elapsed() - this.#start) * this.ppm) / 1e6;
  override now = () => epochMs(Math.floor(this.exactly()));
}

/** How long a poll takes that is answered, evenly spread from 1 to 80 ms, alike in every run. */
function latency(seed: number): () => Duration {
  let state = seed;
  return () => {
    state = (state * 48_271) % 2_147_483_647;
    return milliseconds(1 + (state / 2_147_483_647) * 79);
  };
}

function distances(rows: readonly Row[], point: number): number[] {
  const times = rows.filter((row) => row.point === point).map(({ time }) => time);
  return times.slice(1).map((time, i) => time - (times[i] ?? 0));
}

t.test('samples of a healthy point are exactly a period apart, however the answers jitter', async (t) => {
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 3 }),
      fc.constantFrom(1_000, 1_500, 7_000, 60_000),
      fc.integer({ min: 1, max: 1e9 }),
      // A process does not begin at a full millisecond.
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      async (units, lines, period, seed, fraction) => {
        const plant = new Plant(new TwoClocks(1_795_516_800_000 + fraction));
        const rtt = latency(seed);
        plant.run(
          Array.from({ length: lines }, (_, line) => {
            const polls = fakePolls(units, [milliseconds(period)], line * units);
            return new FakeLine(plant.clock, polls, { rtt, endpoint: `fake://${line}`, inFlight: units });
          }),
        );
        await plant.clock.advance(milliseconds(12 * period));
        await plant.end();

        const rows = plant.take();
        for (let point = 0; point < lines * units; point++) {
          const found = distances(rows, point);
          // The first read of a long period is before its grid begins, and may end when the grid does begin.
          const onGrid = period > 1_000 ? found.slice(2) : found;
          if (onGrid.length < 9 || onGrid.some((distance) => distance !== period)) return false;
        }
        return true;
      },
    ),
    { numRuns: 40 },
  );
  t.pass();
});

t.test('all that one scan reads carries one time, and that of its tick', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(1, [seconds(1), seconds(1), seconds(1)]), {
    rtt: milliseconds(25),
  });

  plant.run([line]);
  await plant.clock.advance(milliseconds(2_500));

  const rows = plant.take();
  t.same(
    rows.map(({ point, time }) => [point, time - plant.start]),
    [0, 1_000, 2_000].flatMap((tick) => [0, 1, 2].map((point) => [point, tick])),
  );
  await plant.end();
});

const BOUNDS: readonly (readonly [period: Duration, inTime: number, late: number])[] = [
  [milliseconds(10), 5, 6],
  [milliseconds(40), 5, 6],
  [milliseconds(500), 50, 51],
  [seconds(1), 100, 101],
  [seconds(10), 250, 251],
  [minutes(30), 250, 251],
];

t.test('an answer that comes too late for its tick carries its own time', async (t) => {
  for (const [period, inTime, late] of BOUNDS) {
    for (const [rtt, expected] of [
      [inTime, 0],
      [late, late],
    ] as const) {
      const plant = new Plant();
      plant.run([new FakeLine(plant.clock, fakePolls(1, [period]), { rtt: milliseconds(rtt) })]);
      await plant.clock.advance(milliseconds(3 * period + rtt));
      await plant.end();

      const times = plant.take().map(({ time }) => time - plant.start);
      t.same(
        times.slice(0, 3),
        [0, 1, 2].map((tick) => tick * period + expected),
        `${period} ms, after ${rtt} ms`,
      );
    }
  }
});

t.test('a poll that waits for its turn beyond the bound carries the time of its answer', async (t) => {
  const plant = new Plant();
  const polls = fakePolls(
    1,
    Array.from({ length: 5 }, () => seconds(1)),
  );
  plant.run([new FakeLine(plant.clock, polls, { rtt: milliseconds(40) })]);

  await plant.clock.advance(milliseconds(999));

  t.same(
    plant.take().map(({ time }) => time - plant.start),
    [0, 0, 120, 160, 200],
  );
  await plant.end();
});

t.test(
  'a wall clock that runs 200 ppm fast is followed in small steps, and between them nothing moves',
  async (t) => {
    const clock = new TwoClocks();
    const plant = new Plant(clock);
    clock.ppm = 200;
    plant.run([new FakeLine(clock, fakePolls(3, [seconds(1)]), { rtt: latency(7) })]);
    let rows: Row[] = [];
    let worst = 0;
    for (let second = 0; second < 600; second++) {
      await clock.advance(seconds(1));
      const now = plant.take();
      rows = rows.concat(now);
      for (const { time } of now) worst = Math.max(worst, Math.abs(clock.exactly() - time));
    }

    for (const point of [0, 1, 2]) {
      const uneven = distances(rows, point).filter((distance) => distance !== 1_000);
      // 600 s at 200 ppm are 120 ms.
      t.ok(uneven.length >= 17 && uneven.length <= 24, `${uneven.length} steps`);
      t.ok(
        uneven.every((distance) => distance > 1_000 && distance <= 1_007),
        `${new Set(uneven).size} sizes`,
      );
    }
    t.ok(worst < 1_007, 'no sample is further from the wall than its age and a step');
    await plant.end();
  },
);

t.test('a wall clock that is set is followed at once, in both directions', async (t) => {
  for (const step of [hours(3), hours(-3)]) {
    const clock = new TwoClocks();
    const plant = new Plant(clock);
    plant.run([new FakeLine(clock, fakePolls(2, [seconds(1)]), { rtt: latency(3) })]);
    await clock.advance(milliseconds(10_250));
    const before = plant.take();
    clock.step = step;
    await clock.advance(milliseconds(10_000));
    const after = plant.take();

    for (const point of [0, 1]) {
      t.same(new Set(distances(before, point)), new Set([1_000]));
      t.same(new Set(distances(after, point)), new Set([1_000]));
      const last = before.findLast((row) => row.point === point)?.time ?? 0;
      const first = after.find((row) => row.point === point)?.time ?? 0;
      const off = first - last - 1_000 - step;
      t.ok(Math.abs(off) <= 1, `the first sample already has the new time, ${off} ms off`);
    }
    await plant.end();
  }
});

t.test('a process that slept between two looks at the clocks does not take that for a step', async (t) => {
  const clock = new TwoClocks();
  const plant = new Plant(clock);
  const reallyNow = clock.now;
  plant.run([new FakeLine(clock, fakePolls(1, [seconds(1)]), { rtt: milliseconds(3) })]);
  await clock.advance(milliseconds(5_500));
  let slept = 0;
  const reallyElapsed = clock.elapsed;
  clock.now = () => {
    slept = 40; // the clock that never steps was read before, the wall clock after it
    return epochMs(reallyNow() + slept);
  };
  clock.elapsed = () => milliseconds(reallyElapsed() + slept);
  plant.take();
  await clock.advance(seconds(1));
  clock.now = reallyNow;
  clock.elapsed = reallyElapsed;
  await clock.advance(seconds(5));

  const rows = plant.take();
  t.ok(rows.length >= 5);
  t.ok(
    rows.every(({ time }) => (time - plant.start) % 1_000 === 0),
    rows.map(({ time }) => time - plant.start).join(' '),
  );
  await plant.end();
});

t.test('a unit that comes back is on its old grid again, after the answer that told it', async (t) => {
  const plant = new Plant();
  const line = new FakeLine(plant.clock, fakePolls(2, [seconds(1)]), {
    rtt: milliseconds(20),
    timeout: milliseconds(300),
    behave: (unit, _, at) =>
      unit === '1' && at - plant.start >= 4_000 && at - plant.start < 9_000 ? 'timeout' : 'answers',
  });

  plant.run([line]);
  await plant.clock.advance(seconds(20));

  const rows = plant.take().filter(({ point }) => point === 0);
  const good = rows.filter(({ quality }) => quality === 0).map(({ time }) => time - plant.start);
  const back = good.find((time) => time > 4_000) ?? 0;
  t.same(good.slice(0, 4), [0, 1_000, 2_000, 3_000]);
  t.ok(back % 1_000 !== 0, 'a probe has no tick');
  t.ok(
    good.filter((time) => time > back).every((time) => time % 1_000 === 0),
    good.join(' '),
  );
  const bad = rows.filter(({ quality }) => quality === 2).map(({ time }) => time - plant.start);
  t.equal(bad[0], 4_300, 'until the time-out was over the device might have answered');
  await plant.end();
});

t.test('who was said to be silent within a tick does not answer at that tick', async (t) => {
  const clock = new HandClock();
  const start = clock.elapsed();
  const schedule = new Schedule([1_000], [0]);
  schedule.begin(start);
  const times = new ScanTimes(schedule, new WallTime(clock), 1);

  await clock.advance(milliseconds(1_010));
  t.equal(times.now(0) - start, 1_010, 'what was held back is bad');
  const stamp = times.stamp(0, clock.elapsed());
  await clock.advance(milliseconds(20));
  t.equal(stamp() - start, 1_030, 'and good after that, not before');

  await clock.advance(milliseconds(970));
  const next = times.stamp(0, clock.elapsed());
  await clock.advance(milliseconds(20));
  t.equal(next() - start, 2_000, 'its next tick is a tick as any other');
});

t.test('no sample of a point goes back in time, whatever fails', async (t) => {
  const plant = new Plant();
  const random = latency(11);
  const behave = (): Behaviour => {
    const luck = random() / 81;
    if (luck > 0.999) return 'lost';
    return luck > 0.95 ? 'timeout' : luck > 0.9 ? 'busy' : luck > 0.85 ? 'refused' : 'answers';
  };
  const line = new FakeLine(plant.clock, fakePolls(3, [milliseconds(50), milliseconds(200), seconds(1)]), {
    rtt: random,
    timeout: milliseconds(90),
    inFlight: 2,
    behave,
  });

  plant.run([line], () => random() / 81);
  await plant.clock.advance(minutes(2));

  const rows = plant.take();
  t.ok(rows.length > 1_000, `${rows.length} samples`);
  for (let point = 0; point < 9; point++) {
    t.equal(distances(rows, point).filter((distance) => distance < 0).length, 0);
  }
  await plant.end();
});
