// Records samples first, first + 1, … all the time, until it is killed. Writes `ack FIRST COUNT`
// into a file after each record resolved, and `ready` to standard output at the start.
import { openSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { silentLog } from '../../src/core/log.ts';
import { mebibytes, milliseconds, seconds } from '../../src/core/units.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { batchOf, points } from '../store/fixture.ts';

const [file = '', said = '', first = '0'] = process.argv.slice(2);
const record = openSync(said, 'a');

const outbox = await openOutbox({
  file,
  points: points.map((point) => ({ ...point, every: seconds(1) })),
  limit: mebibytes(64),
  log: silentLog,
  commitEvery: milliseconds(5),
});
await outbox.consumer('upstream');
writeSync(1, 'ready\n');
for (let k = Number(first); ; ) {
  const count = 1 + Math.floor(Math.random() * 500);
  await Promise.all([outbox.record(batchOf(k, count)), outbox.append(batchOf(k, count))]);
  writeSync(record, `ack ${k} ${count}\n`);
  k += count;
  await pause(2); // the stock shell needs a while for what is recorded here
}
