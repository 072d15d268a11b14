import type { Test } from 'tap';
import {
  type Sample,
  type Site,
  bucketsIn,
  bucketsOf,
  differences,
  integrityOf,
  linesOf,
  rawIn,
} from './fixture.ts';

/** Rollups say what all samples come to; raw files hold each from `floor` on once, and nothing else. */
export function isComplete(t: Test, site: Site, floor = 0): void {
  t.same(rawIn(site), linesOf(site.truth.filter(({ time }) => time >= floor)), 'raw');
  for (const tier of ['minute', 'hour'] as const)
    t.same(differences(bucketsIn(site, tier), bucketsOf(site.truth, tier)), [], tier);
  for (const file of [...site.files('raw'), ...site.files('minute'), ...site.files('hour')])
    t.equal(integrityOf(file), 'ok');
}

/** Rollups say what all samples come to of the times that are asked for. */
export function isRolledUp(t: Test, site: Site, wanted: (sample: Sample) => boolean): void {
  for (const tier of ['minute', 'hour'] as const) {
    const hours = new Set(
      site.truth.filter(wanted).map(({ time }) => new Date(time).toISOString().slice(0, 13)),
    );
    const found = [...bucketsIn(site, tier)].filter(([key]) =>
      hours.has(key.split(' ').slice(-2).join('T').slice(0, 13)),
    );
    t.same(differences(new Map(found), bucketsOf(site.truth.filter(wanted), tier)), [], tier);
  }
}
