import { spawnSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import type { PointName } from '../../src/core/point.ts';
import { type Duration, bytes, epochMs, milliseconds, minutes, seconds } from '../../src/core/units.ts';
import { type Book, type BookOptions, openBook, openBookForReading } from '../../src/store/history/book.ts';
import { missingPeer } from '../support/peer.ts';
import { listeningLog } from '../store/fixture.ts';

const noShell = { skip: missingPeer('sqlite3', 'sqlite3') };
const NOON = Date.UTC(2026, 10, 26, 12);
const at = (hour: number) => epochMs(NOON + hour * 3_600_000);
const EVER = [epochMs(-1e14), epochMs(1e14)] as const;

const VOLTAGE: PointName = { device: 'meter-main', point: 'voltage-l1', unit: 'V' };
const LEVEL: PointName = { device: 'tank-3', point: 'level', unit: 'm' };
const STATE: PointName = { device: 'press-1', point: 'state' };
const PLANT: readonly (readonly [PointName, Duration])[] = [
  [VOLTAGE, seconds(1)],
  [LEVEL, minutes(1)],
  [STATE, milliseconds(250)],
];

interface Teardown {
  teardown(after: () => void): void;
}

function fileFor(t: Teardown): string {
  const path = mkdtempSync(join(tmpdir(), 'book-'));
  t.teardown(() => rmSync(path, { recursive: true, force: true }));
  return join(path, 'history.db');
}

function opened(t: Teardown, file: string, options: Partial<BookOptions> = {}): Book {
  const book = openBook({ file, log: silentLog, floor: () => undefined, ...options });
  t.teardown(() => book.close());
  return book;
}

function shell(file: string, query: string, ...more: string[]): string {
  const ran = spawnSync('sqlite3', [...more, '-separator', ' | ', file, query], { encoding: 'utf8' });
  if (ran.status !== 0) throw new Error(ran.stderr);
  return ran.stdout.trimEnd();
}

const spans = (book: Book, from = EVER[0], to = EVER[1]) =>
  book.runs(from, to).map(({ started, ended }) => [(started - NOON) / 3_600_000, (ended - NOON) / 3_600_000]);

t.test('a run lasts from its start to the last sign of life, and knows what it set out to record', (t) => {
  const book = opened(t, fileFor(t));

  book.beginRun({ log: 7, row: 1 }, at(0), PLANT);
  book.alive(at(2));
  book.alive(at(1));
  book.beginRun({ log: 7, row: 900 }, at(5), PLANT.slice(0, 2));

  t.same(spans(book), [
    [0, 2],
    [5, 5],
  ]);
  t.same(spans(book, at(3), at(5)), []);
  t.same(spans(book, at(1), at(3)), [[0, 2]]);
  const [first, second] = book.runs(...EVER);
  const periods = (run: number | undefined) =>
    [VOLTAGE, LEVEL, STATE].map((name) => book.period(run ?? -1, name));
  t.same(periods(first?.id), [1_000, 60_000, 250]);
  t.same(periods(second?.id), [1_000, 60_000, undefined], 'it was taken out of the history');
  t.equal(
    book.period(first?.id ?? -1, { ...VOLTAGE, unit: 'kV' }),
    undefined,
    'another unit is another series',
  );
  t.equal(book.period(99, VOLTAGE), undefined);
  t.end();
});

t.test('a log that is read again adds nothing', (t) => {
  const file = fileFor(t);
  const outage = { from: at(1), to: at(2), samples: 12, reason: 'disk full' };
  const replay = (book: Book) => {
    book.beginRun({ log: 7, row: 1 }, at(0), PLANT);
    book.alive(at(2), { log: 7, row: 5 });
    book.addOutage({ log: 7, row: 6 }, outage);
    book.beginRun({ log: 7, row: 9 }, at(24 * 90), PLANT);
    book.alive(at(24 * 90 + 1), { log: 7, row: 12 });
  };
  const book = opened(t, file);
  replay(book);
  const once = spans(book);
  book.close();

  const again = opened(t, file);
  replay(again);
  again.alive(at(0)); // what came before the start that is read again

  t.same(once, [
    [0, 2],
    [2_160, 2_161],
  ]);
  t.same(spans(again), once);
  t.same(again.outages(...EVER), [outage]);
  replay(openAnotherLog(again));
  t.equal(again.runs(...EVER).length, 2);
  t.end();
});

function openAnotherLog(book: Book): Book {
  book.addOutage({ log: 8, row: 6 }, { from: at(7), to: at(8), samples: 1, reason: 'too slow' });
  return book;
}

t.test('where the clock jumps, the time that nobody lived through is in no run', (t) => {
  const book = opened(t, fileFor(t));
  const YEARS = 24 * 365 * 50;

  book.beginRun({ log: 7, row: 1 }, at(-YEARS), PLANT); // a clock that was never set
  book.alive(at(-YEARS + 1), { log: 7, row: 10 });
  book.alive(at(0), { log: 7, row: 11 }); // and now is
  book.alive(at(3), { log: 7, row: 12 });
  book.alive(at(YEARS), { log: 7, row: 13 }); // somebody mistypes the year
  book.alive(at(4), { log: 7, row: 14 }); // and sees it
  book.alive(at(6), { log: 7, row: 15 });

  t.same(spans(book), [
    [-YEARS, -YEARS + 1],
    [0, 6],
    [YEARS, YEARS],
  ]);
  for (const { id } of book.runs(...EVER)) t.equal(book.period(id, LEVEL), 60_000);
  t.end();
});

t.test(
  'a step back by more than a day is a run of its own, where the row says that it is no old sign',
  (t) => {
    const book = opened(t, fileFor(t));

    book.beginRun({ log: 7, row: 1 }, at(24 * 1_000), PLANT);
    book.alive(at(0), { log: 7, row: 2 });
    book.alive(at(2), { log: 7, row: 3 });
    book.alive(at(-500));

    t.same(spans(book), [
      [0, 2],
      [24_000, 24_000],
    ]);
    t.end();
  },
);

t.test('ten thousand points that do not change are stored once for every start', (t) => {
  const file = fileFor(t);
  const book = opened(t, file);
  const points = Array.from({ length: 10_000 }, (_, i): [PointName, Duration] => [
    { device: `device-${Math.floor(i / 20)}`, point: `point-${i % 20}`, unit: 'V' },
    i % 20 < 15 ? seconds(1) : minutes(1),
  ]);
  book.beginRun({ log: 7, row: 1 }, at(0), points);
  const once = sizeOf(file, book);
  const again = opened(t, file);
  for (let i = 2; i <= 40; i++) again.beginRun({ log: 7, row: i }, at(i), points.toReversed());
  const grown = sizeOf(file, again) - once;

  const last = opened(t, file);
  t.equal(last.runs(...EVER).length, 40);
  t.ok(once < 1_200_000, `${once} bytes`);
  t.ok(grown < 9_000, `${grown} bytes more`);
  const run = last.runs(...EVER).at(-1)?.id ?? -1;
  t.same(
    [points[0], points[9_999]].map((it) => it && last.period(run, it[0])),
    [1_000, 60_000],
  );
  t.end();
});

function sizeOf(file: string, book: Book): number {
  book.close();
  return statSync(file).size;
}

t.test('names outlive the database that their numbers came from', (t) => {
  const file = fileFor(t);
  const book = opened(t, file);
  book.beginRun({ log: 7, row: 1 }, at(0), PLANT);

  book.beginRun({ log: 8, row: 1 }, at(4), [[STATE, seconds(9)], ...PLANT.slice(0, 1)]);

  const [before, after] = book
    .runs(...EVER)
    .map(({ id }) => [VOLTAGE, LEVEL, STATE].map((name) => book.period(id, name)));
  t.same(before, [1_000, 60_000, 250]);
  t.same(after, [1_000, undefined, 9_000]);
  t.end();
});

t.test('outages and dropped files are found by the time that they cover', (t) => {
  const book = opened(t, fileFor(t));
  const dropped = {
    tier: 'raw',
    file: 'raw/2026-11-19.2.db',
    from: at(-24),
    to: at(0),
    time: at(3),
    reason: 'quota',
    bytes: bytes(268_435_456),
  } as const;
  book.addOutage({ log: 7, row: 3 }, { from: at(1), to: at(1), samples: 5, reason: 'disk full' });
  book.addDropped(dropped);

  t.same(book.drops(at(-30), at(-24)), []);
  t.same(book.drops(at(-30), at(-23)), [dropped]);
  t.same(book.drops(at(0), at(9)), []);
  t.equal(book.outages(at(1), at(2)).length, 1, 'also one of a moment');
  t.equal(book.outages(at(2), at(3)).length, 0);
  t.end();
});

t.test('the floor only rises; other values are what was stored last', (t) => {
  const file = fileFor(t);
  const book = opened(t, file);
  t.equal(book.floor, undefined);

  book.raiseFloor(at(3));
  book.raiseFloor(at(1));
  book.setValue('clock', 4);
  book.setValue('clock', 2);
  book.close();

  const again = opened(t, file, { floor: () => at(99) });
  t.equal(again.floor, at(3), 'that of the files is for a new book only');
  t.equal(again.value('clock'), 2);
  t.equal(again.value('clocks'), undefined);
  t.end();
});

t.test('what is older than everything that is kept is forgotten, but for the latest run', (t) => {
  const book = opened(t, fileFor(t));
  for (const row of [1, 2, 3]) {
    book.beginRun({ log: 7, row }, at(row * 10), row === 1 ? PLANT : PLANT.slice(1));
    book.addOutage(
      { log: 7, row: row + 100 },
      { from: at(row), to: at(row), samples: 1, reason: 'disk full' },
    );
    book.addDropped({
      ...{ tier: 'hour', file: 'hour/2026-11.db', from: at(row), to: at(row + 1), time: at(row * 10) },
      ...{ reason: 'retention', bytes: bytes(1) },
    });
  }

  book.forget(at(11));

  t.same(spans(book), [
    [20, 20],
    [30, 30],
  ]);
  t.same([book.outages(...EVER).length, book.drops(...EVER).length], [0, 0]);
  book.forget(at(1_000));
  t.same(spans(book), [[30, 30]]);
  const [run] = book.runs(...EVER);
  t.same(
    [VOLTAGE, LEVEL].map((name) => book.period(run?.id ?? -1, name)),
    [undefined, 60_000],
  );
  t.end();
});

t.test('a person reads the book in the stock shell, while it is written', noShell, (t) => {
  const file = fileFor(t);
  const book = opened(t, file);
  book.beginRun({ log: 7, row: 1 }, at(0), PLANT);
  book.alive(epochMs(at(1) + 1_800_000));
  book.addOutage({ log: 7, row: 3 }, { from: at(1), to: at(2), samples: 5, reason: 'disk full' });
  book.addDropped({
    ...{ tier: 'raw', file: 'raw/2026-11-19.db', from: at(-180), to: at(-156), time: at(0) },
    ...{ reason: 'quota', bytes: bytes(1_000_000) },
  });

  const query = 'SELECT * FROM runs; SELECT * FROM recording; SELECT * FROM outages; SELECT * FROM drops';
  t.equal(
    shell(file, query, '-readonly'),
    [
      '2026-11-26 12:00:00 | 2026-11-26 13:30:00 | 1.5 | 3',
      '2026-11-26 12:00:00 | 2026-11-26 13:30:00 | meter-main | voltage-l1 | V | 1.0',
      '2026-11-26 12:00:00 | 2026-11-26 13:30:00 | tank-3 | level | m | 60.0',
      '2026-11-26 12:00:00 | 2026-11-26 13:30:00 | press-1 | state |  | 0.25',
      '2026-11-26 13:00:00 | 2026-11-26 14:00:00 | 5 | disk full',
      '2026-11-26 12:00:00 | raw | raw/2026-11-19.db | 2026-11-19 00:00:00 | 2026-11-20 00:00:00 | quota | 1000000',
    ].join('\n'),
  );
  t.equal(shell(file, 'PRAGMA journal_mode; PRAGMA user_version', '-readonly'), 'wal\n1');
  t.end();
});

t.test('a damaged book is set aside; raw counts as complete from the newest rollup on', (t) => {
  const file = fileFor(t);
  const damages: Record<string, () => void> = {
    'something else': () => writeFileSync(file, 'nothing of SQLite'),
    empty: () => truncateSync(file),
    cut: () => truncateSync(file, 8_192),
    torn: () => {
      const handle = openSync(file, 'r+');
      writeSync(handle, Buffer.alloc(statSync(file).size - 4_096, 0x5a), 0, undefined, 4_096);
      closeSync(handle);
    },
  };
  for (const [name, damage] of Object.entries(damages)) {
    const before = opened(t, file);
    before.raiseFloor(at(1));
    before.beginRun({ log: 7, row: 1 }, at(0), PLANT);
    before.close();
    damage();
    const log = listeningLog();

    const book = opened(t, file, { log, floor: () => at(5) });

    t.equal(book.floor, at(5), name);
    t.match(book.aside, /history\.db\.damaged-/);
    t.match(log.lines, [{ what: /damaged; set aside/, facts: { file } }]);
    t.same(book.runs(...EVER), []);
    book.close();
    rmSync(file);
  }
  t.equal(
    readdirSync(join(file, '..')).filter((found) => found.includes('damaged')).length,
    2,
    'not for ever',
  );
  t.end();
});

t.test('a book of a newer Sluice is refused, and left as it is', noShell, (t) => {
  const file = fileFor(t);
  opened(t, file).close();
  shell(file, 'PRAGMA user_version = 2');
  const content = readFileSync(file);

  t.throws(() => openBook({ file, log: silentLog, floor: () => undefined }), {
    code: 'STORE_FAILED',
    message: /written by a newer Sluice/,
  });
  t.throws(() => openBookForReading(file), { code: 'STORE_FAILED' });
  t.ok(readFileSync(file).equals(content));
  t.equal(openBookForReading(`${file}.missing`), undefined);
  t.end();
});

t.test('another process reads what was committed', (t) => {
  const file = fileFor(t);
  const book = opened(t, file);
  const reader = openBookForReading(file);
  t.teardown(() => reader?.close());

  book.beginRun({ log: 7, row: 1 }, at(0), PLANT);

  const [run] = reader?.runs(at(-1), at(1)) ?? [];
  t.equal(run && reader?.period(run.id, STATE), 250);
  t.throws(() => reader?.raiseFloor(at(1)), { code: 'SQLITE_READONLY' });
  t.end();
});

t.test('a gateway that crashes every few seconds for years does not fill the disk with its starts', (t) => {
  const file = fileFor(t);
  const book = opened(t, file);
  book.beginRun({ log: 7, row: 1 }, at(0), PLANT);
  book.close();
  shell(file, 'UPDATE run SET id = 5000000');
  const again = opened(t, file);
  again.beginRun({ log: 7, row: 2 }, at(1), PLANT);
  again.close();
  shell(file, 'UPDATE run SET id = 4900001 WHERE row = 1');

  const last = opened(t, file);
  last.beginRun({ log: 7, row: 3 }, at(2), PLANT);

  t.same(spans(last), [
    [1, 1],
    [2, 2],
  ]);
  t.end();
});
