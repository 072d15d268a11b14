import type { Child } from './child.ts';
import { type Plant, valuesPerSecond } from './plant.ts';
import { type Findings, readRecording } from './recording.ts';
import { type Bench, cpuRatio, type Measured, type Result, type Row, type Scenario } from './scenario.ts';
import { whole } from './table.ts';
import { faultsIn, Upstream } from './upstream.ts';

// Half a cycle more than whole ones: the window then begins between two cycles of a client that polls all at once.
const WARM_UP_SECONDS = 5.5;
const SETTLE_SECONDS = 3; // until everything that was sampled in the window has arrived

interface Shape {
  readonly name: string;
  readonly about: string;
  readonly load: string;
  readonly plant: Plant;
  /** As gateway.yaml has it. */
  readonly deadband: string;
  /** Share of the samples that pass it: the slave's values change by 156.25 in a second. */
  readonly passes: number;
}

/** From the register to a subscriber of the broker, with everything that makes it safe in between. */
export const wholePath = path({
  name: 'whole-path',
  about: '10,000 values a second through filter, outbox and QoS 1 over mutual TLS into Mosquitto',
  load: '10 connections × 1,000 float32 every 1 s, all change; QoS 1, mutual TLS, Mosquitto',
  plant: { endpoints: 10, units: 1, points: 1_000, every: 1_000 },
  deadband: '1',
  passes: 1,
});

/** The load of `acquire`, with a deadband that one value in ten passes. */
export const filtered = path({
  name: 'filtered',
  about: '100,000 values a second into a deadband that lets one in ten through to Mosquitto',
  load: '10 connections × 10 units × 1,000 float32 every 1 s, one in ten passes its deadband; as whole-path',
  plant: { endpoints: 10, units: 10, points: 1_000, every: 1_000 },
  deadband: '1500',
  passes: 0.1,
});

function path(shape: Shape): Scenario {
  return { name: shape.name, about: shape.about, run: (bench) => run(bench, shape) };
}

async function run(bench: Bench, { name, load, plant, deadband, passes }: Shape): Promise<Result> {
  await using upstream = await Upstream.start(bench, plant, name, deadband);
  const published = await through(bench, upstream, 'sluice/bench/#', () => upstream.gateway.start());
  const naive = await through(bench, upstream, 'naive/#', () => upstream.poller(plant));

  const offered = valuesPerSecond(plant);
  const ours = row('gateway', offered * passes, published);
  const baseline = row('modbus-serial + mqtt.js', offered, naive);
  const { findings, written } = published;
  return {
    scenario: name,
    load,
    spreadOf: 'age of a value at a subscriber of the broker: arrival less the time of its sample',
    rows: [{ ...ours, ratio: cpuRatio(ours, baseline) }, baseline],
    notes: [
      bench.diskless
        ? 'bytes written: unknown, the temporary directory lies in memory (set TMPDIR to a disk)'
        : `gateway wrote ${(written / findings.distinct).toFixed(1)} bytes to the disk per value`,
      `asked of the slave: ${readRate(published)} values/s by the gateway, ${readRate(naive)} by the baseline`,
      `gateway sent ${perMessage(findings)}; the baseline one value a message, nothing on disk, nothing filtered`,
      ...(findings.history.values > 0
        ? [`${whole(findings.history.values)} values came as history and are not in the ages: the link broke`]
        : []),
      'the age at a subscriber is a little more than the age at PUBACK: the broker answers before it delivers',
    ],
    faults: [...faultsIn(findings), ...missing(published, plant, passes)],
  };
}

interface Through extends Measured {
  readonly findings: Findings;
  /** Values that the slave gave in the window. */
  readonly served: number;
}

async function through(
  bench: Bench,
  upstream: Upstream,
  topic: string,
  start: () => Child,
): Promise<Through> {
  const name = topic.slice(0, topic.indexOf('/'));
  await using recorder = upstream.record(topic, name);
  await using client = start();
  // More than the gateway's status: values.
  await bench.until(`${client.name} publishes`, () => {
    client.mustRun();
    return recorder.bytes > 100_000;
  });
  await bench.pause(WARM_UP_SECONDS);
  await upstream.slave.reset();
  const measured = await bench.measure(client, () => bench.pause(bench.seconds));
  const served = (await upstream.slave.report()).values;
  await bench.pause(SETTLE_SECONDS);
  await client.stop();
  await recorder.stop();
  return { ...measured, served, findings: await readRecording(recorder.file, measured.window) };
}

function row(who: string, offered: number, { seconds, cpu, memory, findings }: Through): Row {
  return {
    who,
    offered,
    arrived: findings.distinct / seconds,
    seconds,
    cpu,
    memory,
    spread: findings.live.age,
  };
}

/** A sample at either end of the window may lie on the other side of it at the slave: up to one cycle of a device. */
function missing({ findings, served }: Through, { points }: Plant, passes: number): string[] {
  const lost = served * passes - findings.distinct;
  // Which of the samples pass a deadband differs from window to window by as much as one in a hundred.
  const tolerated = passes < 1 ? served * passes * 0.01 + points : points;
  return lost > tolerated ? [`${whole(lost)} of ${whole(served * passes)} values never arrived`] : [];
}

const readRate = ({ served, seconds }: Through): string => whole(served / seconds);

function perMessage({ live }: Findings): string {
  return `${whole(live.values / live.messages)} values and ${whole(live.bytes / live.messages)} bytes a message`;
}
