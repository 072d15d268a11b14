import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { GOOD, reasonCode } from '../../src/core/quality.ts';
import { bytes, days, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import type { Thresholds } from '../../src/store/history/thresholds.ts';
import { DAY, HOUR, MINUTE, SECOND, type Sample, sampleOf } from './fixture.ts';

/** Two of each form. */
export const KILL_POINTS = Array.from({ length: 8 }, (_, i) => ({
  device: `unit-${Math.floor(i / 4)}`,
  point: ['level', 'energy', 'breaker', 'state'][i % 4] ?? '',
  unit: ['m', 'kWh', '', ''][i % 4] ?? '',
  every: seconds(1),
  recorded: true,
}));

export const RETENTION = { raw: days(30), minute: days(90), hour: days(1825), disk: mebibytes(1_000) };

/** So that a run of a fraction of a second files, rolls up, changes parts and seals. */
export const SMALL: Partial<Thresholds> = {
  headSamples: 1_500,
  partBytes: bytes(400_000),
  tick: milliseconds(2),
  grace: milliseconds(0),
  look: milliseconds(40),
};

/** An hour before a midnight that is a day past: the scans go over it, and every hour of theirs is over. */
const START = Math.floor(Date.now() / DAY) * DAY - DAY - HOUR;

/** Where scan 0 lies; a test that runs over midnight says it to its children. */
export const BEGIN = Number(process.env['KILL_BEGIN'] ?? START);

/** What scan k brings: every point, and now and then one that comes three quarters of an hour late. */
export function scan(k: number): Sample[] {
  const time = BEGIN + k * SECOND;
  const samples = KILL_POINTS.map((_, point) => sampleOf(point, k, time));
  if (k % 20 === 7) samples.push({ point: k % 2, time: time - 45 * MINUTE + 123, value: k });
  return samples;
}

export function batchOfScans(first: number, count: number): Batch {
  const builder = new BatchBuilder();
  for (let k = first; k < first + count; k++)
    for (const { point, time, value, quality = GOOD } of scan(k)) {
      if (value === null) builder.addBad(point, time, reasonCode('timeout'));
      else builder.add(point, time, value, quality, quality === GOOD ? 0 : reasonCode('stale'));
    }
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}
