import { join } from 'node:path';
import t from 'tap';
import { type Batch, BatchBuilder } from '../../src/core/batch.ts';
import { bytes } from '../../src/core/units.ts';
import { until } from '../support/wait.ts';
import {
  batchOf,
  countTo,
  directory,
  drain,
  drainWaiting,
  listeningLog,
  messagesIn,
  opened,
  seqsIn,
} from './fixture.ts';

/** A batch that no driver makes: the store's thread fails over it, as it would over a bug. */
function deadly(): Batch {
  const builder = new BatchBuilder();
  for (let i = 0; i < 7; i++) builder.addText(0, 1, 'x');
  const batch = builder.take();
  if (batch === undefined) throw new Error('an empty batch');
  Reflect.set(batch, 'texts', null);
  return batch;
}

t.test('when its thread fails the outbox starts again, and tells what was given up meanwhile', async (t) => {
  const log = listeningLog();
  const outbox = await opened(t, join(directory(t), 'telemetry.db'), { log });
  const upstream = await outbox.consumer('upstream');
  await outbox.append(batchOf(0, 10));
  await outbox.append(batchOf(10, 10));
  const [first] = await upstream.read('live', bytes(1));
  upstream.acknowledge('live', first?.id ?? 0);
  await until('it is gone', async () => (await outbox.state()).rows === 1);

  await t.rejects(outbox.append(deadly()), { code: 'STORE_FAILED', message: /thread of the outbox failed/ });
  await t.rejects(outbox.append(batchOf(20, 10)), { code: 'STORE_FAILED' }, 'refused while it starts');
  await t.rejects(upstream.rewind(), { code: 'STORE_FAILED' });
  const state = await until('it runs again', async () => outbox.state().catch(() => undefined));
  await outbox.append(batchOf(30, 10));
  await until('the loss is told', async () => (await outbox.state()).nextSeq > 5);
  await upstream.rewind();
  const messages = messagesIn(await drainWaiting(upstream));

  t.equal(state.rows, 1, 'what was on disk is there');
  t.equal((await outbox.state()).samplesLost, 17, 'the loss is counted');
  t.same(
    messages.flatMap(({ samples }) => samples).sort((a, b) => a - b),
    [...countTo(19, 10), ...countTo(39, 30)],
  );
  const gaps = messages.flatMap(({ gap }) => gap ?? []);
  t.match(gaps, [{ reason: 'store failed' }]);
  const known = [
    ...messages.flatMap(({ seq }) => seq ?? []),
    ...gaps.flatMap(({ from, to }) => countTo(to, from)),
  ];
  t.same(
    known.sort((a, b) => a - b),
    countTo((await outbox.state()).nextSeq - 1, 2),
  );
  const lines = log.lines.map(({ what }) => what);
  t.same(lines, ['the outbox is started again', 'the outbox runs again']);
});

t.test('whoever waits for rows when the thread fails is woken by those that come after it', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const session = await outbox.consumer('session', 'telemetry/#');
  const waiting = session.more(AbortSignal.timeout(30_000));

  await t.rejects(outbox.append(deadly()));
  await until('it runs again', async () => outbox.state().catch(() => undefined));
  await outbox.append(batchOf(0, 10));
  await waiting;

  await until('they are handed out', async () => seqsIn(await drain(session, 'live')).includes(2));
  t.match(await outbox.consumers(), [{ name: 'session', note: 'telemetry/#' }]);
});

t.test('an outbox whose thread fails can be closed at any moment', async (t) => {
  for (const moment of ['at once', 'before it starts', 'afterwards']) {
    const outbox = await opened(t, join(directory(t), 'telemetry.db'));
    const lost = outbox.append(deadly()).catch(() => {});
    if (moment !== 'at once') await lost;
    if (moment === 'afterwards')
      await until('it runs again', async () => outbox.state().catch(() => undefined));
    await outbox.close().catch(() => {});
    await lost;
    await t.rejects(outbox.state(), { code: 'STORE_FAILED' }, moment);
  }
});
