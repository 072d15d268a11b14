import { noForwarding, packetSender } from '../support/forwarding.ts';
import { type Counted, type Method, reloadUnderLoad } from '../netd/reload-load.ts';
import { NARROW, NEARLY, WIDE } from '../netd/reload-plant.ts';
import { type Result, type Scenario, target } from './scenario.ts';
import { loadAverage, skipped } from './segmentation-figures.ts';
import { whole } from './table.ts';

const RATE = 4_000; // packets a second to each of three ports: a core of a small machine forwards ten times as many
const RELOADS = { delta: 300, baseline: 100 } as const;
const LONGEST_SECONDS = 150; // a reload takes a tenth of a second, on a machine that does much else three times that
const FULL = 5; // times as many with --full

interface Way {
  readonly who: string;
  readonly method: Method;
  readonly plants: readonly [string, string];
}

const WAYS: readonly Way[] = [
  { who: 'sluice, 200 elements and rules', method: 'delta', plants: [NARROW, WIDE] },
  { who: 'sluice, 2 elements', method: 'delta', plants: [NEARLY, WIDE] },
  { who: 'table replaced in one transaction', method: 'replace', plants: [NARROW, WIDE] },
  { who: 'flushed and filled in one transaction', method: 'refill', plants: [NARROW, WIDE] },
];

/** Is anything lost, or let through, while rules change all the time? */
export const reloading: Scenario = {
  name: 'reload',
  about:
    'packets lost and leaked while rules are reloaded without a pause; baselines: the table replaced, and refilled',
  async run(bench): Promise<Result> {
    const reason = noForwarding();
    if (reason !== false) return skipped(this.name, reason);
    const program = packetSender(bench.directory('reload'));
    const counted: (Way & Counted)[] = [];
    for (const [i, way] of WAYS.entries()) {
      await bench.pause(0);
      const times = bench.full ? FULL : 1;
      const figures = await reloadUnderLoad({
        ...way,
        reloads: RELOADS[way.method === 'delta' ? 'delta' : 'baseline'] * times,
        seconds: LONGEST_SECONDS * times,
        rate: RATE,
        folder: bench.directory(`reload-${i}`),
        program,
      });
      counted.push({ ...way, ...figures });
    }
    return {
      scenario: this.name,
      load: `${whole(RATE)} packets/s to a port of a hash map, of an interval map and to a denied one, each judged as new`,
      spreadOf: '',
      rows: [],
      sheet: {
        head: ['', 'reloads', 'sent to each', 'lost: hash', 'lost: interval', 'leaked'],
        lines: counted.map(({ who, reloads, sent, lost, leaked }) => [
          who,
          ...[reloads, sent, lost.hash, lost.interval, leaked].map(whole),
        ]),
      },
      notes: [
        loadAverage(),
        target(
          `at least ${RELOADS.delta} reloads each way of ours`,
          counted.every(({ method, reloads }) => method !== 'delta' || reloads >= RELOADS.delta),
        ),
      ],
      faults: counted.flatMap(faultsOf),
    };
  },
};

/** What others lose is only told. */
function faultsOf({ who, method, reloads, elements, lost, leaked }: Way & Counted): string[] {
  if (method !== 'delta') return [];
  return [
    ...(lost.hash + lost.interval === 0 ? [] : [`${who}: ${lost.hash + lost.interval} allowed packets lost`]),
    ...(leaked === 0 ? [] : [`${who}: ${leaked} denied packets leaked`]),
    ...(elements === reloads ? [] : [`${who}: ${reloads - elements} reloads changed nothing`]),
  ];
}
