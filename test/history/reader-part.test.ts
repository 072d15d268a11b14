import { renameSync, rmSync, writeFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { bytes, days, epochMs, kibibytes } from '../../src/core/units.ts';
import { Handles } from '../../src/store/history/handles.ts';
import { fileOf } from '../../src/store/history/files.ts';
import { noRoom } from '../../src/store/open.ts';
import { HOUR, NAMES, NOON, SECOND, Site, WEEK, regular } from './fixture.ts';

// A part of a day of raw samples that cannot be read, while nothing of the day is rolled up yet.

const STEP = 5 * SECOND;
const PER_HOUR = HOUR / STEP;
const HOURS = 11;
const SPAN = { points: ['*/*'], from: epochMs(NOON), to: epochMs(NOON + HOURS * HOUR) };

/** Eleven hours of one day, in parts, of which none is rolled up. */
async function inParts(t: Test): Promise<Site> {
  const small = { headSamples: 2_000, partBytes: kibibytes(64), spareBytes: bytes(0), grace: days(30) };
  const site = new Site(t, { small, retention: { ...WEEK, raw: days(60) }, wall: NOON });
  for (let hour = 0; hour < HOURS; hour++) {
    site.commit(regular(NOON + hour * HOUR, PER_HOUR, STEP));
    site.clock.advance(HOUR);
    await site.settle();
  }
  return site;
}

/** Samples by hour, the same for every point. */
function hoursOf(site: Site, tier: 'hour' | 'minute'): Map<number, number> {
  const found = new Map<number, number>();
  for (const { starts, counts } of site.historian.reader.history({ ...SPAN, width: 100_000, tier }))
    for (const [i, start] of starts.entries()) {
      const hour = Math.floor(start / HOUR);
      found.set(hour, (found.get(hour) ?? 0) + (counts[i] ?? 0) / NAMES.length);
    }
  return found;
}

for (const tier of ['hour', 'minute'] as const)
  t.test(`a part that cannot be read costs what is in it, and nothing else: ${tier}s`, async (t) => {
    const site = await inParts(t);
    const parts = site.files('raw');
    t.ok(parts.length >= 3, `${parts.length} parts`);
    t.equal(hoursOf(site, tier).size, HOURS);
    const [, second = ''] = parts;
    renameSync(second, `${second}.kept`);
    writeFileSync(second, 'no database at all, for this moment');

    const without = hoursOf(site, tier);

    const all = [...without.values()].filter((count) => count === PER_HOUR).length;
    t.ok(all >= HOURS / 3, `${all} of ${HOURS} hours are as they were`);
    t.ok(without.size < HOURS || all < HOURS, 'and others are not');

    rmSync(second);
    renameSync(`${second}.kept`, second);
    site.historian.reader.forget(second, false);
    const again = hoursOf(site, tier);
    t.same(
      [...again.values()],
      Array.from({ length: HOURS }, () => PER_HOUR),
    );
  });

t.test('what could not be read for want of room is asked again with the next question', async (t) => {
  const site = await inParts(t);
  const [path = ''] = site.files('raw');
  const at = fileOf(path);
  if (at === undefined) throw new Error('no raw file');
  const said: string[] = [];
  const take = (what: string): void => void said.push(what);
  const handles = new Handles({ info: take, warn: take, error: take });
  t.teardown(() => handles.close());
  const before = handles.gone;

  handles.note(at, noRoom('no room for the index'));
  t.equal(handles.unreadable().length, 1);
  t.ok(handles.gone > before, 'an answer that did not know of it is made again');
  handles.note(at, noRoom('no room for the index'));
  t.equal(handles.gone, before + 1, 'once');

  handles.tryAgain();
  t.same(handles.unreadable(), []);
  t.ok(handles.raw(at, (file) => file.series().length) ?? 0);
  t.equal(said.length, 1, 'and it is told once');
});
