import { generate, parse, type Packet } from 'coap-packet';
import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { silentLog } from '../../src/core/log.ts';
import { PushServer } from '../../src/drivers/coap/push.ts';
import { coapServer } from '../../src/drivers/coap/server.ts';
import { freeUdpPort } from '../support/ports.ts';
import { plant, rowsOf, valuesOf } from './plant.ts';

const WALL = 1_795_516_800_000;

function made() {
  const { devices, points } = plant(
    {
      name: 'tank-3',
      port: 1,
      points: [
        { name: 'level', mode: 'push', scale: 0.1 },
        { name: 'valve', mode: 'push', type: 'bool', format: 'json', pointer: '/open' },
        { name: 'polled', mode: 'poll' },
        { name: 'energy', mode: 'push', format: 'senml-json' },
      ],
    },
    { name: 'pump-1', port: 1, points: [{ name: 'speed', mode: 'push' }] },
  );
  const into = new BatchBuilder();
  const server = new PushServer({ devices, points, into, random: () => 0 });
  server.setAddresses(
    new Map([
      ['tank-3', '10.0.0.3'],
      ['pump-1', '10.0.0.1'],
    ]),
  );
  let id = 0;
  const send = (wish: Packet & { readonly path?: string }, address = '10.0.0.3', now = 0, port = 40_000) => {
    id += 1;
    const { path = '/tank-3/level', options = [], ...rest } = wish;
    const segments = path.split('/').slice(1);
    const datagram = generate({
      code: 'POST',
      confirmable: true,
      messageId: id,
      token: Buffer.from([id & 255]),
      ...rest,
      options: [
        ...segments.map((text) => ({ name: 'Uri-Path' as const, value: Buffer.from(text) })),
        ...options,
      ],
    });
    const answer = server.receive(datagram, { address, port }, now, WALL);
    return { datagram, answer, parsed: answer === undefined ? undefined : parse(Buffer.from(answer)), id };
  };
  const codeOf = (...wish: Parameters<typeof send>): string => send(...wish).parsed?.code ?? 'silence';
  return { server, into, send, codeOf };
}

const format = (number: number) => ({ name: 'Content-Format' as const, value: Buffer.from([number]) });
const payload = (text: string): Buffer => Buffer.from(text);
const pack = (text: string) => ({ path: '/tank-3', payload: payload(text), options: [format(110)] });

t.test(
  'a push from the configured address is taken, scaled, and answered 2.04 with its ID and token',
  async (t) => {
    const { into, send } = made();
    const { parsed, id } = send({ payload: payload('27') });
    t.match(parsed, { code: '2.04', ack: true, messageId: id, token: Buffer.from([id]) });
    t.equal(parsed?.payload.length, 0);
    const [row] = rowsOf(into.take());
    t.match(row, { point: 0, time: WALL, value: 2.7 });
  },
);

t.test('everything else is refused with its code, and nothing of it is taken', async (t) => {
  const { into, server, codeOf } = made();
  const ok = { payload: payload('1') };
  t.equal(codeOf({ ...ok, path: '/tank-3/none' }), '4.04');
  t.equal(codeOf({ ...ok, path: '/tank-9/level' }), '4.04');
  t.equal(codeOf({ ...ok, path: '/tank-3/level/x' }), '4.04');
  t.equal(codeOf({ ...ok, path: '/tank-3/polled' }), '4.04', 'a point that is polled');
  t.equal(codeOf({ ...ok, path: '/.well-known/core', code: 'GET' }), '4.04');
  t.equal(codeOf(ok, '10.0.0.1'), '4.03', 'the address of another device');
  t.equal(codeOf(ok, '10.0.0.9'), '4.03', 'the address of nobody');
  for (const code of ['GET', 'DELETE', 'FETCH', 'PATCH', 'iPATCH'] as const)
    t.equal(codeOf({ ...ok, code }), '4.05', code);
  t.equal(codeOf({ ...ok, options: [format(42)] }), '4.15');
  t.equal(
    codeOf({ path: '/tank-3/valve', payload: payload('1'), options: [format(0)] }),
    '4.15',
    'not the declared one',
  );
  t.equal(codeOf({ ...ok, options: [{ name: '9', value: Buffer.from([1]) }] }), '4.02');
  t.equal(codeOf({ ...ok, options: [{ name: 'If-Match', value: Buffer.from([1]) }] }), '4.02');
  t.equal(codeOf({ ...ok, options: [{ name: 'Proxy-Scheme', value: payload('coap') }] }), '5.05');
  t.equal(codeOf({ ...ok, path: '/tank-3', options: [format(0)] }), '4.15', 'several points come as SenML');
  t.equal(codeOf({ ...ok, options: [{ name: 'Size1', value: Buffer.from([1, 0, 0, 0]) }] }), '4.13');
  t.equal(into.take(), undefined);
  t.strictSame([...server.counters.refused.entries()].sort(([a], [b]) => a.localeCompare(b)), [
    ['4.02', 2], ['4.03', 2], ['4.04', 5], ['4.05', 5], ['4.13', 1], ['4.15', 3], ['5.05', 1],
  ]); // biome-ignore format: a table
});

t.test('what cannot be read is 4.00 and a bad sample, never a number', async (t) => {
  const { into, codeOf } = made();
  t.equal(codeOf({ payload: payload('soon') }), '4.00');
  t.equal(codeOf({ payload: Buffer.alloc(0) }), '4.00');
  t.equal(
    codeOf({ path: '/tank-3/valve', payload: payload('{"shut":true}'), options: [format(50)] }),
    '4.00',
  );
  t.equal(codeOf({ payload: payload('NaN') }), '2.04', 'a sensor that says it has no number');
  t.same(
    rowsOf(into.take()).map(({ value, reason }) => [value, reason]),
    [
      [null, 'bad encoding'],
      [null, 'bad encoding'],
      [null, 'no such value'],
      [null, 'not a number'],
    ],
  );
});

t.test('a copy of a confirmable push gets the same answer and makes no second sample', async (t) => {
  const { server, into, send } = made();
  const { datagram, answer } = send({ payload: payload('5') });
  const from = { address: '10.0.0.3', port: 40_000 };
  t.same(server.receive(datagram, from, 246_999, WALL), answer);
  t.equal(into.count, 1);
  server.receive(datagram, { ...from, port: 40_001 }, 246_999, WALL);
  t.equal(into.count, 2, 'another port is another endpoint');
  server.receive(datagram, from, 248_000, WALL);
  t.equal(into.count, 3, 'after 247 s the ID is free');
});

t.test('a copy of a non-confirmable push is ignored, the first is answered non-confirmable', async (t) => {
  const { server, into, send } = made();
  const { datagram, parsed, id } = send({ payload: payload('5'), confirmable: false });
  t.match(parsed, { code: '2.04', confirmable: false, ack: false, token: Buffer.from([id]) });
  t.not(parsed?.messageId, id, 'an ID of our own');
  t.equal(server.receive(datagram, { address: '10.0.0.3', port: 40_000 }, 1, WALL), undefined);
  t.equal(into.count, 1);
  t.equal(
    send({ payload: payload('5'), confirmable: false, options: [{ name: '9', value: Buffer.from([1]) }] })
      .parsed,
    undefined,
  );
});

t.test('a ping is reset; a response, an ACK and a reset are not for us', async (t) => {
  const { server } = made();
  const from = { address: '10.0.0.3', port: 1 };
  const sent = (hex: string) => {
    const answer = server.receive(Buffer.from(hex, 'hex'), from, 0, WALL);
    return answer === undefined ? 'silence' : Buffer.from(answer).toString('hex');
  };
  t.equal(sent('40001234'), '70001234');
  t.equal(sent('40451234'), '70001234', 'a confirmable response');
  t.equal(sent('50451234'), 'silence');
  t.equal(sent('60001234'), 'silence');
  t.equal(sent('70001234'), 'silence');
  t.equal(sent('49021234'), '70001234', 'a malformed request');
  t.equal(sent('59021234'), 'silence');
});

t.test('a SenML pack to the device carries several points, whole or not at all', async (t) => {
  const { into, codeOf } = made();
  t.equal(
    codeOf(pack('[{"bt":1795516000,"n":"level","v":20},{"n":"level","t":1,"v":21},{"n":"valve","vb":true}]')),
    '2.04',
  );
  t.match(rowsOf(into.take()), [
    { point: 0, time: 1_795_516_000_000, value: 2 },
    { point: 0, time: 1_795_516_001_000, value: 2.1 },
    { point: 1, time: 1_795_516_000_000, value: true },
  ]);
  t.equal(codeOf(pack('[{"n":"level","v":20},{"n":"other","v":1}]')), '4.04');
  t.equal(codeOf(pack('[{"n":"level"}]')), '4.00');
  t.equal(into.take(), undefined);
});

t.test('a device whose clock is lost keeps its values and loses its times', async (t) => {
  const { into, codeOf } = made();
  const day = 86_400;
  const seconds = WALL / 1_000;
  const cases: readonly (readonly [what: string, time: number, taken: boolean])[] = [
    ['an RTC without a battery: 2000-01-01', 946_684_800, false],
    ['the year 2038', 2 ** 31, false],
    ['the oldest that SenML can say, 1978', 2 ** 28, false],
    ['eight years ahead, relative', 2 ** 28 - 1, false],
    ['a thousand years ago, relative', -31_536_000_000, false],
    ['a month ago', seconds - 31 * day, true],
    ['a little more than a month ago', seconds - 31 * day - 1, false],
    ['a day ahead', seconds + day, true],
    ['a little more than a day ahead', seconds + day + 1, false],
    ['a month ago, relative', -31 * day, true],
  ];
  for (const [what, time, taken] of cases) {
    t.equal(codeOf(pack(`[{"n":"level","v":20,"t":${time}}]`)), '2.04', what);
    const absolute = time >= 2 ** 28 ? time * 1_000 : WALL + time * 1_000;
    const [row, ...more] = rowsOf(into.take());
    t.match(
      row,
      taken
        ? { value: 2, time: absolute, quality: 'good' }
        : { value: 2, time: WALL, quality: 'uncertain', reason: 'implausible time' },
      what,
    );
    t.same(more, []);
  }

  t.equal(codeOf({ ...pack('[{"n":"energy","vs":"?","t":946684800}]'), path: '/tank-3/energy' }), '4.00');
  t.match(rowsOf(into.take()), [{ value: null, time: WALL, quality: 'bad', reason: 'out of range' }]);
});

t.test('an upload in blocks is one sample', async (t) => {
  const { into, codeOf } = made();
  const whole = `[{"n":"energy","v":1.5,"t":-1},{"n":"energy","v":2.5}]`;
  const blocks = [0, 1, 2, 3].map((num) => whole.slice(num * 16, num * 16 + 16));
  const answers = blocks.map((text, num) =>
    codeOf({
      path: '/tank-3/energy',
      payload: payload(text),
      options: [format(110), { name: 'Block1', value: Buffer.from([(num << 4) | (num < 3 ? 8 : 0)]) }],
    }),
  );
  t.same(answers, ['2.31', '2.31', '2.31', '2.04']);
  t.same(valuesOf(into.take()), [1.5, 2.5]);
});

t.test('who floods is told 4.29, and a stranger who floods hears nothing', async (t) => {
  const { server, into, send, codeOf } = made();
  const codes = Array.from({ length: 300 }, () => codeOf({ payload: payload('1') }));
  t.equal(codes.filter((code) => code === '2.04').length, 200);
  t.equal(codes.filter((code) => code === '4.29').length, 100);
  t.equal(into.count, 200);
  t.equal(
    codeOf({ path: '/pump-1/speed', payload: payload('1') }, '10.0.0.1'),
    '2.04',
    'another device is not held up',
  );
  const strange = Array.from({ length: 300 }, () => codeOf({ payload: payload('1') }, '10.9.9.9'));
  t.equal(strange.filter((code) => code === '4.03').length, 40);
  t.equal(strange.filter((code) => code === 'silence').length, 260);
  t.ok(
    send({ payload: payload('1') }, '10.0.0.3', 1_000).parsed?.code === '2.04',
    'a second later there is room again',
  );
  server.expire(400_000);
  t.equal(server.remembered, 0);
});

t.test('a flood of long messages counts by its bytes', async (t) => {
  const { send } = made();
  const answers = Array.from({ length: 200 }, () => send({ payload: payload(' '.repeat(1_250)) }));
  const length = answers[0]?.datagram.length ?? 0;

  const read = answers.filter(({ parsed }) => parsed?.code === '4.00').length;
  t.ok(length > 1_260);
  t.equal(read, Math.floor((200 * 1_024) / length), 'as many bytes as 200 short messages may have');
  t.equal(answers.filter(({ parsed }) => parsed?.code === '4.29').length, 200 - read);
});

t.test('when nobody fetches the samples, devices are told to come later', async (t) => {
  const { into, codeOf } = made();
  for (let i = 0; i < 100_000; i++) into.addNumber(0, 0, 0);
  t.equal(codeOf({ payload: payload('1') }), '5.03');
  t.equal(into.count, 100_000);
});

t.test('what is remembered is bounded in bytes', async (t) => {
  const { server, send } = made();
  for (let i = 0; i < 20_000; i++) send({ payload: payload('1'), messageId: i }, '10.0.0.3', i * 10);
  t.ok(server.remembered < 2_000, `${server.remembered} messages`);
});

t.test('no answer is larger than what caused it', async (t) => {
  const { send } = made();
  for (const wish of [
    { payload: payload('1') },
    { path: '/x' },
    { code: 'GET' as const },
    { payload: payload('?') },
  ]) {
    for (const address of ['10.0.0.3', '10.9.9.9']) {
      const { datagram, answer } = send(wish, address);
      t.ok((answer?.length ?? 0) <= datagram.length);
    }
  }
});

t.test('a port in use is one clear sentence with the remedy', async (t) => {
  const port = await freeUdpPort();
  const { devices, points } = plant({ name: 'd', port: 1, points: [{ name: 'p', mode: 'push' }] });
  const deps = {
    listen: { host: '127.0.0.1', port },
    devices,
    points,
    into: new BatchBuilder(),
    clock: systemClock,
    log: silentLog,
  };
  const stop = new AbortController();
  const first = coapServer(deps).run(stop.signal);
  const failure: unknown = await coapServer(deps)
    .run(stop.signal)
    .then(
      () => undefined,
      (error: unknown) => error,
    );
  stop.abort();
  await first;
  t.type(failure, SluiceError);
  t.match(failure, { code: 'SETUP', message: new RegExp(`127\\.0\\.0\\.1:${port}`), remedy: /coap\.listen/ });
});
