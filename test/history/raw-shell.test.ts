import { spawnSync } from 'node:child_process';
import t from 'tap';
import { REASONS, UNCERTAIN, reasonCode } from '../../src/core/quality.ts';
import { RawFile } from '../../src/store/history/raw-file.ts';
import { missingPeer } from '../support/peer.ts';
import { DAY, HOUR, LIMIT, type Written, dayFile, nameOf, opened, ticks, write } from './raw-fixture.ts';

const skip = missingPeer('sqlite3', 'sqlite3');

function shell(file: string, query: string, mode = '-list'): string {
  const ran = spawnSync('sqlite3', ['-readonly', mode, file, query], {
    encoding: 'utf8',
    maxBuffer: 268_435_456,
  });
  if (ran.status !== 0 || ran.stderr !== '') throw new Error(ran.stderr);
  return ran.stdout.trimEnd();
}

function rows(file: string, query: string): unknown[] {
  const text = shell(file, query, '-json');
  const found: unknown = text === '' ? [] : JSON.parse(text);
  return Array.isArray(found) ? found : [];
}

/** A row as a person expects it, by what was written and nothing else. */
function expected({ series, at, value, quality = 0, reason = 0 }: Written): unknown {
  const isGood = quality === 0 && value !== null;
  return {
    ...nameOf(series),
    time: new Date(DAY + at).toISOString().replace('T', ' ').replace('Z', ''),
    value: typeof value === 'boolean' ? Number(value) : value,
    quality: isGood ? 'good' : value === null ? 'bad' : 'uncertain',
    reason: isGood ? null : REASONS[reason],
  };
}

const COLUMNS = 'device, point, time, value, unit, quality, reason';

t.test('a person reads every sample in the stock shell, whatever it is', { skip }, async (t) => {
  const at = dayFile(t);
  const samples: Written[] = [
    { series: 11, at: 0, value: 20.5 },
    { series: 11, at: 1_000, value: -3 },
    { series: 11, at: 2_003, value: 1_234_567.125 }, // off the tick
    { series: 11, at: 2_990, value: 0 },
    { series: 11, at: 9_000, value: 0.001 }, // after missed ticks
    { series: 11, at: 10_000, value: null, reason: reasonCode('timeout') },
    { series: 11, at: 11_000, value: 7, quality: UNCERTAIN, reason: reasonCode('stale') },
    { series: 11, at: 12_017, value: null, reason: reasonCode('illegal data address') },
    { series: 12, at: 500, value: true },
    { series: 12, at: 1_500, value: false },
    { series: 12, at: 2_501, value: true },
    { series: 12, at: 3_500, value: true, quality: UNCERTAIN, reason: reasonCode('connection lost') },
    { series: 13, at: 17, value: 'größer "als"\n\u{1f30a} | ,[]' },
    { series: 13, at: 17, value: '[]' }, // a text, not a tick without a sample
    { series: 13, at: 24 * HOUR - 1, value: '' },
    { series: 14, at: 5, value: 5 }, // too short to be compressed
    { series: 15, at: 0, value: '9007199254740993' }, // beyond what a double holds
  ];
  const file = opened(t, at);
  write(file, samples);

  t.same(rows(at.path, `SELECT ${COLUMNS} FROM sample ORDER BY point, time`), samples.map(expected));
  t.equal(
    shell(at.path, 'SELECT count(*) FROM chunk WHERE length(body) = len'),
    '4',
    'some are not compressed',
  );
  t.equal(shell(at.path, "SELECT typeof(value) FROM sample WHERE point = 'point-15'"), 'text');
});

t.test(
  'it reads the same while the file is written, when it is sealed, and after late samples',
  { skip },
  async (t) => {
    const at = dayFile(t);
    const samples = [...ticks(1, 0, 4_000), ...ticks(2, 250, 4_000, 250)];
    const query = 'SELECT point, count(value), sum(value), min(time), max(time) FROM sample GROUP BY point';
    const says = [
      `point-1|4000|${(4_000 * 3_999) / 2}|2026-11-22 00:00:00.000|2026-11-22 01:06:39.000`,
      `point-2|4000|${(4_000 * 3_999) / 2 + 1_000}.0|2026-11-22 00:00:00.250|2026-11-22 00:16:40.000`,
    ].join('\n');
    const file = RawFile.forWriting(at, LIMIT);
    write(file, samples);
    t.equal(shell(at.path, query), says);

    t.ok(file.seal());
    t.equal(shell(at.path, query), says);

    const late = opened(t, at);
    write(late, ticks(3, 0, 10), 2);
    t.equal(shell(at.path, 'SELECT count(*) FROM sample'), '8010');
  },
);

t.test('every millisecond of a day is told exactly', { skip }, async (t) => {
  const at = dayFile(t);
  const file = opened(t, at);
  let random = 7;
  const samples = Array.from({ length: 20_000 }, (_, k): Written => {
    random = (random * 48_271) % 2_147_483_647;
    return { series: k % 2, at: k * 4_320 + (random % (k % 2 === 0 ? 4_320 : 30)), value: k };
  });
  write(file, samples);

  const found = shell(at.path, 'SELECT value, time FROM sample ORDER BY value').split('\n');

  t.strictSame(
    found,
    samples.map(
      ({ at, value }) => `${value}|${new Date(DAY + at).toISOString().replace('T', ' ').slice(0, -1)}`,
    ),
  );
});

t.test('a point is found by an index, not by looking at all of them', { skip }, async (t) => {
  const at = dayFile(t);
  write(opened(t, at), [...ticks(1, 0, 10), ...ticks(2, 0, 10)]);

  const plan = shell(
    at.path,
    "EXPLAIN QUERY PLAN SELECT * FROM sample WHERE device = 'device-0' AND point = 'point-1'",
  );

  t.match(plan, /SEARCH s USING COVERING INDEX sqlite_autoindex_series_1 \(device=\? AND point=\?\)/);
  t.match(plan, /SEARCH c USING INDEX chunk_key \(series=\?\)/);
  t.notMatch(plan, /SCAN (?!j )/);
});

t.test('the file tells what it is', { skip }, async (t) => {
  const at = dayFile(t);
  const file = RawFile.forWriting(at, LIMIT);
  write(file, ticks(1, 0, 10), 5, 42);
  t.equal(shell(at.path, 'PRAGMA journal_mode'), 'wal');
  file.seal();

  t.equal(
    shell(at.path, 'PRAGMA journal_mode; PRAGMA user_version; PRAGMA integrity_check'),
    'delete\n1\nok',
  );
  t.equal(shell(at.path, 'SELECT log, row FROM filed'), '42|5');
  t.equal(shell(at.path, "SELECT code FROM reason WHERE text = 'timeout'"), '1');
});
