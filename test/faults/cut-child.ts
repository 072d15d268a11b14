// Hands samples first, first + 1, … to the store in the folder, as the pipeline does: every sample is recorded and every
// third batch goes up. With `outbox` as last argument there is no history. Writes to the marks, a line each:
// `take FIRST COUNT` before a batch is handed over, `kept FIRST COUNT` and `sent FIRST COUNT` when it is on disk.
import { openSync, writeSync } from 'node:fs';
import { systemClock } from '../../src/core/clock.ts';
import { milliseconds } from '../../src/core/units.ts';
import { until } from '../support/wait.ts';
import { openAgain, openHistoryAgain } from './again.ts';
import { batchOf } from './workload.ts';

const LANES = 3;
const MOST = 400; // samples of a batch
/** A batch of a device that was away for a while comes behind this many others. */
const LATE = 40;

const [folder = '', marks = '', first = '0', samples = '0', start = '0', mode = ''] = process.argv.slice(2);
const record = openSync(marks, 'a');
const mark = (line: string): void => {
  writeSync(record, `${line}\n`);
};
const outbox = await openAgain(folder, milliseconds(2));
await outbox.consumer('upstream');
const history = mode === 'outbox' ? undefined : await openHistoryAgain(folder, outbox);

const batches: (readonly [first: number, count: number])[] = [];
for (let k = Number(first); k < Number(first) + Number(samples); ) {
  const count = 1 + Math.floor(Math.random() * MOST);
  batches.push([k, count]);
  k += count;
}
for (let i = 10; i + LATE < batches.length; i += 25) batches.splice(i + LATE, 0, ...batches.splice(i, 1));

async function produce(lane: number): Promise<void> {
  for (let i = lane; i < batches.length; i += LANES) {
    const [from, count] = batches[i] ?? [0, 1];
    mark(`take ${from} ${count}`);
    const kept = outbox.record(batchOf(from, count, Number(start))).then(() => mark(`kept ${from} ${count}`));
    if (history === undefined || i % LANES === 0) {
      await outbox.append(batchOf(from, count, Number(start)));
      mark(`sent ${from} ${count}`);
    }
    await kept;
    if (history !== undefined) await systemClock.sleep(milliseconds(2)); // so that the historian comes along
  }
}
await Promise.all(Array.from({ length: LANES }, (_, lane) => produce(lane)));
if (history !== undefined)
  await until('the rest is nearly filed', async () => (await history.state()).samplesWaiting < MOST * 20);
await history?.close();
await outbox.close();
