import * as fc from 'fast-check';
import t from 'tap';
import type { Trace } from '../../src/core/history.ts';
import { type EpochMs, epochMs, milliseconds } from '../../src/core/units.ts';
import { ChartBuilder } from '../../src/telemetry/chart.ts';
import { type ChartPlan, planChart, planTier, stepFor } from '../../src/telemetry/chart-plan.ts';
import { compare, naiveRollups } from './naive-chart.ts';
import { drawn, type Vertex } from './raster.ts';
import { bad, batchOf, good, type Row, uncertain } from './rows.ts';

const SECOND = 1_000;
const MINUTE = 60_000;
const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const START = Date.UTC(2026, 10, 26);
const NAME = { device: 'meter-1', point: 'power', unit: 'W' };
const EVERYTHING = { raw: epochMs(0), minute: epochMs(0), hour: epochMs(0) };

const span = (from: number, to: number): { from: EpochMs; to: EpochMs } => ({
  from: epochMs(from),
  to: epochMs(to),
});
const planOf = (from: number, buckets: number, step: number): ChartPlan => ({
  tier: 'raw',
  step: milliseconds(step),
  ...span(from, from + buckets * step),
});

const floors = (raw: number, minute: number, hour: number) => ({
  raw: epochMs(raw),
  minute: epochMs(minute),
  hour: epochMs(hour),
});

function chartOf(rows: readonly Row[], plan: ChartPlan, pieces = 1): Trace {
  const chart = new ChartBuilder(plan);
  const size = Math.max(1, Math.ceil(rows.length / pieces));
  for (let i = 0; i < rows.length; i += size) chart.addSamples(batchOf(rows.slice(i, i + size)));
  return chart.take(NAME);
}

/** Samples in the order of time, all of them with a number. */
const numbers = fc
  .array(fc.tuple(fc.nat(900), fc.double({ min: -50, max: 50, noNaN: true })), {
    minLength: 1,
    maxLength: 400,
  })
  .map((steps) => {
    let time = START;
    return steps.map(([pause, value]) => good(1, (time += pause), value));
  });

/** Bad and uncertain ones, booleans and texts among them. */
const mixed = fc
  .array(
    fc.tuple(
      fc.nat(30_000),
      fc.oneof(
        { weight: 6, arbitrary: fc.integer({ min: 999_999_990, max: 1_000_000_000 }) },
        { weight: 2, arbitrary: fc.boolean() },
        { weight: 2, arbitrary: fc.constantFrom('open', 'shut', 'fault') },
        { weight: 1, arbitrary: fc.constant(null) },
      ),
      fc.boolean(),
    ),
    { maxLength: 300 },
  )
  .map((steps) => {
    let time = START;
    return steps.map(([pause, value, sure]) => {
      time += pause;
      if (value === null) return bad(1, time);
      return sure ? good(1, time, value) : uncertain(1, time, value);
    });
  });

t.test('a line through first, min, max and last is, pixel by pixel, the line through all samples', (t) => {
  const widest = 64;
  fc.assert(
    fc.property(
      numbers,
      fc.integer({ min: 1, max: widest }),
      fc.integer({ min: 2, max: 90 }),
      (rows, width, height) => {
        const last = rows.at(-1)?.time ?? START;
        const plan = planChart(span(START, last + 1), width, EVERYTHING);
        const trace = chartOf(rows, plan, 3);
        const values = rows.map(({ value }) => Number(value));
        const canvas = {
          from: plan.from,
          step: plan.step,
          low: Math.min(...values),
          high: Math.max(...values),
          rows: height,
        };

        const exact = drawn(
          rows.map(({ time, value }) => ({ time, value: Number(value) })),
          canvas,
        );
        const reduced = drawn(
          [...trace.starts.keys()].flatMap((i) => verticesOf(trace, i)),
          canvas,
        );

        t.ok(trace.starts.length <= width);
        if (reduced.symmetricDifference(exact).size > 0) throw new Error('another picture');
      },
    ),
    { numRuns: 500 },
  );
  t.end();
});

/** Where the extremes lie within the column makes no difference: any time between first and last will do. */
function verticesOf(trace: Trace, i: number): Vertex[] {
  const [first = 0, last = 0] = [trace.firstTimes[i], trace.lastTimes[i]];
  return [
    { time: first, value: trace.firsts[i] ?? Number.NaN },
    { time: first, value: trace.mins[i] ?? Number.NaN },
    { time: last, value: trace.maxes[i] ?? Number.NaN },
    { time: last, value: trace.lasts[i] ?? Number.NaN },
  ];
}

t.test('the step is the smallest that a person can read and that fits the width', (t) => {
  const steps: readonly (readonly [range: number, width: number, step: number])[] = [
    [MINUTE, 60_000, 1],
    [HOUR, 1_000, 5 * SECOND],
    [DAY, 1_000, 2 * MINUTE],
    [7 * DAY, 1_000, 15 * MINUTE],
    [364 * DAY, 1_000, 12 * HOUR],
    [364 * DAY, 300, 7 * DAY],
    [364 * DAY, 2, 448 * DAY],
  ];
  for (const [range, width, step] of steps) t.equal(stepFor(span(START, START + range), width), step);

  t.equal(stepFor(span(START, START + 10 * MINUTE), 10), MINUTE, 'an aligned range needs no bucket more');
  t.equal(stepFor(span(START + 1, START + 10 * MINUTE + 1), 10), 2 * MINUTE, 'another one needs one more');
  t.equal(stepFor(span(0, Date.UTC(9999, 0)), 1) % (7 * DAY), 0, 'there is always one');
  t.end();
});

t.test(
  'the coarsest tier that serves the width is taken, and what reaches back further where it is gone',
  (t) => {
    const day = span(START, START + DAY);
    const [gone, there] = [START + HOUR, START - DAY];

    t.match(planChart(day, 10_000, EVERYTHING), { tier: 'raw', step: 10 * SECOND });
    t.match(planChart(day, 1_000, EVERYTHING), { tier: 'minute', step: 2 * MINUTE });
    t.match(planChart(day, 24, EVERYTHING), { tier: 'hour', step: HOUR, ...day });
    t.match(planChart(day, 10_000, floors(gone, there, there)), { tier: 'minute', step: MINUTE });
    t.match(planChart(day, 10_000, floors(gone, gone + 1, there)), { tier: 'hour', step: HOUR });
    t.match(planChart(day, 10_000, floors(gone, gone, gone)), { tier: 'raw' }, 'nothing reaches further');
    t.match(planChart(day, 24, floors(gone, there, gone)), { tier: 'hour' }, 'minutes are reduced to hours');
    t.match(planTier(day, 10_000, 'hour'), { tier: 'hour', step: HOUR });
    t.match(planTier(day, 24, 'raw'), { tier: 'raw', step: HOUR });
    const askew = planChart(span(START + 1, START + DAY - 1), 24, EVERYTHING);
    t.match(askew, { step: HOUR, ...day }, 'the span grows to whole buckets');
    t.end();
  },
);

t.test('a bucket without samples is left out, one of bad samples is not a value', (t) => {
  const rows = [good(1, START, 5), bad(1, START + MINUTE), good(1, START + 5 * MINUTE, 7)];

  const trace = chartOf(rows, planOf(START, 10, MINUTE));

  t.same([...trace.starts], [START, START + MINUTE, START + 5 * MINUTE]);
  t.same([...trace.counts], [1, 1, 1]);
  t.same([...trace.bads], [0, 1, 0]);
  for (const column of [
    trace.mins,
    trace.maxes,
    trace.means,
    trace.deviations,
    trace.firsts,
    trace.lastTimes,
  ])
    t.ok(Number.isNaN(column[1]), 'nothing is made up');
  t.end();
});

t.test('a builder is used for one series after the other', (t) => {
  const plan = planOf(START, 10, MINUTE);
  const chart = new ChartBuilder(plan);
  chart.addSamples(batchOf([good(1, START, 'open'), good(1, START + 1, 'shut')]));
  const texts = chart.take(NAME);
  chart.addSamples(batchOf([good(1, START - 1, 7), good(1, START, 7), good(1, START + 10 * MINUTE, 7)]));

  const second = chart.take({ ...NAME, unit: 'kW' });

  t.same([...texts.texts], [[0, ['open', 'shut']]]);
  t.same([...second.counts], [1], 'what lies outside of the span is left out');
  t.same([...second.changes], [0]);
  t.equal(second.texts.size, 0);
  t.end();
});

t.test('the deviation of a large counter is not lost in its size', (t) => {
  const rows = Array.from({ length: 60 }, (_, i) => good(1, START + i * SECOND, 4e12 + (i % 2)));

  const { means, deviations } = chartOf(rows, planOf(START, 1, MINUTE), 4);

  t.equal(means[0], 4e12 + 0.5);
  t.ok(Math.abs((deviations[0] ?? 0) - 0.5) < 1e-4, `${deviations[0]}`);
  t.end();
});

t.test('every column is what a person would calculate, however the samples come in', (t) => {
  fc.assert(
    fc.property(mixed, fc.constantFrom(1, 2, 7), (rows, pieces) => {
      const plan = planOf(START, 200, 30 * SECOND);
      const inside = rows.filter(({ time }) => time < plan.to);

      const trace = chartOf(rows, plan, pieces);

      compare(trace, inside, plan);
    }),
    { numRuns: 300 },
  );
  t.end();
});

t.test('rollups of a minute merge to what the samples themselves give', (t) => {
  fc.assert(
    fc.property(mixed, fc.constantFrom(MINUTE, 5 * MINUTE, HOUR), (rows, step) => {
      const plan = planOf(START, Math.ceil((3 * HOUR) / step), step);
      const inside = rows.filter(({ time }) => time < plan.to);
      const chart = new ChartBuilder(plan);

      for (const rollup of naiveRollups(rows, MINUTE)) chart.addRollup(rollup);

      compare(chart.take(NAME), inside, plan);
    }),
    { numRuns: 300 },
  );
  t.end();
});
