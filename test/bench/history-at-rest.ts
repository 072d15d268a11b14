import { atRest } from './at-rest.ts';
import { ROW_TABLE_NAMES } from './rows.ts';
import { type Result, type Scenario, target } from './scenario.ts';

const HOURS = 2;
const FULL_HOURS = 24;
const MOST_BYTES = 2;

/** Bytes a sample, by kind of signal. */
export const sizeAtRest: Scenario = {
  name: 'at-rest',
  about:
    'bytes per sample by kind of signal, beside Gorilla and a row for each sample; --full takes a whole day',
  async run(bench): Promise<Result> {
    const hours = bench.full ? FULL_HOURS : HOURS;
    const found = await Promise.resolve(atRest(hours));
    const mix = found.at(-1);
    return {
      scenario: this.name,
      load: `100 points of each kind at 1 Hz for ${hours} hours, filed hour by hour; the whole sealed file`,
      spreadOf: '',
      rows: [],
      sheet: {
        head: ['bytes a sample', 'ours', 'Gorilla', ...ROW_TABLE_NAMES.map((table) => `a row, ${table}`)],
        lines: found.map(({ kind, ours, gorilla, rows }) => [
          kind,
          ...[ours, gorilla, ...ROW_TABLE_NAMES.map((table) => rows[table])].map(bytes),
        ]),
      },
      notes: [
        'Gorilla is its blocks alone, without file and index',
        target(
          `at most 2 bytes a sample in the mix (${bytes(mix?.ours ?? 0)})`,
          (mix?.ours ?? 9) <= MOST_BYTES,
        ),
      ],
      faults: [],
    };
  },
};

function bytes(perSample: number): string {
  return perSample.toFixed(2);
}
