import { closeSync, fdatasyncSync, mkdirSync, openSync, readdirSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { z } from 'zod';
import { milliseconds } from '../../src/core/units.ts';
import { Load } from './history-load.ts';
import { openStore } from './history-store.ts';
import { usage } from './measure.ts';
import { ROW_TABLE_NAMES, Rows } from './rows.ts';
import { type ThreadSpent, threadSpent, threadTimes } from './threads.ts';

const POINTS = 1_000;
const BATCH_TICKS = 10; // 10,000 samples, as ten of them a second make 100,000
/** Batches that are on their way to the disk. */
const IN_FLIGHT = 8;
/** The historian follows; whoever records waits when it is so far behind. */
const MOST_UNFILED = 4_000_000;

export const flatSetup = z.object({ job: z.literal('flat'), folder: z.string(), seconds: z.number() });
export const flatRowsSetup = z.object({
  job: z.literal('flat rows'),
  folder: z.string(),
  seconds: z.number(),
  table: z.enum(ROW_TABLE_NAMES),
});
export const sequentialSetup = z.object({
  job: z.literal('sequential'),
  folder: z.string(),
  bytes: z.number(),
  pieces: z.number(),
});

export interface Flat {
  readonly samples: number;
  /** Until the last sample was recorded, and until it was in a file, with its rollups. */
  readonly recorded: number;
  readonly seconds: number;
  readonly cpu: number;
  readonly threads: ThreadSpent;
  readonly written: number;
  /** Of all files when everything is filed and closed. */
  readonly bytes: number;
  readonly commits: number;
  readonly peak: number;
}

/** As many samples as `record` takes, with the historian behind it. */
export async function flat({ folder, seconds }: z.infer<typeof flatSetup>): Promise<Flat> {
  const load = new Load(POINTS);
  mkdirSync(folder, { recursive: true });
  const store = await openStore({ folder, points: load.points, commitEvery: milliseconds(100) });
  // A second each, from some hours ago on: hours end and are rolled up as they do on a gateway.
  let time = Math.floor(Date.now() / 86_400_000) * 86_400_000 - 86_400_000;
  const [began, before, threads] = [performance.now(), usage(process.pid), threadTimes()];
  const end = began + seconds * 1_000;
  let samples = 0;
  const pending: Promise<void>[] = [];
  const state = async (): Promise<number> => (await store.history.state()).samplesFiled;
  while (performance.now() < end) {
    const times = Array.from({ length: BATCH_TICKS }, (_, i) => time + i * 1_000);
    time += BATCH_TICKS * 1_000;
    const batch = load.scans(times);
    samples += batch.count;
    pending.push(store.outbox.record(batch));
    if (pending.length >= IN_FLIGHT) await pending.shift();
    if (samples % 500_000 === 0) while (samples - (await state()) > MOST_UNFILED) await wait(5);
  }
  await Promise.all(pending);
  const recorded = (performance.now() - began) / 1_000;
  const { commits } = await store.outbox.state();
  const first = threadSpent(threads, threadTimes());
  await store.close();
  const between = threadTimes();
  const reopened = await openStore({
    folder,
    points: load.points,
    thresholds: { headSamples: 1, tick: milliseconds(10) },
  });
  for (let settled = false; !settled; ) {
    const { samplesWaiting } = await reopened.history.state();
    settled = samplesWaiting === 0;
    await wait(20);
  }
  const [ended, after] = [performance.now(), usage(process.pid)];
  const rest = threadSpent(between, threadTimes());
  await reopened.close();
  return {
    samples,
    recorded,
    seconds: (ended - began) / 1_000,
    cpu: after.cpu - before.cpu,
    threads: {
      main: first.main + rest.main,
      store: first.store + rest.store,
      historian: first.historian + rest.historian,
      others: first.others + rest.others,
    },
    written: after.written - before.written,
    bytes: sizeOf(folder),
    commits,
    peak: process.resourceUsage().maxRSS * 1_024,
  };
}

export interface FlatRows {
  readonly samples: number;
  readonly seconds: number;
  readonly cpu: number;
  readonly written: number;
  readonly bytes: number;
  readonly peak: number;
}

/** A row for each sample, in the order in which they come; one transaction a second. */
export function flatRows({ folder, seconds, table }: z.infer<typeof flatRowsSetup>): FlatRows {
  const load = new Load(POINTS);
  mkdirSync(folder, { recursive: true });
  const rows = new Rows(join(folder, 'rows.db'), table);
  let time = Math.floor(Date.now() / 86_400_000) * 86_400_000 - 86_400_000;
  const [began, before] = [performance.now(), usage(process.pid)];
  const end = began + seconds * 1_000;
  let samples = 0;
  while (performance.now() < end) {
    const commit = performance.now() + 1_000;
    rows.begin();
    while (performance.now() < commit) {
      const batch = load.scans([time]);
      time += 1_000;
      rows.add(batch);
      samples += batch.count;
    }
    rows.commit();
  }
  rows.close();
  const [ended, after] = [performance.now(), usage(process.pid)];
  return {
    samples,
    seconds: (ended - began) / 1_000,
    cpu: after.cpu - before.cpu,
    written: after.written - before.written,
    bytes: sizeOf(folder),
    peak: process.resourceUsage().maxRSS * 1_024,
  };
}

/** The same bytes, one after the other, with an fsync for each of so many pieces; seconds. */
export function sequential({ folder, bytes, pieces }: z.infer<typeof sequentialSetup>): number {
  mkdirSync(folder, { recursive: true });
  const piece = Buffer.alloc(Math.ceil(bytes / pieces), 0x5a);
  const file = openSync(join(folder, 'sequential'), 'w');
  const began = performance.now();
  for (let i = 0; i < pieces; i++) {
    writeSync(file, piece);
    fdatasyncSync(file);
  }
  const seconds = (performance.now() - began) / 1_000;
  closeSync(file);
  return seconds;
}

/** Everything that lies below the folder, but for the room that is only kept free. */
export function sizeOf(folder: string): number {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .filter((name) => !name.endsWith('.spare'))
    .map((name) => statSync(join(folder, name)))
    .reduce((sum, file) => sum + (file.isFile() ? file.size : 0), 0);
}
