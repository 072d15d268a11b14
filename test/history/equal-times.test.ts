import { rmSync } from 'node:fs';
import * as fc from 'fast-check';
import t from 'tap';
import { valueAt } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { bytes, epochMs, mebibytes } from '../../src/core/units.ts';
import { type Reader, openReader } from '../../src/store/history/reader.ts';
import { HOUR, NOON, SECOND, type Sample, Site, bucketsIn, bucketsOf, differences } from './fixture.ts';

// Of samples of the same millisecond the one that came first is first: in `samples`, in `last`, in charts and in
// rollups, wherever each of them lies.

/** What happens: samples of these milliseconds arrive together, or what is there is filed, or the gateway starts again. */
type Happening = readonly number[] | 'file' | 'restart';

const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 5, arbitrary: fc.array(fc.integer({ min: 0, max: 12 }), { minLength: 1, maxLength: 12 }) },
  { weight: 3, arbitrary: fc.constant('file' as const) },
  { weight: 1, arbitrary: fc.constant('restart' as const) },
);
const POINT = 0;

/** As the naive reader has it: by time, and otherwise as it came. */
function inOrder(samples: readonly Sample[]): string[] {
  return samples.toSorted((a, b) => a.time - b.time).map(({ time, value }) => `${time} ${String(value)}`);
}

function samplesOf(reader: Reader): string[] {
  const ask = { points: ['*/*'], from: epochMs(NOON - HOUR), to: epochMs(NOON + HOUR) };
  return [...reader.samples(ask).batches].flatMap((batch) =>
    Array.from({ length: batch.count }, (_, i) => `${batch.times[i]} ${String(valueAt(batch, i))}`),
  );
}

/** Everything that a reader says of samples that came in this order. */
function isTold(truth: readonly Sample[], reader: Reader): void {
  equal('samples', samplesOf(reader), inOrder(truth));
  const newest = truth.toSorted((a, b) => a.time - b.time).at(-1);
  equal('last', reader.last(['*/*'])[0]?.value, newest?.value);
  const ask = { points: ['*/*'], from: epochMs(NOON), to: epochMs(NOON + HOUR), width: 1 };
  const [wanted] = bucketsOf(truth, 'hour').values();
  for (const tier of ['raw', 'hour'] as const) {
    const [trace] = reader.history({ ...ask, tier });
    const found = [trace?.firsts[0], trace?.lasts[0], trace?.changes[0]];
    equal(`first, last and changes of a chart of ${tier}`, found, [
      wanted?.first,
      wanted?.last,
      wanted?.changes,
    ]);
  }
}

function equal(what: string, found: unknown, wanted: unknown): void {
  const [a, b] = [JSON.stringify(found), JSON.stringify(wanted)];
  if (a !== b) throw new Error(`${what}: ${a}, not ${b}`);
}

async function happen(site: Site, happenings: readonly Happening[]): Promise<void> {
  let count = 0;
  for (const each of happenings)
    if (each === 'restart') site.restart();
    else if (each === 'file') await fileNow(site);
    else {
      site.commit(each.map((at) => ({ point: POINT, time: NOON + at, value: count++ % 7 })));
      await site.settle();
    }
}

/** For a clock that is set back the hour is over. */
async function fileNow(site: Site): Promise<void> {
  site.clock.wall -= 3 * HOUR;
  await site.settle();
  site.clock.wall += 3 * HOUR;
  await site.settle();
}

async function proved(happenings: readonly Happening[], parts: boolean): Promise<void> {
  const after: (() => unknown)[] = [];
  const small = { partBytes: parts ? bytes(1) : mebibytes(64) };
  const site = new Site({ teardown: (act) => after.unshift(act) }, { small });
  try {
    site.clock.advance(SECOND); // samples are committed after their times: what is of the future has rules of its own
    await happen(site, happenings);
    if (site.truth.length === 0) return;
    isTold(site.truth, site.historian.reader);
    const beside = openReader({ folder: site.folder, log: silentLog });
    after.unshift(() => beside.close());
    isTold(site.truth, beside);
    await site.nextHour();
    for (const tier of ['minute', 'hour'] as const)
      equal(tier, differences(bucketsIn(site, tier), bucketsOf(site.truth, tier)), []);
    isTold(site.truth, site.historian.reader);
  } finally {
    for (const act of after) act();
    rmSync(site.folder, { recursive: true, force: true });
  }
}

t.test('samples of one millisecond keep the order in which they came', async (t) => {
  const numRuns = Number(process.env['RUNS'] ?? 25);
  await fc.assert(fc.asyncProperty(fc.array(happening, { maxLength: 14 }), fc.boolean(), proved), {
    numRuns,
  });
  t.pass();
});
