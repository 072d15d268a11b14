import { join } from 'node:path';
import { z } from 'zod';
import { Child } from './child.ts';
import { ROW_TABLE_NAMES } from './rows.ts';
import { type Bench, type Result, type Row, type Scenario, target } from './scenario.ts';
import { whole } from './table.ts';

const figures = z.object({
  samples: z.number(),
  seconds: z.number(),
  cpu: z.number(),
  written: z.number(),
  bytes: z.number(),
  peak: z.number(),
});
type Figures = z.infer<typeof figures>;
const flat = figures.extend({
  recorded: z.number(),
  commits: z.number(),
  threads: z.object({ main: z.number(), store: z.number(), historian: z.number(), others: z.number() }),
});

const LONGEST_SECONDS = 12;

async function ask<T>(bench: Bench, job: Record<string, unknown>, answer: z.ZodType<T>): Promise<T> {
  const folder = join(bench.directory(`flat-${String(job['table'] ?? job['job'])}`), 'data');
  await using child = Child.helper('the store', 'history-child.ts', {});
  return await child.ask({ ...job, folder }, answer);
}

function rowOf(who: string, { samples, seconds, cpu, peak }: Figures): Row {
  return { who, arrived: samples / seconds, seconds, cpu, memory: peak };
}

/** How much does it take, and how far is that from a row for each sample, and from what the disk takes at all? */
export const flatOut: Scenario = {
  name: 'flat-out',
  about:
    'as many samples as the store takes; baselines: a row for each sample, and the same bytes plainly written',
  async run(bench): Promise<Result> {
    const seconds = Math.min(LONGEST_SECONDS, bench.seconds);
    const store = await ask(bench, { job: 'flat', seconds }, flat);
    const tables: [string, Figures][] = [];
    for (const table of ROW_TABLE_NAMES)
      tables.push([table, await ask(bench, { job: 'flat rows', seconds, table }, figures)]);
    const job = { job: 'sequential', bytes: store.bytes, pieces: store.commits };
    const sequential = await ask(bench, job, z.number());

    const rate = store.samples / store.seconds;
    const plain = store.samples / sequential;
    return {
      scenario: this.name,
      load: `1,000 points, batches of 10,000 samples, for ${seconds} s; then until everything is in files`,
      spreadOf: '',
      rows: [
        { ...rowOf('store and history', store), ratio: `${(rate / plain).toFixed(3)} × the plain write` },
        ...tables.map(([table, run]) => ({
          ...rowOf(`a row each, ${table}`, run),
          ratio: `the store takes ${(rate / (run.samples / run.seconds)).toFixed(1)} × as many`,
        })),
      ],
      notes: [
        `recorded ${whole(store.samples / store.recorded)} samples/s, and filed and rolled up ${whole(rate)}; ` +
          `CPU: store's thread ${store.threads.store.toFixed(1)} s, historian ${store.threads.historian.toFixed(1)} s, ` +
          `main ${store.threads.main.toFixed(1)} s, of the engine ${store.threads.others.toFixed(1)} s`,
        `at rest ${per(store.bytes, store.samples)} bytes a sample with rollups; written ` +
          `${per(store.written, store.samples)}, rows ${tables.map(([, run]) => per(run.written, run.samples)).join(' and ')}`,
        `the same ${whole(store.bytes)} bytes, plainly written with ${store.commits} fsyncs: ` +
          `${sequential.toFixed(3)} s, as ${whole(plain)} samples/s`,
        target(
          'more than a row for each sample takes',
          tables.every(([, run]) => rate > run.samples / run.seconds),
        ),
      ],
      faults: [],
    };
  },
};

function per(bytes: number, samples: number): string {
  return (bytes / samples).toFixed(2);
}
