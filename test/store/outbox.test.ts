import { join } from 'node:path';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import type { Row } from '../../src/core/outbox.ts';
import { bytes, milliseconds } from '../../src/core/units.ts';
import { until } from '../support/wait.ts';
import { batchOf, countTo, directory, drain, messagesIn, opened, seqsIn } from './fixture.ts';

t.test('what was appended is handed out live, one message per device, numbered without a hole', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');

  await outbox.append(batchOf(0, 200));
  await outbox.append(batchOf(200, 100));
  const rows = await drain(upstream, 'live');

  const messages = messagesIn(rows);
  t.same(seqsIn(rows), countTo(20));
  t.same(
    messages.slice(0, 10).map(({ topic }) => topic),
    countTo(9, 0).map((d) => `telemetry/meter-${d}`),
  );
  t.same(
    messages.flatMap(({ samples }) => samples).sort((a, b) => a - b),
    countTo(299, 0),
  );
  t.same(messages[3]?.samples, [...countTo(39, 30), ...countTo(139, 130)], 'in order within a device');
});

t.test('samples of many appends travel in one commit', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'), { commitEvery: milliseconds(100) });
  await outbox.consumer('upstream');

  await Promise.all(countTo(49, 0).map(async (i) => outbox.append(batchOf(i * 10, 10))));

  const state = await outbox.state();
  t.ok(state.commits <= 3, `${state.commits} commits`);
  t.equal(state.samplesCommitted, 500);
});

t.test('an event is committed at once and goes out as it is, live, also when it had to wait', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'), { commitEvery: milliseconds(600_000) });
  const upstream = await outbox.consumer('upstream');
  const payload = JSON.stringify({ specversion: '1.0', type: 'device-silent', data: { device: 'käse' } });

  await outbox.appendEvent('event/device-silent', payload);
  const live = await drain(upstream, 'live', false);
  await upstream.rewind();
  const waited = await drain(upstream, 'live', false);

  for (const rows of [live, waited]) {
    t.equal(rows.length, 1);
    t.equal(rows[0]?.messages[0]?.topic, 'event/device-silent');
    t.equal(Buffer.from(rows[0]?.messages[0]?.payload ?? []).toString(), payload);
  }
});

t.test(
  'events that had to wait come before newer ones and before the telemetry that waits with them',
  async (t) => {
    const file = join(directory(t), 'telemetry.db');
    const outbox = await opened(t, file);
    const upstream = await outbox.consumer('upstream');
    const alarm = async (number: number): Promise<void> =>
      outbox.appendEvent('event/alarm', JSON.stringify({ number }));
    for (const number of countTo(6)) {
      await outbox.append(batchOf(number * 10, 10));
      await alarm(number);
    }
    await upstream.rewind();
    await alarm(7);

    const [first] = await upstream.read('live', bytes(1));
    upstream.acknowledge('live', first?.id ?? 0);
    await alarm(8);
    const others = await drain(upstream, 'live', false);
    upstream.acknowledge('live', others[1]?.id ?? 0); // not the next one: it comes again
    await until('alarm 1 is gone', async () => (await outbox.state()).rows === 13);
    await upstream.rewind();
    await alarm(9);
    const again = await drain(upstream, 'live');
    await until('all alarms are gone, the telemetry is not', async () => (await outbox.state()).rows === 6);
    const history = await drain(upstream, 'history');

    t.same(alarmsIn(first === undefined ? [] : [first]), [1]);
    t.same(alarmsIn(others), countTo(8, 2), 'oldest first, then what is new');
    t.same(alarmsIn(again), countTo(9, 2), 'also after another connection');
    t.same(seqsIn(history), countTo(6), 'telemetry alone waits in history');
  },
);

function alarmsIn(rows: readonly Row[]): number[] {
  return rows.flatMap(({ messages }) =>
    messages.map(({ payload }) => Number(/\d+/.exec(Buffer.from(payload).toString()))),
  );
}

t.test('an event that is more than one line is refused', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));

  await t.rejects(outbox.appendEvent('event/x', '{\n}'), RangeError);
  await t.rejects(outbox.appendEvent('event/x y', '{}'), RangeError);
});

t.test('a batch of unknown points is refused and disturbs nobody', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');
  const builder = new BatchBuilder();
  builder.addNumber(100, 1, 1);
  const wrong = builder.take();

  const good = outbox.append(batchOf(0, 10));
  if (wrong !== undefined) await t.rejects(outbox.append(wrong), { code: 'STORE_FAILED' });
  await good;

  t.same(seqsIn(await drain(upstream, 'live')), [1]);
});

t.test('after a rewind what was not acknowledged comes again as history, once', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');
  for (let i = 0; i < 5; i++) await outbox.append(batchOf(i * 10, 10));
  const rows = await drain(upstream, 'live', false);
  upstream.acknowledge('live', rows[0]?.id ?? 0);
  upstream.acknowledge('live', rows[1]?.id ?? 0);

  await upstream.rewind();
  await outbox.append(batchOf(50, 10));
  const live = await drain(upstream, 'live');
  const history = await drain(upstream, 'history');

  t.same(seqsIn(live), [6]);
  t.same(seqsIn(history), [3, 4, 5]);
  t.same(
    messagesIn(history).map(({ topic }) => topic),
    ['history/meter-2', 'history/meter-3', 'history/meter-4'],
  );
  t.same(seqsIn(await drain(upstream, 'history')), [], 'and not a third time');
});

t.test('acknowledgements in any order move the durable place only over an unbroken prefix', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  const upstream = await outbox.consumer('upstream');
  for (let i = 0; i < 5; i++) await outbox.append(batchOf(i * 10, 10));
  const ids = (await drain(upstream, 'live', false)).map(({ id }) => id);
  for (const i of [4, 0, 3, 1]) upstream.acknowledge('live', ids[i] ?? 0);
  await outbox.close();

  const again = await opened(t, file);
  const same = await again.consumer('upstream');
  await same.rewind();

  t.same(seqsIn(await drain(same, 'history')), [3, 4, 5]);
});

t.test('numbers go on after a full drain and a restart', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  const upstream = await outbox.consumer('upstream');
  await outbox.append(batchOf(0, 100));
  await drain(upstream, 'live');
  await outbox.close();

  const again = await opened(t, file);
  const same = await again.consumer('upstream');
  t.equal((await again.state()).rows, 0);
  await again.append(batchOf(100, 10));

  t.same(seqsIn(await drain(same, 'live')), [11]);
});

t.test('a new consumer starts at the end, and nothing is kept where there is none', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  await outbox.append(batchOf(0, 100));
  t.equal((await outbox.state()).rows, 0);

  const first = await outbox.consumer('first');
  await outbox.append(batchOf(100, 10));
  const second = await outbox.consumer('second');
  await outbox.append(batchOf(110, 10));

  t.same(
    messagesIn(await drain(first, 'live')).flatMap(({ samples }) => samples),
    countTo(119, 100),
  );
  t.same(
    messagesIn(await drain(second, 'live')).flatMap(({ samples }) => samples),
    countTo(119, 110),
  );
});

t.test('a row is kept until the slowest consumer has it, and for no longer', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  const fast = await outbox.consumer('fast', 'telemetry/#');
  const slow = await outbox.consumer('slow', 'event/#');
  for (let i = 0; i < 4; i++) await outbox.append(batchOf(i * 10, 10));

  await drain(fast, 'live');
  const [first] = await slow.read('live', bytes(1));
  slow.acknowledge('live', first?.id ?? 0);
  await until('one row gone', async () => (await outbox.state()).rows === 3);
  await outbox.close();
  const again = await opened(t, file);
  const [fastAgain, slowAgain] = [await again.consumer('fast'), await again.consumer('slow')];
  await Promise.all([fastAgain.rewind(), slowAgain.rewind()]);

  t.match(await again.consumers(), [
    { name: 'fast', note: 'telemetry/#' },
    { name: 'slow', note: 'event/#' },
  ]);
  t.same(seqsIn(await drain(fastAgain, 'history')), []);
  t.same(seqsIn(await drain(slowAgain, 'history')), [2, 3, 4]);
  await until('all rows gone', async () => (await again.state()).rows === 0);
});

t.test('live rows that were delivered do not stay behind a history that still waits', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');
  for (let i = 0; i < 3; i++) await outbox.append(batchOf(i * 10, 10));
  await upstream.rewind();

  for (let i = 3; i < 9; i++) await outbox.append(batchOf(i * 10, 10));
  t.same(seqsIn(await drain(upstream, 'live')), countTo(9, 4));
  await until('only history remains', async () => (await outbox.state()).rows === 3);

  t.same(seqsIn(await drain(upstream, 'history')), [1, 2, 3]);
});

t.test('a forgotten consumer keeps nothing, and its place is gone', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  await outbox.consumer('upstream');
  const session = await outbox.consumer('session');
  await drain(await outbox.consumer('upstream'), 'live');
  await outbox.append(batchOf(0, 10));
  await drain(await outbox.consumer('upstream'), 'live');

  await outbox.forget('session');

  await until('its row is gone', async () => (await outbox.state()).rows === 0);
  t.same(
    (await outbox.consumers()).map(({ name }) => name),
    ['upstream'],
  );
  session.acknowledge('live', 1);
  await t.rejects(session.read('live', bytes(1)), { code: 'STORE_FAILED' });
});

t.test('a note replaces the stored one, and stays where none is given', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  await outbox.consumer('session', 'one');
  await outbox.consumer('session');
  t.match(await outbox.consumers(), [{ note: 'one' }]);
  await outbox.consumer('session', 'two');
  await outbox.close();

  const again = await opened(t, file);
  t.match(await again.consumers(), [{ name: 'session', note: 'two' }]);
});

t.test('more wakes with the next commit and with its signal', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');
  let awake = false;
  const waiting = (async () => {
    await upstream.more(AbortSignal.timeout(30_000));
    awake = true;
  })();
  await outbox.state();
  t.notOk(awake, 'nothing to read yet');

  await outbox.append(batchOf(0, 10));
  await waiting;
  t.equal((await drain(upstream, 'live')).length, 1);
  const stop = new AbortController();
  const stopped = upstream.more(stop.signal);
  stop.abort(new Error('stopped'));

  await t.rejects(stopped, { message: 'stopped' });
});

t.test('more does not wait while history is unread after a restart', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file);
  await outbox.consumer('upstream');
  await outbox.append(batchOf(0, 10));
  await outbox.close();

  const again = await opened(t, file);
  const upstream = await again.consumer('upstream');
  await upstream.rewind();
  await upstream.more(AbortSignal.timeout(10_000));

  t.same(seqsIn(await drain(upstream, 'history')), [1]);
});

t.test('read hands out about as much as was asked for', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');
  for (let i = 0; i < 10; i++) await outbox.append(batchOf(i * 100, 100));

  const one = await upstream.read('live', bytes(1));
  const some = await upstream.read('live', bytes(20_000));
  const rest = await drain(upstream, 'live');

  t.equal(one.length, 1);
  t.ok(some.length >= 2 && some.length <= 4, `${some.length} rows`);
  t.same(seqsIn([...one, ...some, ...rest]), countTo(100));
});

t.test('close commits what is pending, and everything after it is refused', async (t) => {
  const file = join(directory(t), 'telemetry.db');
  const outbox = await opened(t, file, { commitEvery: milliseconds(600_000) });
  await outbox.consumer('upstream');

  const pending = outbox.append(batchOf(0, 10));
  await outbox.close();
  await pending;

  await t.rejects(outbox.append(batchOf(0, 10)), { code: 'STORE_FAILED' });
  const again = await opened(t, file);
  const upstream = await again.consumer('upstream');
  await upstream.rewind();
  t.same(seqsIn(await drain(upstream, 'history')), [1]);
});

t.test('a scan of many samples is split into messages that a broker takes', async (t) => {
  const outbox = await opened(t, join(directory(t), 'telemetry.db'));
  const upstream = await outbox.consumer('upstream');

  await outbox.append(batchOf(0, 100_000));
  const rows = await drain(upstream, 'live');

  const sizes = rows.flatMap(({ messages }) => messages.map(({ payload }) => payload.byteLength));
  t.ok(Math.max(...sizes) <= 65_536, `the largest message takes ${Math.max(...sizes)} bytes`);
  t.ok(rows.length > 4, 'and the row into rows');
  t.same(seqsIn(rows), countTo(sizes.length));
  const samples = messagesIn(rows).flatMap((message) => message.samples);
  t.same(new Set(samples).size, 100_000);
  t.equal(samples.length, 100_000);
});
