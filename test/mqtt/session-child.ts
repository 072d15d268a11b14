// The embedded broker in a process of its own, over an outbox on disk, until it is killed. Says `port N` when it
// listens and `committed N` when message N is on disk, which is when a device's value counts as kept. SIGUSR2 ends the
// stream of values.
import { readFileSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { BatchBuilder } from '../../src/core/batch.ts';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { mebibytes, milliseconds } from '../../src/core/units.ts';
import { broker } from '../../src/mqtt/broker.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { until } from '../support/wait.ts';

const [file = '', ca = '', cert = '', key = '', port = '0'] = process.argv.slice(2);
const say = (line: string): void => void writeSync(1, `${line}\n`);

const outbox = await openOutbox({
  file,
  points: [{ device: 'm1', point: 'p', unit: 'V' }],
  limit: mebibytes(16),
  log: silentLog,
  commitEvery: milliseconds(4),
});
const text = (path: string): string => readFileSync(path, 'utf8');
const task = broker({
  listen: { host: '127.0.0.1', port: Number(port) },
  gateway: 'gw1',
  version: '1',
  identity: { ca: text(ca), cert: text(cert), key: text(key) },
  outbox,
  onCommand: () => {},
  clock: systemClock,
  log: { ...silentLog, error: (what, facts) => say(`error ${what} ${JSON.stringify(facts)}`) },
});
const stop = new AbortController();
process.once('SIGTERM', () => stop.abort());
const enough = new AbortController();
process.once('SIGUSR2', () => enough.abort());
const running = task.run(stop.signal);
say(`port ${await until('listening', () => task.port)}`);

async function produce(): Promise<void> {
  while (!stop.signal.aborted && !enough.signal.aborted) {
    const { nextSeq } = await outbox.state();
    const builder = new BatchBuilder();
    builder.addNumber(0, Date.now(), nextSeq);
    const batch = builder.take();
    if (batch !== undefined) await outbox.append(batch);
    const after = await outbox.state();
    if (after.nextSeq > nextSeq) say(`committed ${after.nextSeq - 1}`);
    await pause(2);
  }
  say('enough');
}

await Promise.all([running, produce()]);
await outbox.close();
