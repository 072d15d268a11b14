import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { silentLog } from '../../src/core/log.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import type { SampleLog } from '../../src/core/sample-log.ts';
import { days, epochMs, kibibytes, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { filesIn } from '../../src/store/history/files.ts';
import { type GatewayHistory, openHistory } from '../../src/store/history/history.ts';
import { Handles } from '../../src/store/history/handles.ts';
import { Shelf } from '../../src/store/history/shelf.ts';
import { Mover } from '../../src/store/mover.ts';
import { openForReading, walBytes } from '../../src/store/open.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import type { Rollup } from '../../src/telemetry/rollup.ts';
import {
  HOUR,
  NOON,
  Site as HistorianSite,
  bucketsIn,
  bucketsOf,
  differences,
  regular,
} from '../history/fixture.ts';
import { directory, noiseOf, points } from '../store/fixture.ts';
import { until } from '../support/wait.ts';

// Somebody begins to read and does not stop: a shell that was left open, a program that hangs.

const LIMIT = mebibytes(8);
const PART = mebibytes(1);
const BATCHES = 400; // of some 40 kilobytes each, and more of log
const BATCH = 100;
const MOST_UNFILED = 8_000; // the log holds about 13,000 of them

interface Site {
  readonly folder: string;
  readonly outbox: Outbox & SampleLog;
  readonly history: GatewayHistory;
}

async function openSite(t: Test): Promise<Site> {
  const folder = directory(t);
  const outbox = await openOutbox({
    file: join(folder, 'telemetry.db'),
    points,
    limit: LIMIT,
    sampleLog: mebibytes(4),
    log: silentLog,
    commitEvery: milliseconds(2),
  });
  const history = await openHistory({
    folder,
    sampleLog: outbox,
    log: silentLog,
    outbox: LIMIT,
    retention: { raw: days(400), minute: days(400), hour: days(400), disk: mebibytes(10_000) },
    thresholds: {
      headSamples: 2_000,
      logBytes: kibibytes(512),
      partBytes: PART,
      tick: milliseconds(10),
      look: seconds(1),
    },
  });
  t.teardown(async () => {
    await history.close();
    await outbox.close();
  });
  return { folder, outbox, history };
}

/** Opens a transaction and does not end it; returns the end of it. */
function readFor(file: string): () => void {
  const db = openForReading(file);
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM sqlite_schema').get();
  return () => db.close();
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

/** Records what does not compress; the largest that these files became together meanwhile. */
async function record(
  { outbox, history }: Site,
  [from, to]: readonly [from: number, to: number],
  files: () => readonly string[],
): Promise<number> {
  let largest = 0;
  for (let i = from; i < to; i++) {
    await outbox.record(noiseOf(i * BATCH, BATCH));
    if (i % 10 > 0) continue;
    largest = Math.max(largest, ...files().map(sizeOf));
    const filed = async (): Promise<boolean> => {
      const { samplesFiled } = await history.state();
      return i * BATCH - samplesFiled < MOST_UNFILED;
    };
    await until('the historian follows', filed, 60_000);
  }
  return largest;
}

t.test('a reader that never ends leaves telemetry.db and its log within bounds', async (t) => {
  const site = await openSite(t);
  const file = join(site.folder, 'telemetry.db');
  await site.outbox.record(noiseOf(0, BATCH));
  const end = readFor(file);

  const largest = await record(site, [1, BATCHES], () => [`${file}-wal`]);
  const during = sizeOf(file);
  end();
  await record(site, [BATCHES, BATCHES + 20], () => []);

  t.ok(largest < LIMIT, `${largest} bytes of log`);
  t.ok(during < 2 * LIMIT, `${during} bytes of database`);
  t.ok(sizeOf(`${file}-wal`) <= LIMIT, 'and it is small again when the reader has gone');
});

t.test('a reader of a day that is written leaves each part within its size', async (t) => {
  const site = await openSite(t);
  await site.outbox.record(noiseOf(0, BATCH));
  const parts = (): string[] => filesIn(site.folder, 'raw').map(({ path }) => path);
  await until('a day is there', async () => {
    await site.outbox.record(noiseOf(1, 1_000));
    return parts().length > 0;
  });
  const end = readFor(parts().at(-1) ?? '');

  const largest = await record(site, [11, BATCHES], () => parts().flatMap((path) => [path, `${path}-wal`]));
  end();

  t.ok(parts().length > 3, `${parts().length} parts`);
  t.ok(largest < 3 * PART, `the largest file had ${largest} bytes`);
});

/** A bucket whose numbers do not compress. */
function bucketOf(start: number): Rollup {
  const [min, max, sum, m2, first, last] = Array.from({ length: 6 }, () => Math.random() * 1e6);
  const values = {
    min: min ?? 0,
    max: max ?? 0,
    sum: sum ?? 0,
    m2: m2 ?? 0,
    first: first ?? 0,
    last: last ?? 0,
  };
  const counts = { count: 60, good: 60, bad: 0, numbers: 60, changes: 59 };
  return { ...values, ...counts, start: epochMs(start), firstTime: start, lastTime: start + 59_000 };
}

for (const [tier, width, limit] of [
  ['minute', 60_000, mebibytes(64)],
  ['hour', HOUR, mebibytes(16)],
] as const)
  t.test(`a reader of a file of ${tier}s leaves its log within bounds, and others follow`, (t) => {
    const folder = directory(t);
    const begin = Date.UTC(2026, 10, 26);
    const names = Array.from({ length: 500 }, (_, i) => ({ device: `d${i % 50}`, point: `p${i}` }));
    const said: string[] = [];
    const log = { ...silentLog, warn: (what: string) => void said.push(what) };
    const mover = new Mover({ what: 'history', log, elapsed: () => 0 });
    const ours = new Handles(silentLog);
    const onChange = (path: string, isGone: boolean): void => ours.forget(path, isGone);
    const shelf = new Shelf({ folder, partBytes: PART, onChange });
    const ofOthers = new Handles(silentLog); // hear of nothing
    t.teardown(() => [ours, ofOthers, shelf].forEach((it) => it.close()));
    const path = shelf.rollup(tier, epochMs(begin)).path;
    const [at] = filesIn(folder, tier);
    if (at === undefined) throw new Error('no file');
    const seen = (handles: Handles) =>
      handles.rollup(at, (file) => file.read({ device: 'd7', point: 'p7' }, at.from, at.to).length);
    let end: (() => void) | undefined;
    let largest = 0;
    let written = 0;

    for (let hour = 0, after = 0; hour < 24 && after < 3; hour++) {
      if (said.length > 0) after++;
      const file = shelf.rollup(tier, epochMs(begin));
      file.begin();
      const from = begin + hour * HOUR;
      for (const name of names)
        file.replace(
          name,
          epochMs(from),
          Array.from({ length: HOUR / width }, (_, i) => bucketOf(from + i * width)),
        );
      file.commit();
      written += HOUR / width;
      if (hour === 0) end = readFor(path);
      largest = Math.max(largest, sizeOf(`${path}-wal`));
      shelf.leaveReaders(mover);
      if (seen(ours) !== written || seen(ofOthers) !== written) t.fail(`not all after hour ${hour}`);
    }
    end?.();

    t.same(said, ['somebody reads the history for long: it goes on in a copy of the file']);
    t.ok(largest < 1.5 * walBytes(limit), `${largest} bytes of log`);
    const db = openForReading(path);
    t.equal(db.pragma('quick_check', { simple: true }), 'ok');
    db.close();
    t.end();
  });

t.test('a reader of the book leaves its log within bounds, and the historian goes on', async (t) => {
  const site = new HistorianSite(t, { small: { headSamples: 10 } });
  const file = join(site.folder, 'history.db');
  site.log.start(NOON);
  site.commit(regular(NOON, 5));
  await site.nextHour();
  const end = readFor(file);
  let largest = 0;

  for (let looks = 0; looks < 200; looks++) {
    site.commit(regular(site.clock.wall, 5));
    site.clock.advance(10_000);
    await site.settle();
    largest = Math.max(largest, sizeOf(`${file}-wal`));
  }
  await site.nextHour();
  end();

  t.ok(largest < mebibytes(1.25), `${largest} bytes of log`);
  t.ok(site.said.some(({ what, facts }) => what.includes('goes on in a copy') && facts['file'] === file));
  t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour')), []);
  const runs = openForReading(file);
  t.equal(runs.prepare('SELECT count(*) FROM run').pluck().get(), 1, 'and it is the same book');
  runs.close();
});

t.test(
  'a copy that was complete when the power failed takes the place of its file, with its log',
  async (t) => {
    const site = new HistorianSite(t);
    site.log.start(NOON);
    site.commit(regular(NOON, 60));
    await site.nextHour();
    const files = [...site.files('minute'), ...site.files('hour'), join(site.folder, 'history.db')];
    const before = new Map(
      files
        .flatMap((file) => [file, `${file}-wal`])
        .map((path) => [path, existsSync(path) ? readFileSync(path) : undefined]),
    );
    site.commit(regular(site.clock.wall, 60));
    await site.nextHour();
    site.historian.stop();
    site.historian.close();
    for (const file of files) {
      const db = openForReading(file);
      db.prepare('VACUUM INTO ?').run(`${file}.ready`);
      db.close();
    }
    for (const [path, bytes] of before) if (bytes !== undefined) writeFileSync(path, bytes);
    writeFileSync(`${files[0]}.new`, 'half a copy');

    site.historian = site.started();
    await site.settle();

    for (const tier of ['minute', 'hour'] as const)
      t.same(differences(bucketsIn(site, tier), bucketsOf(site.truth, tier)), []);
    const left = files.flatMap((file) => [`${file}.ready`, `${file}.new`]).filter((path) => existsSync(path));
    t.same(left, []);
  },
);
