// Records scans first, first + 1, … through the threads of a gateway, until it is killed. Prints `ready`, and writes
// into a file `try FIRST COUNT` before and `ack FIRST COUNT` after they are on disk.
import { openSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { silentLog } from '../../src/core/log.ts';
import { mebibytes, milliseconds } from '../../src/core/units.ts';
import { openHistory } from '../../src/store/history/history.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { KILL_POINTS, RETENTION, SMALL, batchOfScans } from './kill-scans.ts';

const [folder = '', said = '', first = '0', kind = ''] = process.argv.slice(2);
const record = openSync(said, 'a');
const say = (line: string): void => {
  writeSync(record, `${line}\n`);
};

const outbox = await openOutbox({
  file: join(folder, 'telemetry.db'),
  points: KILL_POINTS,
  limit: mebibytes(64),
  log: silentLog,
  commitEvery: milliseconds(4),
});
const history = await openHistory({
  folder,
  retention: RETENTION,
  outbox: mebibytes(64),
  sampleLog: outbox,
  log: silentLog,
  thresholds: SMALL,
});
if (kind === 'warm') {
  // Fills the compile cache, which a killed process never writes.
  await history.close();
  await outbox.close();
  process.exit();
}
writeSync(1, 'ready\n');

for (let k = Number(first); ; ) {
  const count = 1 + Math.floor(Math.random() * 40);
  say(`try ${k} ${count}`);
  await outbox.record(batchOfScans(k, count));
  say(`ack ${k} ${count}`);
  k += count;
}
