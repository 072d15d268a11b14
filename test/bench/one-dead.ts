import { join } from 'node:path';
import { Child } from './child.ts';
import { GatewaySetup } from './gateway.ts';
import { type Plant, valuesPerSecond } from './plant.ts';
import type { Bench, Result, Row, Scenario } from './scenario.ts';
import { Slave } from './slave-control.ts';

const TIMEOUT_MS = 1_000;
const DEAD = 4; // any of the ten but the first and last

const APART: Plant = { endpoints: 10, units: 1, points: 100, every: 1_000 };
const SHARED: Plant = { endpoints: 1, units: 10, points: 100, every: 1_000 };

/** How much one device that does not answer delays the other nine. */
export const oneDead: Scenario = {
  name: 'one-dead',
  about: 'period of nine healthy devices with and without a tenth that never answers',
  async run(bench): Promise<Result> {
    const dir = bench.directory('one-dead');
    const gateway = (plant: Plant, name: string) => async (ports: readonly number[]) => {
      const options = { dir: join(dir, name), plant, ports, profile: bench.profile };
      return (await GatewaySetup.write(options)).start();
    };
    const poller = (plant: Plant) => (ports: readonly number[]) =>
      Promise.resolve(Child.helper('modbus-serial', 'poller.ts', { plant, ports, timeout: TIMEOUT_MS }));
    const pairs = [
      await beforeAndAfter(bench, 'gateway, 10 endpoints', APART, gateway(APART, 'apart')),
      await beforeAndAfter(bench, 'gateway, 1 endpoint', SHARED, gateway(SHARED, 'shared')),
      await beforeAndAfter(bench, 'modbus-serial, 1 endpoint', SHARED, poller(SHARED)),
    ];
    return {
      scenario: this.name,
      load: 'ten devices × 100 float32 every 1 s; then one of them is silent, its connection stays open',
      spreadOf: 'from one cycle of a healthy device to its next, at the slave',
      rows: pairs.flatMap(({ rows }) => rows),
      notes: [
        ...pairs.map(({ late }) => late),
        'ten units behind one endpoint share its connection: a silent one may delay them by one time-out per back-off interval',
        `the baseline waits ${TIMEOUT_MS} ms for every request to the silent unit, in every cycle`,
      ],
      faults: [],
    };
  },
};

/** One process, two windows: all ten alive, then one silent. The first is the baseline of the second. */
async function beforeAndAfter(
  bench: Bench,
  who: string,
  plant: Plant,
  start: (ports: readonly number[]) => Promise<Child>,
): Promise<{ readonly rows: readonly Row[]; readonly late: string }> {
  await using slave = await Slave.start(plant);
  await using client = await start(slave.ports);
  await bench.until(`${who} polls every device`, async () => {
    client.mustRun();
    return (await slave.report()).period.count >= 30;
  });

  const late: string[] = [];
  const window = async (name: string, devices: number): Promise<Row> => {
    await slave.reset();
    const { seconds, cpu, memory } = await bench.measure(client, () => bench.pause(bench.seconds));
    const report = await slave.report();
    late.push(`${report.late} of ${report.period.count} with ${name}`);
    return {
      who: `${who}: ${name}`,
      offered: valuesPerSecond(plant) * (devices / 10),
      arrived: report.values / report.seconds,
      seconds,
      cpu,
      memory,
      spread: report.period,
    };
  };
  const alive = await window('ten alive', 10);
  await slave.silence([DEAD]);
  const dead = await window('one dead', 9);
  const ratio = (dead.spread?.p99 ?? 0) / (alive.spread?.p99 ?? 1);
  return {
    rows: [alive, { ...dead, ratio: `${ratio.toFixed(2)} × p99 of ten alive` }],
    late: `${who}: cycles more than a tenth of the period late: ${late.join(', ')}`,
  };
}
