import * as fc from 'fast-check';
import t from 'tap';
import { type Batch, BatchBuilder, NUMBER } from '../../src/core/batch.ts';
import { REASONS } from '../../src/core/quality.ts';
import { epochMs } from '../../src/core/units.ts';
import {
  decodeRow,
  encodeRuns,
  joinedOutage,
  outageOf,
  spanOf,
  startOf,
} from '../../src/telemetry/sample-log.ts';
import { JsonWriter } from '../../src/telemetry/json-writer.ts';
import { type Row, bad, batchOf, good, rowsOf, uncertain } from './rows.ts';

const NOW = 1_795_516_800_000;
/** Point p is series p + 1. */
const ALL = Uint32Array.from({ length: 50 }, (_, p) => p + 1);

/** The text of a row of these pieces of batches; undefined where nothing of them is recorded. */
function rowOf(pieces: readonly { batch: Batch; from?: number; to?: number }[], seriesOf = ALL, time = NOW) {
  const writer = new JsonWriter();
  writer.open();
  let samples = 0;
  for (const { batch, from = 0, to = batch.count } of pieces)
    samples += encodeRuns(batch, { seriesOf, time, from, to }, writer);
  writer.close();
  return samples === 0 ? undefined : writer.taken().toString();
}

function encodeRows(batch: Batch, seriesOf: Uint32Array<ArrayBuffer>, time: number): string | undefined {
  return rowOf([{ batch }], seriesOf, time);
}

function decoded(text: string | undefined, time = NOW): Row[] {
  const into = new BatchBuilder();
  if (text !== undefined) decodeRow(Buffer.from(text), time, into);
  return rowsOf(into.take());
}

t.test('a scan is one run of values, whatever they are', async (t) => {
  const batch = batchOf([
    good(0, NOW - 40, 230.1),
    good(1, NOW - 40, true),
    good(2, NOW - 40, 'größer "so"'),
    bad(3, NOW - 40, 'timeout'),
    uncertain(4, NOW - 40, -7e-9),
    good(5, NOW - 40, 0),
    good(6, NOW - 40, '9007199254740993'),
  ]);

  t.equal(
    encodeRows(batch, ALL, NOW),
    '[[-40,1,[230.1,true,"größer \\"so\\"",[null,2,1],[-0.000000007,1,2],0,"9007199254740993"]]]',
  );
});

t.test('a run ends where the time or the series does not follow', async (t) => {
  const batch = batchOf([good(0, NOW, 1), good(1, NOW, 2), good(1, NOW + 5, 3), good(0, NOW + 5, 4)]);

  t.equal(encodeRows(batch, ALL, NOW), '[[0,1,[1,2]],[5,2,[3]],[5,1,[4]]]');
});

t.test('what is not recorded is left out, and costs the scan no second run', async (t) => {
  const batch = batchOf([good(0, NOW, 1), good(1, NOW, 2), good(2, NOW, 3)]);

  t.equal(encodeRows(batch, Uint32Array.from([7, 0, 8]), NOW), '[[0,7,[1,3]]]');
  t.equal(encodeRows(batch, new Uint32Array(3), NOW), undefined);
});

t.test('several batches make one row', async (t) => {
  const batch = batchOf([good(0, NOW, 1), good(1, NOW, 2), good(2, NOW, 3)]);
  const text = rowOf([0, 1, 2].map((from) => ({ batch, from, to: from + 1 })));

  t.same(decoded(text), [good(1, NOW, 1), good(2, NOW, 2), good(3, NOW, 3)]);
});

t.test('a number that JSON cannot carry is bad, and minus zero is minus zero', async (t) => {
  const builder = new BatchBuilder();
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, -0]) builder.addNumber(0, NOW, value);
  const batch = builder.take();
  const text = batch === undefined ? '' : encodeRows(batch, ALL, NOW);
  const rows = decoded(text);

  t.same(rows.slice(0, 2), [bad(1, NOW, 'not a number'), bad(1, NOW, 'not a number')]);
  t.ok(Object.is(rows[2]?.value, -0), `${text}`);
});

const value = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.boolean(),
  fc.string({ unit: 'binary' }),
);
const sample = fc.record({
  point: fc.integer({ min: 0, max: 49 }),
  time: fc.integer({ min: 0, max: NOW * 2 }),
  value,
  quality: fc.constantFrom(0, 1, 2),
  reason: fc.constantFrom(...REASONS),
});

t.test('every batch comes back as it was, sample for sample', async (t) => {
  fc.assert(
    fc.property(fc.array(sample), fc.integer({ min: 0, max: NOW * 2 }), (samples, time) => {
      const rows: Row[] = samples.map(({ value, quality, reason, ...at }) => {
        if (quality === 0) return good(at.point, at.time, value);
        return { ...at, value: quality === 2 ? null : value, quality, reason };
      });
      const text = encodeRows(batchOf(rows), ALL, time);

      const back = decoded(text, time).map((row) => ({ ...row, point: row.point - 1 }));
      return rows.length === back.length && rows.every((row, i) => same(row, back[i]));
    }),
    { numRuns: 500 },
  );
  t.pass('500 batches');
});

function same(a: Row, b: Row | undefined): boolean {
  return (
    b !== undefined &&
    Object.is(a.value, b.value) &&
    [a.point, a.time, a.quality, a.reason].join() === [b.point, b.time, b.quality, b.reason].join()
  );
}

t.test('a row that was emptied has nothing', async (t) => {
  t.same(decoded('[]'), []);
});

t.test('a text that no encoder made is refused, never read as numbers', async (t) => {
  for (const text of [
    '',
    '{}',
    '7',
    '[7]',
    '[]7',
    '[[0]]',
    '[["0",1,[1]]]',
    '[[0,1,[null]]]',
    '[[0,1,[[1]]]]',
    '[[0,1,{}]]',
  ])
    t.throws(() => decoded(text), text);
});

t.test('rows of the other kinds are understood', async (t) => {
  const outage = { from: epochMs(5), to: epochMs(9), samples: 3, reason: 'disk full' };

  t.same(outageOf(JSON.stringify(outage)), outage);
  t.equal(outageOf('{"from":"x"}'), undefined);
  t.same(startOf('[[1,1000],[2,0]]'), [
    [1, 1_000],
    [2, 0],
  ]);
  t.throws(() => startOf('[[1]]'));
  t.same(joinedOutage(outage, { ...outage, from: epochMs(7), to: epochMs(12), reason: 'store failed' }), {
    from: 5,
    to: 12,
    samples: 6,
    reason: 'store failed',
  });
});

t.test('the span of a batch is that of its times, in whatever order they are', async (t) => {
  t.same(spanOf(batchOf([good(0, 30, 1), good(0, 10, 1), good(0, 20, 1)])), { from: 10, to: 30 });
});

t.test('the columns of a batch are left as they were', async (t) => {
  const batch: Batch = batchOf([good(0, NOW, 1.5)]);
  encodeRows(batch, ALL, NOW);

  t.same([...batch.values, ...batch.forms], [1.5, NUMBER]);
});
