import { join } from 'node:path';
import { Child } from './child.ts';
import { GatewaySetup } from './gateway.ts';
import { type Plant, valuesPerSecond } from './plant.ts';
import {
  type Bench,
  cpuRatio,
  type Measured,
  type Result,
  type Row,
  type Scenario,
  target,
} from './scenario.ts';
import { Slave } from './slave-control.ts';
import type { SlaveReport } from './slave-messages.ts';
import { whole } from './table.ts';

const PLANT: Plant = { endpoints: 10, units: 10, points: 1_000, every: 1_000 };
const TIMEOUT_MS = 1_000;

interface Polled extends Measured {
  readonly report: SlaveReport;
}

/** Collection only, the third of the scenarios that others publish figures for. */
export const acquire: Scenario = {
  name: 'acquire',
  about: '100,000 float32 a second from 100 units, collection only',
  async run(bench): Promise<Result> {
    const dir = bench.directory('acquire');
    await using slave = await Slave.start(PLANT);
    const setup = await GatewaySetup.write({
      dir: join(dir, 'gateway'),
      plant: PLANT,
      ports: slave.ports,
      profile: bench.profile,
    });
    const gateway = await poll(bench, slave, () => setup.start());
    const naive = await poll(bench, slave, () =>
      Child.helper('modbus-serial', 'poller.ts', { plant: PLANT, ports: slave.ports, timeout: TIMEOUT_MS }),
    );

    const baseline = row('modbus-serial', naive);
    const ours = row('gateway', gateway);
    const share = ours.cpu / ours.seconds;
    const { report } = gateway;
    return {
      scenario: this.name,
      load: '10 connections × 10 units × 1,000 float32 every 1 s, nothing published; counted at the slave',
      spreadOf: 'from one cycle of a unit to its next, at the slave',
      rows: [{ ...ours, ratio: cpuRatio(ours, baseline) }, baseline],
      notes: [
        target(
          `never late: p99 of the period within a tenth of it; ${report.late} of ${whole(report.period.count)} cycles were later`,
          report.period.p99 <= PLANT.every * 1.1,
        ),
        target(`under 35 % of one core: ${(share * 100).toFixed(1)} %`, share < 0.35),
        target(`under 250 MB: ${(ours.memory / 1e6).toFixed(0)} MB`, ours.memory < 250e6),
        traffic('gateway', report),
        traffic('modbus-serial', naive.report),
        'published for this scenario elsewhere: 153 MiB and 7 % (Rust), 497 MB and 30 % (C; its traffic shows about 27,000 values/s)',
      ],
      faults: [],
    };
  },
};

/** Runs one client against the slave: a few cycles to warm up, then the window. */
async function poll(bench: Bench, slave: Slave, start: () => Child): Promise<Polled> {
  await slave.reset();
  await using client = start();
  const cycles = 3 * PLANT.endpoints * PLANT.units;
  await bench.until(`${client.name} polls every unit`, async () => {
    client.mustRun();
    return (await slave.report()).period.count >= cycles;
  });
  await slave.reset();
  const measured = await bench.measure(client, () => bench.pause(bench.seconds));
  return { ...measured, report: await slave.report() };
}

function row(who: string, { seconds, cpu, memory, report }: Polled): Row {
  const arrived = report.values / report.seconds;
  return { who, offered: valuesPerSecond(PLANT), arrived, seconds, cpu, memory, spread: report.period };
}

function traffic(who: string, { requests, bytesIn, bytesOut, seconds }: SlaveReport): string {
  const [asked, sent, received] = [requests, bytesIn / 1e3, bytesOut / 1e3].map((n) => whole(n / seconds));
  return `${who} at the slave: ${asked} requests/s, ${sent} kB/s asked, ${received} kB/s answered`;
}
