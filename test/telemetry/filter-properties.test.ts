import * as fc from 'fast-check';
import t from 'tap';
import type { Deadband } from '../../src/config/config.ts';
import { BatchBuilder } from '../../src/core/batch.ts';
import { epochMs, milliseconds } from '../../src/core/units.ts';
import { createFilter, due, report } from '../../src/telemetry/filter.ts';
import { fakePoint } from '../support/fake-line.ts';
import { bad, batchOf, good, type Row, rowsOf, uncertain } from './rows.ts';

const POINTS = 3;
const HEARTBEAT = 20_000;
const WIDTH = 2;

function filterOf(minInterval: number, deadband: Deadband | 'none' = { kind: 'absolute', width: WIDTH }) {
  return createFilter(
    Array.from({ length: POINTS }, (_, index) =>
      fakePoint(index, {
        report: {
          deadband: deadband === 'none' ? undefined : deadband,
          minInterval: milliseconds(minInterval),
          heartbeat: milliseconds(HEARTBEAT),
        },
      }),
    ),
  );
}

/** Samples of a few points in the order of time, most of them good and near one another. */
const samples = fc
  .array(
    fc.record({
      point: fc.nat(POINTS - 1),
      pause: fc.integer({ min: 1, max: 3_000 }),
      value: fc.double({ min: -6, max: 6, noNaN: true }),
      kind: fc.nat(12),
    }),
    { maxLength: 200 },
  )
  .map((steps) => {
    let time = 1_000_000;
    return steps.map(({ point, pause, value, kind }): Row => {
      time += pause;
      if (kind === 0) return bad(point, time);
      if (kind === 1) return bad(point, time, 'illegal data address');
      if (kind === 2) return uncertain(point, time, value);
      return good(point, time, value);
    });
  });

/** Runs the samples through in batches of `size`, without time of the gateway. */
function filtered(rows: readonly Row[], size: number, minInterval = 0): Row[] {
  const filter = filterOf(minInterval);
  const passed: Row[] = [];
  for (let from = 0; from < rows.length; from += size) {
    const into = new BatchBuilder();
    report(filter, batchOf(rows.slice(from, from + size)), into);
    passed.push(...rowsOf(into.take()));
  }
  return passed;
}

const of = (rows: readonly Row[], point: number) => rows.filter((row) => row.point === point);
const isSame = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b);

t.test('what was reported last is never further from any sample than the deadband', (t) => {
  fc.assert(
    fc.property(samples, (rows) => {
      const passed = filtered(rows, 7);
      return rows.every((row) => {
        const last = of(passed, row.point).findLast(({ time }) => time <= row.time);
        if (last === undefined) return false;
        if (typeof row.value !== 'number') return last.value === null;
        return typeof last.value === 'number' && Math.abs(last.value - row.value) <= WIDTH;
      });
    }),
  );
  t.pass();
  t.end();
});

t.test('every change of quality or reason is reported, whatever the minimum interval', (t) => {
  fc.assert(
    fc.property(samples, fc.nat(10_000), (rows, minInterval) => {
      const passed = filtered(rows, 5, minInterval);
      return Array.from({ length: POINTS }, (_, point) => point).every((point) =>
        isSame(changes(of(rows, point)), changes(of(passed, point))),
      );
    }),
  );
  t.pass();
  t.end();
});

/** Times at which quality or reason changed, with what they became. */
function changes(rows: readonly Row[]): unknown[] {
  return rows
    .filter((row, i) => {
      const before = rows[i - 1];
      return before === undefined || before.quality !== row.quality || before.reason !== row.reason;
    })
    .map(({ time, quality, reason }) => [time, quality, reason]);
}

t.test('no sample is a heartbeat younger than the last report', (t) => {
  fc.assert(
    fc.property(samples, fc.nat(10_000), (rows, minInterval) => {
      const passed = filtered(rows, 11, minInterval);
      return rows.every((row) => {
        const last = of(passed, row.point).findLast(({ time }) => time <= row.time);
        return last !== undefined && row.time - last.time < HEARTBEAT;
      });
    }),
  );
  t.pass();
  t.end();
});

t.test('how samples are cut into batches makes no difference', (t) => {
  fc.assert(
    fc.property(samples, fc.integer({ min: 1, max: 50 }), fc.nat(5_000), (rows, size, minInterval) =>
      isSame(filtered(rows, size, minInterval), filtered(rows, 1_000, minInterval)),
    ),
  );
  t.pass();
  t.end();
});

t.test('a report is one of the samples, in their order, and a repeated sample is none', (t) => {
  fc.assert(
    fc.property(samples, (rows) => {
      const passed = filtered(rows, 9);
      const twice = filtered(
        rows.flatMap((row) => [row, row]),
        9,
      );
      let at = 0;
      for (const row of rows) if (at < passed.length && isSame(row, passed[at])) at += 1;
      return at === passed.length && isSame(passed, twice);
    }),
  );
  t.pass();
  t.end();
});

t.test('good values are an interval apart, and the last one that stays is told', (t) => {
  const values = fc.array(fc.record({ pause: fc.integer({ min: 1, max: 900 }), value: fc.nat(20) }), {
    minLength: 1,
    maxLength: 80,
  });
  const interval = 2_000;
  fc.assert(
    fc.property(values, (steps) => {
      const filter = filterOf(interval, 'none');
      const told: { at: number; row: Row }[] = [];
      let now = 1_000_000;
      const tell = (into: BatchBuilder): void => {
        for (const row of rowsOf(into.take())) told.push({ at: now, row });
      };
      const step = (rows: readonly Row[]): void => {
        const into = new BatchBuilder();
        report(filter, batchOf(rows), into);
        due(filter, epochMs(now), into);
        tell(into);
      };
      for (const { pause, value } of steps) {
        now += pause;
        step([good(0, now, value)]);
      }
      for (let i = 0; i < 10; i++) {
        now += 500;
        step([]);
      }
      const apart = told.slice(1).every(({ at }, i) => at - (told[i]?.at ?? 0) >= interval);
      return apart && told.at(-1)?.row.value === steps.at(-1)?.value;
    }),
  );
  t.pass();
  t.end();
});

t.test('samples whose time jumps about silence a point for no longer than a heartbeat of arrivals', (t) => {
  const jumps = fc.array(fc.integer({ min: -5_000_000, max: 5_000_000 }), { maxLength: 5 });
  fc.assert(
    fc.property(jumps, fc.nat(5_000), (clockSteps, minInterval) => {
      const filter = filterOf(minInterval, 'none');
      let time = 10_000_000;
      for (const clockStep of [...clockSteps, 0]) {
        time += clockStep;
        const into = new BatchBuilder();
        const rows = Array.from({ length: 30 }, () => good(0, (time += 1_000), 1));
        report(filter, batchOf(rows), into);
        if (into.count === 0) return false; // 30 s of samples and a heartbeat of 20 s
      }
      return true;
    }),
  );
  t.pass();
  t.end();
});
