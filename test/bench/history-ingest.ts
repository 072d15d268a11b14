import { join } from 'node:path';
import { z } from 'zod';
import { Child } from './child.ts';
import { type Result, type Row, type Scenario, target } from './scenario.ts';
import { whole } from './table.ts';

const spread = z.object({ count: z.number(), p50: z.number(), p99: z.number(), max: z.number() });
const ingested = z.object({
  seconds: z.number(),
  samples: z.number(),
  filed: z.number(),
  unrecorded: z.number(),
  late: z.number(),
  batches: z.number(),
  record: spread,
  handover: spread,
  year: spread,
  day: spread,
  cpu: z.object({ main: z.number(), store: z.number(), historian: z.number(), others: z.number() }),
  rss: z.number(),
});
type Ingested = z.infer<typeof ingested>;

const POINTS = [1_000, 10_000];
const RATE = 100_000;
/** The head is full after twenty seconds, and one filing has to be seen. */
const SHORTEST_SECONDS = 26;
const ALONE_SECONDS = 4;
const MOST_OF_A_CORE = 0.15;

/** The store and the history behind it, with every sample of a fast plant, while somebody looks at charts. */
export const ingest: Scenario = {
  name: 'ingest',
  about:
    '100,000 samples a second from 1,000 and from 10,000 points into the history, while charts are asked for',
  async run(bench): Promise<Result> {
    const seconds = Math.max(SHORTEST_SECONDS, bench.seconds);
    const rows: Row[] = [];
    const notes: string[] = [];
    const faults: string[] = [];
    for (const points of POINTS) {
      const job = async (alone: boolean, window: number): Promise<Ingested> => {
        const folder = join(bench.directory(`ingest-${points}-${alone ? 'alone' : 'store'}`), 'data');
        await using child = Child.helper('the store', 'history-child.ts', {});
        return await child.ask({ job: 'ingest', folder, points, seconds: window, alone }, ingested);
      };
      const generator = await job(true, ALONE_SECONDS);
      const run = await job(false, seconds);
      const share = (part: number): string => `${((part / run.seconds) * 100).toFixed(1)} %`;
      const all = run.cpu.main + run.cpu.store + run.cpu.historian + run.cpu.others;
      const made = (sumOf(generator) / generator.seconds) * run.seconds;
      rows.push({
        who: `${whole(points)} points`,
        offered: RATE,
        arrived: run.samples / run.seconds,
        seconds: run.seconds,
        cpu: all,
        memory: run.rss,
        spread: run.record,
      });
      notes.push(
        `${whole(points)} points: store's thread ${share(run.cpu.store)}, historian ${share(run.cpu.historian)}, ` +
          `main thread ${share(run.cpu.main)}, of the engine ${share(run.cpu.others)}; the generator alone ${share(made)}`,
        `${whole(points)} points: a chart of a year p50 ${run.year.p50} ms, p99 ${run.year.p99} ms, ` +
          `of the last day p50 ${run.day.p50} ms, p99 ${run.day.p99} ms; ` +
          `batches handed over p99 ${run.handover.p99} ms after their time`,
        target(`${whole(points)} points: no batch late (${run.late} of ${run.batches} were)`, run.late === 0),
        target(
          `${whole(points)} points: under 15 % of a core without the generator (${share(all - made)})`,
          (all - made) / run.seconds < MOST_OF_A_CORE,
        ),
      );
      if (run.unrecorded > 0)
        faults.push(`${whole(points)} points: ${whole(run.unrecorded)} samples were given up`);
    }
    return {
      scenario: this.name,
      load: `100,000 samples/s in batches of 10,000, a chart every 200 ms, for ${seconds} s`,
      spreadOf: 'from handing a batch over to its commit; a commit is made every 250 ms',
      rows,
      notes,
      faults,
    };
  },
};

function sumOf({ cpu }: Ingested): number {
  return cpu.main + cpu.store + cpu.historian + cpu.others;
}
