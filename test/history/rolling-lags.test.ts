import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { days, epochMs, kibibytes, mebibytes } from '../../src/core/units.ts';
import { FileTrouble } from '../../src/store/history/trouble.ts';
import { isFull, noRoom } from '../../src/store/open.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { HOUR, NAMES, NOON, SECOND, type Sample, Site, WEEK, regular } from './fixture.ts';

// A slow box files raw samples and does not come to roll them up before the disk is full: none of its raw files may go
// before its hours are somewhere, and that takes room.

const skip = cannotMount();
const STEP = 5 * SECOND;
const PER_HOUR = HOUR / STEP;
/** So many files have to go, one after the other. */
const FILES = 15;
const MOST_HOURS = 300;
/** Hours that a settling may take until it is called a standstill; each attempt waits half a minute at most. */
const MOST_ATTEMPTS = 40;

function onSmallDisk(t: Test, megabytes: number, spare: number, part = 64): Site {
  const parent = mkdtempSync(join(tmpdir(), 'history-disk-'));
  const folder = join(parent, 'disk');
  const disk = mountSmallDisk(folder, megabytes);
  t.teardown(() => {
    disk.unmount();
    rmSync(parent, { recursive: true, force: true });
  });
  const small = {
    headSamples: 2_000,
    partBytes: kibibytes(part),
    spareBytes: kibibytes(spare),
    grace: days(30), // no hour is rolled up because its time has come
  };
  const kept = { ...WEEK, raw: days(60), disk: mebibytes(100) };
  const site = new Site(t, { folder, retention: kept, small, wall: NOON + 25 * HOUR });
  site.log.exec('PRAGMA wal_autocheckpoint = 64'); // it is not the sample log that fills this disk
  return site;
}

/** Steps until all but a rest is filed. */
async function filed(site: Site): Promise<boolean> {
  for (let attempt = 0; attempt < MOST_ATTEMPTS; attempt++) {
    await site.settle();
    const { samplesWaiting, failing } = site.historian.state();
    if (failing === null && samplesWaiting < 2_000) return true;
    site.clock.advance(31 * SECOND);
  }
  return false;
}

/** As the store's thread does: it says that the disk is full, and tries again. */
async function commit(site: Site, samples: readonly Sample[]): Promise<void> {
  for (let attempt = 1; ; attempt++)
    try {
      site.log.add(samples, site.clock.wall);
      return;
    } catch (error) {
      if (!isFull(error) || attempt === MOST_ATTEMPTS) throw error;
      site.historian.shed();
      await site.settle();
      site.clock.advance(SECOND);
    }
}

/** How many samples of each hour the chart of hours has, point by point. */
function countsOf(site: Site): number[][] {
  const to = epochMs(site.clock.wall);
  const query = { points: ['*/*'], from: epochMs(NOON), to, width: 100_000, tier: 'hour' } as const;
  return site.historian.reader.history(query).map(({ counts }) => [...counts]);
}

/** Hours after hours, until so many files are given up; returns how many there were. */
async function hoursUntil(site: Site, files: number, first = 0): Promise<number> {
  for (let hour = first; hour < MOST_HOURS; hour++) {
    if (site.historian.state().filesDropped >= files) return hour;
    await commit(site, regular(NOON + hour * HOUR, PER_HOUR, STEP));
    if (!(await filed(site))) throw new Error(`${site.historian.state().failing}, after ${hour} hours`);
    site.clock.advance(HOUR);
  }
  return MOST_HOURS;
}

const everySample = (hours: number): number[][] =>
  NAMES.map(() => Array.from({ length: hours }, () => PER_HOUR));

for (const spare of [64, 128])
  t.test(
    `a small disk with ${spare} KB of spare room, on which nothing is rolled up`,
    { skip },
    async (t) => {
      const site = onSmallDisk(t, 2, spare);

      const hours = await hoursUntil(site, FILES);

      t.ok(site.historian.state().filesDropped >= FILES, `after ${hours} hours`);
      const shed = site.events.filter(({ kind }) => kind === 'history-shed').map(({ subject }) => subject);
      t.equal(shed[0], 'raw', 'raw goes first');
      t.same(countsOf(site), everySample(hours), 'every hour has every sample');
      site.restart();
      t.equal(await filed(site), true);
      t.same(countsOf(site), everySample(hours), 'after a restart too');
    },
  );

for (const spare of [64, 128])
  t.test(`the same, and somebody else fills the disk: ${spare} KB`, { skip }, async (t) => {
    const site = onSmallDisk(t, 4, spare);
    let hours = 0;
    for (; hours < 20; hours++) {
      await commit(site, regular(NOON + hours * HOUR, PER_HOUR, STEP));
      t.equal(await filed(site), true);
      site.clock.advance(HOUR);
    }
    t.same(site.files('hour'), [], 'nothing is rolled up');
    fillDisk(site.folder, 0);

    hours = await hoursUntil(site, 4, hours);

    t.ok(site.historian.state().filesDropped >= 4, `after ${hours} hours`);
    t.equal(site.events.find(({ kind }) => kind === 'history-shed')?.subject, 'raw', 'raw goes first');
    t.same(countsOf(site), everySample(hours), 'every hour has every sample');
  });

t.test('where minutes find no room and none are left, hours are made without them', async (t) => {
  const site = new Site(t, {
    small: { headSamples: 2_000, grace: days(30) },
    retention: WEEK,
    wall: NOON + 9 * HOUR,
  });
  site.commit(regular(NOON, 8 * PER_HOUR, STEP));
  site.clock.advance(HOUR);
  await site.settle();
  site.onStage = (stage) => {
    if (stage === 'minutes written') throw new FileTrouble('minute', noRoom('no room for minutes'));
  };

  site.historian.shed();
  await site.settle();

  const shed = site.events.filter(({ kind }) => kind === 'history-shed');
  t.same(
    shed.map(({ subject }) => subject),
    ['minute', 'raw'],
  );
  t.match(shed[0]?.facts, { reason: 'disk full' });
  t.same(site.files('raw'), []);
  t.same(countsOf(site), everySample(8), 'every hour has every sample');
});
