import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import t, { type Test } from 'tap';
import { epochMs } from '../../src/core/units.ts';
import { FileTrouble } from '../../src/store/history/trouble.ts';
import { damaged, openForReading, openForWriting } from '../../src/store/open.ts';
import { isComplete, isRolledUp } from './complete.ts';
import { DAY, HOUR, MINUTE, NOON, type Sample, Site, bucketsIn, linesOf, rawIn, regular } from './fixture.ts';

/** Everything but the first bytes turns into noise, in the log as well. */
function damage(file: string): void {
  for (const path of [file, `${file}-wal`]) {
    if (!existsSync(path)) continue;
    const { size } = statSync(path);
    if (size <= 128) continue;
    const handle = openSync(path, 'r+');
    writeSync(handle, Buffer.alloc(size - 128, 0xa5), 0, size - 128, 128);
    closeSync(handle);
  }
}

/** An hour in files and rollups, and half of the next in a file. */
async function twoHours(site: Site): Promise<void> {
  site.log.start(site.clock.wall);
  site.commit(regular(NOON, 600));
  await site.settle();
  await site.nextHour();
  site.commit(regular(NOON + HOUR, 300));
  await site.settle();
}

async function goOn(site: Site): Promise<void> {
  site.commit(regular(NOON + HOUR + 10 * MINUTE, 300));
  await site.settle();
  await site.nextHour();
  site.commit(regular(NOON + 2 * HOUR + 10 * MINUTE, 300));
  await site.settle();
  await site.nextHour();
}

function isTold(t: Test, site: Site, file: string): void {
  t.match(site.events, [{ kind: 'history-file-damaged', subject: file }]);
  t.equal(site.events.length, 1);
  const names = readdirSync(join(site.folder, dirname(file)));
  t.ok(
    names.some((name) => name.includes('.damaged-')),
    'it is kept for a person to look at',
  );
  t.equal(site.historian.state().failing, null);
}

const RAW = 'raw/2026-11-26.db';
const MINUTES = 'minute/2026-11-26.db';
const HOURS = 'hour/2026-11.db';

/** How damage of a file comes to light. */
const WAYS: readonly {
  readonly name: string;
  readonly damaged: (site: Site, file: string) => Promise<void>;
}[] = [
  {
    name: 'at the start',
    damaged: async (site, file) => {
      site.historian.stop();
      site.historian.close();
      damage(join(site.folder, file));
      site.historian = site.started();
    },
  },
  {
    name: 'by a question',
    damaged: async (site, file) => {
      damage(join(site.folder, file));
      const ask = { points: ['*/*'], from: epochMs(NOON), to: epochMs(NOON + HOUR), width: 60 };
      for (const tier of ['raw', 'minute', 'hour'] as const) site.historian.reader.history({ ...ask, tier });
    },
  },
  {
    name: 'while it is written',
    damaged: async (site, file) => {
      const path = join(site.folder, file);
      const stage = file === RAW ? 'raw filed' : 'minutes written';
      site.failAt = { stage, error: new FileTrouble(path, damaged('as if it were damaged')) };
    },
  },
];

for (const { name, damaged: comesToLight } of WAYS) {
  for (const file of [MINUTES, HOURS])
    t.test(`${file}, found damaged ${name}, is made again, and nothing is missing`, async (t) => {
      const site = new Site(t, { small: { headSamples: 400 } });
      await twoHours(site);

      await comesToLight(site, file);
      await goOn(site);

      isTold(t, site, file);
      isComplete(t, site);
    });

  t.test(
    `a day of raw, found damaged ${name}, takes its samples with it; recording goes on in a new file`,
    async (t) => {
      const site = new Site(t, { small: { headSamples: 400 } });
      await twoHours(site);

      await comesToLight(site, RAW);
      await goOn(site);

      isTold(t, site, RAW);
      const floor = NOON + 2 * HOUR; // of the hour that was going on rollups tell what came after
      t.same(rawIn(site), linesOf(site.truth.filter(({ time }) => time >= floor)));
      isRolledUp(t, site, ({ time }) => time < NOON + HOUR || time >= floor);
      const [there] = [...bucketsIn(site, 'hour')].filter(([key]) => key.includes('power W 2026-11-26 13'));
      t.ok((there?.[1].count ?? 0) >= 200, `${there?.[1].count} of that hour`);
    },
  );
}

t.test('the book, found damaged at the start, is begun anew, and nothing is missing', async (t) => {
  const site = new Site(t, { small: { headSamples: 400 } });
  await twoHours(site);
  site.historian.stop();
  site.historian.close();
  damage(join(site.folder, 'history.db'));

  site.historian = site.started();
  await goOn(site);

  isTold(t, site, 'history.db');
  isComplete(t, site);
});

const isLost = ({ time }: Sample): boolean => new Date(time).toISOString().startsWith('2026-11-27');

t.test('an old day of raw that is damaged takes nothing with it but its samples', async (t) => {
  const site = new Site(t);
  for (let day = 0; day < 3; day++) {
    site.commit(regular(site.clock.wall, 300));
    await site.settle();
    await site.nextHour();
    site.clock.advance(DAY - HOUR - 2 * MINUTE);
    await site.settle();
  }
  site.historian.stop();
  site.historian.close();
  writeFileSync(
    join(site.folder, 'raw/2026-11-27.db'),
    'not a database, but long enough to be taken for one',
  );
  site.historian = site.started();
  site.commit(regular(site.clock.wall, 300));
  await site.nextHour();

  isTold(t, site, 'raw/2026-11-27.db');
  t.same(rawIn(site), linesOf(site.truth.filter((sample) => !isLost(sample))));
  isRolledUp(t, site, () => true);
});

t.test('what comes late for a damaged day is merged into its rollups', async (t) => {
  const site = new Site(t);
  site.commit(regular(NOON, 300));
  await site.settle();
  await site.nextHour();
  site.clock.advance(DAY);
  await site.settle();
  site.historian.stop();
  site.historian.close();
  writeFileSync(join(site.folder, 'raw/2026-11-26.db'), '');
  site.historian = site.started();

  site.commit(regular(NOON + 2 * HOUR, 100));
  site.commit(regular(site.clock.wall, 100));
  await site.settle();
  await site.nextHour();

  isRolledUp(t, site, () => true);
  t.equal(site.historian.state().samplesLate, 400);
});

t.test('a log that is replaced by another is filed to its end before the other is begun', async (t) => {
  const site = new Site(t);
  site.commit(regular(NOON, 300));
  await site.settle();
  site.log.replace();
  site.commit(regular(NOON + 10 * MINUTE, 300)); // whose series have other numbers there
  await site.settle();
  site.restart();
  await site.settle();
  await site.nextHour();

  isComplete(t, site);
  t.equal(site.log.rows, 0);
});

t.test('a log that cannot be read for a moment is read when it can be', async (t) => {
  const site = new Site(t);
  site.commit(regular(NOON, 100));
  await site.settle();
  const elsewhere = `${site.log.file}.elsewhere`;
  renameSync(site.log.file, elsewhere);

  await site.historian.step();
  const { failing } = site.historian.state();
  renameSync(elsewhere, site.log.file);
  site.commit(regular(NOON + 10 * MINUTE, 100));
  site.clock.advance(MINUTE);
  await site.settle();
  const after = site.historian.state();
  await site.nextHour();

  t.match(failing, /telemetry\.db: .*unable to open/);
  t.equal(after.failing, null);
  t.same(
    site.said.map(({ what }) => what),
    ['the history is failing and tries again', 'the history goes on'],
  );
  isComplete(t, site);
});

t.test('a row that cannot be read is given up, told, and is a gap with its reason', async (t) => {
  const site = new Site(t);
  site.log.start(NOON);
  site.commit(regular(NOON, 100));
  site.log.row(0, NOON + 2 * MINUTE, 400, '[[0,1,[1,2');
  const broken = site.log.row(0, NOON + 2 * MINUTE, 40, '[]');
  site.log.exec(`UPDATE sample_log SET len = 99, body = x'789c' WHERE id = ${broken}`);
  site.commit(regular(NOON + 3 * MINUTE, 100));
  await site.settle();
  await site.nextHour();

  isComplete(t, site);
  const told = site.said.filter(({ what }) => what.startsWith('a row of the sample log'));
  t.match(told, [{ facts: { samples: 400 } }, { facts: { samples: 40 } }]);
  const book = openForReading(join(site.folder, 'history.db'));
  t.match(book.prepare('SELECT samples, reason FROM outage ORDER BY samples').all(), [
    { samples: 40, reason: /damaged/ },
    { samples: 400, reason: /damaged/ },
  ]);
  book.close();
});

t.test('a file of a newer Sluice is refused with what to do, and stays as it is', async (t) => {
  const site = new Site(t);
  site.commit(regular(NOON, 100));
  await site.settle();
  await site.nextHour();
  site.historian.stop();
  site.historian.close();
  const file = join(site.folder, 'raw/2026-11-26.db');
  const db = openForWriting(file, 1_000_000);
  db.pragma('user_version = 99');
  db.close();

  t.throws(() => site.started(), { code: 'STORE_FAILED', message: /newer Sluice/, remedy: /install/ });
  rmSync(file);
  site.historian = site.started();
});

t.test('runs and outages are in the book once, however often their rows are read', async (t) => {
  const site = new Site(t);
  site.forgetful = false;
  site.log.start(NOON);
  site.commit(regular(NOON, 60));
  site.log.row(
    1,
    NOON + MINUTE,
    0,
    JSON.stringify({ from: NOON + MINUTE, to: NOON + 2 * MINUTE, samples: 7, reason: 'disk full' }),
  );
  site.commit(regular(NOON + 3 * MINUTE, 60), NOON + 4 * MINUTE);
  await site.settle();
  for (let again = 0; again < 3; again++) {
    site.restart();
    await site.settle();
  }
  site.log.start(NOON + 30 * MINUTE);
  site.commit(regular(NOON + 31 * MINUTE, 60), NOON + 32 * MINUTE);
  await site.settle();
  await site.nextHour();

  const book = openForReading(join(site.folder, 'history.db'));
  const runs = book.prepare('SELECT started, ended FROM run ORDER BY started').all();
  t.same(runs, [
    { started: NOON, ended: NOON + 4 * MINUTE },
    { started: NOON + 30 * MINUTE, ended: NOON + 32 * MINUTE },
  ]);
  t.equal(book.prepare('SELECT count(*) FROM outage').pluck().get(), 1);
  book.close();
  isComplete(t, site);
});
