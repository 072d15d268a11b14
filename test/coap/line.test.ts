import { createSocket } from 'node:dgram';
import { generate } from 'coap-packet';
import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { silentLog } from '../../src/core/log.ts';
import { epochMs, milliseconds } from '../../src/core/units.ts';
import { coapLine } from '../../src/drivers/coap/line.ts';
import { coapServer } from '../../src/drivers/coap/server.ts';
import { HandClock } from '../support/clock.ts';
import { freeUdpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { scan } from '../support/scan.ts';
import { plant, type PointWish, rowsOf, valuesOf } from './plant.ts';
import { block2, etag, RawPeer } from './raw-peer.ts';

const never = new AbortController().signal;

async function made(t: Test, points: readonly PointWish[], timeoutMs = 20_000) {
  const peer = new RawPeer();
  const port = await peer.open();
  const clock = new HandClock();
  const config = plant({ name: 'tank', port, timeoutMs, points });
  const line = coapLine(config.devices, config.points, { clock, log: silentLog, random: () => 0 });
  await line.connect(never);
  t.teardown(async () => {
    await line.close();
    await peer.close();
  });
  const into = new BatchBuilder();
  const poll = async (index = 0, signal = never) => {
    const one = line.polls[index];
    if (one === undefined) throw new Error('no such poll');
    await line.poll(one, into, scan(clock, signal));
    return rowsOf(into.take());
  };
  const failure = async (index = 0, signal = never): Promise<unknown> =>
    poll(index, signal).then(
      () => 'no failure',
      (error: unknown) => error,
    );
  return { peer, port, clock, line, into, poll, failure };
}

t.test('points of one path are read with one request', async (t) => {
  const { peer, line, poll } = await made(t, [
    { name: 'a', path: '/all', pointer: '/a', format: 'json' },
    { name: 'b', path: '/all', pointer: '/b', format: 'json' },
    { name: 'slow', path: '/all', pointer: '/a', format: 'json', everyMs: 60_000 },
    { name: 'other', path: '/other?u=m' },
  ]);
  peer.answer = (asked) => peer.reply(asked, { payload: Buffer.from('{"a":1,"b":2}') });
  t.same(
    line.polls.map(({ points, what }) => [points, what]),
    [
      [[0, 1], 'GET /all'],
      [[2], 'GET /all'],
      [[3], 'GET /other?u=m'],
    ],
  );
  t.match(await poll(), [
    { point: 0, value: 1 },
    { point: 1, value: 2 },
  ]);
  t.equal(peer.asked.length, 1);
  t.match(peer.asked[0], { path: '/all', confirmable: true, code: '0.01' });
  t.equal(peer.asked[0]?.token.length, 8);
});

t.test('errors of the device are bad samples with the name of the code', async (t) => {
  const { peer, poll } = await made(t, [{ name: 'p' }]);
  for (const [code, reason] of [
    ['4.00', 'bad request'], ['4.01', 'unauthorized'], ['4.03', 'forbidden'], ['4.04', 'not found'],
    ['4.06', 'not acceptable'], ['5.00', 'internal server error'], ['5.03', 'service unavailable'], ['4.31', 'refused'],
  ] as const) {
    peer.answer = (asked) => peer.reply(asked, { code, payload: Buffer.from('12') });
    t.match(await poll(), [{ value: null, reason }], code);
  } // biome-ignore format: a table
  peer.answer = (asked) =>
    peer.send(asked, generate({ code: '0.00', reset: true, messageId: asked.messageId }));
  t.match(await poll(), [{ value: null, reason: 'reset' }]);
});

t.test('silence is DEVICE_TIMEOUT at the time-out of the device, after retransmissions', async (t) => {
  const { peer, clock, failure } = await made(t, [{ name: 'p' }], 10_000);
  const failed = failure();
  await until('the request', () => peer.asked.length === 1);
  await clock.advance(milliseconds(9_999));
  await until('three copies', () => peer.asked.length === 3);
  t.equal(new Set(peer.asked.map(({ messageId }) => messageId)).size, 1);
  await clock.advance(milliseconds(1));
  t.match(await failed, {
    code: 'DEVICE_TIMEOUT',
    message: /GET \/p on coap:\/\/127\.0\.0\.1:\d+: no answer within 10 s/,
  });
});

t.test('a lost request is repeated, and the late answer to the first counts', async (t) => {
  const { peer, clock, poll } = await made(t, [{ name: 'p' }]);
  peer.answer = (asked) => {
    if (peer.asked.length === 2) peer.reply(asked, { payload: Buffer.from('8') });
  };
  const rows = poll();
  await until('the request', () => peer.asked.length === 1);
  await clock.advance(milliseconds(2_000));
  t.match(await rows, [{ value: 8 }]);
});

t.test('an answer from another port is not heard', async (t) => {
  const { peer, poll } = await made(t, [{ name: 'p' }]);
  const stranger = createSocket('udp4');
  await new Promise<void>((resolve) => stranger.bind(0, '127.0.0.1', resolve));
  t.teardown(() => stranger.close());
  peer.answer = (asked) => {
    const forged = generate({
      code: '2.05',
      ack: true,
      messageId: asked.messageId,
      token: asked.token,
      payload: Buffer.from('666'),
    });
    stranger.send(forged, asked.port, '127.0.0.1', () => peer.reply(asked, { payload: Buffer.from('1') }));
  };
  t.match(await poll(), [{ value: 1 }]);
});

t.test('a late answer never becomes the answer to the next question', async (t) => {
  const { peer, clock, poll, failure } = await made(t, [{ name: 'p' }], 1_000);
  const failed = failure();
  await until('the first', () => peer.asked.length === 1);
  await clock.advance(milliseconds(1_000));
  t.match(await failed, { code: 'DEVICE_TIMEOUT' });
  peer.answer = (asked) => {
    const [first] = peer.asked;
    if (first !== undefined) {
      peer.reply(first, { payload: Buffer.from('1') });
      peer.notify(first, { payload: Buffer.from('1') });
    }
    peer.reply(asked, { payload: Buffer.from('2') });
  };
  t.match(await poll(), [{ value: 2 }]);
  await until('a reset of the late one', () => peer.heard.some(({ reset }) => reset));
});

t.test('an abort settles at once with its reason, and leaves nothing behind', async (t) => {
  const { clock, failure, peer } = await made(t, [{ name: 'p' }]);
  const stop = new AbortController();
  const failed = failure(0, stop.signal);
  await until('the request', () => peer.asked.length === 1);
  const reason = new Error('stopped');
  stop.abort(reason);
  t.equal(await failed, reason);
  t.equal(await failure(0, stop.signal), reason, 'an aborted signal asks nothing');
  await clock.advance(milliseconds(200_000));
  t.equal(peer.asked.length, 1, 'no retransmission of what nobody wants');
});

t.test(
  'nobody listening is CONNECTION_LOST at once, and the line lives when the device is back',
  async (t) => {
    const port = await freeUdpPort();
    const config = plant({ name: 'tank', port, points: [{ name: 'p' }] });
    const line = coapLine(config.devices, config.points, { clock: new HandClock(), log: silentLog });
    t.teardown(() => line.close());
    await line.connect(never);
    const [poll] = line.polls;
    if (poll === undefined) throw new Error('no poll');
    const into = new BatchBuilder();
    await t.rejects(line.poll(poll, into, scan()), { code: 'CONNECTION_LOST' });

    const peer = new RawPeer();
    await peer.open(port);
    t.teardown(() => peer.close());
    peer.answer = (asked) => peer.reply(asked, { payload: Buffer.from('4') });
    await line.connect(never);
    await line.poll(poll, into, scan());
    t.same(valuesOf(into.take()), [4]);
  },
);

t.test('after close a pending poll and a new one fail with CONNECTION_LOST', async (t) => {
  const { peer, line, failure } = await made(t, [{ name: 'p' }]);
  const failed = failure();
  await until('the request', () => peer.asked.length === 1);
  await line.close();
  t.match(await failed, { code: 'CONNECTION_LOST' });
  t.match(await failure(), { code: 'CONNECTION_LOST' });
  await t.rejects(line.connect(never), { code: 'CONNECTION_LOST' });
});

t.test('blocks whose datagrams are doubled make the body once', async (t) => {
  const { peer, poll } = await made(t, [{ name: 'p', type: 'string' }]);
  const body = Array.from({ length: 300 }, (_, i) => `${i};`)
    .join('')
    .slice(0, 1_000);
  peer.answer = (asked) => {
    const num = (asked.block2 ?? 0) >> 4;
    const part = body.slice(num * 64, num * 64 + 64);
    const more = (num + 1) * 64 < body.length;
    for (let i = 0; i < 2; i++) {
      peer.reply(asked, { options: [etag('v1'), block2(num, more, 2)], payload: Buffer.from(part) });
    }
  };
  t.match(await poll(), [{ value: body }]);
  t.equal(
    new Set(peer.asked.map(({ token }) => token.toString('hex'))).size,
    16,
    'each block has a token of its own',
  );
});

t.test('a body that changes while it is read is read again, not mixed', async (t) => {
  const { peer, poll } = await made(t, [{ name: 'p', type: 'string' }]);
  let version = 'a';
  peer.answer = (asked) => {
    const num = (asked.block2 ?? 0) >> 4;
    peer.reply(asked, {
      options: [etag(version), block2(num, num < 1, 0)],
      payload: Buffer.from(version.repeat(16)),
    });
    version = 'b';
  };
  t.match(await poll(), [{ value: 'b'.repeat(32) }]);
});

t.test('an endless body is REPLY_MISMATCH after 64 KiB', async (t) => {
  const { peer, failure } = await made(t, [{ name: 'p', type: 'string' }]);
  peer.answer = (asked) => {
    const num = (asked.block2 ?? 0) >> 4;
    const value = Buffer.from([num >> 4, ((num & 15) << 4) | 8 | 6]);
    peer.reply(asked, { options: [etag('v'), { name: 'Block2', value }], payload: Buffer.alloc(1_024, 'x') });
  };
  t.match(await failure(), { code: 'REPLY_MISMATCH', message: /larger than 65536 bytes/ });
  t.equal(peer.asked.length, 65);
});

t.test(
  'device time wins over the time of the reply, and the latest record of a pack is the poll',
  async (t) => {
    const { peer, clock, poll } = await made(t, [{ name: 'p' }]);
    const options = [{ name: 'Content-Format' as const, value: Buffer.from([110]) }];
    peer.answer = (asked) =>
      peer.reply(asked, {
        options,
        payload: Buffer.from('[{"bt":1795516000,"n":"p","v":1},{"n":"p","t":5,"v":2}]'),
      });
    t.match(await poll(), [{ value: 2, time: 1_795_516_005_000 }]);
    peer.answer = (asked) => peer.reply(asked, { options, payload: Buffer.from('[{"n":"p","v":3}]') });
    t.match(await poll(), [{ value: 3, time: clock.now() }]);
  },
);

t.test('what a poll brings carries the time of its scan, values and refusals alike', async (t) => {
  const { peer, line, into } = await made(t, [
    { name: 'p', path: '/all', pointer: '/a', format: 'json' },
    { name: 'q', path: '/all', pointer: '/b', format: 'json' },
  ]);
  const [poll] = line.polls;
  if (poll === undefined) throw new Error('no poll');
  let asked = 0;
  const at = (time: number) => ({ signal: never, stamp: () => (asked++, epochMs(time)) });

  peer.answer = (one) => {
    t.equal(asked, 0, 'the time is asked for when the answer is there');
    peer.reply(one, { payload: Buffer.from('{"a":1}') });
  };
  await line.poll(poll, into, at(5_000));
  t.match(rowsOf(into.take()), [
    { value: 1, time: 5_000 },
    { value: null, time: 5_000, reason: 'no such value' },
  ]);
  peer.answer = (one) => peer.reply(one, { code: '4.04' });
  await line.poll(poll, into, at(6_000));
  t.match(rowsOf(into.take()), [
    { time: 6_000, reason: 'not found' },
    { time: 6_000, reason: 'not found' },
  ]);

  const options = [{ name: 'Content-Format' as const, value: Buffer.from([110]) }];
  const senml = await made(t, [{ name: 'p' }]);
  senml.peer.answer = (one) =>
    senml.peer.reply(one, { options, payload: Buffer.from('[{"n":"p","v":3,"t":-2}]') });
  const [packed] = senml.line.polls;
  if (packed === undefined) throw new Error('no poll');
  await senml.line.poll(packed, senml.into, at(1_795_516_800_000));
  t.match(rowsOf(senml.into.take()), [{ value: 3, time: 1_795_516_798_000 }], 'two seconds before the scan');
});

t.test('a foreign format is bad by name, a declared one overrides what the device says', async (t) => {
  const { peer, poll } = await made(t, [{ name: 'p' }, { name: 'q', format: 'json', pointer: '/v' }]);
  peer.answer = (asked) =>
    peer.reply(asked, {
      options: [{ name: 'Content-Format', value: Buffer.from([42]) }],
      payload: Buffer.from('{"v":5}'),
    });
  t.match(await poll(0), [{ value: null, reason: 'unsupported content format' }]);
  t.match(await poll(1), [{ value: 5 }]);
  const accept = peer.asked[1]?.options.find(({ name }) => name === 'Accept')?.value;
  t.same(accept, Buffer.from([50]));
});

t.test('a write is a PUT in the format of the point, and the value is read back', async (t) => {
  const { peer, line } = await made(t, [
    { name: 'set', format: 'json', pointer: '/v', scale: 0.1 },
    { name: 'relay', type: 'bool' },
  ]);
  let stored: Buffer = Buffer.from('{"v":0}');
  peer.answer = (asked) => {
    if (asked.code === '0.03') stored = asked.payload;
    peer.reply(asked, asked.code === '0.03' ? { code: '2.04' } : { payload: stored });
  };
  await line.write(0, 21.5, never);
  t.equal(stored.toString(), '{"v":215}');
  t.equal(await line.readBack(0, never), 21.5);
  await line.write(1, true, never);
  t.equal(stored.toString(), '1');
  await t.rejects(line.write(0, 'hot', never), { code: 'DEVICE_REFUSED' });
  peer.answer = (asked) => peer.reply(asked, { code: '4.03', payload: Buffer.from('locked') });
  await t.rejects(line.write(0, 1, never), { code: 'DEVICE_REFUSED', message: /4\.03 forbidden/ });
  peer.answer = (asked) => peer.reply(asked, { payload: Buffer.from('{}') });
  await t.rejects(line.readBack(0, never), { code: 'DEVICE_REFUSED', message: /no value for set/ });
});

t.test('a line and the server speak IPv6', async (t) => {
  const port = await freeUdpPort('127.0.0.1');
  const config = plant({
    name: 'six',
    host: '::1',
    port,
    points: [{ name: 'p', mode: 'push' }, { name: 'q' }],
  });
  const into = new BatchBuilder();
  const stop = new AbortController();
  const clock = new HandClock();
  const server = coapServer({ listen: { host: '::1', port }, ...config, into, clock, log: silentLog });
  const running = server.run(stop.signal);
  const line = coapLine(config.devices, config.points, { clock, log: silentLog });
  t.teardown(async () => {
    stop.abort();
    await running;
    await line.close();
  });
  t.equal(line.endpoint, `coap://[::1]:${port}`);
  await line.connect(never);
  const [poll] = line.polls;
  if (poll === undefined) throw new Error('no poll');
  const asked = async (): Promise<string> => {
    try {
      await line.poll(poll, into, scan());
      return rowsOf(into.take())[0]?.reason ?? 'nothing';
    } catch {
      return 'not yet';
    }
  };
  // our own server has nothing to read: 4.04 says that both directions and the source check work
  t.equal(
    await until('an answer', async () => ((await asked()) === 'not found' ? 'not found' : false)),
    'not found',
  );
  t.equal(server.counters.refused.get('4.04'), 1);
});
