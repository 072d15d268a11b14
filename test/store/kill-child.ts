// Appends and records samples first, first + 1, … and delivers some of them, until it is killed. Prints `ready` and writes into a
// file what it knows to be true: `ack FIRST COUNT` after the append resolved, `recorded FIRST COUNT` after record did, `got SEQ TOPIC k,k,…` before it acknowledges the row.
// Events first, first + 1, … go between them: `said NUMBER`, and `heard NUMBER` in the order in which they are handed out.
import { openSync, statSync, writeSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { bytes, mebibytes, milliseconds } from '../../src/core/units.ts';
import { silentLog } from '../../src/core/log.ts';
import { openForReading } from '../../src/store/open.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import type { Consumer, Lane } from '../../src/core/outbox.ts';
import { batchOf, noiseOf, points, understood } from './fixture.ts';

const [file = '', said = '', first = '0', limit = '64', kind = 'plain'] = process.argv.slice(2);
const make = kind === 'noise' ? noiseOf : batchOf;
const book = openSync(said, 'a');
const say = (line: string): void => {
  writeSync(book, `${line}\n`);
};

const outbox = await openOutbox({
  file,
  points,
  limit: mebibytes(Number(limit)),
  sampleLog: mebibytes(64), // nobody files it
  log: silentLog,
  commitEvery: milliseconds(4),
});
if (kind === 'warm') {
  // Fills the compile cache, which a killed process never writes.
  await outbox.close();
  process.exit();
}
const upstream = await outbox.consumer('upstream');
await upstream.rewind();
await outbox.consumer('absent');
writeSync(1, 'ready\n');

async function produce(): Promise<void> {
  for (let k = Number(first); ; ) {
    const count = 1 + Math.floor(Math.random() * 300);
    const start = k;
    k += count;
    await outbox.append(make(start, count));
    say(`ack ${start} ${count}`);
  }
}

async function happen(): Promise<void> {
  for (let number = Number(first); ; number++) {
    await outbox.appendEvent('event/alarm', JSON.stringify({ number }));
    say(`said ${number}`);
    await pause(Math.random() * 8);
  }
}

async function deliver(consumer: Consumer, lane: Lane): Promise<void> {
  for (;;) {
    await consumer.more(new AbortController().signal);
    const rows = await consumer.read(lane, bytes(20_000));
    if (rows.length === 0) await outbox.state();
    for (const { messages } of rows)
      for (const { topic, payload } of messages)
        if (topic === 'event/alarm') say(`heard ${/\d+/.exec(Buffer.from(payload).toString())?.[0]}`);
    for (const row of rows.toReversed()) {
      const telemetry = row.messages.filter(({ topic }) => topic !== 'event/alarm');
      for (const { topic, seq, samples, gap } of telemetry.map(understood))
        say(`got ${seq} ${topic} ${gap === undefined ? samples.join(',') : `gap:${gap.from}-${gap.to}`}`);
      // Every third row stays without acknowledgement for a while: acknowledgements come in any order.
      if (row.id % 3 !== 0 || Math.random() < 0.5) consumer.acknowledge(lane, row.id);
    }
  }
}

async function record(): Promise<void> {
  for (let k = Number(first); ; ) {
    const count = 1 + Math.floor(Math.random() * 300);
    const start = k;
    k += count;
    await outbox.record(make(start, count));
    say(`recorded ${start} ${count}`);
  }
}

/** Somebody reads for so long that the outbox moves into a copy, again and again. */
async function read(): Promise<void> {
  for (;;) {
    const db = openForReading(file);
    const inode = statSync(file).ino;
    db.exec('BEGIN');
    db.prepare('SELECT count(*) FROM sample_log').get();
    while (statSync(file).ino === inode) await pause(5);
    db.close();
    say('moved');
  }
}

await Promise.all([
  kind === 'read' ? read() : undefined,
  produce(),
  record(),
  happen(),
  deliver(upstream, 'live'),
  deliver(upstream, 'history'),
]);
