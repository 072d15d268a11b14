import type { ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { Forwarding, noForwarding } from '../support/forwarding.ts';
import { until } from '../support/wait.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { usage } from './measure.ts';
import { type Bench, type Result, type Scenario, target } from './scenario.ts';
import { loadAverage, median, skipped } from './segmentation-figures.ts';
import { addressesOf, FIELD, HMI, SUPERVISION } from './segmentation-plant.ts';
import { whole } from './table.ts';

/** Clients at a time, each with a connection to a device of its own: an HMI, and a control room. */
const CROWDS = [1, 16] as const;
const DEVICES = 16;
const ROUNDS = 3;
/** Of all windows, of `--seconds`: there are six for each grade. */
const WINDOW_SHARE = 8;
/** What a poll every 100 ms does not notice. */
const MOST_ADDED_US = 1_000;

const GRADES = ['no rules', 'a conduit without a guard', 'filtered', 'enforced'] as const;
type Grade = (typeof GRADES)[number];

/** How the line of the conduit ends. */
const CONDUITS: Readonly<Record<Exclude<Grade, 'no rules'>, string>> = {
  'a conduit without a guard': 'allow: [modbus-tcp]',
  filtered: 'allow: [modbus-tcp/read], guard: { grade: filtered }',
  enforced: 'allow: [modbus-tcp/read]',
};

const yamlOf = (conduit: string): string => `
gateway: { id: plant }
zones:
  control: { interface: ${FIELD.interface}, subnet: ${FIELD.subnet} }
  supervision: { interface: ${SUPERVISION.interface}, subnet: ${SUPERVISION.subnet} }
conduits:
  - { from: supervision, to: control, ${conduit}, because: "HMI" }
classes: { press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } } }
devices:
${addressesOf(DEVICES)
  .map((address, i) => `  press-${i}: { class: press, at: "modbus-tcp://${address}" }\n`)
  .join('')}
segmentation: { mode: enforce, management: { zone: supervision, from: [${HMI}], allow: [ssh] } }
`;

const told = z.object({
  answered: z.number(),
  wrong: z.number(),
  seconds: z.number(),
  p50: z.number(),
  p99: z.number(),
});

interface Window extends z.infer<typeof told> {
  readonly clients: number;
  /** Of the process of the guard, in seconds. */
  readonly cpu: number;
}

interface Way {
  readonly grade: Grade;
  readonly bed: Forwarding;
  readonly guard: ChildProcess | undefined;
  readonly windows: Window[];
}

const HERE = new URL('.', import.meta.url).pathname;

async function wayOf(grade: Grade, folder: string): Promise<Way> {
  const bed = await Forwarding.make({ from: SUPERVISION, to: FIELD, ports: [] });
  try {
    const device = bed.start('receiver', process.execPath, join(HERE, 'guard-device.ts'), '502');
    await new Promise((resolve) => device.stdout?.once('data', resolve));
    if (grade === 'no rules') return { grade, bed, guard: undefined, windows: [] };
    const yaml = yamlOf(CONDUITS[grade]);
    const [file, rules] = [join(folder, `${grade}.yaml`), join(folder, `${grade}.json`)];
    writeFileSync(file, yaml);
    writeFileSync(rules, rulesOf(yaml));
    await bed.run('gateway', 'nft', '-j', '-f', rules);
    if (grade !== 'enforced') return { grade, bed, guard: undefined, windows: [] };
    const guard = bed.start('gateway', process.execPath, join(HERE, '../modbus-guard/guard-child.ts'), file);
    const listens = async (): Promise<boolean> =>
      (await bed.run('gateway', 'ss', '-Hltn')).trim().split('\n').length === DEVICES;
    await until('the listeners of the guard', listens, 120_000);
    return { grade, bed, guard, windows: [] };
  } catch (error) {
    await bed[Symbol.asyncDispose]();
    throw error;
  }
}

async function asked(
  { bed, guard }: Way,
  what: 'read' | 'write',
  clients: number,
  seconds: number,
): Promise<Window> {
  const hosts = addressesOf(DEVICES).slice(0, clients).join(',');
  const args = [join(HERE, 'guard-client.ts'), what, HMI, hosts, '502', `${seconds}`];
  const cpu = (): number => (guard?.pid === undefined ? 0 : usage(guard.pid).cpu);
  const before = cpu();
  const said = told.parse(JSON.parse(await bed.run('sender', process.execPath, ...args)));
  return { ...said, clients, cpu: cpu() - before };
}

/** What is compared has to be what it is called: a write passes without a guard, and with none of its grades. */
async function mustBeSo(way: Way, faults: string[]): Promise<void> {
  const { answered } = await asked(way, 'write', 1, 0);
  const passes = way.grade === 'no rules' || way.grade === 'a conduit without a guard';
  if (answered > 0 !== passes) faults.push(`${way.grade}: a write ${passes ? 'does not pass' : 'passes'}`);
}

/** What does it cost to have every request looked into? */
export const guarding: Scenario = {
  name: 'guard',
  about:
    'Modbus requests through the guard; baselines: no rules, a conduit without a guard, and the filtered grade',
  async run(bench): Promise<Result> {
    const reason = noForwarding();
    if (reason !== false) return skipped(this.name, reason);
    const ways: Way[] = [];
    const faults: string[] = [];
    try {
      const folder = bench.directory('guard');
      for (const grade of GRADES) ways.push(await wayOf(grade, folder));
      for (const way of ways) await mustBeSo(way, faults);
      await measure(bench, ways);
    } finally {
      for (const { bed } of ways) await bed[Symbol.asyncDispose]();
    }
    for (const { grade, windows } of ways) {
      const wrong = windows.reduce((sum, one) => sum + one.wrong, 0);
      if (wrong > 0) faults.push(`${grade}: ${wrong} requests without their answer`);
    }
    return { ...figures(ways), scenario: this.name, faults };
  },
};

/** One grade directly after the other, forth and back, so that a busy minute is a busy minute of them all. */
async function measure(bench: Bench, ways: readonly Way[]): Promise<void> {
  const seconds = bench.seconds / WINDOW_SHARE;
  for (let round = 0; round < ROUNDS; round += 1)
    for (const clients of CROWDS)
      for (const way of round % 2 === 0 ? ways : ways.toReversed()) {
        await bench.pause(0);
        way.windows.push(await asked(way, 'read', clients, seconds));
      }
}

interface Figures {
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  /** Microseconds of the guard for a request; undefined where there is none. */
  readonly cpu: number | undefined;
  readonly core: number;
}

function figuresOf({ windows, guard }: Way, clients: number): Figures {
  const some = windows.filter((one) => one.clients === clients);
  const of = (figure: (one: Window) => number): number => median(some.map(figure));
  return {
    rate: of(({ answered, seconds }) => answered / seconds),
    p50: of(({ p50 }) => p50),
    p99: of(({ p99 }) => p99),
    cpu: guard === undefined ? undefined : of(({ cpu, answered }) => (cpu / answered) * 1e6),
    core: of(({ cpu, seconds }) => cpu / seconds),
  };
}

function figures(ways: readonly Way[]): Omit<Result, 'scenario' | 'faults'> {
  const lines = CROWDS.flatMap((clients) =>
    ways.map((way) => {
      const { rate, p50, p99, cpu, core } = figuresOf(way, clients);
      const ratios = ways.slice(0, -1).map((other) => (rate / figuresOf(other, clients).rate).toFixed(2));
      const own = cpu === undefined ? ['-', '-'] : [whole(cpu), `${(core * 100).toFixed(0)} %`];
      return [
        `${way.grade}, ${clients} client${clients > 1 ? 's' : ''}`,
        whole(rate),
        whole(p50),
        whole(p99),
        ...own,
        ...ratios,
      ];
    }),
  );
  const [direct, enforced] = [ways[0], ways.at(-1)].map((way) => way && figuresOf(way, 1));
  const added = (which: 'p50' | 'p99'): number =>
    (enforced?.[which] ?? Number.NaN) - (direct?.[which] ?? Number.NaN);
  return {
    load: `reads of ten registers, one after the other on each connection, a device each; client, gateway and devices in namespaces; medians of ${ROUNDS} windows`,
    spreadOf: '',
    rows: [],
    sheet: {
      head: [
        '',
        'requests/s',
        'p50 µs',
        'p99 µs',
        'guard: CPU µs',
        'of a core',
        '× none',
        '× unguarded',
        '× filtered',
      ],
      lines,
    },
    notes: [
      `one client: the enforced grade adds ${whole(added('p50'))} µs (p50) and ${whole(added('p99'))} µs (p99) to a request`,
      'CPU is that of the process of the guard; what the kernel does for a forwarded packet is in the scenario packet',
      loadAverage(),
      target(`at most ${whole(MOST_ADDED_US)} µs added (p50)`, added('p50') <= MOST_ADDED_US),
    ],
  };
}
