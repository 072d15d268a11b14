import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { epochMs } from '../../src/core/units.ts';
import { Book } from '../../src/store/history/book.ts';
import type { Stage } from '../../src/store/history/filing.ts';
import { openForReading } from '../../src/store/open.ts';
import {
  DAY,
  HOUR,
  MINUTE,
  NOON,
  SECOND,
  Site,
  bucketsIn,
  bucketsOf,
  differences,
  regular,
} from './fixture.ts';

// A raw file is given up while its hour goes on: what comes later in the hour must not be all that is left of it, also
// where the book, which says where raw begins, takes nothing before the file is gone, and where a crash comes then.

/** Files so many samples at once: some minutes of the four points. */
const SMALL = { headSamples: 1_000 };

/** Four minutes of an hour that goes on, in a raw file. */
async function withinTheHour(t: Test): Promise<Site> {
  const site = new Site(t, { small: SMALL });
  site.commit(regular(NOON, 300));
  await site.settle();
  t.equal(site.files('raw').length, 1);
  return site;
}

/** From now on the book has no room for what is given up, until it is told otherwise. */
function fullBook(t: Test): { refused: number; full: boolean } {
  const book = { refused: 0, full: true };
  const refusing = <A extends unknown[]>(write: (...args: A) => void) =>
    function (this: Book, ...args: A): void {
      if (!book.full) return write.apply(this, args);
      book.refused++;
      throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC' });
    };
  // oxlint-disable-next-line typescript/unbound-method -- each is called with its own book
  const { raiseFloor, addDropped, keepRawFrom } = Book.prototype;
  t.capture(Book.prototype, 'raiseFloor', refusing(raiseFloor));
  t.capture(Book.prototype, 'addDropped', refusing(addDropped));
  t.capture(Book.prototype, 'keepRawFrom', refusing(keepRawFrom));
  return book;
}

/** The rest of the hour comes, it ends, and everything that ever came is in the rollups. */
async function isWhole(t: Test, site: Site, what: string): Promise<void> {
  site.clock.advance(10 * MINUTE);
  site.commit(regular(NOON + 300 * SECOND, 300));
  await site.settle();
  await site.nextHour();
  site.clock.advance(HOUR); // what failed is tried again
  await site.settle();
  for (const tier of ['minute', 'hour'] as const)
    t.same(
      differences(bucketsIn(site, tier), bucketsOf(site.truth, tier), { merged: true }),
      [],
      `${what}: ${tier}`,
    );
  t.match(site.historian.state(), { failing: null, samplesWaiting: 0 });
}

function floorInBook(site: Site): number | undefined {
  const book = openForReading(join(site.folder, 'history.db'));
  try {
    return book.prepare<[], number>("SELECT value FROM meta WHERE key = 'floor'").pluck().get();
  } finally {
    book.close();
  }
}

function dropsInBook(site: Site): unknown[] {
  const book = openForReading(join(site.folder, 'history.db'));
  try {
    return book.prepare('SELECT file, reason FROM dropped').all();
  } finally {
    book.close();
  }
}

t.test('the book refuses before the file is gone and after: the hour stays whole', async (t) => {
  const site = await withinTheHour(t);
  const book = fullBook(t);
  site.historian.shed();
  await site.settle();
  t.same(site.files('raw'), [], 'the file is given up');
  t.ok(book.refused >= 2, `refused ${book.refused} times`);
  t.equal(floorInBook(site), undefined);

  site.clock.advance(MINUTE);
  site.commit(regular(NOON + 600 * SECOND, 300));
  await site.settle(); // filed while the book still knows nothing
  book.full = false;

  await isWhole(t, site, 'refused twice');
  t.equal(floorInBook(site), NOON + HOUR, 'and the book is told when it has room');
  t.same(dropsInBook(site), [{ file: 'raw/2026-11-26.db', reason: 'disk full' }]);
});

t.test('a question that is asked meanwhile knows where raw begins', async (t) => {
  const site = await withinTheHour(t);
  fullBook(t);
  site.historian.shed();
  await site.settle();
  site.clock.advance(MINUTE);
  site.commit(regular(NOON + 300 * SECOND, 100));
  await site.settle();

  const span = { from: epochMs(NOON), to: epochMs(NOON + HOUR) };
  for (const tier of ['minute', 'hour'] as const) {
    const [trace] = site.historian.reader.traces({ points: ['meter-1/power'], ...span, width: 60, tier });
    const count = trace?.counts.reduce((sum, n) => sum + n, 0);
    t.equal(count, 400, `${tier}: what is rolled up and what waits`);
  }
});

const CRASHES: readonly Stage[] = ['minutes written', 'hours written', 'marks kept', 'file removed'];

for (const stage of CRASHES)
  for (const refuses of [true, false])
    t.test(`a crash at "${stage}", the book ${refuses ? 'takes nothing' : 'takes everything'}`, async (t) => {
      const site = await withinTheHour(t);
      const book = fullBook(t);
      book.full = refuses;
      site.historian.shed();
      await site.crash(stage); // its orderly end finds no room either
      t.equal(site.files('raw').length, stage === 'file removed' ? 0 : 1);
      if (refuses) t.equal(floorInBook(site), undefined, 'the book does not know');
      book.full = false;

      await isWhole(t, site, stage);
    });

t.test('a crash after a damaged file was set aside, and before the book could be told', async (t) => {
  const site = await withinTheHour(t);
  const [file = ''] = site.files('raw');
  const book = fullBook(t);
  site.historian.stop();
  site.historian.close();
  for (const end of ['-wal', '-shm']) rmSync(file + end, { force: true });
  writeFileSync(file, Buffer.alloc(8_192, 7));
  site.historian = site.started();
  t.same(site.files('raw'), [], 'set aside');
  t.equal(readdirSync(join(site.folder, 'raw')).filter((name) => name.includes('.damaged-')).length, 1);
  t.equal(floorInBook(site), undefined, 'the book does not know');
  site.restart();
  t.equal(floorInBook(site), undefined);
  book.full = false;
  site.restart();

  t.equal(floorInBook(site), NOON + HOUR, 'the name of the file says it');
  t.end();
});

t.test('where raw begins under a clock that ran ahead says nothing when it is right again', async (t) => {
  const site = new Site(t, { small: SMALL, wall: NOON + 400 * DAY });
  site.commit(regular(site.clock.wall, 300));
  await site.settle();
  site.historian.shed();
  await site.settle();
  t.same(site.files('raw'), []);
  site.historian.stop();
  site.historian.close();
  for (const end of ['', '-wal', '-shm']) rmSync(join(site.folder, `history.db${end}`), { force: true });
  for (const minutes of site.files('minute')) rmSync(minutes); // a new book goes by them
  site.clock.wall = NOON;
  site.historian = site.started();
  site.commit(regular(NOON, 300));
  await site.settle();

  t.equal(site.files('raw').length, 1, 'today is recorded');
});
