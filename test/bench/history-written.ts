import { join } from 'node:path';
import { z } from 'zod';
import { Child } from './child.ts';
import { ROW_TABLE_NAMES } from './rows.ts';
import type { Result, Scenario } from './scenario.ts';
import { whole } from './table.ts';

const figures = z.object({
  samples: z.number(),
  written: z.number(),
  bytes: z.number(),
  seconds: z.number(),
});
type Figures = z.infer<typeof figures>;

/** A gateway commits four times a second; a table of rows once, as the store may be told to. */
const COMMITS = [4, 1];
const PLANT_SECONDS = 3_600;
const FAST_SECONDS = 60;
const ROW_SECONDS = { plant: 600, fast: 10 };
const DAY_SECONDS = 86_400;

/** What flash wears by. */
export const written: Scenario = {
  name: 'written',
  about:
    'bytes that reach the disk per sample, for 1,000 points at 1 Hz and at 100 Hz, beside a row for each sample',
  async run(bench): Promise<Result> {
    const faults = bench.diskless ? ['the files lie in memory: nothing is written (set TMPDIR)'] : [];
    const run = async (name: string, job: Record<string, unknown>): Promise<Figures> => {
      const folder = join(bench.directory(`written-${name}`), 'data');
      await using child = Child.helper('the store', 'history-child.ts', {});
      return await child.ask({ ...job, folder }, figures);
    };
    const lines: string[][] = [];
    const stretch = bench.full ? 6 : 1;
    for (const [name, rate, seconds] of [
      ['plant', 1, PLANT_SECONDS * stretch],
      ['fast', 100, FAST_SECONDS * stretch],
    ] as const) {
      const line = (who: string, each: Figures): string[] => {
        const bytes = each.written / each.samples;
        const perDay = (bytes * 1_000 * rate * DAY_SECONDS) / 1e9;
        const rest = (each.bytes / each.samples).toFixed(2);
        return [`${who}, ${rate} Hz`, whole(each.samples), bytes.toFixed(1), rest, `${perDay.toFixed(2)} GB`];
      };
      for (const commits of COMMITS) {
        const ours = await run(`${name}-${commits}`, { job: 'written', rate, commits, seconds });
        lines.push(line(`store and history, ${commits} commits/s`, ours));
      }
      for (const table of ROW_TABLE_NAMES) {
        const job = { job: 'written rows', table, rate, commits: 1, seconds: ROW_SECONDS[name] };
        lines.push(line(`a row each, ${table}`, await run(`${name}-${table}`, job)));
      }
    }
    return {
      scenario: this.name,
      load: `1,000 points in fast motion: every commit, filing and roll-up of ${PLANT_SECONDS * stretch} s at 1 Hz and ${FAST_SECONDS * stretch} s at 100 Hz`,
      spreadOf: '',
      rows: [],
      sheet: { head: ['', 'samples', 'written a sample', 'at rest', 'written a day'], lines },
      notes: [
        'the rows are committed once a second; the room kept for a full disk is written once, and not counted',
        'the tables of rows are small yet: the longer they grow, the more they write',
      ],
      faults,
    };
  },
};
