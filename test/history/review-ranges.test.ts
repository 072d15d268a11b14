import t from 'tap';
import { epochMs } from '../../src/core/units.ts';
import { planChart, planTier } from '../../src/telemetry/chart-plan.ts';
import { Model } from './review-model.ts';

const FLOORS = { raw: epochMs(0), minute: epochMs(0), hour: epochMs(0) };
const RANGES = [
  [0, Number.POSITIVE_INFINITY],
  [Number.NEGATIVE_INFINITY, 0],
  [Number.NaN, 1],
  [0, Number.NaN],
] as const;

t.test('a chart without an end is refused, where it would be planned for ever', async (t) => {
  for (const [from, to] of RANGES) {
    const span = { from: epochMs(from), to: epochMs(to) };
    t.throws(() => planChart(span, 100, FLOORS), RangeError, `${from} to ${to}`);
    t.throws(() => planTier(span, 100, 'hour'), RangeError, `${from} to ${to}`);
  }
  const day = { from: epochMs(0), to: epochMs(86_400_000) };
  t.throws(() => planChart(day, Number.NaN, FLOORS), RangeError);
  t.equal(planChart(day, Number.POSITIVE_INFINITY, FLOORS).step, 1_000, 'as many as there may be');
});

t.test(
  'a question about all times, none, or nonsense is answered or refused, and the next one is answered',
  async (t) => {
    const model = new Model(t, 5);
    await model.start();
    await model.record();
    const points = ['*/*'];

    for (const [from, to] of [...RANGES, [-8.64e15, 8.64e15], [5, 1]] as const) {
      const query = { points, from: epochMs(from), to: epochMs(to) };
      const { history } = model;
      await history.history({ ...query, width: 10 }).catch(() => undefined);
      await history.completeness(query).catch(() => undefined);
      const { batches } = history.samples(query);
      await Array.fromAsync(batches).catch(() => undefined);
      t.ok(await history.names(points), `${from} to ${to}`);
    }
  },
);
