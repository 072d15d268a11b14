import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import type { History } from '../../src/core/history.ts';
import { milliseconds } from '../../src/core/units.ts';
import { THRESHOLDS } from '../../src/store/history/thresholds.ts';
import { sizeOf } from './history-flat-job.ts';
import { Load } from './history-load.ts';
import { openStore } from './history-store.ts';
import { usage } from './measure.ts';
import { ROW_TABLE_NAMES, Rows } from './rows.ts';

// A plant in fast motion: the same commits, filings and checkpoints as in its own time, one directly after the other.

const POINTS = 1_000;

export const writtenSetup = z.object({
  job: z.literal('written'),
  folder: z.string(),
  /** Scans of a thousand points a second: 1 or 100. */
  rate: z.number(),
  /** Commits a second. */
  commits: z.number(),
  /** Of the plant's time. */
  seconds: z.number(),
});
export const writtenRowsSetup = writtenSetup.extend({
  job: z.literal('written rows'),
  table: z.enum(ROW_TABLE_NAMES),
});

export interface Written {
  readonly samples: number;
  readonly written: number;
  readonly bytes: number;
  readonly seconds: number;
}

/** What one commit takes: a part of a scan, or several scans. */
function* commitsOf(
  load: Load,
  { rate, commits, seconds }: { rate: number; commits: number; seconds: number },
): Generator<ReturnType<Load['part']>, void, void> {
  const start = Math.floor(Date.now() / 86_400_000) * 86_400_000 - 86_400_000;
  const parts = Math.max(1, commits / rate);
  for (let n = 0; n < commits * seconds; n++) {
    const time = start + Math.floor((n * 1_000) / commits);
    if (rate >= commits) {
      const scans = rate / commits;
      yield load.scans(Array.from({ length: scans }, (_, i) => time + (i * 1_000) / rate));
      continue;
    }
    const part = n % parts;
    const width = POINTS / parts;
    yield load.part(Math.floor(time / 1_000) * 1_000, part * width, (part + 1) * width);
  }
}

export async function written(setup: z.infer<typeof writtenSetup>): Promise<Written> {
  const { folder } = setup;
  const load = new Load(POINTS);
  mkdirSync(folder, { recursive: true });
  const before = usage(process.pid);
  const store = await openStore({ folder, points: load.points, commitEvery: milliseconds(0) });
  const began = performance.now();
  let samples = 0;
  for (const batch of commitsOf(load, setup)) {
    samples += batch.count;
    await store.outbox.record(batch);
    if (samples % 1_000_000 === 0)
      while (samples - (await store.history.state()).samplesFiled > 3_000_000) await wait(5);
  }
  // The rest is filed and rolled up with the next hour on a gateway, all at once; here it is counted too.
  const rest = await waitingOf(store.history, samples);
  await store.close();
  const again = await openStore({
    folder,
    points: load.points,
    thresholds: { headSamples: Math.max(1, rest), tick: milliseconds(10) },
  });
  while ((await again.history.state()).samplesFiled < rest) await wait(20);
  await again.close();
  const after = usage(process.pid);
  const seconds = (performance.now() - began) / 1_000;
  // Room for a full disk is written once in the life of a gateway.
  const spare = ['telemetry.spare', 'history.spare'].reduce(
    (sum, name) => sum + fileSize(join(folder, name)),
    0,
  );
  return { samples, written: after.written - before.written - spare, bytes: sizeOf(folder), seconds };
}

/** What is in no file when the history has read everything and files nothing at the moment. */
async function waitingOf(history: Pick<History, 'state'>, samples: number): Promise<number> {
  for (;;) {
    const { samplesFiled, samplesWaiting } = await history.state();
    if (samplesFiled + samplesWaiting === samples && samplesWaiting < THRESHOLDS.headSamples)
      return samplesWaiting;
    await wait(20);
  }
}

function fileSize(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}

export function writtenRows(setup: z.infer<typeof writtenRowsSetup>): Written {
  const { folder, table } = setup;
  const load = new Load(POINTS);
  mkdirSync(folder, { recursive: true });
  const rows = new Rows(join(folder, 'rows.db'), table);
  const [began, before] = [performance.now(), usage(process.pid)];
  let samples = 0;
  for (const batch of commitsOf(load, setup)) {
    rows.begin();
    rows.add(batch);
    rows.commit();
    samples += batch.count;
  }
  rows.close();
  const after = usage(process.pid);
  const seconds = (performance.now() - began) / 1_000;
  return { samples, written: after.written - before.written, bytes: sizeOf(folder), seconds };
}
