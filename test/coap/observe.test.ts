import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { milliseconds } from '../../src/core/units.ts';
import { coapLine } from '../../src/drivers/coap/line.ts';
import { isNewer } from '../../src/drivers/coap/observe.ts';
import { HandClock, settle } from '../support/clock.ts';
import { freeUdpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { scan } from '../support/scan.ts';
import { plant, type PointWish, type Row, rowsOf } from './plant.ts';
import { type Asked, block2, etag, maxAge, observeOption, RawPeer } from './raw-peer.ts';

const never = new AbortController().signal;

/** A line that watches one device of bare datagrams; random 0 makes the wait before a new registration 5 s. */
async function made(t: Test, points: readonly PointWish[]) {
  const peer = new RawPeer();
  const port = await peer.open();
  const clock = new HandClock();
  const config = plant({
    name: 'tank',
    port,
    timeoutMs: 4_000,
    points: points.map((point) => ({ mode: 'observe', everyMs: 30_000, ...point })),
  });
  const line = coapLine(config.devices, config.points, { clock, log: silentLog, random: () => 0 });
  await line.connect(never);
  const into = new BatchBuilder();
  const stop = new AbortController();
  const rows: Row[] = [];
  let watching: Promise<void> | undefined;
  const watch = (): void => {
    watching = line.watch(into, stop.signal);
  };
  const end = async (): Promise<void> => {
    stop.abort();
    await watching;
  };
  t.teardown(async () => {
    await end();
    await line.close();
    await peer.close();
  });
  /** Waits for samples, and gives their values or reasons. */
  const samples = async (count: number): Promise<unknown[]> => {
    await until(`${count} samples`, () => {
      rows.push(...rowsOf(into.take()));
      return rows.length >= count;
    });
    return rows.splice(0).map(({ value, reason }) => value ?? reason);
  };
  const asked = async (count: number): Promise<Asked> => {
    await until(`request ${count}`, () => peer.asked.length >= count);
    const one = peer.asked[count - 1];
    if (one === undefined) throw new Error('no request');
    return one;
  };
  const acknowledged = async (messageId: number): Promise<void> => {
    await until(`ACK of ${messageId}`, () =>
      peer.heard.some((packet) => packet.ack && packet.messageId === messageId),
    );
  };
  const pass = async (ms: number): Promise<void> => {
    await settle();
    await clock.advance(milliseconds(ms));
  };
  return { peer, clock, line, into, watch, end, samples, asked, acknowledged, pass };
}

const text = (value: string | number): Buffer => Buffer.from(String(value));

t.test('freshness of RFC 7641, 3.4: forward by less than half the range, or 128 s later', async (t) => {
  t.ok(isNewer(1, 0, 2, 0));
  t.notOk(isNewer(2, 0, 1, 0));
  t.notOk(isNewer(2, 0, 2, 0));
  t.ok(isNewer(0xffffff, 0, 0, 0), 'the counter wraps');
  t.ok(isNewer(0, 0, 2 ** 23 - 1, 0));
  t.notOk(isNewer(0, 0, 2 ** 23, 0));
  t.notOk(isNewer(2 ** 23 - 1, 0, 0, 0));
  t.ok(isNewer(2 ** 23 + 1, 0, 0, 0));
  t.notOk(isNewer(9, 0, 3, 128_000));
  t.ok(isNewer(9, 0, 3, 128_001), 'one forged number does not wedge the stream');
});

t.test(
  'registered, notified, acknowledged after the sample was taken, old ones dropped, cancelled',
  async (t) => {
    const { peer, into, watch, end, samples, asked, acknowledged } = await made(t, [{ name: 'level' }]);
    peer.answer = (one) => peer.reply(one, { options: [observeOption(10), maxAge(60)], payload: text(1) });
    watch();
    const first = await asked(1);
    t.match(first, { observe: 0, confirmable: true, path: '/level' });
    t.same(await samples(1), [1]);

    await acknowledged(peer.notify(first, { options: [observeOption(12)], payload: text(3) }));
    t.equal(into.count, 1, 'taken before it was acknowledged');
    await acknowledged(peer.notify(first, { options: [observeOption(11)], payload: text(2) }));
    await acknowledged(peer.notify(first, { options: [observeOption(13)], payload: text(4) }));
    t.same(await samples(2), [3, 4]);

    await end();
    const last = await asked(2);
    t.match(last, { observe: 1, confirmable: false, token: first.token });
    const id = peer.notify(first, { options: [observeOption(14)], payload: text(5) });
    await until('a reset', () => peer.heard.some((packet) => packet.reset && packet.messageId === id));
    t.equal(into.count, 0);
  },
);

t.test('when Max-Age is over it registers again, with the same token, after the pause', async (t) => {
  const { peer, watch, samples, asked, pass } = await made(t, [{ name: 'level' }]);
  let value = 1;
  peer.answer = (one) => {
    peer.reply(one, { options: [observeOption(value === 1 ? 500 : 3), maxAge(20)], payload: text(value) });
    value += 1;
  };
  watch();
  const first = await asked(1);
  await samples(1);
  await pass(24_999);
  t.equal(peer.asked.length, 1, '20 s of Max-Age and 5 s of pause');
  await pass(1);
  const second = await asked(2);
  t.match(second, { observe: 0, token: first.token });
  t.same(await samples(1), [2], 'the answer to the question is news, though the device counts anew');
});

t.test('a device that promises nothing for years is asked before its points would be stale', async (t) => {
  const { peer, watch, samples, asked, pass } = await made(t, [{ name: 'level', everyMs: 10_000 }]);
  const years = { name: 'Max-Age' as const, value: Buffer.from([255, 255, 255, 255]) };
  peer.answer = (one, from) => from.reply(one, { options: [observeOption(7), years], payload: text(5) });
  watch();
  await asked(1);
  t.same(await samples(1), [5]);
  await pass(19_999);
  t.equal(peer.asked.length, 1);
  await pass(1);
  t.match(await asked(2), { observe: 0, token: peer.asked[0]?.token }, 'after two of three periods');
  t.same(await samples(1), [5], 'it is not stale, whatever became of the device meanwhile');
});

t.test('a notification pushes the watchdog away', async (t) => {
  const { peer, watch, samples, asked, acknowledged, pass } = await made(t, [{ name: 'level' }]);
  peer.answer = (one) => peer.reply(one, { options: [observeOption(1), maxAge(20)], payload: text(1) });
  watch();
  const first = await asked(1);
  await samples(1);
  await pass(20_000);
  await acknowledged(peer.notify(first, { options: [observeOption(2), maxAge(20)], payload: text(2) }));
  await pass(24_999);
  t.equal(peer.asked.length, 1);
});

t.test('where the device declines it is asked at the pace of the point', async (t) => {
  const { peer, watch, samples, asked, pass } = await made(t, [{ name: 'level' }]);
  peer.answer = (one) => peer.reply(one, { payload: text(peer.asked.length) });
  watch();
  t.same(await samples(1), [1]);
  await pass(29_999);
  t.equal(peer.asked.length, 1);
  await pass(1);
  await asked(2);
  t.same(await samples(1), [2]);
});

t.test(
  'an error notification ends the relation: bad by name, then back-off and a new registration',
  async (t) => {
    const { peer, watch, samples, asked, acknowledged, pass } = await made(t, [{ name: 'level' }]);
    peer.answer = (one) => peer.reply(one, { options: [observeOption(1)], payload: text(1) });
    watch();
    const first = await asked(1);
    await samples(1);
    await acknowledged(peer.notify(first, { code: '5.03' }));
    t.same(await samples(1), ['service unavailable']);
    await pass(5_000);
    await asked(2);
    t.same(await samples(1), [1]);
  },
);

t.test('silence is a bad sample for each attempt, and the attempts grow rare', async (t) => {
  const { peer, watch, samples, asked, pass } = await made(t, [{ name: 'level' }]);
  watch();
  await asked(1);
  await pass(2_000);
  await asked(2);
  await pass(2_000);
  t.same(await samples(1), ['timeout']);
  await pass(5_000);
  await asked(3);
  await pass(4_000);
  t.same(await samples(1), ['timeout']);
  const before = peer.asked.length;
  await pass(9_999);
  t.equal(peer.asked.length, before, 'the second pause is 10 s');
  await pass(1);
  await asked(before + 1);
});

t.test('a device that was away for hours is asked again within two minutes', async (t) => {
  const { peer, clock, watch, pass } = await made(t, [{ name: 'level' }]);
  watch();
  for (let i = 0; i < 60; i++) await pass(60_000);
  const before = peer.asked.length;
  const since = clock.elapsed();
  await until('the next attempt', async () => {
    await pass(1_000);
    return peer.asked.length > before;
  });
  t.ok(clock.elapsed() - since <= 125_000, `${clock.elapsed() - since} ms`);
});

t.test('a reset and a refusal are bad by name', async (t) => {
  const { peer, watch, samples, pass } = await made(t, [{ name: 'level' }]);
  peer.answer = (one) =>
    peer.reply(one, {
      code: '0.00',
      ack: false,
      reset: true,
      token: Buffer.alloc(0),
      messageId: one.messageId,
    });
  watch();
  t.same(await samples(1), ['reset']);
  peer.answer = (one) => peer.reply(one, { code: '4.04' });
  await pass(5_000);
  t.same(await samples(1), ['not found']);
});

t.test('a large notification brings its first block; the rest is asked for without Observe', async (t) => {
  const { peer, watch, samples, asked } = await made(t, [{ name: 'level', type: 'string' }]);
  let version = 'a';
  peer.answer = (one) => {
    const num = (one.block2 ?? 0) >> 4;
    const options = [
      etag(version),
      block2(num, num < 2, 0),
      ...(one.observe === 0 ? [observeOption(1)] : []),
    ];
    peer.reply(one, { options, payload: text(version.repeat(num < 2 ? 16 : 3)) });
  };
  watch();
  const first = await asked(1);
  t.same(await samples(1), ['a'.repeat(35)]);
  t.same(
    peer.asked.map(({ observe, block2: block }) => [observe, block]),
    [
      [0, undefined],
      [undefined, 0x10],
      [undefined, 0x20],
    ],
  );

  version = 'b';
  peer.notify(first, {
    options: [observeOption(2), etag('b'), block2(0, true, 0)],
    payload: text('b'.repeat(16)),
  });
  t.same(await samples(1), ['b'.repeat(35)]);
});

t.test('a notification that changes while its rest is fetched is read anew, never mixed', async (t) => {
  const { peer, watch, samples, asked } = await made(t, [{ name: 'level', type: 'string' }]);
  peer.answer = (one) => {
    const num = (one.block2 ?? 0) >> 4;
    peer.reply(one, { options: [etag('c'), block2(num, num < 1, 0)], payload: text('c'.repeat(16)) });
  };
  watch();
  const first = await asked(1);
  await samples(1);
  peer.notify(first, {
    options: [observeOption(2), etag('b'), block2(0, true, 0)],
    payload: text('b'.repeat(16)),
  });
  t.same(await samples(1), ['c'.repeat(32)]);
});

t.test('every record of an observed pack arrives, with its time', async (t) => {
  const { peer, watch, samples } = await made(t, [{ name: 'energy', format: 'senml-json' }]);
  peer.answer = (one) =>
    peer.reply(one, {
      options: [observeOption(1)],
      payload: text('[{"bt":1795516000,"n":"e","v":1},{"n":"e","t":1,"v":2},{"n":"e","t":2,"v":3}]'),
    });
  watch();
  t.same(await samples(3), [1, 2, 3]);
});

t.test('two watched paths of one device wait for each other, not in vain', async (t) => {
  const { peer, watch, samples } = await made(t, [{ name: 'a' }, { name: 'b' }]);
  peer.answer = (one) =>
    peer.reply(one, { options: [observeOption(1)], payload: text(one.path === '/a' ? 1 : 2) });
  watch();
  t.same(new Set(await samples(2)), new Set([1, 2]));
});

t.test('a state that changes while it is fetched is fetched once more', async (t) => {
  const { peer, watch, samples, asked } = await made(t, [{ name: 'level', type: 'string' }]);
  const whole = (one: Asked, letter: string): void => {
    const num = (one.block2 ?? 0) >> 4;
    peer.reply(one, { options: [etag(letter), block2(num, num < 1, 0)], payload: text(letter.repeat(16)) });
  };
  peer.answer = (one) => peer.reply(one, { options: [observeOption(1)], payload: text('a') });
  watch();
  const first = await asked(1);
  t.same(await samples(1), ['a']);
  const notify = (number: number, letter: string): number =>
    peer.notify(first, {
      options: [observeOption(number), etag(letter), block2(0, true, 0)],
      payload: text(letter.repeat(16)),
    });
  peer.answer = (one) => {
    // the next state is told before the rest of the last one
    notify(3, 'c');
    peer.answer = (later) => whole(later, 'c');
    whole(one, 'b');
  };
  notify(2, 'b');
  t.same(await samples(2), ['b'.repeat(32), 'c'.repeat(32)]);
});

t.test('news that come while a registration waits in vain are no failure', async (t) => {
  const { peer, line, into, watch, samples, asked, acknowledged, pass } = await made(t, [
    { name: 'level' },
    { name: 'other', mode: 'poll' },
  ]);
  peer.answer = (one) => peer.reply(one, { options: [observeOption(1), maxAge(20)], payload: text(1) });
  watch();
  const first = await asked(1);
  await samples(1);
  peer.answer = () => {};
  await pass(24_000);
  const [poll] = line.polls;
  if (poll === undefined) throw new Error('no poll');
  const failed = line.poll(poll, new BatchBuilder(), scan()).catch((error: unknown) => error);
  await asked(2);
  await pass(1_000); // the new registration queues behind the poll
  await acknowledged(peer.notify(first, { options: [observeOption(2), maxAge(20)], payload: text(2) }));
  await pass(5_000);
  t.match(await failed, { code: 'DEVICE_TIMEOUT' });
  t.same(await samples(1), [2]);
  t.equal(into.count, 0);
});

t.test('a device that is not there is told once, however often the socket is opened anew', async (t) => {
  const clock = new HandClock();
  const config = plant({
    name: 'tank',
    port: await freeUdpPort(), // nobody listens: ECONNREFUSED
    timeoutMs: 20_000,
    points: [{ name: 'level', path: '/level', mode: 'observe' }],
  });
  const told: string[] = [];
  const log = { ...silentLog, warn: (what: string) => void told.push(what) };
  const line = coapLine(config.devices, config.points, { clock, log, random: () => 0 });
  t.teardown(async () => line.close());

  for (let attempt = 0; attempt < 3; attempt++) {
    const into = new BatchBuilder();
    const stop = new AbortController();
    await line.connect(never);
    const watching = line.watch(into, stop.signal);
    await until('the bad sample of this attempt', () => into.take() !== undefined);
    stop.abort();
    await watching;
  }

  t.same(told, ['CoAP observation fails']);
});
