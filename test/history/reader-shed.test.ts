import t, { type Test } from 'tap';
import { epochMs } from '../../src/core/units.ts';
import { HOUR, MINUTE, NAMES, NOON, Site, regular } from './fixture.ts';

// A question about many series takes a while, and a file may be given up between two of them.

const SPAN = { points: ['*/*'], from: epochMs(NOON), to: epochMs(NOON + HOUR) };

/** Ten minutes of an hour that goes on, in a raw file, and one minute that waits in memory. */
async function withinTheHour(t: Test): Promise<Site> {
  const site = new Site(t, { small: { headSamples: 2_000 } });
  site.commit(regular(NOON, 600));
  await site.settle();
  site.clock.advance(11 * MINUTE);
  site.commit(regular(NOON + 10 * MINUTE, 60));
  await site.settle();
  return site;
}

async function shed(site: Site, tier: string): Promise<void> {
  const before = site.files(tier).length;
  site.historian.shed();
  await site.settle();
  if (site.files(tier).length === before) throw new Error(`nothing of ${tier} was given up`);
}

for (const tier of ['hour', 'minute'] as const) {
  t.test(`raw is given up while a chart of ${tier}s is made: every series has everything`, async (t) => {
    const site = await withinTheHour(t);
    const counts: number[] = [];
    for (const trace of site.historian.reader.traces({ ...SPAN, width: 60, tier })) {
      counts.push(trace.counts.reduce((sum, count) => sum + count, 0));
      if (counts.length === 1) await shed(site, 'raw');
    }
    t.same(
      counts,
      NAMES.map(() => 660),
    );
  });

  t.test(`the same, and another file has its name at once: ${tier}s`, async (t) => {
    const site = await withinTheHour(t);
    const counts: number[] = [];
    for (const trace of site.historian.reader.traces({ ...SPAN, width: 60, tier })) {
      counts.push(trace.counts.reduce((sum, count) => sum + count, 0));
      if (counts.length > 1) continue;
      const [name] = site.files('raw');
      await shed(site, 'raw');
      site.clock.advance(HOUR);
      site.commit(regular(site.clock.wall, 600));
      await site.settle();
      t.same(site.files('raw'), [name]);
    }
    t.same(
      counts,
      NAMES.map(() => 660),
    );
  });
}

t.test('minutes are given up while a chart of them is made: hours stand in for them', async (t) => {
  const site = await withinTheHour(t);
  await site.nextHour();
  await shed(site, 'raw');
  const counts: number[] = [];
  for (const trace of site.historian.reader.traces({ ...SPAN, width: 60, tier: 'minute' })) {
    counts.push(trace.starts.length);
    if (counts.length === 1) await shed(site, 'minute');
  }
  const before = counts.shift();

  site.historian.reader.close();
  const after = [...site.historian.reader.traces({ ...SPAN, width: 60, tier: 'minute' })];
  t.equal(before, 11, 'minutes');
  t.same(
    counts,
    after.slice(1).map(({ starts }) => starts.length),
    'as one that is asked for afterwards',
  );
});

t.test('what is told of gaps is told as it is now', async (t) => {
  const site = await withinTheHour(t);
  await site.nextHour();
  const found: string[] = [];
  for (const { gaps } of site.historian.reader.gaps(SPAN)) {
    found.push(JSON.stringify(gaps));
    if (found.length === 1) await shed(site, 'raw');
  }
  const [, ...later] = found;

  const now = [...site.historian.reader.gaps(SPAN)].map(({ gaps }) => JSON.stringify(gaps));
  t.match(now[1], 'quota');
  t.same(later, now.slice(1));
});
