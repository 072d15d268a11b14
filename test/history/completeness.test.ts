import { rmSync, truncateSync } from 'node:fs';
import * as fc from 'fast-check';
import t from 'tap';
import type { HistoryGap, Tier } from '../../src/core/history.ts';
import { bytes, epochMs, milliseconds, seconds } from '../../src/core/units.ts';
import { fileAt } from '../../src/store/history/files.ts';
import { nameKey } from '../../src/store/history/tail.ts';
import { bad, good, type Row, uncertain } from '../telemetry/rows.ts';
import { BREAKER, DAY, HOUR, type Known, MINUTE, POWER, Past, SECOND, TODAY } from './past.ts';

const [POWER_AT, BREAKER_AT] = [0, 1];
const NOON = TODAY + 12 * HOUR;
const span = (from: number, to: number) => ({ from: epochMs(from), to: epochMs(to) });

/** A good sample every second in [from, to). */
function regular(from: number, to: number, point = POWER_AT): Row[] {
  return Array.from({ length: Math.ceil((to - from) / SECOND) }, (_, i) => good(point, from + i * SECOND, i));
}

/** Gaps of the meter's power as [from, to, reason, detail], in seconds from `zero`. */
function gapsIn(past: Past, known: Known, from: number, to: number, zero = from) {
  const reader = past.reader({ runs: [[TODAY, TODAY + DAY]], now: TODAY + 10 * DAY, ...known });
  const [found] = reader.completeness({ points: ['meter-1/power'], ...span(from, to) });
  reader.close();
  return {
    share: found?.share ?? Number.NaN,
    left: found?.gaps.map(({ left }) => left) ?? [],
    gaps:
      found?.gaps.map((gap: HistoryGap) => [
        (gap.from - zero) / SECOND,
        (gap.to - zero) / SECOND,
        gap.reason,
        gap.detail,
      ]) ?? [],
  };
}

t.test('where every sample came there is no gap, at the borders of the query either', (t) => {
  const past = new Past(t);
  past.file(regular(NOON - MINUTE, NOON + MINUTE));
  past.commit(regular(NOON + MINUTE, NOON + 2 * MINUTE));

  t.same(gapsIn(past, {}, NOON, NOON + MINUTE), { share: 1, gaps: [], left: [] });
  t.same(
    gapsIn(past, {}, NOON + 300, NOON + 90_500),
    { share: 1, gaps: [], left: [] },
    'over the end of the files',
  );
  t.same(
    gapsIn(past, { now: NOON + 2 * MINUTE + 2_500 }, NOON, NOON + 3 * MINUTE).gaps,
    [],
    'what is still to come is no gap',
  );
  t.end();
});

t.test('a bad sample stands until the next good one, and says why', (t) => {
  const past = new Past(t);
  past.file([
    ...regular(NOON - MINUTE, NOON + 10 * SECOND),
    bad(POWER_AT, NOON + 10 * SECOND, 'timeout'),
    bad(POWER_AT, NOON + 20 * SECOND, 'connection lost'),
    ...regular(NOON + 40 * SECOND, NOON + 70 * SECOND),
    uncertain(POWER_AT, NOON + 70 * SECOND, 1),
    ...regular(NOON + 71 * SECOND, NOON + 3 * MINUTE),
  ]);

  const found = gapsIn(past, {}, NOON, NOON + 2 * MINUTE);

  t.same(found.gaps, [
    [10, 40, 'device silent', 'timeout; connection lost'],
    [70, 71, 'device silent', 'stale'],
  ]);
  t.equal(found.share, 1 - 31 / 120);
  t.same(gapsIn(past, {}, NOON + 25 * SECOND, NOON + 30 * SECOND), {
    share: 0,
    gaps: [[0, 5, 'device silent', 'connection lost']],
    left: ['raw'],
  });
  t.end();
});

t.test(
  'a device that falls silent is silent since it was heard last, not since it was told to be stale',
  (t) => {
    const past = new Past(t);
    past.file([
      ...regular(NOON, NOON + 10 * SECOND),
      bad(POWER_AT, NOON + 12_700, 'stale'),
      good(POWER_AT, NOON + HOUR, 1),
    ]);

    t.same(gapsIn(past, {}, NOON, NOON + HOUR + 500).gaps, [[10, 3600, 'device silent', 'stale']]);
    t.same(
      gapsIn(past, {}, NOON + 30 * MINUTE, NOON + 40 * MINUTE, NOON).gaps,
      [[1800, 2400, 'device silent', 'stale']],
      'the word was half an hour ago',
    );
    t.end();
  },
);

t.test('nothing for more than three periods, and not a word: unknown', (t) => {
  const past = new Past(t);
  past.file([
    ...regular(NOON, NOON + 10 * SECOND),
    ...regular(NOON + 12 * SECOND, NOON + 20 * SECOND),
    ...regular(NOON + 25 * SECOND, NOON + 30 * SECOND),
  ]);

  const found = gapsIn(past, {}, NOON, NOON + MINUTE);

  t.same(found.gaps, [
    [20, 25, 'unknown', ''],
    [30, 60, 'unknown', ''],
  ]);
  t.same(gapsIn(past, { period: () => seconds(5) }, NOON, NOON + 40 * SECOND).gaps, [
    [34, 40, 'unknown', ''],
  ]);
  t.same(
    gapsIn(past, { period: () => milliseconds(0) }, NOON, NOON + MINUTE).gaps,
    [],
    'nobody knows when to expect one',
  );
  t.end();
});

/** The third run did not record the power. */
const period: Known['period'] = (run, name) =>
  run === 2 && nameKey(name) === nameKey(POWER) ? undefined : seconds(1);

t.test('between runs the gateway was down, in runs without the point the filter was off', (t) => {
  const past = new Past(t);
  past.file([
    ...regular(NOON, NOON + 10 * SECOND),
    ...regular(NOON + 21 * SECOND, NOON + 30 * SECOND),
    ...regular(NOON + 40 * SECOND, NOON + 50 * SECOND, BREAKER_AT),
  ]);
  const runs = [0, 20, 40].map((at) => [NOON + at * SECOND, NOON + (at + 10) * SECOND] as const);

  t.same(gapsIn(past, { runs, period }, NOON - 5 * SECOND, NOON + MINUTE, NOON).gaps, [
    [-5, 0, 'gateway down', ''],
    [10, 20, 'gateway down', ''],
    [30, 40, 'gateway down', ''],
    [40, 50, 'filter off', ''],
    [50, 60, 'gateway down', ''],
  ]);

  past.tail.beginnings.push({
    time: epochMs(NOON + 55 * SECOND),
    recorded: new Map([[nameKey(BREAKER), seconds(1)]]),
  });
  past.tail.lastSign = epochMs(NOON + 58 * SECOND);
  t.same(
    gapsIn(past, { runs, period }, NOON + 50 * SECOND, NOON + MINUTE, NOON).gaps,
    [
      [50, 55, 'gateway down', ''],
      [55, 58, 'filter off', ''],
      [58, 60, 'gateway down', ''],
    ],
    'a start that only the log knows yet',
  );
  t.end();
});

t.test('a gateway that said something a moment ago still runs; one that did not is down since then', (t) => {
  const past = new Past(t);
  past.commit(regular(NOON, NOON + 10 * SECOND));
  past.tail.lastSign = epochMs(NOON + 10 * SECOND);
  const known = { runs: [[NOON, NOON] as const] };
  const upTo = (now: number) => gapsIn(past, { ...known, now }, NOON, NOON + HOUR).gaps;

  t.same(upTo(NOON + 17 * SECOND), []);
  t.same(upTo(NOON + 19 * SECOND), [[10, 19, 'gateway down', '']]);
  past.tail.lastSign = epochMs(NOON + 19 * SECOND);
  t.same(upTo(NOON + 19 * SECOND), [[10, 19, 'unknown', '']]);
  t.end();
});

/** The second one did not. */
const off: Known['period'] = (run, name) => (run === 1 ? undefined : period(0, name));

t.test('where the clock was set back, the run that recorded last counts', (t) => {
  const past = new Past(t);
  const runs = [
    [NOON, NOON + 100 * SECOND],
    [NOON + 20 * SECOND, NOON + 40 * SECOND],
    [NOON + 120 * SECOND, NOON + 140 * SECOND],
  ] as const;
  past.file([good(BREAKER_AT, NOON, true), good(POWER_AT, NOON - HOUR, 1)]);

  t.same(gapsIn(past, { runs, period: off }, NOON, NOON + 150 * SECOND).gaps, [
    [0, 20, 'unknown', ''],
    [20, 40, 'filter off', ''],
    [40, 100, 'unknown', ''],
    [100, 120, 'gateway down', ''],
    [120, 140, 'unknown', ''],
    [140, 150, 'gateway down', ''],
  ]);
  t.end();
});

t.test('what the store had to give up is told as such', (t) => {
  const past = new Past(t);
  past.file([...regular(NOON, NOON + 10 * SECOND), ...regular(NOON + 30 * SECOND, NOON + MINUTE)]);
  const outages = [{ ...span(NOON + 10 * SECOND, NOON + 29 * SECOND), samples: 20, reason: 'disk full' }];

  const found = gapsIn(past, { outages }, NOON, NOON + MINUTE);

  t.same(found.gaps, [
    [10, 29.001, 'store', 'disk full'],
    [29.001, 30, 'unknown', ''],
  ]);
  past.tail.failures.push({
    ...span(NOON + 9 * SECOND, NOON + 30 * SECOND),
    samples: 20,
    reason: 'disk full',
  });
  t.same(gapsIn(past, {}, NOON, NOON + MINUTE).gaps, [[10, 30, 'store', 'disk full']], 'from the log');
  t.end();
});

/** A day of which the raw file was given up; the device was silent for ten minutes and the gateway down for twenty. */
function givenUp(past: Past, reason: 'retention' | 'quota' | 'damaged'): Known {
  const from = TODAY + 10 * HOUR;
  past.file([
    ...regular(from, from + 30 * MINUTE),
    ...Array.from({ length: 10 }, (_, i) => bad(POWER_AT, from + (30 + i) * MINUTE)),
    ...regular(from + 40 * MINUTE, from + HOUR + 30_000),
    ...Array.from({ length: 30 }, (_, i) => bad(POWER_AT, from + HOUR + 30_000 + i * SECOND, 'refused')),
    ...regular(from + HOUR + MINUTE, from + 2 * HOUR),
    ...regular(from + 2 * HOUR + 20 * MINUTE, from + 3 * HOUR),
  ]);
  past.rollUp();
  rmSync(fileAt(past.folder, 'raw', epochMs(TODAY)).path);
  const drop = {
    file: 'raw/2026-11-26.db',
    ...span(TODAY, TODAY + DAY),
    time: epochMs(TODAY + 8 * DAY),
    bytes: bytes(1),
  };
  return {
    floor: epochMs(TODAY + DAY),
    drops: [{ tier: 'raw', ...drop, reason }],
    runs: [
      [from, from + 2 * HOUR],
      [from + 2 * HOUR + 20 * MINUTE, from + 3 * HOUR],
    ],
  };
}

t.test('where raw samples were given up the minutes tell what is left, and what was never there', (t) => {
  const past = new Past(t);
  const known = givenUp(past, 'retention');

  const found = gapsIn(past, known, TODAY + 10 * HOUR, TODAY + 13 * HOUR);

  const file = 'raw/2026-11-26.db';
  t.same(found.gaps, [
    [0, 1800, 'retention', file],
    [1800, 2400, 'device silent', '1 of 1 samples of the minute'],
    [2400, 3600, 'retention', file],
    [3600, 3630, 'device silent', '30 of 60 samples of the minute'],
    [3630, 7200, 'retention', file],
    [7200, 8400, 'gateway down', ''],
    [8400, 10_800, 'retention', file],
  ]);
  t.ok(found.left.every((left) => left === 'minute'));
  t.equal(found.share, 0);
  t.end();
});

t.test('quota and damage are told from age; where nothing is left, that is told too', (t) => {
  const reasons = {
    quota: ['quota', 'raw/2026-11-26.db'],
    damaged: ['store', 'raw/2026-11-26.db was damaged'],
  };
  for (const [reason, told] of Object.entries(reasons)) {
    const past = new Past(t);
    const known = givenUp(past, reason === 'quota' ? 'quota' : 'damaged');
    const lost = (tier: Tier) => ({
      tier,
      file: '',
      ...span(TODAY, TODAY + DAY),
      time: epochMs(TODAY + 8 * DAY),
      reason: 'quota' as const,
      bytes: bytes(1),
    });

    const some = gapsIn(
      past,
      { ...known, drops: [...(known.drops ?? []), lost('minute')] },
      TODAY + 10 * HOUR,
      TODAY + 11 * HOUR,
    );
    const none = gapsIn(
      past,
      { ...known, drops: [...(known.drops ?? []), lost('minute'), lost('hour')] },
      TODAY + 10 * HOUR,
      TODAY + 11 * HOUR,
    );

    const silent = 10 / (1_800 + 10 + 1_200);
    t.same(some.gaps[1]?.slice(2), told);
    t.equal(some.gaps[0]?.[1], Math.round(3_600_000 * silent) / SECOND, 'by its share of the hour');
    t.ok(some.left.every((left) => left === 'hour'));
    t.same(none, { share: 0, left: [undefined], gaps: [[0, 3600, ...told]] });

    const within = gapsIn(
      past,
      { ...known, drops: [...(known.drops ?? []), lost('minute')] },
      TODAY + 10 * HOUR + 20 * MINUTE,
      TODAY + 10 * HOUR + 40 * MINUTE,
    );
    t.same(within.gaps, [[0, 1200, ...told]], 'also where the question begins within the hour');
  }
  t.end();
});

t.test('a raw file that cannot be read is no excuse for the device', (t) => {
  const past = new Past(t);
  past.file(regular(NOON, NOON + HOUR));
  past.rollUp();
  truncateSync(fileAt(past.folder, 'raw', epochMs(TODAY)).path, 5_000);
  const reader = past.reader({ runs: [[TODAY, TODAY + DAY]], now: TODAY + 2 * DAY });

  reader.history({ points: ['*/*'], ...span(NOON, NOON + HOUR), width: 4_000 });
  const [found] = reader.completeness({ points: ['*/*'], ...span(NOON, NOON + HOUR) });

  t.match(found?.gaps, [{ reason: 'store', left: 'minute', detail: /2026-11-26.db: .*malformed/ }]);
  t.end();
});

t.test('gaps are in order, part from one another, and the share is the rest', (t) => {
  const step = fc.record({
    pause: fc.constantFrom(SECOND, SECOND, SECOND, 2 * SECOND, 7 * SECOND, MINUTE),
    count: fc.integer({ min: 1, max: 30 }),
    isBad: fc.boolean(),
  });
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 12 }),
      fc.array(fc.nat(600), { maxLength: 6 }),
      (steps, borders) => {
        const cleanup: (() => unknown)[] = [];
        const past = new Past({ teardown: (clean) => cleanup.push(clean) });
        let time = NOON;
        past.commit(
          steps.flatMap(({ pause, count, isBad }) =>
            Array.from({ length: count }, () => {
              time += pause;
              return isBad ? bad(POWER_AT, time) : good(POWER_AT, time, 1);
            }),
          ),
        );
        past.file([good(BREAKER_AT, NOON, true), good(POWER_AT, NOON - HOUR, 1)]);
        const at = [...new Set(borders)].sort((a, b) => a - b).map((second) => NOON + second * SECOND);
        const runs = at.flatMap((from, i) =>
          i % 2 === 0 ? [[from, at[i + 1] ?? NOON + HOUR] as const] : [],
        );

        const { gaps, share } = gapsIn(past, { runs }, NOON, NOON + 10 * MINUTE);

        const edges = gaps.flatMap(([from, to]) => [Number(from), Number(to)]);
        const missing = gaps.reduce((sum, [from, to]) => sum + Number(to) - Number(from), 0);
        cleanup.forEach((clean) => clean());
        if (edges.some((edge, i) => i > 0 && edge < (edges[i - 1] ?? 0))) throw new Error('out of order');
        if (gaps.some(([from, to]) => Number(to) <= Number(from))) throw new Error('an empty gap');
        if (Math.abs(1 - missing / 600 - share) > 1e-9)
          throw new Error(`${share} is not the rest of ${missing}`);
        const neighbours = gaps.some(
          ([from, , reason], i) => i > 0 && gaps[i - 1]?.[1] === from && gaps[i - 1]?.[2] === reason,
        );
        if (neighbours) throw new Error('neighbours of one reason');
      },
    ),
    { numRuns: 40 },
  );
  t.end();
});
