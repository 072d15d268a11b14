import type { Test } from 'tap';
import { type Site, bucketsIn, bucketsOf, differences, integrityOf, linesOf, rawIn } from './fixture.ts';

/** Rollups say what all samples come to; raw files hold each from `floor` on once, and nothing else. */
export function isComplete(t: Test, site: Site, floor = 0): void {
  t.same(rawIn(site), linesOf(site.truth.filter(({ time }) => time >= floor)), 'raw');
  for (const tier of ['minute', 'hour'] as const)
    t.same(differences(bucketsIn(site, tier), bucketsOf(site.truth, tier)), [], tier);
  for (const file of [...site.files('raw'), ...site.files('minute'), ...site.files('hour')])
    t.equal(integrityOf(file), 'ok');
}
