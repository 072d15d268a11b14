// Records and sends up scans first, first + 1, … of many points through the threads of a gateway, several batches at a
// time, while a consumer takes them and others ask for charts, gaps, last values and samples, until it is killed.
// Prints `ready`, and `recorded` after the last scan, and writes into a file `try FIRST COUNT` before, and `ack FIRST COUNT` or `not FIRST COUNT` after.
import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { silentLog } from '../../src/core/log.ts';
import type { Consumer, Lane } from '../../src/core/outbox.ts';
import { bytes, epochMs, milliseconds } from '../../src/core/units.ts';
import { openHistory } from '../../src/store/history/history.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { HOUR, SECOND } from './fixture.ts';
import {
  LOADED,
  LOADED_OUTBOX,
  LOADED_POINTS,
  LOADED_SAMPLE_LOG,
  MOST_SCANS,
  loadedBatch,
} from './kill-load.ts';
import { BEGIN } from './kill-scans.ts';

/** Batches that are not answered yet. */
const IN_FLIGHT = 4;
const WIDTH = 500;

const [folder = '', said = '', first = '0'] = process.argv.slice(2);
const record = openSync(said, 'a');
const say = (line: string): void => {
  writeSync(record, `${line}\n`);
};

const outbox = await openOutbox({
  file: join(folder, 'telemetry.db'),
  points: LOADED_POINTS,
  limit: LOADED_OUTBOX,
  sampleLog: LOADED_SAMPLE_LOG,
  log: silentLog,
  commitEvery: milliseconds(4),
});
const history = await openHistory({
  ...LOADED,
  folder,
  outbox: LOADED_OUTBOX,
  sampleLog: outbox,
  log: silentLog,
});
const upstream = await outbox.consumer('upstream');
await upstream.rewind();
writeSync(1, 'ready\n');

let next = Number(first);

async function produce(): Promise<void> {
  while (next < Number(first) + MOST_SCANS) {
    const count = 1 + Math.floor(Math.random() * 30);
    const start = next;
    next += count;
    say(`try ${start} ${count}`);
    const answers = [outbox.record(loadedBatch(start, count)), outbox.append(loadedBatch(start, count))];
    const [recorded] = await Promise.allSettled(answers);
    say(`${recorded?.status === 'fulfilled' ? 'ack' : 'not'} ${start} ${count}`);
  }
}

async function deliver(consumer: Consumer, lane: Lane): Promise<void> {
  for (;;) {
    await consumer.more(new AbortController().signal);
    const rows = await consumer.read(lane, bytes(200_000));
    if (rows.length === 0) await outbox.state();
    for (const { id } of rows) consumer.acknowledge(lane, id);
  }
}

async function ask(): Promise<void> {
  for (;;) {
    const span = { from: epochMs(BEGIN), to: epochMs(BEGIN + next * SECOND) };
    await history.history({ ...span, points: ['*/*'], width: WIDTH });
    await history.last(['*/*']);
    await history.completeness({ ...span, points: ['unit-0/*'] });
    const from = epochMs(Math.max(BEGIN, span.to - HOUR));
    for await (const batch of history.samples({ points: ['unit-1/*'], from, to: span.to }).batches)
      if (batch.count === 0) break;
  }
}

async function produceAll(): Promise<void> {
  await Promise.all(Array.from({ length: IN_FLIGHT }, produce));
  writeSync(1, 'recorded\n');
}

await Promise.all([
  produceAll(),
  ...(['live', 'history'] as const).map(async (lane) => deliver(upstream, lane)),
  ask(),
  ask(),
]);
