import { join } from 'node:path';
import { z } from 'zod';
import { Child } from './child.ts';
import { type Result, type Scenario, target } from './scenario.ts';

const times = z.object({
  warm: z.object({ p50: z.number(), p99: z.number() }),
  cold: z.object({ p50: z.number(), max: z.number() }),
  buckets: z.number(),
});
const figures = z.object({
  charts: z.object({ year: times, month: times, day: times }),
  rows: z.object({ year: z.number(), month: z.number(), day: z.number() }),
  building: z.number(),
  dropsCaches: z.boolean(),
});

const MOST_MS = 10;
const LONGEST_SECONDS = 5;

/** How long does a person wait for a chart? */
export const year: Scenario = {
  name: 'year',
  about:
    'a chart of a year of hours, of a month and of a day of samples at 1 Hz; baseline: SQL over a row for each sample',
  async run(bench): Promise<Result> {
    const folder = join(bench.directory('year'), 'data');
    await using child = Child.helper('the store', 'history-child.ts', {});
    const seconds = Math.min(LONGEST_SECONDS, bench.seconds / 3);
    const { charts, rows, building, dropsCaches } = await child.ask(
      { job: 'year', folder, seconds },
      figures,
    );
    const line = (name: string, of: keyof typeof charts): string[] => {
      const { warm, cold, buckets } = charts[of];
      const ratio = `${(warm.p50 / rows[of]).toFixed(3)} ×`;
      return [
        name,
        `${buckets}`,
        ms(warm.p50),
        ms(warm.p99),
        ms(cold.p50),
        ms(cold.max),
        ms(rows[of]),
        ratio,
      ];
    };
    const { warm } = charts.year;
    return {
      scenario: this.name,
      load: 'one point at a time, 1,000 pixels, through the thread of the history',
      spreadOf: '',
      rows: [],
      sheet: {
        head: ['ms', 'buckets', 'p50', 'p99', 'cold p50', 'cold max', 'SQL over rows', 'ratio'],
        lines: [
          line('a year of hours', 'year'),
          line('a month of samples', 'month'),
          line('a day of samples', 'day'),
        ],
      },
      notes: [
        'SQL: GROUP BY over a table without rowid, warm; its year is twelve times its month, which has 2.6 million rows',
        dropsCaches
          ? 'cold: just opened, and the kernel was told to forget the files'
          : 'cold: just opened; the files may be in memory, which only root can change',
        `the files were made in ${building.toFixed(0)} s`,
        target(`a chart of a year in less than 10 ms, warm (p99 ${ms(warm.p99)})`, warm.p99 < MOST_MS),
      ],
      faults: [],
    };
  },
};

function ms(duration: number): string {
  return duration.toFixed(1);
}
