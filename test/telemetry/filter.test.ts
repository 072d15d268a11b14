import t from 'tap';
import type { Deadband } from '../../src/config/config.ts';
import { BatchBuilder } from '../../src/core/batch.ts';
import { epochMs, milliseconds, minutes, seconds } from '../../src/core/units.ts';
import { createFilter, due, type Filter, report } from '../../src/telemetry/filter.ts';
import { fakePoint } from '../support/fake-line.ts';
import { bad, batchOf, good, type Row, rowsOf, uncertain } from './rows.ts';

interface Settings {
  readonly deadband?: Deadband;
  readonly minInterval?: number;
  readonly heartbeat?: number;
  readonly published?: boolean;
}

function filterOf(...settings: readonly Settings[]): Filter {
  return createFilter(
    settings.map(({ deadband, minInterval = 0, heartbeat = minutes(15), published = true }, index) =>
      fakePoint(index, {
        published,
        report: { deadband, minInterval: milliseconds(minInterval), heartbeat: milliseconds(heartbeat) },
      }),
    ),
  );
}

function pass(filter: Filter, rows: readonly Row[]): Row[] {
  const into = new BatchBuilder();
  report(filter, batchOf(rows), into);
  return rowsOf(into.take());
}

function later(filter: Filter, now: number): Row[] {
  const into = new BatchBuilder();
  due(filter, epochMs(now), into);
  return rowsOf(into.take());
}

const series = (...values: readonly number[]): Row[] => values.map((value, i) => good(0, i * 1_000, value));
const valuesOf = (rows: readonly Row[]) => rows.map(({ value }) => value);

t.test('without a deadband the first value and every change pass, repeats do not', (t) => {
  const passed = pass(filterOf({}), series(1, 1, 1.0000001, 1.0000001, 1, 0, -0));
  t.same(valuesOf(passed), [1, 1.0000001, 1, 0]);
  t.end();
});

t.test(
  'an absolute deadband holds what differs by no more than its width from the last reported value',
  (t) => {
    const filter = filterOf({ deadband: { kind: 'absolute', width: 0.5 } });
    t.same(valuesOf(pass(filter, series(10, 10.5, 10.4, 10.51, 10.1, 11.02))), [10, 10.51, 11.02]);
    t.end();
  },
);

t.test(
  'a slow drift is not lost: the deadband counts from what was reported, not from the last sample',
  (t) => {
    const filter = filterOf({ deadband: { kind: 'span-percent', width: 1 } });
    const drift = Array.from({ length: 40 }, (_, i) => i / 8);
    t.same(valuesOf(pass(filter, series(...drift))), [0, 1.125, 2.25, 3.375, 4.5]);
    t.end();
  },
);

t.test('a deadband in percent of the value follows the value, and at zero every change passes', (t) => {
  const filter = filterOf({ deadband: { kind: 'value-percent', percent: 10 } });
  t.same(
    valuesOf(pass(filter, series(100, 109, 111, 121, 123, 0, 0.001, 0.00105))),
    [100, 111, 123, 0, 0.001],
  );
  t.same(
    valuesOf(pass(filter, [good(0, 9_000, -10), good(0, 9_100, -10.5), good(0, 9_200, -12)])),
    [-10, -12],
  );
  t.end();
});

t.test('booleans and texts pass on change, whatever the deadband is', (t) => {
  const filter = filterOf(
    { deadband: { kind: 'absolute', width: 5 } },
    { deadband: { kind: 'absolute', width: 5 } },
  );
  const rows = [
    good(0, 0, true),
    good(1, 0, 'a'),
    good(0, 1, true),
    good(1, 1, 'a'),
    good(0, 2, false),
    good(1, 2, 'b'),
  ];
  t.same(pass(filter, rows), [rows[0], rows[1], rows[4], rows[5]]);
  t.same(pass(filter, [good(1, 3, 'b'), good(1, 4, 'a')]), [good(1, 4, 'a')], 'across batches too');
  t.same(pass(filter, [good(1, 5, 7)]), [good(1, 5, 7)], 'another form is a change');
  t.end();
});

t.test('a change of quality or reason passes at once, also within the minimum interval', (t) => {
  const filter = filterOf({ minInterval: seconds(60), deadband: { kind: 'absolute', width: 100 } });
  const rows = [
    good(0, 0, 1),
    bad(0, 1),
    bad(0, 2),
    bad(0, 3, 'connection lost'),
    good(0, 4, 1),
    uncertain(0, 5, 1),
    uncertain(0, 6, 1),
    good(0, 7, 1),
  ];
  t.same(pass(filter, rows), [rows[0], rows[1], rows[3], rows[4], rows[5], rows[7]]);
  t.end();
});

t.test('a change within the minimum interval waits, the newest one, and is released when it is over', (t) => {
  const filter = filterOf({ minInterval: 1_000 });
  t.same(pass(filter, [good(0, 0, 1), good(0, 200, 2), good(0, 300, 3)]), [good(0, 0, 1)]);
  t.same(later(filter, 10_300), [], 'seen for the first time: the clock of the device is not ours');
  t.same(later(filter, 10_999), []);
  t.same(later(filter, 11_000), [good(0, 300, 3)]);
  t.same(later(filter, 20_000), [], 'once');
  t.same(pass(filter, [good(0, 1_500, 4)]), [], 'the next interval begins at the release');
  t.same(pass(filter, [good(0, 2_000, 5)]), [good(0, 2_000, 5)]);
  t.same(later(filter, 30_000), []);
  t.same(later(filter, 40_000), [], 'what was overtaken is gone');
  t.end();
});

t.test('a change that goes back within the minimum interval, or before it turns bad, is not told', (t) => {
  const filter = filterOf({ minInterval: 1_000 }, { minInterval: 1_000 });
  pass(filter, [good(0, 0, 1), good(0, 100, 2), good(0, 200, 1)]);
  pass(filter, [good(1, 0, 'a'), good(1, 100, 'b'), bad(1, 200)]);
  later(filter, 300);
  t.same(later(filter, 5_000), []);
  t.end();
});

t.test('a held text is released as text', (t) => {
  const filter = filterOf({ minInterval: 1_000 });
  pass(filter, [good(0, 0, 'a'), good(0, 100, 'b')]);
  later(filter, 100);
  t.same(later(filter, 1_000), [good(0, 100, 'b')]);
  t.same(pass(filter, [good(0, 3_000, 'b')]), []);
  t.equal(filter.candidateTexts.size, 0);
  t.same(pass(filter, [good(0, 1_900, 'c'), bad(0, 1_950)]), [bad(0, 1_950)]);
  t.equal(filter.candidateTexts.size, 0, 'what was overtaken is forgotten');
  t.end();
});

t.test('a sample passes when the last report is a heartbeat old', (t) => {
  const filter = filterOf({ heartbeat: 10_000 }, { heartbeat: 0 });
  const rows = Array.from({ length: 31 }, (_, i) => good(0, i * 1_000, 7));
  t.same(
    pass(filter, rows).map(({ time }) => time),
    [0, 10_000, 20_000, 30_000],
  );
  t.equal(pass(filter, [good(1, 0, 1), good(1, 1e12, 1)]).length, 1, 'a heartbeat of nothing is none');
  t.end();
});

t.test('what is bad is repeated once per heartbeat although nothing arrives; what is good never', (t) => {
  const filter = filterOf({ heartbeat: 10_000 }, { heartbeat: 10_000 });
  pass(filter, [bad(0, 0, 'connection lost'), good(1, 0, 5)]);
  const told: Row[] = [];
  for (let now = 1_000; now <= 35_000; now += 250) told.push(...later(filter, now));
  t.same(
    told,
    [11_000, 21_000, 31_000].map((time) => bad(0, time, 'connection lost')),
  );
  t.same(pass(filter, [good(0, 36_000, 5)]), [good(0, 36_000, 5)]);
  t.same(later(filter, 100_000), []);
  t.end();
});

t.test('times that go back do not silence a point', (t) => {
  const hour = 3_600_000;
  const filter = filterOf({ minInterval: 1_000, heartbeat: 60_000 });
  pass(filter, [good(0, hour, 1)]);

  const passed = pass(filter, [good(0, 0, 1), good(0, 1_000, 2), good(0, 2_000, 2), good(0, 61_000, 2)]);

  t.same(
    passed.map(({ time }) => time),
    [1_000, 61_000],
  );
  t.end();
});

t.test(
  'the clock of the gateway may be set back: what is held comes after its interval all the same',
  (t) => {
    const filter = filterOf({ minInterval: 1_000, heartbeat: 5_000 }, { heartbeat: 5_000 });
    pass(filter, [good(0, 0, 1), good(0, 100, 2), bad(1, 0)]);
    later(filter, 1_000_000);
    t.same(later(filter, 1_000), []);
    t.same(later(filter, 1_899), []);
    t.same(later(filter, 1_900), [good(0, 100, 2)]);
    t.same(later(filter, 6_000), [bad(1, 6_000)]);
    t.end();
  },
);

t.test('a point that is not published is dropped', (t) => {
  const filter = filterOf({ published: false }, {});
  t.same(pass(filter, [good(0, 0, 1), bad(0, 1), good(1, 2, 1)]), [good(1, 2, 1)]);
  t.same(later(filter, 1e12), []);
  t.same(later(filter, 2e12), []);
  t.end();
});

t.test('a heartbeat as long as the period sends every sample, however its time jitters', (t) => {
  const filter = filterOf({ heartbeat: 1_000 }); // polled every second
  const times = [0, 999, 2_003, 2_998, 4_001, 5_000];
  t.equal(
    pass(
      filter,
      times.map((time) => good(0, time, 7)),
    ).length,
    times.length,
  );
  t.end();
});

t.test('an unchanged value that is polled is never older than its heartbeat at the subscriber', (t) => {
  for (const [heartbeat, expected] of [
    [2_000, [0, 2_001, 3_999, 6_000, 8_001]],
    [2_600, [0, 2_001, 3_999, 6_000, 8_001]],
    [3_000, [0, 3_000, 6_000]],
  ] as const) {
    const times = [0, 1_002, 2_001, 3_000, 3_999, 5_003, 6_000, 7_001, 8_001];
    const passed = pass(
      filterOf({ heartbeat }),
      times.map((time) => good(0, time, 7)),
    );
    t.same(
      passed.map(({ time }) => time),
      expected,
      `${heartbeat} ms`,
    );
  }
  t.end();
});

t.test('what is observed or pushed has no period: a sample is its heartbeat when that is over', (t) => {
  const filter = createFilter([
    fakePoint(0, {
      every: seconds(60),
      source: {
        kind: 'coap',
        path: '/a',
        mode: 'observe',
        format: 'auto',
        pointer: undefined,
        record: undefined,
        type: 'number',
      },
      report: { deadband: undefined, minInterval: milliseconds(0), heartbeat: seconds(10) },
    }),
  ]);
  const passed = pass(
    filter,
    [0, 4_000, 9_999, 10_000, 19_000].map((time) => good(0, time, 7)),
  );
  t.same(
    passed.map(({ time }) => time),
    [0, 10_000],
  );
  t.end();
});

t.test('what becomes due between others is found, in whatever order it was set', (t) => {
  const filter = filterOf({ heartbeat: 60_000 }, { minInterval: 5_000 }, { minInterval: 1_000 });
  pass(filter, [bad(0, 0), good(1, 0, 1), good(2, 0, 1)]);
  t.same(later(filter, 100), []);
  pass(filter, [good(1, 200, 2)]);
  t.same(later(filter, 300), [], 'due at 5,100');
  pass(filter, [good(2, 400, 2)]);
  t.same(later(filter, 500), [], 'due at 1,100, before the other');
  t.same(later(filter, 1_099), []);
  t.same(later(filter, 1_100), [good(2, 400, 2)]);
  t.same(later(filter, 5_099), []);
  t.same(later(filter, 5_100), [good(1, 200, 2)]);
  t.same(later(filter, 60_100), [bad(0, 60_100)]);
  t.end();
});

t.test('what turns bad after a quiet time is repeated once a heartbeat too', (t) => {
  const filter = filterOf({ heartbeat: 10_000 });
  pass(filter, [good(0, 0, 1)]);
  t.same(later(filter, 500), []);
  pass(filter, [bad(0, 1_000)]);
  t.same(later(filter, 1_100), []);
  t.same(later(filter, 11_099), []);
  t.same(later(filter, 11_100), [bad(0, 11_100)]);
  t.end();
});
