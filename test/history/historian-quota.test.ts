import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bytes, days, epochMs, mebibytes } from '../../src/core/units.ts';
import { openForReading } from '../../src/store/open.ts';
import { isComplete, isRolledUp } from './complete.ts';
import {
  DAY,
  HOUR,
  MINUTE,
  NOON,
  Site,
  WEEK,
  bucketsIn,
  bucketsOf,
  differences,
  linesOf,
  rawIn,
  regular,
} from './fixture.ts';

/** Ten minutes of samples a day, always at the same time. */
async function record(site: Site, count: number): Promise<void> {
  for (let day = 0; day < count; day++) {
    site.commit(regular(site.clock.wall, 600));
    await site.settle();
    await site.nextHour();
    site.clock.advance(DAY - HOUR - 2 * MINUTE);
    await site.settle();
  }
}

function sizeOf(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(folder, name)))
    .reduce((sum, found) => sum + (found.isFile() ? found.size : 0), 0);
}

function daysOf(site: Site, tier: string): string[] {
  return site.files(tier).map((file) => file.slice(-13, -3));
}

const dayAfter = (day: number): string => new Date(NOON + day * DAY).toISOString().slice(0, 10);

t.test('what is too old goes, tier by tier, file by file', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(3), minute: days(6), hour: days(40) } });
  await record(site, 10);

  t.same(daysOf(site, 'raw'), [7, 8, 9].map(dayAfter));
  t.same(daysOf(site, 'minute'), [4, 5, 6, 7, 8, 9].map(dayAfter));
  t.same(rawIn(site), linesOf(site.truth.filter(({ time }) => time >= NOON + 7 * DAY - 12 * HOUR)));
  t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour')), []);
  t.same(site.events, [], 'that is no event');
  t.match(site.historian.state(), { filesDropped: 11, failing: null });
});

t.test(
  'over quota the oldest raw days go first, then minutes; hours stay, and the outbox is told to take less',
  async (t) => {
    const site = new Site(t, { retention: { ...WEEK, raw: days(30), disk: bytes(1_750_000) } });
    await record(site, 12);
    t.ok(sizeOf(site.folder) <= 1_750_000, `${sizeOf(site.folder)} bytes`);
    const raw = daysOf(site, 'raw');
    t.ok(raw.length > 0 && raw.length < 12, `${raw.length} days of raw are left`);
    t.same(
      raw,
      Array.from({ length: raw.length }, (_, i) => dayAfter(12 - raw.length + i)),
      'the newest',
    );
    t.equal(site.files('minute').length, 12);
    isRolledUp(t, site, () => true);
    t.match(site.events.at(-1), { kind: 'history-shed', subject: 'raw', facts: { reason: 'quota' } });
    const before = site.allowed.at(-1) ?? 0;

    site.retention = { ...site.retention, disk: bytes(1_200_000) };
    site.restart();
    await record(site, 4);

    t.ok(sizeOf(site.folder) <= 1_200_000, `${sizeOf(site.folder)} bytes`);
    const minutes = daysOf(site, 'minute');
    t.ok(minutes.length < 16, `${minutes.length} days of minutes are left`);
    t.same(
      minutes,
      Array.from({ length: minutes.length }, (_, i) => dayAfter(16 - minutes.length + i)),
      'the newest',
    );
    t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour')), []);
    t.ok(site.allowed.every((allowed) => allowed >= 1_048_576));
    t.ok((site.allowed.at(-1) ?? 0) <= before);
    const book = openForReading(join(site.folder, 'history.db'));
    const dropped = book.prepare("SELECT count(*) FROM dropped WHERE reason = 'quota'").pluck().get();
    book.close();
    t.equal(dropped, 16 - site.files('raw').length + 16 - minutes.length, 'each is in the book once');
  },
);

t.test(
  'a sample of a day whose minutes are gone is in its hour, and does not bring the file back',
  async (t) => {
    const site = new Site(t, { retention: { ...WEEK, raw: days(1), minute: days(2) } });
    await record(site, 5);

    site.commit(regular(NOON + 30 * MINUTE, 50));
    site.commit(regular(site.clock.wall, 50));
    await site.settle();
    await site.nextHour();

    t.notOk(daysOf(site, 'minute').includes(dayAfter(0)));
    t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour'), { merged: true }), []);
  },
);

t.test('the same of minutes that were given up for want of room', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(30) } });
  await record(site, 2);
  for (const gone of ['raw', 'raw', 'minute']) {
    const before = site.files(gone).length;
    site.historian.shed();
    await site.settle();
    t.equal(site.files(gone).length, before - 1, gone);
  }

  site.commit(regular(NOON + 30 * MINUTE, 50));
  site.commit(regular(site.clock.wall, 50));
  await site.settle();
  await site.nextHour();

  t.same(daysOf(site, 'minute'), [1, 2].map(dayAfter));
  t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour'), { merged: true }), []);
});

t.test('minutes of today may go: those of the next hour are kept again, and asked for', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(30) } });
  site.commit(regular(NOON, 600));
  await site.nextHour();
  for (const gone of ['raw', 'minute']) {
    site.historian.shed();
    await site.settle();
    t.same(site.files(gone), [], gone);
  }

  await site.nextHour();
  const from = site.clock.wall;
  site.commit(regular(from, 600));
  await site.nextHour();

  const later = site.truth.filter(({ time }) => time >= from);
  t.same(differences(bucketsIn(site, 'minute'), bucketsOf(later, 'minute')), []);
  const span = { from: epochMs(from), to: epochMs(from + HOUR) };
  const [trace] = site.historian.reader.traces({ points: ['meter-1/power'], ...span, width: 60 });
  t.equal(trace?.tier, 'minute');
  t.equal(
    trace?.counts.reduce((sum, count) => sum + count, 0),
    600,
  );
});

t.test(
  'a raw file of the present hour may go: what comes after it in that hour goes on in the rollups',
  async (t) => {
    const site = new Site(t, { small: { headSamples: 200 }, retention: { ...WEEK, disk: bytes(1_000) } });
    for (let minute = 0; minute < 20; minute++) {
      site.commit(regular(site.clock.wall, 60));
      site.clock.advance(MINUTE);
      await site.settle();
    }
    t.same(site.files('raw'), []);
    site.retention = WEEK;
    site.restart();
    await site.nextHour();
    site.commit(regular(site.clock.wall, 60));
    await site.settle();
    await site.nextHour();

    t.same(
      rawIn(site),
      linesOf(site.truth.filter(({ time }) => time >= NOON + HOUR)),
      'raw begins with the next hour',
    );
    t.same(differences(bucketsIn(site, 'hour'), bucketsOf(site.truth, 'hour'), { merged: true }), []);
    t.equal(site.historian.state().samplesFiled, 240);
  },
);

t.test(
  'files of a clock that ran ahead go first, and nothing of the present is refused for it',
  async (t) => {
    const site = new Site(t, { retention: { ...WEEK, raw: days(30) } });
    await record(site, 3);
    const present = site.clock.wall;
    site.clock.wall = Date.UTC(2099, 0, 1, 3);
    site.commit(regular(site.clock.wall, 300));
    await site.settle();
    await site.nextHour();
    site.clock.wall = present;
    await site.settle();

    site.retention = { ...site.retention, disk: bytes(sizeOf(site.folder) - 20_000) };
    site.restart();
    await record(site, 1);

    t.notOk(site.files('raw').some((file) => file.includes('2099')));
    t.ok(daysOf(site, 'raw').includes(dayAfter(3)));
    const now = site.truth.filter(({ time }) => time < Date.UTC(2090));
    t.same(rawIn(site).filter((line) => line.includes('energy')).length > 0, true);
    isRolledUp(t, site, (sample) => now.includes(sample));
  },
);

t.test('shed on demand gives up the oldest, although there is room', async (t) => {
  const site = new Site(t, { retention: { ...WEEK, raw: days(30) } });
  await record(site, 4);

  site.historian.shed();
  await site.settle();

  t.same(daysOf(site, 'raw'), [1, 2, 3].map(dayAfter));
  isRolledUp(t, site, () => true);
  isComplete(t, site, NOON + DAY - 12 * HOUR);
});

t.test('samples that come faster than they are filed do not put the quota off', async (t) => {
  const site = new Site(t, {
    retention: { ...WEEK, disk: mebibytes(2) },
    small: { headSamples: 5, partBytes: bytes(1) },
  });
  for (let filing = 0; filing < 60; filing++) {
    site.commit(regular(site.clock.wall, 5));
    site.clock.advance(5_000);
    await site.historian.step(); // files, and never comes to an end of it
  }

  const { filesDropped, samplesFiled } = site.historian.state();
  t.ok(samplesFiled > 600, `${samplesFiled} samples were filed`);
  t.ok(filesDropped > 0, `${filesDropped} files were given up`);
});
