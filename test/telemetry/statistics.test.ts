import * as fc from 'fast-check';
import t from 'tap';
import { epochMs } from '../../src/core/units.ts';
import {
  createStatistics,
  latest,
  mean,
  observe,
  observeReported,
  startWindow,
} from '../../src/telemetry/statistics.ts';
import { bad, batchOf, good, type Row, uncertain } from './rows.ts';

t.test('counts, extremes and sums are those of the samples, however they arrive', (t) => {
  const rows = fc.array(
    fc.record({
      point: fc.nat(2),
      time: fc.nat(1_000),
      value: fc.integer({ min: -100, max: 100 }),
      kind: fc.nat(3),
    }),
    { maxLength: 100 },
  );
  fc.assert(
    fc.property(rows, fc.integer({ min: 1, max: 20 }), (steps, size) => {
      const all = steps.map(({ point, time, value, kind }): Row => {
        if (kind === 0) return bad(point, time);
        return kind === 1 ? uncertain(point, time, value) : good(point, time, value);
      });
      const statistics = createStatistics(3, epochMs(0));
      for (let from = 0; from < all.length; from += size)
        observe(statistics, batchOf(all.slice(from, from + size)));
      return [0, 1, 2].every((point) => {
        const own = all.filter((row) => row.point === point);
        const numbers = own.flatMap(({ value }) => (typeof value === 'number' ? [value] : []));
        const total = numbers.reduce((sum, value) => sum + value, 0);
        return (
          statistics.counts[point] === own.length &&
          statistics.goods[point] === own.filter(({ quality }) => quality === 0).length &&
          statistics.bads[point] === own.filter(({ quality }) => quality === 2).length &&
          statistics.numbers[point] === numbers.length &&
          statistics.mins[point] === Math.min(...numbers) &&
          statistics.maxes[point] === Math.max(...numbers) &&
          statistics.sums[point] === total &&
          Object.is(mean(statistics, point), total / numbers.length) &&
          latest(statistics, point) === (own.at(-1)?.value ?? null)
        );
      });
    }),
  );
  t.pass();
  t.end();
});

t.test('the latest value keeps its form, and is none where it is bad or was never heard', (t) => {
  const statistics = createStatistics(5, epochMs(0));
  observe(statistics, batchOf([good(0, 1, true), good(1, 2, 'on'), good(2, 3, 7), good(3, 4, 1), bad(3, 5)]));
  t.same(
    [0, 1, 2, 3, 4].map((point) => latest(statistics, point)),
    [true, 'on', 7, null, null],
  );
  t.end();
});

t.test('booleans count as 0 and 1, texts not at all', (t) => {
  const statistics = createStatistics(2, epochMs(0));
  observe(
    statistics,
    batchOf([good(0, 1, true), good(0, 2, false), good(0, 3, true), good(0, 4, true), good(1, 1, 'x')]),
  );
  t.equal(mean(statistics, 0), 0.75);
  t.equal(statistics.counts[1], 1);
  t.ok(Number.isNaN(mean(statistics, 1)));
  t.end();
});

t.test('a new window forgets the counts and keeps the latest sample', (t) => {
  const statistics = createStatistics(1, epochMs(0));
  const batch = batchOf([good(0, 1, 5)]);
  observe(statistics, batch);
  observeReported(statistics, batch);
  t.equal(statistics.reported[0], 1);

  startWindow(statistics, epochMs(60_000));

  t.equal(statistics.since, 60_000);
  t.equal(statistics.counts[0], 0);
  t.equal(statistics.reported[0], 0);
  t.ok(Number.isNaN(mean(statistics, 0)));
  t.equal(latest(statistics, 0), 5);
  observe(statistics, batchOf([good(0, 2, 9)]));
  t.equal(statistics.mins[0], 9);
  t.equal(statistics.maxes[0], 9);
  t.end();
});
