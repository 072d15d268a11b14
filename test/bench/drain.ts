import { z } from 'zod';
import { Child } from './child.ts';
import { type Plant, valuesPerSecond } from './plant.ts';
import { type Findings, readRecording } from './recording.ts';
import type { Bench, Measured, Result, Row, Scenario } from './scenario.ts';
import { whole } from './table.ts';
import { faultsIn, Upstream } from './upstream.ts';

const PLANT: Plant = { endpoints: 10, units: 1, points: 1_000, every: 1_000 };
const FULL_BACKLOG_SECONDS = 600;
const QUIET_SECONDS = 3; // no history for this long: the backlog is gone
const SETTLE_SECONDS = 2;
const WINDOW = 20; // mosquitto.conf(5): max_inflight_messages
const BASELINE_SECONDS = 5;

/** A broker that was away comes back: how fast does the backlog go, and does live telemetry wait for it? */
export const drain: Scenario = {
  name: 'drain',
  about: 'a backlog of 10,000 values a second goes out when the broker is back; --full makes it ten minutes',
  async run(bench): Promise<Result> {
    const backlog = bench.full ? FULL_BACKLOG_SECONDS : Math.max(60, bench.seconds);
    await using upstream = await Upstream.start(bench, PLANT, 'drain');
    const drained = await gatewayRun(bench, upstream, backlog);
    const { calm, draining, all } = drained;
    const { history } = all;
    const seconds = (history.last - history.first) / 1_000;
    const rate = history.values / seconds;
    const messageSize = Math.round(history.bytes / Math.max(1, history.messages));
    const baseline = await publisherRun(bench, upstream, messageSize);

    const valuesPerMessage = history.values / Math.max(1, history.messages);
    const plainRate = baseline.messages * valuesPerMessage;
    const gateway: Row = {
      who: 'gateway',
      offered: valuesPerSecond(PLANT),
      arrived: rate,
      seconds: drained.seconds,
      cpu: drained.cpu,
      memory: drained.memory,
      spread: draining.live.age,
      ratio: `${(rate / plainRate).toFixed(2)} × rate of ${baseline.row.who}`,
    };
    return {
      scenario: this.name,
      load: `the broker is away for ${backlog} s while 10,000 values/s are read, then comes back`,
      spreadOf: 'age of live values at a subscriber while the backlog drains',
      rows: [gateway, { ...baseline.row, arrived: plainRate }],
      notes: [
        `drained ${whole(history.values)} values in ${whole(history.messages)} messages within ${seconds.toFixed(1)} s: ` +
          `${whole(rate)} values/s, ${whole(history.messages / seconds)} messages/s of ${whole(messageSize)} bytes`,
        `first history ${drained.reconnected.toFixed(1)} s after the broker was back; ${all.duplicates} messages twice`,
        `live p99 age: ${whole(calm.live.age.p99)} ms before the cut, ${whole(draining.live.age.p99)} ms while draining`,
        `peak memory before the cut ${(drained.memoryBefore / 1e6).toFixed(0)} MB`,
      ],
      faults: [...faultsIn(drained.all), ...missing(drained.all, drained.expected)],
    };
  },
};

interface Drained extends Measured {
  readonly calm: Findings;
  readonly draining: Findings;
  readonly all: Findings;
  /** Values that were taken between the first window and the end. */
  readonly expected: number;
  /** Seconds from the broker's return to the first history message. */
  readonly reconnected: number;
  readonly memoryBefore: number;
}

async function gatewayRun(bench: Bench, upstream: Upstream, backlog: number): Promise<Drained> {
  await using recorder = upstream.record('sluice/bench/#', 'sluice');
  const historySince = recorder.follow('/history/');
  await using gateway = upstream.gateway.start();
  await bench.until('the gateway publishes', () => {
    gateway.mustRun();
    return recorder.bytes > 100_000;
  });
  const before = await bench.measure(gateway, () => bench.pause(Math.min(10, bench.seconds)));

  // What was sampled in that window has arrived before the cut.
  await bench.pause(SETTLE_SECONDS);
  await upstream.broker.stop();
  historySince();
  await bench.pause(backlog);
  await upstream.broker.start();

  const back = Date.now();
  const after = await bench.measure(gateway, async () => {
    await bench.until('history arrives', () => historySince() > 0, 120);
    for (let quiet = 0; quiet < QUIET_SECONDS; quiet = historySince() > 0 ? 0 : quiet + 1) {
      gateway.mustRun();
      await bench.pause(1);
    }
  });
  await gateway.stop();
  await recorder.stop();

  // By sample time: what was taken while the broker was away is history, what is live was taken while it drained.
  const whole = { from: before.window.from, to: after.window.to - QUIET_SECONDS * 1_000 };
  const all = await readRecording(recorder.file, whole);
  const draining = await readRecording(recorder.file, { from: back, to: all.history.last });
  return {
    ...after,
    calm: await readRecording(recorder.file, before.window),
    draining,
    all,
    expected: (valuesPerSecond(PLANT) * (whole.to - whole.from)) / 1_000,
    reconnected: (all.history.first - back) / 1_000,
    memoryBefore: before.memory,
  };
}

/** The window may cut one cycle at either end; more than that was lost. */
function missing({ distinct }: Findings, expected: number): string[] {
  const cycle = PLANT.endpoints * PLANT.units * PLANT.points;
  return distinct < expected - 2 * cycle ? [`${whole(expected - distinct)} values never arrived`] : [];
}

async function publisherRun(
  bench: Bench,
  upstream: Upstream,
  size: number,
): Promise<{ readonly row: Row; readonly messages: number }> {
  await using recorder = upstream.record('naive/#', 'naive');
  await using publisher = Child.helper('mqtt.js from memory', 'publisher.ts', {
    publish: upstream.naive,
    size,
    window: WINDOW,
  });
  const acknowledged = (): Promise<number> => publisher.ask({}, z.number());
  await bench.until('the publisher publishes', async () => (await acknowledged()) > 0);
  await bench.until('the recorder records', () => recorder.bytes > 0);
  const first = await acknowledged();
  const measured = await bench.measure(publisher, () => bench.pause(BASELINE_SECONDS));
  const messages = ((await acknowledged()) - first) / measured.seconds;
  const who = `mqtt.js from memory, window ${WINDOW}`;
  return { messages, row: { who, arrived: 0, ...measured } };
}
