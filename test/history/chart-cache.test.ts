import { deepStrictEqual } from 'node:assert/strict';
import { copyFileSync, rmSync } from 'node:fs';
import t, { type Test } from 'tap';
import type { Tier } from '../../src/core/history.ts';
import { epochMs, hours, kibibytes } from '../../src/core/units.ts';
import { CHART_CACHE_BYTES, ChartCache } from '../../src/store/history/chart-cache.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { type Buckets, ChartBuilder } from '../../src/telemetry/chart.ts';
import { compare } from '../telemetry/naive-chart.ts';
import { batchOf, good, type Row } from '../telemetry/rows.ts';
import { DAY, HOUR, MINUTE, NAMES, Past, TODAY } from './past.ts';

const span = (from: number, to: number) => ({ from: epochMs(from), to: epochMs(to) });

/** Numbers, switches, words, and numbers of the same name with another unit. */
function values(from: number, count: number, every: number, shift = 0): Row[] {
  return Array.from({ length: count * NAMES.length }, (_, i) => {
    const [k, point] = [Math.floor(i / NAMES.length), i % NAMES.length];
    const value = [Math.sin(k) * 100, k % 5 < 2, ['idle', 'run', 'größer'][k % 3] ?? '', k][point] ?? 0;
    return good(point, from + k * every + shift, value);
  });
}

/** As a person would calculate them, and to the last bit what somebody sees who never looked before. */
function prove(t: Test, past: Past, looking: ReturnType<Past['reader']>, rows: readonly Row[], what: string) {
  const fresh = past.reader();
  for (const [from, to] of [
    [TODAY - 2 * DAY, TODAY + DAY],
    [TODAY - DAY + 7 * HOUR + 13 * MINUTE, TODAY + 5 * HOUR + 44 * MINUTE],
  ] as const)
    for (const width of [2, 50])
      for (const tier of ['minute', 'hour'] as const satisfies readonly Tier[]) {
        const query = { points: ['*/*'], ...span(from, to), width, tier };
        const traces = looking.history(query);
        deepStrictEqual(traces, fresh.history(query), `${what}: ${tier}, ${width} wide`);
        for (const trace of traces) {
          const point = NAMES.findIndex(
            (name) => name.point === trace.name.point && name.unit === trace.name.unit,
          );
          const [begin, end] = [
            Math.floor(from / trace.step) * trace.step,
            Math.ceil(to / trace.step) * trace.step,
          ];
          const own = rows.filter((row) => row.point === point && row.time >= begin && row.time < end);
          compare(
            trace,
            own.toSorted((a, b) => a.time - b.time),
            trace,
          );
        }
      }
  fresh.close();
  t.pass(what);
}

t.test('who looks again sees what is there now, whatever was written meanwhile', (t) => {
  const past = new Past(t);
  const looking = past.reader();
  t.teardown(() => looking.close());
  const rows = values(TODAY - 2 * DAY, 8, 6 * HOUR);
  past.file(rows);
  past.rollUp();
  prove(t, past, looking, rows, 'two days');
  prove(t, past, looking, rows, 'again');

  const more = values(TODAY, 6, 25 * MINUTE, 61_000);
  past.file(more);
  rows.push(...more);
  prove(t, past, looking, rows, 'filed, not rolled up');
  past.rollUp();
  prove(t, past, looking, rows, 'the next hours');

  const late = values(TODAY - DAY + 3 * HOUR, 6, 7 * MINUTE, 30_000);
  past.commit(late);
  rows.push(...late);
  prove(t, past, looking, rows, 'late ones, in the log');
  past.file([]);
  prove(t, past, looking, rows, 'late ones, filed');
  past.rollUp();
  prove(t, past, looking, rows, 'late ones, rolled up');
  t.end();
});

t.test('a file that is another one, or is gone, is not what was looked at', (t) => {
  const past = new Past(t);
  const other = new Past(t);
  const looking = past.reader();
  t.teardown(() => looking.close());
  const rows = values(TODAY, 20, 10 * MINUTE);
  const others = values(TODAY, 11, 17 * MINUTE, 1_000);
  for (const [of, has] of [
    [past, rows],
    [other, others],
  ] as const) {
    of.file(has);
    of.rollUp();
  }
  const query = { points: ['*/*'], ...span(TODAY, TODAY + DAY), width: 20, tier: 'hour' as const };
  prove(t, past, looking, rows, 'first');
  for (const tier of ['raw', 'minute', 'hour'] as const) {
    const [from, to] = [other, past].map((one) => fileAt(one.folder, tier, epochMs(TODAY)).path);
    rmSync(to ?? '');
    copyFileSync(from ?? '', to ?? '');
  }
  prove(t, past, looking, others, 'replaced');
  rmSync(fileAt(past.folder, 'hour', epochMs(TODAY)).path);
  t.same(looking.history(query), [], 'removed');
  t.end();
});

t.test('it keeps the latest used ones, and no more than it may take', (t) => {
  const cache = new ChartCache(kibibytes(64));
  const origin = { file: {}, version: 1 };
  for (let k = 0; k < 100; k++) {
    cache.set(`chart ${k}`, origin, bucketsOf(k % 2 === 0 ? 50 : 90));
    t.ok(cache.get('chart 0', origin), 'used all the time');
    t.ok(cache.bytes <= kibibytes(64));
  }
  t.notOk(cache.get('chart 1', origin));
  t.ok(cache.get('chart 99', origin));
  t.equal(cache.get('chart 99', { ...origin, version: 2 }), undefined, 'the file was written');
  t.equal(cache.get('chart 99', origin), undefined, 'and what was made before is gone');
  t.equal(cache.get('chart 98', { file: {}, version: 1 }), undefined, 'the file was opened again');
  cache.set('too large', origin, bucketsOf(24 * 31));
  t.ok(cache.bytes <= kibibytes(64));
  cache.clear();
  t.equal(cache.bytes, 0);
  t.ok(CHART_CACHE_BYTES <= 32 * 1_048_576, 'a gateway has a few hundred megabytes');
  t.end();
});

t.test('what it says it takes is what it takes', (t) => {
  const cache = new ChartCache();
  const buckets = bucketsOf(150);
  const { starts, counts, ...others } = buckets.columns;
  const taken = starts.byteLength + counts.byteLength + Object.keys(others).length * starts.byteLength;
  cache.set('a chart', { file: {}, version: 1 }, buckets);
  t.ok(cache.bytes >= taken);
  t.ok(cache.bytes <= taken * 1.1);
  cache.set(
    'the same',
    { file: {}, version: 1 },
    { ...buckets, texts: new Map([[1, ['idle', 'x'.repeat(5_000)]]]) },
  );
  t.ok(cache.bytes > 2 * taken + 10_000, 'texts are counted');
  t.end();
});

function bucketsOf(count: number): Buckets {
  const builder = new ChartBuilder({
    tier: 'hour',
    step: hours(1),
    ...span(TODAY, TODAY + count * HOUR),
  });
  builder.addSamples(batchOf(Array.from({ length: count }, (_, i) => good(1, TODAY + i * HOUR, i))));
  return builder.takeBuckets();
}
