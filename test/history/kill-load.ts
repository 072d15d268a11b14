import { createHash } from 'node:crypto';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { GOOD, reasonCode } from '../../src/core/quality.ts';
import { bytes, days, kibibytes, mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { times } from '../support/long.ts';
import { MINUTE, SECOND, type Sample, sampleOf } from './fixture.ts';
import { BEGIN } from './kill-scans.ts';

/** Ten of each form, and ten whose text does not compress, so that the quota is met soon. */
export const LOADED_POINTS = Array.from({ length: 50 }, (_, i) => ({
  device: `unit-${Math.floor(i / 5)}`,
  point: ['level', 'energy', 'breaker', 'state', 'noise'][i % 5] ?? '',
  unit: ['m', 'kWh', '', '', ''][i % 5] ?? '',
  every: seconds(1),
  recorded: true,
}));

export const KILLS = times('KILLS', 8, 100);
export const LOADED_OUTBOX = mebibytes(1);
export const LOADED_SAMPLE_LOG = mebibytes(1);
/** What outbox, sample log and some minutes of raw samples take. */
const QUOTA = mebibytes(2);
/** Minutes and hours of what one run records, amply. */
const ROLLUPS_OF_RUN = kibibytes(100);
/** More a run does not record, however fast the machine is. */
export const MOST_SCANS = 600;

/** The quota is met by raw samples of a few minutes: parts go all the time. Minutes and hours stay. */
export const LOADED = {
  retention: {
    raw: days(30),
    minute: days(90),
    hour: days(1825),
    disk: bytes(QUOTA + KILLS * ROLLUPS_OF_RUN),
  },
  thresholds: {
    headSamples: 1_500,
    logBytes: kibibytes(512),
    partBytes: bytes(200_000),
    spareBytes: kibibytes(256),
    tick: milliseconds(2),
    grace: milliseconds(0),
    look: milliseconds(40),
  },
} as const;

function noiseOf(point: number, k: number): string {
  return [1, 2, 3].map((i) => createHash('sha512').update(`${point} ${k} ${i}`).digest('base64')).join(' ');
}

/** What scan k brings: every point, and one in ten that comes three quarters of an hour late. */
export function loadedScan(k: number): Sample[] {
  const time = BEGIN + k * SECOND;
  const samples = LOADED_POINTS.map(({ point: name }, point) =>
    name === 'noise' ? { point, time, value: noiseOf(point, k) } : { ...sampleOf(point % 5, k, time), point },
  );
  if (k % 10 === 7) samples.push({ point: 5 * (k % 2), time: time - 45 * MINUTE + 123, value: k });
  return samples;
}

export function loadedBatch(first: number, count: number): Batch {
  const builder = new BatchBuilder();
  for (let k = first; k < first + count; k++)
    for (const { point, time, value, quality = GOOD } of loadedScan(k)) {
      if (value === null) builder.addBad(point, time, reasonCode('timeout'));
      else builder.add(point, time, value, quality, quality === GOOD ? 0 : reasonCode('stale'));
    }
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  return batch;
}
