import * as fc from 'fast-check';
import t from 'tap';
import { BOOLEAN, type PointValue } from '../../src/core/batch.ts';
import { BAD, GOOD } from '../../src/core/quality.ts';
import { type Duration, epochMs, hours, minutes } from '../../src/core/units.ts';
import { encodeRollups } from '../../src/telemetry/rollup-text.ts';
import { meanOf, merge, type Rollup, rollUp } from '../../src/telemetry/rollup.ts';
import { bad, batchOf, good, type Row, uncertain } from './rows.ts';
import { decodeRollups, deviationOf } from './rollups.ts';

const NOON = Date.UTC(2026, 10, 26, 12);

/** Rows in the order of their times, those of the same time in the order in which they came. */
function rolled(rows: readonly Row[], width: Duration): Rollup[] {
  const batch = batchOf(rows);
  const order = Uint32Array.from(rows.keys()).sort(
    (a, b) => (rows[a]?.time ?? 0) - (rows[b]?.time ?? 0) || a - b,
  );
  return rollUp(batch, order, 0, order.length, width);
}

function only(rollups: readonly Rollup[]): Rollup {
  const [rollup] = rollups;
  if (rollup === undefined || rollups.length > 1) throw new Error(`${rollups.length} buckets instead of one`);
  return rollup;
}

function merged(parts: readonly Rollup[]): Rollup {
  return parts.reduce((a, b) => merge(a, b));
}

// A second opinion, written without a look at the first: whole lists instead of running figures.
function naive(rows: readonly Row[], width: number): Rollup[] {
  const buckets = new Map<number, Row[]>();
  for (const row of rows) {
    const remainder = ((row.time % width) + width) % width;
    const bucket = buckets.get(row.time - remainder) ?? [];
    bucket.push(row);
    buckets.set(row.time - remainder, bucket);
  }
  return [...buckets]
    .sort(([a], [b]) => a - b)
    .map(([start, unsorted]) => {
      const all = unsorted.toSorted((a, b) => a.time - b.time);
      const valued = all.filter(({ quality }) => quality !== BAD);
      const numbers = valued.map(({ value }) => value).filter((value) => typeof value !== 'string');
      const values = numbers.map(Number);
      const mean = total(values) / values.length;
      return {
        start: epochMs(start),
        count: all.length,
        good: all.filter(({ quality }) => quality === GOOD).length,
        bad: all.filter(({ quality }) => quality === BAD).length,
        numbers: values.length,
        min: values.length === 0 ? Number.NaN : Math.min(...values),
        max: values.length === 0 ? Number.NaN : Math.max(...values),
        sum: total(values),
        m2: total(values.map((value) => (value - mean) ** 2)),
        firstTime: valued[0]?.time ?? Number.NaN,
        first: valued[0]?.value ?? null,
        lastTime: valued.at(-1)?.time ?? Number.NaN,
        last: valued.at(-1)?.value ?? null,
        changes: valued.filter((row, i) => i > 0 && row.value !== valued[i - 1]?.value).length,
      };
    });
}

/** Smallest first, so that little is lost. */
function total(values: readonly number[]): number {
  return values.toSorted((a, b) => Math.abs(a) - Math.abs(b)).reduce((sum, value) => sum + value, 0);
}

const EXACT = 'start count good bad numbers min max firstTime first lastTime last changes'.split(' ');

/** The names of what differs; sum and m2 to 1e-12 of what the values make of them. */
function differences(a: Rollup | undefined, b: Rollup | undefined): string[] {
  if (a === undefined || b === undefined) return ['missing'];
  const [left, right] = [Object.entries(a), new Map(Object.entries(b))];
  const found = left.filter(([key, value]) => EXACT.includes(key) && !sameValue(value, right.get(key)));
  const largest = b.numbers === 0 ? 0 : Math.max(Math.abs(b.min), Math.abs(b.max), 1e-150);
  const size = largest * b.numbers;
  if (Math.abs(a.sum - b.sum) > 1e-12 * size) found.push(['sum', a.sum]);
  if (Math.abs(a.m2 - b.m2) > 1e-12 * size * largest) found.push(['m2', a.m2]);
  return found.map(([key, value]) => `${key} ${value} instead of ${right.get(key)}`);
}

function sameValue(a: unknown, b: unknown): boolean {
  return Object.is(a, b) || a === b; // NaN is NaN, and -0 is 0
}

function allDifferences(found: readonly Rollup[], wanted: readonly Rollup[]): string[] {
  if (found.length !== wanted.length) return [`${found.length} buckets instead of ${wanted.length}`];
  return wanted.flatMap((rollup, i) => differences(found[i], rollup));
}

const values: fc.Arbitrary<PointValue> = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: -5_000, max: 5_000 }).map((k) => k / 100) },
  { weight: 2, arbitrary: fc.double({ noNaN: true, noDefaultInfinity: true, min: -1e12, max: 1e12 }) },
  { weight: 2, arbitrary: fc.boolean() },
  { weight: 1, arbitrary: fc.constantFrom('', 'idle', 'läuft', '9007199254740993') },
);

const samples = (maximum: number): fc.Arbitrary<Row[]> =>
  fc.array(
    fc
      .record({ offset: fc.integer({ min: -7_200_000, max: 7_200_000 }), value: values, kind: fc.nat(9) })
      .map(({ offset, value, kind }): Row => {
        if (kind === 0) return bad(0, NOON + offset);
        return kind === 1 ? uncertain(0, NOON + offset, value) : good(0, NOON + offset, value);
      }),
    { maxLength: maximum },
  );

/** The same within one minute, where many have the same time. */
const crowded = samples(40).map((rows) =>
  rows.map((row) => ({ ...row, time: NOON + (Math.abs(row.time - NOON) % 50) * 1_000 })),
);

t.test('a minute of numbers is what a person calculates', (t) => {
  const { start, ...rollup } = only(
    rolled(
      [2, 4, 4, 4, 5, 5, 7, 9].map((value, i) => good(0, NOON + i * 7_000, value)),
      minutes(1),
    ),
  );

  t.equal(start, NOON);
  t.match(rollup, { count: 8, good: 8, bad: 0, numbers: 8, min: 2, max: 9, sum: 40, m2: 32, changes: 4 });
  t.match(rollup, { first: 2, firstTime: NOON, last: 9, lastTime: NOON + 49_000 });
  t.equal(meanOf({ start, ...rollup }), 5);
  t.equal(deviationOf({ start, ...rollup }), 2);
  t.end();
});

t.test('bad samples are counted and nothing else; uncertain ones have a value and are not good', (t) => {
  const rows = [
    bad(0, NOON),
    uncertain(0, NOON + 1, 3),
    bad(0, NOON + 2),
    good(0, NOON + 3, 3),
    bad(0, NOON + 4),
  ];

  const rollup = only(rolled(rows, minutes(1)));
  const silent = only(rolled([bad(0, NOON), bad(0, NOON + 1)], minutes(1)));

  t.match(rollup, { count: 5, good: 1, bad: 3, numbers: 2, min: 3, max: 3, sum: 6, m2: 0, changes: 0 });
  t.match(rollup, { firstTime: NOON + 1, first: 3, lastTime: NOON + 3, last: 3 });
  t.match(silent, {
    count: 2,
    good: 0,
    bad: 2,
    numbers: 0,
    sum: 0,
    m2: 0,
    first: null,
    last: null,
    changes: 0,
  });
  t.same(
    [silent.min, silent.max, silent.firstTime, meanOf(silent), deviationOf(silent)],
    Array(5).fill(Number.NaN),
  );
  t.end();
});

t.test('the mean of a boolean is its share of true', (t) => {
  const rows = [true, true, false, true].map((value, i) => good(0, NOON + i, value));

  const rollup = only(rolled(rows, minutes(1)));

  t.equal(batchOf(rows).forms[0], BOOLEAN);
  t.equal(meanOf(rollup), 0.75);
  t.match(rollup, { first: true, last: true, min: 0, max: 1, changes: 2, numbers: 4 });
  t.end();
});

t.test('a string has a first, a last and its changes; 1, true and "1" are three values', (t) => {
  const words = only(
    rolled(
      ['idle', 'idle', 'run', 'idle'].map((word, i) => good(0, NOON + i, word)),
      minutes(1),
    ),
  );
  const forms = only(
    rolled(
      [1, true, '1', 1].map((value, i) => good(0, NOON + i, value)),
      minutes(1),
    ),
  );

  t.match(words, { count: 4, good: 4, numbers: 0, first: 'idle', last: 'idle', changes: 2 });
  t.match(forms, { count: 4, numbers: 3, sum: 3, changes: 3 });
  t.end();
});

t.test('the hour that a local clock has twice, or never, is an hour like any other; so is midnight', (t) => {
  const zone = process.env['TZ'];
  process.env['TZ'] = 'Europe/Berlin';
  t.teardown(() => {
    if (zone === undefined) delete process.env['TZ'];
    else process.env['TZ'] = zone;
  });
  for (const night of [Date.UTC(2026, 9, 24, 20), Date.UTC(2027, 2, 27, 20)]) {
    const rows = Array.from({ length: 8 * 60 }, (_, i) => good(0, night + i * 60_000 + 59_999, i));
    t.not(new Date(night).getTimezoneOffset(), new Date(night + 28_800_000).getTimezoneOffset());

    const found = rolled(rows, hours(1));

    t.same(
      found.map(({ start, count, first, last }) => [start, count, first, last]),
      Array.from({ length: 8 }, (_, hour) => [night + hour * 3_600_000, 60, hour * 60, hour * 60 + 59]),
    );
  }
  t.end();
});

t.test('a clock that was never set has buckets too, also before 1970', (t) => {
  const found = rolled([good(0, -60_001, 1), good(0, -60_000, 2), good(0, -1, 3), good(0, 0, 4)], minutes(1));

  t.same(
    found.map(({ start, sum }) => [start, sum]),
    [
      [-120_000, 1],
      [-60_000, 5],
      [0, 4],
    ],
  );
  t.end();
});

t.test('a counter of 1e15 that moves by ones has the deviation of its ones', (t) => {
  const rows = Array.from({ length: 3_600 }, (_, i) => good(0, NOON + i * 1_000, 1e15 + (i % 5)));

  const rollup = only(rolled(rows, hours(1)));

  t.ok(Math.abs(deviationOf(rollup) - Math.SQRT2) < 1e-12);
  t.equal(rollup.sum, 3.6e18 + 7_200);
  t.equal(meanOf(rollup), 1e15 + 2);
  t.end();
});

t.test('the mean lies between min and max whatever rounding made of the sum', (t) => {
  const rows = Array.from({ length: 60 }, (_, i) => good(0, NOON + i * 1_000, 0.1 + 0.2));

  const [stored] = decodeRollups(
    epochMs(NOON),
    minutes(1),
    Buffer.from(encodeRollups(epochMs(NOON), minutes(1), rolled(rows, minutes(1)))),
  );

  t.not(stored?.sum, rolled(rows, minutes(1))[0]?.sum);
  t.equal(stored === undefined ? undefined : meanOf(stored), 0.1 + 0.2);
  t.end();
});

t.test('rollups are what a recomputation without running figures finds', (t) => {
  fc.assert(
    fc.property(fc.oneof(samples(120), crowded), fc.constantFrom(minutes(1), hours(1)), (rows, width) => {
      const found = allDifferences(rolled(rows, width), naive(rows, width));
      if (found.length > 0) throw new Error(found.join(', '));
    }),
    { numRuns: 400 },
  );
  t.pass();
  t.end();
});

t.test('parts of a bucket that are merged are the whole, wherever it was split', (t) => {
  fc.assert(
    fc.property(crowded, fc.array(fc.nat(40), { maxLength: 5 }), (rows, cuts) => {
      const sorted = rows.toSorted((a, b) => a.time - b.time);
      if (sorted.length === 0) return;
      const places = [0, ...cuts.map((cut) => Math.min(cut, sorted.length)), sorted.length].toSorted(
        (a, b) => a - b,
      );
      const parts = places.flatMap((place, i) =>
        rolled(sorted.slice(place, places[i + 1] ?? place), minutes(1)),
      );

      const found = allDifferences([merged(parts)], rolled(sorted, minutes(1)));

      if (found.length > 0) throw new Error(found.join(', '));
    }),
    { numRuns: 1_000 },
  );
  t.pass();
  t.end();
});

t.test('a part that comes late is merged before what is there', (t) => {
  const late = only(rolled([good(0, NOON, 5), good(0, NOON + 10, 6)], minutes(1)));
  const there = only(rolled([good(0, NOON + 20, 6), good(0, NOON + 30, 7)], minutes(1)));

  t.same(merge(there, late), merge(late, there));
  t.match(merge(there, late), { first: 5, last: 7, changes: 2, count: 4, sum: 24, m2: 2 });
  t.end();
});

t.test(
  'of parts that interleave everything is exact but the changes, which are those within the parts',
  (t) => {
    fc.assert(
      fc.property(crowded, fc.array(fc.boolean(), { minLength: 40, maxLength: 40 }), (rows, sides) => {
        const parts = [true, false].flatMap((side) =>
          rolled(
            rows.filter((_, i) => sides[i] === side),
            minutes(1),
          ),
        );
        if (parts.length === 0) return;
        const whole = rolled(rows, minutes(1));
        // Which of several samples of the same time came first is not known any more.
        const unknown = /^(changes|first|last) /;

        const found = allDifferences([merged(parts)], whole).filter((text) => !unknown.test(text));

        if (found.length > 0) throw new Error(found.join(', '));
      }),
      { numRuns: 400 },
    );
    const odd = only(rolled([good(0, NOON, 1), good(0, NOON + 20, 2)], minutes(1)));
    const even = only(rolled([good(0, NOON + 10, 3), good(0, NOON + 30, 4)], minutes(1)));

    t.equal(merge(odd, even).changes, 2, 'of three');
    t.end();
  },
);

t.test('what is stored is what was there, but for the digits of sum and m2', (t) => {
  fc.assert(
    fc.property(samples(60), fc.constantFrom(minutes(1), hours(1)), (rows, width) => {
      const start = epochMs(NOON - 7_200_000);
      const rollups = rolled(rows, width);

      const found = decodeRollups(start, width, Buffer.from(encodeRollups(start, width, rollups)));

      const rounded = rollups.map((rollup) => ({
        ...rollup,
        sum: Number(rollup.sum.toPrecision(15)),
        m2: Number(rollup.m2.toPrecision(7)),
      }));
      for (const [i, rollup] of rounded.entries()) {
        const read = found[i];
        if (read === undefined) throw new Error('a bucket is missing');
        if (read.sum !== rollup.sum || read.m2 !== rollup.m2) throw new Error('other digits');
        const rest = differences({ ...read, sum: 0, m2: 0 }, { ...rollup, sum: 0, m2: 0 });
        if (rest.length > 0) throw new Error(rest.join(', '));
      }
      if (found.length !== rounded.length) throw new Error('a bucket too many');
    }),
    { numRuns: 400 },
  );
  t.pass();
  t.end();
});

t.test('a regular good bucket is stored without what is usual; a missing one is 0', (t) => {
  const at = (minute: number) => [0, 10, 20].map((s) => good(0, NOON + minute * 60_000 + s * 1_000, 1.5 + s));
  const text = encodeRollups(epochMs(NOON), minutes(1), rolled([...at(0), ...at(2)], minutes(1)));

  t.equal(text, '[[2,1.5,21.5,1.5,21.5,34.5,200,3,0,40000],0,[2,1.5,21.5,1.5,21.5,34.5,200,3,0,40000]]');
  t.end();
});

t.test('sums beyond every number are stored as unknown, not as a number', (t) => {
  const huge = rolled([good(0, NOON, 1.7e308), good(0, NOON + 1, 1.7e308)], minutes(1));

  const [stored] = decodeRollups(
    epochMs(NOON),
    minutes(1),
    Buffer.from(encodeRollups(epochMs(NOON), minutes(1), huge)),
  );

  t.match(stored, { count: 2, numbers: 2, min: 1.7e308, max: 1.7e308, sum: Number.NaN, m2: 0 });
  t.end();
});
