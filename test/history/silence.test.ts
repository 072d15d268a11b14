import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { epochMs, mebibytes } from '../../src/core/units.ts';
import { isHeld } from '../../src/sole-instance.ts';
import { openBookForReading } from '../../src/store/history/book.ts';
import { openHistory } from '../../src/store/history/history.ts';
import { LogTail } from '../../src/store/history/log-tail.ts';
import { Reader } from '../../src/store/history/reader.ts';
import { lockFile } from '../../src/store/open.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { type RecordedRow, recordedIn } from '../store/recorded.ts';
import { until } from '../support/wait.ts';
import { DAY, HOUR, MINUTE, NOON, SECOND, Site } from './fixture.ts';
import { KILL_POINTS, RETENTION } from './kill-scans.ts';

// The gateway runs and nothing comes: rows of the log without samples are its signs of life.

/** Its last word is that the device is silent; then nothing but a sign now and then. */
async function silentSite(t: { teardown(after: () => unknown): void }, minutes: number): Promise<Site> {
  const site = new Site(t);
  site.log.start(NOON);
  site.commit([{ point: 0, time: NOON, value: 1 }]);
  site.commit([{ point: 0, time: NOON + 5 * SECOND, value: null, quality: 2 }], NOON + 5 * SECOND);
  for (let minute = 10; minute <= minutes; minute += 10) {
    site.clock.advance(10 * MINUTE);
    site.log.row(0, site.clock.wall, 0, '[]');
    await site.settle();
  }
  return site;
}

/** Gaps since the last good sample, in minutes since noon. */
function gapsOf(reader: Reader, to: number): (readonly [from: number, to: number, reason: string])[] {
  const query = { points: ['meter-1/power'], from: epochMs(NOON + 5 * SECOND), to: epochMs(to) };
  const [found] = reader.completeness(query);
  return (found?.gaps ?? []).map(({ from, to: until, reason }) => [
    minutesOf(from),
    minutesOf(until),
    reason,
  ]);
}

/** None until the other process has made the tables. */
function rowsOf(file: string): readonly RecordedRow[] {
  try {
    return recordedIn(file).rows;
  } catch {
    return [];
  }
}

const minutesOf = (time: number): number => Math.round((1_000 * (time - NOON)) / MINUTE) / 1_000;
const FIRST = minutesOf(NOON + 5 * SECOND);

for (const [minutes, when] of [
  [130, 'when its last signs are filed'],
  [150, 'when some of its signs are still in the log'],
] as const)
  t.test(`a gateway that is killed while everything is silent, ${when}`, async (t) => {
    const site = await silentSite(t, minutes);
    t.equal(site.historian.state().samplesWaiting, 0);
    const killed = site.historian;
    site.clock.advance(10 * MINUTE);
    const restarted = site.clock.wall;
    site.historian = site.started();
    site.log.start(restarted);
    site.clock.advance(MINUTE);
    await site.settle();

    t.same(gapsOf(site.historian.reader, site.clock.wall), [
      [FIRST, minutes, 'device silent'],
      [minutes, minutes + 10, 'gateway down'],
      [minutes + 10, minutes + 11, 'unknown'],
    ]);
    killed.stop();
    killed.close();
  });

t.test('the same with a process that is killed', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'silence-'));
  t.teardown(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, 'telemetry.db');
  const child = spawn(process.execPath, [join(import.meta.dirname, 'silence-child.ts'), folder], {
    stdio: 'ignore',
    env: { ...process.env, NODE_OPTIONS: '' },
  });
  t.teardown(() => child.kill('SIGKILL'));
  const sign = await until('signs of life', () => {
    const rows = rowsOf(file);
    const first = rows.findIndex(({ samples }) => samples > 0);
    return first >= 0 && rows.length - first > 60 ? rows.at(-1)?.time : undefined;
  });
  child.kill('SIGKILL');
  await new Promise((resolve) => child.once('close', resolve));

  const log = silentLog;
  const outbox = await openOutbox({ file, points: KILL_POINTS, limit: mebibytes(64), log });
  const options = { folder, retention: RETENTION, outbox: mebibytes(64), sampleLog: outbox, log };
  const history = await openHistory(options);
  await outbox.consumer('upstream'); // writes that there is another run
  const gaps = await until('another run', async () => {
    const query = { points: ['unit-0/level'], from: epochMs(sign - HOUR), to: epochMs(Date.now()) };
    const [found] = await history.completeness(query);
    return found?.gaps.at(-1)?.reason === 'unknown' ? found.gaps : undefined;
  });
  await history.close();
  await outbox.close();

  t.same(
    gaps.map(({ reason }) => reason),
    ['gateway down', 'device silent', 'gateway down', 'unknown'],
  );
  t.ok((gaps[1]?.to ?? 0) >= sign, 'it ran as long as it gave signs');
});

t.test('signs of life are neither samples nor behind anything', async (t) => {
  const site = await silentSite(t, 70);
  for (let day = 0; day < 2; day++) {
    site.clock.advance(DAY);
    site.log.row(0, site.clock.wall, 0, '[]');
    await site.settle();
  }
  const { samplesFiled, behind, failing } = site.historian.state();

  t.same([samplesFiled, behind, failing], [2, 0, null]);
  t.equal(site.files('raw').length, 1);
});

t.test('a command beside a silent gateway does not call it down', async (t) => {
  const site = await silentSite(t, 70);
  const now = site.clock.wall + 40 * SECOND;
  const ask = (isRunning: boolean) => {
    const tail = new LogTail(site.folder, silentLog);
    tail.refresh();
    const book = openBookForReading(join(site.folder, 'history.db'));
    if (book === undefined) throw new Error('there is no book');
    const reader = new Reader({
      folder: site.folder,
      tail,
      book: () => book,
      log: silentLog,
      now: () => epochMs(now),
      isRunning: () => isRunning,
    });
    const gaps = gapsOf(reader, now + HOUR);
    for (const each of [reader, tail, book]) each.close();
    return gaps;
  };

  t.same(ask(true), [[FIRST, minutesOf(now), 'device silent']]);
  t.same(
    ask(false),
    [
      [FIRST, 70, 'device silent'],
      [70, minutesOf(now), 'gateway down'],
    ],
    'the last sign counts where none runs',
  );
});

t.test('whether a gateway runs is known by its lock, which nobody takes to know it', (t) => {
  const { folder } = new Site(t);
  const file = join(folder, 'gateway.lock');
  t.equal(isHeld(folder), false);
  t.equal(existsSync(file), false);

  const release = lockFile(file);
  t.equal(isHeld(folder), true);
  release?.();
  t.equal(isHeld(folder), false);
  const again = lockFile(file);
  t.ok(again, 'it can be taken');
  again?.();
  t.end();
});
