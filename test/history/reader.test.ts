import { renameSync, rmSync, truncateSync } from 'node:fs';
import * as fc from 'fast-check';
import t from 'tap';
import type { Tier } from '../../src/core/history.ts';
import { bytes, epochMs, seconds } from '../../src/core/units.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { openForWriting } from '../../src/store/open.ts';
import { compare } from '../telemetry/naive-chart.ts';
import { bad, good, type Row, uncertain } from '../telemetry/rows.ts';
import { BREAKER, DAY, HOUR, MINUTE, NAMES, POWER, Past, SECOND, STATE, TODAY, rowsOfBatch } from './past.ts';

const [POWER_AT, BREAKER_AT, STATE_AT, KILOWATT_AT] = [0, 1, 2, 3];
const byTime = (a: Row, b: Row): number => a.time - b.time;
const span = (from: number, to: number) => ({ from: epochMs(from), to: epochMs(to) });

/** A value every ten seconds, with a bad one now and then. */
function signal(point: number, from: number, count: number, every = 10 * SECOND): Row[] {
  return Array.from({ length: count }, (_, i) => {
    const time = from + i * every;
    if (i % 97 === 13) return bad(point, time);
    return i % 31 === 7
      ? uncertain(point, time, i % 50)
      : good(point, time, Math.round(Math.sin(i / 40) * 1_000 + 2_000) / 10);
  });
}

/** Every chart of these rows is the one that a person would calculate from them. */
function proveCharts(past: Past, rows: readonly Row[], spans: readonly (readonly [number, number])[]): void {
  const reader = past.reader();
  for (const [from, to] of spans)
    for (const width of [3, 40, 400])
      for (const tier of ['raw', 'minute', 'hour', undefined] as const) {
        const chosen: { tier?: Tier } = tier === undefined ? {} : { tier };
        const traces = reader.history({ points: ['*/*'], ...span(from, to), width, ...chosen });
        for (const [point, name] of NAMES.entries()) {
          const trace = traces.find((one) => one.name.point === name.point && one.name.unit === name.unit);
          const step = trace?.step ?? traces[0]?.step ?? 1;
          const [begin, end] = [Math.floor(from / step) * step, Math.ceil(to / step) * step];
          const own = rows
            .filter((row) => row.point === point && row.time >= begin && row.time < end)
            .toSorted(byTime);
          if (trace === undefined) {
            if (own.length > 0) throw new Error(`no chart of ${name.point} from ${from} to ${to}`);
            continue;
          }
          if (trace.starts.length > width)
            throw new Error(`${trace.starts.length} buckets in a width of ${width}`);
          compare(trace, own, trace);
        }
      }
  reader.close();
}

t.test('a chart is the same wherever its samples are, each of them counted once', (t) => {
  const shift = fc.integer({ min: 0, max: 2 * DAY });
  const batches = fc.array(
    fc.record({
      point: fc.nat(3),
      at: shift,
      count: fc.integer({ min: 1, max: 300 }),
      every: fc.constantFrom(992, 10 * SECOND, 7_008, 0),
      after: fc.constantFrom('stay', 'stay', 'file', 'keep', 'roll', 'part'),
    }),
    { minLength: 1, maxLength: 8 },
  );
  fc.assert(
    fc.property(batches, shift, fc.integer({ min: MINUTE, max: 2 * DAY }), (steps, from, length) => {
      const cleanup: (() => unknown)[] = [];
      const past = new Past({ teardown: (clean) => cleanup.push(clean) });
      const rows: Row[] = [];
      let part = 1;
      for (const [i, { point, at, count, every, after }] of steps.entries()) {
        // Which of two commits had a sample of the same millisecond is not told.
        const some = signal(point, TODAY - DAY + Math.floor(at / 16) * 16 + i, count, every);
        rows.push(...some);
        past.commit(some);
        if (after === 'part') part++;
        if (after !== 'stay') past.file([], { part, keep: after === 'keep' });
        if (after === 'roll') past.rollUp();
      }
      const begin = TODAY - DAY + from;
      proveCharts(past, rows, [
        [begin, begin + length],
        [TODAY - DAY, TODAY + 2 * DAY],
      ]);
      cleanup.forEach((clean) => clean());
    }),
    { numRuns: Number(process.env['READER_RUNS'] ?? 25) },
  );
  t.end();
});

t.test('where raw samples are gone the minutes are used, and the answer says so', (t) => {
  const past = new Past(t);
  const rows = signal(POWER_AT, TODAY - DAY, 17_280);
  past.file(rows);
  past.rollUp();
  const before = past
    .reader()
    .history({ points: ['*/*'], ...span(TODAY - HOUR, TODAY + HOUR), width: 2_000 });
  const yesterday = fileAt(past.folder, 'raw', epochMs(TODAY - DAY));
  rmSync(yesterday.path);
  const drops = [
    {
      tier: 'raw' as const,
      file: 'raw/2026-11-25.db',
      ...span(TODAY - DAY, TODAY),
      time: epochMs(TODAY + DAY),
      reason: 'retention' as const,
      bytes: bytes(1),
    },
  ];
  const reader = past.reader({ drops, floor: epochMs(TODAY) });

  const [after] = reader.history({ points: ['*/*'], ...span(TODAY - HOUR, TODAY + HOUR), width: 2_000 });
  const [present] = reader.history({ points: ['*/*'], ...span(TODAY, TODAY + HOUR), width: 2_000 });

  t.match(before[0], { tier: 'raw', step: 5 * SECOND });
  t.match(after, { tier: 'minute', step: MINUTE });
  if (after !== undefined)
    compare(
      after,
      rows.filter(({ time }) => time >= TODAY - HOUR && time < TODAY + HOUR),
      after,
    );
  t.match(present, { tier: 'raw', step: 2 * SECOND }, 'what is there is used');
  t.end();
});

t.test('minutes that are gone are made from raw samples, hours from minutes', (t) => {
  const past = new Past(t);
  const rows = signal(POWER_AT, TODAY - DAY, 17_280);
  past.file(rows);
  past.rollUp();
  const lost = (tier: Tier, file: string) => {
    rmSync(fileAt(past.folder, tier, epochMs(TODAY)).path);
    return { tier, file, ...span(TODAY, TODAY + DAY), time: epochMs(TODAY + 2 * DAY), bytes: bytes(1) };
  };
  const drops = [
    { ...lost('minute', 'minute/2026-11-26.db'), reason: 'damaged' as const },
    {
      ...lost('hour', 'hour/2026-11.db'),
      reason: 'damaged' as const,
      ...span(Date.UTC(2026, 10), Date.UTC(2026, 11)),
    },
  ];

  for (const tier of ['minute', 'hour'] as const) {
    const [trace] = past
      .reader({ drops })
      .history({ points: ['*/*'], ...span(TODAY - DAY, TODAY + DAY), width: 3_000, tier });
    if (trace === undefined) t.fail('no chart');
    else compare(trace, rows, trace);
    t.equal(trace?.tier, tier);
  }
  t.end();
});

t.test('a sample that is too late for raw files stands in the minutes before it is filed', (t) => {
  const past = new Past(t);
  const rows = signal(POWER_AT, TODAY - DAY, 1_000);
  past.file(rows);
  past.rollUp();
  rmSync(fileAt(past.folder, 'raw', epochMs(TODAY - DAY)).path);
  const late = [good(POWER_AT, TODAY - DAY + 5_001, 4_000), good(POWER_AT, TODAY - DAY + 20 * HOUR, 1)];
  past.commit(late);
  const all = [...rows, ...late].toSorted(byTime);
  const reader = past.reader({ floor: epochMs(TODAY) });

  const [minutes] = reader.history({ points: ['*/*'], ...span(TODAY - DAY, TODAY), width: 2_000 });
  const raw = reader.samples({ points: ['*/*'], ...span(TODAY - DAY, TODAY) });

  t.equal(minutes?.maxes[0], 4_000);
  t.same([minutes?.starts.at(-1), minutes?.lasts.at(-1)], [TODAY - DAY + 20 * HOUR, 1]);
  t.equal(
    minutes?.counts.reduce((sum, count) => sum + count, 0),
    all.length,
  );
  t.same([...raw.batches], [], 'it will never be a raw sample');
  t.end();
});

t.test('a stream has every sample once, by day, series and time, though it is filed meanwhile', (t) => {
  const past = new Past(t);
  const rows = [
    ...signal(POWER_AT, TODAY - 3 * HOUR, 20_000, SECOND),
    ...signal(BREAKER_AT, TODAY - HOUR, 4_000, 2 * SECOND),
    ...Array.from({ length: 50 }, (_, i) =>
      good(STATE_AT, TODAY - 25 * MINUTE + i * MINUTE, i % 3 === 0 ? 'open' : 'shut'),
    ),
    good(KILOWATT_AT, TODAY + 5, 0.5),
  ];
  past.file(rows.filter((_, i) => i % 2 === 0));
  past.commit(rows.filter((_, i) => i % 2 === 1));
  const whole = span(TODAY - DAY, TODAY + DAY);

  const { names, batches } = past.reader().samples({ points: ['*/*'], ...whole });
  const found: Row[] = [];
  for (const batch of batches) {
    found.push(...rowsOfBatch(batch));
    past.file([]);
  }

  t.same(names, [POWER, { ...POWER, unit: 'kW' }, BREAKER, STATE]);
  const places = [0, 2, 3, 1]; // of NAMES in the order of names
  const expected = rows.map((row) => ({ ...row, point: places[row.point] ?? -1 }));
  expected.sort(
    (a, b) => Math.floor(a.time / DAY) - Math.floor(b.time / DAY) || a.point - b.point || a.time - b.time,
  );
  t.strictSame(found, expected);
  t.end();
});

t.test('a chart of many points is right though they are filed and rolled up between two of them', (t) => {
  for (const tier of ['raw', 'minute', 'hour'] as const)
    for (const before of [0, 100]) {
      const past = new Past(t);
      const [older, newer] = [before, 300].map((count, i) =>
        [POWER_AT, BREAKER_AT, STATE_AT].flatMap((point) => signal(point, TODAY + i * HOUR, count)),
      );
      if (before > 0) past.file(older ?? []);
      past.commit(newer ?? []);
      const query = { points: ['*/*'], ...span(TODAY, TODAY + DAY), width: 2_000, tier };

      const counts = [];
      for (const trace of past.reader().traces(query)) {
        counts.push(trace.counts.reduce((sum, count) => sum + count, 0));
        past.file(counts.length === 1 ? signal(POWER_AT, TODAY + 2 * HOUR, 10) : []);
        past.rollUp();
      }

      t.same(counts, [before + 300, before + 300, before + 300], `${tier} after ${before}`);
    }
  t.end();
});

t.test('the last sample is the newest by time, in the tail or in a file, with its quality', (t) => {
  const past = new Past(t);
  past.file([
    good(POWER_AT, TODAY - DAY, 1),
    good(BREAKER_AT, TODAY, true),
    good(STATE_AT, TODAY - 2 * DAY, 'open'),
  ]);
  past.rollUp();
  past.file([bad(POWER_AT, TODAY + MINUTE, 'refused')]);
  past.commit([good(POWER_AT, TODAY + 30 * SECOND, 3), good(BREAKER_AT, TODAY + 1, false)]);
  rmSync(fileAt(past.folder, 'raw', epochMs(TODAY - 2 * DAY)).path);

  const last = past.reader().last(['*/*']);

  t.match(last, [
    { name: POWER, time: TODAY + MINUTE, value: null, quality: 2 },
    { name: BREAKER, time: TODAY + 1, value: false, quality: 0 },
    { name: STATE, time: TODAY - 2 * DAY, value: 'open' },
  ]);
  t.same(past.reader().last(['press-1/b*']).length, 1);
  t.end();
});

t.test('names are those of all files, sorted, and fit the patterns', (t) => {
  const past = new Past(t);
  past.file([good(BREAKER_AT, TODAY, true), good(KILOWATT_AT, TODAY, 1), good(POWER_AT, TODAY - DAY, 1)]);
  const reader = past.reader();

  t.same(reader.names(['*/*']), [{ ...POWER, unit: 'W' }, { ...POWER, unit: 'kW' }, BREAKER]);
  t.same(reader.names(['press-*/*', '*/b*']), [BREAKER]);
  past.file([good(STATE_AT, TODAY, 'open')]);
  t.same(reader.names(['press-1/*']), [BREAKER, STATE], 'also what came after the first look');
  t.same(reader.names([]), []);
  t.end();
});

t.test('a file that was replaced or removed is let go', (t) => {
  const past = new Past(t);
  past.file(signal(POWER_AT, TODAY, 100));
  const reader = past.reader();
  const count = (): number =>
    [...reader.samples({ points: ['*/*'], ...span(TODAY, TODAY + DAY) }).batches].reduce(
      (sum, batch) => sum + batch.count,
      0,
    );
  t.equal(count(), 100);

  const { path } = fileAt(past.folder, 'raw', epochMs(TODAY));
  const other = new Past(t);
  other.file(signal(POWER_AT, TODAY, 7));
  for (const end of ['-wal', '-shm']) rmSync(`${path}${end}`, { force: true });
  renameSync(fileAt(other.folder, 'raw', epochMs(TODAY)).path, path);
  t.equal(count(), 7);
  rmSync(path);
  t.equal(count(), 0);
  t.same(past.said, []);
  t.end();
});

t.test('what is damaged is left out and told once; the rest is there', (t) => {
  const past = new Past(t);
  const rows = signal(POWER_AT, TODAY - DAY, 17_280);
  past.file(rows);
  past.rollUp();
  truncateSync(fileAt(past.folder, 'raw', epochMs(TODAY - DAY)).path, 5_000);
  const reader = past.reader();
  const query = { points: ['*/*'], ...span(TODAY - DAY, TODAY + DAY), width: 4_000 };

  const traces = [reader.history(query), reader.history(query)];

  t.same(past.said.length, 1, JSON.stringify(past.said));
  t.match(past.said[0], { what: /cannot be read/, facts: { file: /2026-11-25/ } });
  t.match(traces[1]?.[0], { tier: 'minute' }, 'the minutes stand in');
  t.equal(
    traces[1]?.[0]?.counts.reduce((sum, count) => sum + count, 0),
    rows.length,
  );
  t.end();
});

t.test(
  'a file of a newer Sluice is left out with its sentence; a damaged chunk costs its own samples',
  (t) => {
    const past = new Past(t);
    past.file(signal(POWER_AT, TODAY - DAY, 100));
    past.file(signal(POWER_AT, TODAY, 4_096));
    past.file(signal(POWER_AT, TODAY + 12 * HOUR, 500));
    past.rollUp();
    const change = (day: number, sql: string): void => {
      const db = openForWriting(fileAt(past.folder, 'raw', epochMs(day)).path, 64_000_000);
      db.exec(sql);
      db.close();
    };
    change(TODAY - DAY, 'PRAGMA user_version = 99');
    change(TODAY, "UPDATE chunk SET body = x'789c00ff' WHERE n = 500");
    const reader = past.reader({
      runs: [[TODAY - DAY, TODAY + DAY]],
      period: () => seconds(10),
      now: TODAY + 2 * DAY,
    });

    const { batches } = reader.samples({ points: ['*/*'], ...span(TODAY - DAY, TODAY + DAY) });
    const count = [...batches].reduce((sum, batch) => sum + batch.count, 0);
    const gapsIn = (from: number, to: number) =>
      reader
        .completeness({ points: ['*/*'], ...span(from, to) })[0]
        ?.gaps.filter(({ reason }) => reason === 'store')
        .map((gap) => [gap.from, gap.to, gap.left]);

    t.equal(count, 4_096);
    t.match(past.said, [
      { facts: { file: /2026-11-25/, because: /newer Sluice \(its schema is 99/ } },
      { facts: { file: /2026-11-26/ } },
    ]);
    const yesterday = TODAY - DAY;
    t.same(gapsIn(yesterday, yesterday + MINUTE), [[yesterday, yesterday + MINUTE, 'minute']]);
    const today = gapsIn(TODAY, TODAY + DAY);
    t.equal(today?.[0]?.[0], TODAY + 12 * HOUR, 'the time of the chunk, and no more');
    t.ok(Number(today?.at(-1)?.[1]) <= TODAY + 12 * HOUR + 5_000 * SECOND);
    t.end();
  },
);
