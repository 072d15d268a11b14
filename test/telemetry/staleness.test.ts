import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { epochMs, milliseconds, seconds } from '../../src/core/units.ts';
import { createStaleness, heard, stale } from '../../src/telemetry/staleness.ts';
import { fakePoint } from '../support/fake-line.ts';
import { bad, batchOf, good, type Row, rowsOf } from './rows.ts';

const WALL = 1_795_516_800_000;

/** Points of the given periods, a clock that is wound in steps of 250 ms, and what turned stale at which ms. */
class Watch {
  readonly #staleness;
  #elapsed = 5_000;

  constructor(...periods: readonly number[]) {
    this.#staleness = createStaleness(
      periods.map((every, index) => fakePoint(index, { every: milliseconds(every) })),
      milliseconds(this.#elapsed),
    );
  }

  hear(...rows: readonly Row[]): void {
    heard(this.#staleness, batchOf(rows));
  }

  /** Winds `length` ms; returns `<ms since the start> <point> <reason>` of what turned bad. */
  wind(length: number): string[] {
    const told: string[] = [];
    for (const end = this.#elapsed + length; this.#elapsed < end; ) {
      this.#elapsed += 250;
      const into = new BatchBuilder();
      stale(this.#staleness, milliseconds(this.#elapsed), epochMs(WALL), into);
      for (const { point, reason } of rowsOf(into.take())) {
        told.push(`${this.#elapsed - 5_000} ${point} ${reason}`);
      }
    }
    return told;
  }
}

t.test('a point not heard since the start is told once, after three of its periods', (t) => {
  const watch = new Watch(1_000, 10_000);
  t.same(watch.wind(100_000), ['3250 0 not heard yet', '30250 1 not heard yet']);
  t.end();
});

t.test('a point that falls silent turns stale once after three periods, and recovers by itself', (t) => {
  const watch = new Watch(1_000);
  for (let i = 0; i < 10; i++) {
    watch.hear(good(0, WALL, i));
    t.same(watch.wind(1_000), []);
  }
  t.same(watch.wind(60_000), ['12250 0 stale'], 'heard last at 9 s');
  watch.hear(good(0, WALL, 1));
  t.same(watch.wind(3_000), []);
  t.same(watch.wind(10_000), ['73250 0 stale'], 'and again');
  t.end();
});

t.test('only silence counts, not the time of a sample', (t) => {
  const watch = new Watch(1_000);
  for (const time of [0, WALL * 2, WALL]) {
    watch.hear(good(0, time, 1));
    t.same(watch.wind(2_500), []);
  }
  t.end();
});

t.test('what is bad already does not turn stale, and what recovers may', (t) => {
  const watch = new Watch(1_000);
  watch.hear(bad(0, WALL, 'connection lost'));
  t.same(watch.wind(60_000), []);
  watch.hear(good(0, WALL, 1));
  t.same(watch.wind(60_000), ['63250 0 stale']);
  t.end();
});

t.test('a point that was told to be stale may go through the same path as every sample', (t) => {
  const watch = new Watch(1_000);
  t.same(watch.wind(4_000), ['3250 0 not heard yet']);
  watch.hear(bad(0, WALL, 'not heard yet'));
  t.same(watch.wind(60_000), []);
  t.end();
});

t.test('fast points are not stale between two batches', (t) => {
  const watch = new Watch(20);
  watch.hear(good(0, WALL, 1));
  t.same(watch.wind(750), []);
  watch.hear(good(0, WALL, 1));
  t.same(watch.wind(seconds(5)), ['2000 0 stale']);
  t.end();
});

t.test('what turns stale is a bad sample at the time of the wall', (t) => {
  const staleness = createStaleness([fakePoint(0)], milliseconds(0));
  const into = new BatchBuilder();

  for (const elapsed of [1_000, 2_000, 3_000]) stale(staleness, milliseconds(elapsed), epochMs(WALL), into);
  t.equal(into.count, 0);
  stale(staleness, milliseconds(3_001), epochMs(WALL), into);

  t.same(rowsOf(into.take()), [bad(0, WALL, 'not heard yet')]);
  t.end();
});

t.test('time in which nobody listened is no silence of a device', (t) => {
  const staleness = createStaleness([fakePoint(0)], milliseconds(0));
  const into = new BatchBuilder();
  heard(staleness, batchOf([good(0, WALL, 1)]));
  stale(staleness, milliseconds(100), epochMs(WALL), into);

  stale(staleness, milliseconds(600_000), epochMs(WALL), into);
  t.equal(into.count, 0, 'the process was stopped for ten minutes');
  for (let ms = 600_100; ms <= 601_900; ms += 100) stale(staleness, milliseconds(ms), epochMs(WALL), into);
  t.equal(into.count, 0);
  stale(staleness, milliseconds(602_000), epochMs(WALL), into);
  t.equal(into.count, 1, 'but the device is silent indeed');
  t.end();
});

t.test('each of many points turns stale at its own time, however rarely they are looked at', (t) => {
  const watch = new Watch(1_000, 2_000, 500, 30_000);
  watch.hear(good(0, WALL, 1), good(1, WALL, 1), bad(2, WALL), good(3, WALL, 1));
  t.same(watch.wind(2_000), []);
  watch.hear(good(2, WALL, 1)); // recovers: the next look must not be later than its silence
  watch.hear(good(0, WALL, 1));
  t.same(watch.wind(98_000), ['3750 2 stale', '5250 0 stale', '6250 1 stale', '90250 3 stale']);
  t.end();
});
