import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { bytes, mebibytes } from '../../src/core/units.ts';
import { openForWriting } from '../../src/store/open.ts';
import { until } from '../support/wait.ts';
import {
  type Told,
  batchOf,
  countTo,
  directory,
  drain,
  drainWaiting,
  listeningLog,
  messagesIn,
  noiseOf,
  opened,
} from './fixture.ts';

function sizeOnDisk(file: string): number {
  return [file, `${file}-wal`].reduce((sum, name) => sum + (existsSync(name) ? statSync(name).size : 0), 0);
}

/** Numbers below `next` that neither came nor were told as a gap. */
function holes(messages: readonly Told[], next: number): number[] {
  const known = new Set(messages.flatMap(({ seq }) => seq ?? []));
  for (const { gap } of messages)
    if (gap !== undefined) for (const seq of countTo(gap.to, gap.from)) known.add(seq);
  return countTo(next - 1).filter((seq) => !known.has(seq));
}

t.test(
  'over the limit the oldest goes first, and what was dropped is told, no more and no less',
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const log = listeningLog();
    const outbox = await opened(t, file, { limit: mebibytes(2), log });
    const upstream = await outbox.consumer('upstream');

    let largest = 0;
    for (let i = 0; i < 150; i++) {
      await outbox.append(noiseOf(i * 100, 100));
      largest = Math.max(largest, sizeOnDisk(file));
    }
    await upstream.rewind();
    const messages = messagesIn(await drainWaiting(upstream));
    const state = await outbox.state();

    t.ok(largest <= 2 * 1_048_576, `file and log took ${largest} bytes at most`);
    t.same(holes(messages, state.nextSeq), []);
    const came = messages.flatMap(({ seq, gap }) => (gap === undefined ? (seq ?? []) : []));
    const told = messages.flatMap(({ gap }) => (gap === undefined ? [] : countTo(gap.to, gap.from)));
    t.same(
      came.filter((seq) => told.includes(seq)),
      [],
      'nothing came that was told as dropped',
    );
    t.ok(messages.flatMap(({ samples }) => samples).includes(14_999), 'the newest is there');
    t.ok(messages.every(({ gap }) => gap === undefined || gap.reason === 'disk quota'));
    t.ok(messages.filter(({ gap }) => gap !== undefined).length <= 40, 'gaps are joined as they grow old');
    t.equal(state.messagesDropped + came.length, 1_500, 'messages dropped are counted');
    t.ok(log.lines.some(({ what }) => what.startsWith('the outbox is full')));
  },
);

t.test('a consumer that never comes costs the others nothing', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file, { limit: mebibytes(1) });
  const upstream = await outbox.consumer('upstream');
  await outbox.consumer('absent');

  const seen: Told[] = [];
  for (let i = 0; i < 100; i++) {
    await outbox.append(noiseOf(i * 100, 100));
    seen.push(...messagesIn(await drain(upstream, 'live')));
  }
  const absent = await outbox.consumer('absent');
  await absent.rewind();
  const late = messagesIn(await drainWaiting(absent));

  const { nextSeq } = await outbox.state();
  const came = seen.flatMap(({ seq }) => seq ?? []);
  t.same(came, countTo(nextSeq - 1), 'every message, in order');
  t.same(
    seen.flatMap(({ samples }) => samples).sort((a, b) => a - b),
    countTo(9_999, 0),
  );
  t.ok(late.some(({ gap }) => gap !== undefined));
  t.same(holes(late, nextSeq), []);
});

t.test('what was delivered to all is no gap', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'), { limit: mebibytes(1) });
  const upstream = await outbox.consumer('upstream');
  for (let i = 0; i < 20; i++) await outbox.append(noiseOf(i * 100, 100));
  await drain(upstream, 'live');
  await until('everything delivered is gone', async () => (await outbox.state()).rows === 0);
  const { nextSeq: delivered } = await outbox.state();

  for (let i = 20; i < 60; i++) await outbox.append(noiseOf(i * 100, 100));
  await upstream.rewind();
  const gaps = messagesIn(await drainWaiting(upstream)).flatMap(({ gap }) => gap ?? []);

  t.ok(gaps.length > 0);
  t.equal(Math.min(...gaps.map(({ from }) => from)), delivered);
});

t.test('events outlive telemetry', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'), { limit: mebibytes(1) });
  const upstream = await outbox.consumer('upstream');

  for (let i = 0; i < 60; i++) {
    await outbox.append(noiseOf(i * 100, 100));
    await outbox.appendEvent('event/alarm', JSON.stringify({ number: i }));
  }
  await upstream.rewind();
  const rows = await drainWaiting(upstream);

  const alarms = rows.flatMap(({ messages }) => messages).filter(({ topic }) => topic === 'event/alarm');
  t.equal(alarms.length, 60);
  t.ok((await outbox.state()).messagesDropped > 0);
});

t.test('somebody who reads the file in a long transaction does not make its log grow for ever', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file, { limit: mebibytes(4) });
  const upstream = await outbox.consumer('upstream');
  await outbox.append(batchOf(0, 100));
  const reader = openForWriting(file, 1_048_576);
  reader.exec('BEGIN');
  reader.prepare('SELECT count(*) FROM journal').get();

  for (let i = 0; i < 150; i++) {
    await outbox.append(noiseOf(i * 40, 40));
    await drain(upstream, 'live');
  }
  const grown = sizeOnDisk(file);
  reader.exec('COMMIT');
  reader.close();
  for (let i = 0; i < 50; i++) await outbox.append(noiseOf(i * 20, 20));

  t.ok(grown > 0, `with the reader file and log took ${grown} bytes`);
  t.ok(
    await until('the log is small again', () => statSync(`${file}-wal`).size <= 1_048_576 + 65_536),
    `afterwards the log took ${statSync(`${file}-wal`).size}`,
  );
  t.equal((await upstream.read('live', bytes(1))).length, 1, 'and delivery went on');
});
