// A gateway whose only device says once that it is silent, and then nothing, until it is killed.
import { join } from 'node:path';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { reasonCode } from '../../src/core/quality.ts';
import { mebibytes, milliseconds } from '../../src/core/units.ts';
import { openHistory } from '../../src/store/history/history.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { KILL_POINTS, RETENTION } from './kill-scans.ts';

const [folder = ''] = process.argv.slice(2);
const options = { folder, log: silentLog, outbox: mebibytes(64) };
const outbox = await openOutbox({
  file: join(folder, 'telemetry.db'),
  points: KILL_POINTS,
  limit: options.outbox,
  log: silentLog,
  signEvery: milliseconds(20),
});
await openHistory({ ...options, retention: RETENTION, sampleLog: outbox });
const builder = new BatchBuilder();
builder.addBad(0, Date.now(), reasonCode('not heard yet'));
const said = builder.take();
if (said !== undefined) await outbox.record(said);
