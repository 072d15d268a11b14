import { join } from 'node:path';
import { z } from 'zod';
import { Child } from './child.ts';
import type { Result, Scenario } from './scenario.ts';
import { whole } from './table.ts';

const spread = z.object({ count: z.number(), p50: z.number(), p99: z.number(), max: z.number() });
const figures = z.object({
  bytes: z.number(),
  drop: z.number(),
  without: spread,
  with: spread,
  unrecorded: z.number(),
  rows: z.object({ rows: z.number(), milliseconds: z.number(), before: z.number(), after: z.number() }),
});

const LONGEST_SECONDS = 10;
/** A gigabyte of ours, at 1.3 bytes a sample. */
const SAMPLES_OF_A_DAY = 800e6;

/** What does ingest feel when a day of a gigabyte goes? */
export const retention: Scenario = {
  name: 'retention',
  about: 'a day of a gigabyte is dropped while 100,000 samples a second come in; baseline: DELETE of rows',
  async run(bench): Promise<Result> {
    const folder = join(bench.directory('retention'), 'data');
    await using child = Child.helper('the store', 'history-child.ts', {});
    const seconds = Math.min(LONGEST_SECONDS, bench.seconds);
    const run = await child.ask({ job: 'retention', folder, seconds }, figures);
    const { rows } = run;
    const scaled = (rows.milliseconds * SAMPLES_OF_A_DAY) / rows.rows / 1_000;
    return {
      scenario: this.name,
      load: `1,000 points at 100 Hz with a commit every 10 ms; a day of ${whole(run.bytes / 1e6)} MB in four files goes`,
      spreadOf: '',
      rows: [],
      sheet: {
        head: ['from batch to commit, ms', 'batches', 'p50', 'p99', 'max'],
        lines: [line('nothing is dropped', run.without), line('the day is dropped', run.with)],
      },
      notes: [
        `the files were gone ${whole(run.drop)} ms after they had become too old; the historian looks every second here`,
        `DELETE of ${whole(rows.rows)} rows: ${whole(rows.milliseconds)} ms in one piece, and the file has ` +
          `${whole(rows.after / 1e6)} MB as before; the ${whole(SAMPLES_OF_A_DAY / 1e6)} million samples of such a day ` +
          `would take ${whole(scaled)} s at this rate`,
      ],
      faults: run.unrecorded > 0 ? [`${whole(run.unrecorded)} samples were given up`] : [],
    };
  },
};

function line(name: string, { count, p50, p99, max }: z.infer<typeof spread>): string[] {
  return [name, ...[count, p50, p99, max].map(whole)];
}
