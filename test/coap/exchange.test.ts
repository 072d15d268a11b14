import { generate, parse } from 'coap-packet';
import t from 'tap';
import { Exchange } from '../../src/drivers/coap/exchange.ts';
import type { Outcome } from '../../src/drivers/coap/requests.ts';
import { GET, type Message } from '../../src/drivers/coap/message.ts';

/** An exchange with its datagrams in hand; random 0, so that the first time-out is 2 s and the first ID 0. */
function made(random = 0) {
  const sent: Buffer[] = [];
  const exchange = new Exchange({
    send: (datagram) => sent.push(Buffer.from(datagram)),
    random: () => random,
  });
  const outcomes: Outcome[] = [];
  const ask = (now: number, limit = 93_000, token?: Uint8Array) =>
    exchange.request(
      { code: GET, options: [], limit, ...(token === undefined ? {} : { token }) },
      now,
      (outcome) => outcomes.push(outcome),
    );
  const take = () => {
    const datagram = sent.shift();
    return datagram === undefined ? undefined : parse(datagram);
  };
  return { exchange, sent, outcomes, ask, take };
}

const textOf = (outcome: Outcome | undefined): string =>
  outcome?.kind === 'response' ? Buffer.from(outcome.message.payload).toString() : String(outcome?.kind);

t.test('a confirmable request is repeated four times with doubled pauses, then given up', async (t) => {
  const { exchange, sent, outcomes, ask } = made();
  const times: number[] = [];
  ask(0);
  for (let now = 0; now <= 93_000; now += 100) {
    exchange.tick(now);
    while (sent.length > times.length) times.push(now);
  }
  t.same(times, [0, 2_000, 6_000, 14_000, 30_000]);
  t.same(outcomes, [{ kind: 'timeout' }]);
  t.ok(
    sent.every((datagram) => datagram.equals(sent[0] ?? Buffer.alloc(0))),
    'byte-identical',
  );
  t.equal(exchange.nextDue, Number.POSITIVE_INFINITY);
});

t.test('the application limit is the deadline where it comes first', async (t) => {
  const { exchange, outcomes, ask } = made();
  ask(0, 1_500);
  t.equal(exchange.nextDue, 1_500);
  exchange.tick(1_499);
  t.same(outcomes, []);
  exchange.tick(1_500);
  t.same(outcomes, [{ kind: 'timeout' }]);
});

t.test('an empty ACK and a lost response end at the deadline, not never', async (t) => {
  const { exchange, sent, outcomes, ask, take } = made();
  ask(0);
  exchange.receive(generate({ code: '0.00', ack: true, messageId: take()?.messageId ?? 0 }), 100);
  exchange.tick(92_999);
  t.same(outcomes, []);
  t.equal(sent.length, 0, 'an acknowledged request is not repeated');
  exchange.tick(93_000);
  t.same(outcomes, [{ kind: 'timeout' }]);
});

t.test('a separate response is acknowledged, and once more when it is repeated', async (t) => {
  const { exchange, outcomes, ask, take } = made();
  ask(0);
  const request = take();
  exchange.receive(generate({ code: '0.00', ack: true, messageId: request?.messageId ?? 0 }), 10);
  const response = generate({
    code: '2.05',
    confirmable: true,
    messageId: 4_711,
    token: request?.token ?? Buffer.alloc(0),
    payload: Buffer.from('42'),
  });
  exchange.receive(response, 20);
  exchange.receive(response, 2_020);
  t.equal(textOf(outcomes[0]), '42');
  t.equal(outcomes.length, 1);
  t.match(
    [take(), take()],
    [
      { ack: true, code: '0.00', messageId: 4_711 },
      { ack: true, code: '0.00', messageId: 4_711 },
    ],
  );
  t.equal(exchange.counters.duplicates, 1);
});

t.test('a response before the ACK is the answer, and the ACK that follows means nothing', async (t) => {
  const { exchange, sent, outcomes, ask, take } = made();
  ask(0);
  const request = take();
  exchange.receive(
    generate({
      code: '2.05',
      messageId: 9,
      token: request?.token ?? Buffer.alloc(0),
      payload: Buffer.from('1'),
    }),
    5,
  );
  exchange.receive(generate({ code: '0.00', ack: true, messageId: request?.messageId ?? 0 }), 6);
  exchange.tick(50_000);
  t.equal(textOf(outcomes[0]), '1');
  t.equal(sent.length, 0);
});

t.test('a piggybacked response needs token and message ID; what does not fit is not answered', async (t) => {
  const { exchange, sent, outcomes, ask, take } = made();
  ask(0);
  const request = take();
  const messageId = request?.messageId ?? 0;
  const token = request?.token ?? Buffer.alloc(0);
  const content = { code: '2.05', ack: true, payload: Buffer.from('wrong') };
  exchange.receive(generate({ ...content, messageId, token: Buffer.alloc(8) }), 1);
  exchange.receive(generate({ ...content, messageId: messageId + 1, token }), 2);
  exchange.receive(generate({ ...content, messageId, token: token.subarray(0, 7) }), 3);
  exchange.receive(generate({ ...content, code: '0.01', messageId, token }), 4);
  t.same(outcomes, []);
  t.same(sent, []);
  exchange.receive(generate({ ...content, messageId, token, payload: Buffer.from('right') }), 5);
  t.equal(textOf(outcomes[0]), 'right');
});

t.test('a reset is an outcome, not a response of code 0.00', async (t) => {
  const { exchange, outcomes, ask, take } = made();
  ask(0);
  exchange.receive(generate({ code: '0.00', reset: true, messageId: take()?.messageId ?? 0 }), 1);
  t.same(outcomes, [{ kind: 'reset' }]);
});

t.test(
  'an unexpected confirmable response is reset, a late one too; a non-confirmable is ignored',
  async (t) => {
    const { exchange, sent, ask, take } = made();
    ask(0, 1_000);
    const token = take()?.token ?? Buffer.alloc(0);
    exchange.tick(1_000);
    exchange.receive(generate({ code: '2.05', confirmable: true, messageId: 5, token }), 1_001);
    t.match(take(), { reset: true, messageId: 5 });
    exchange.receive(generate({ code: '2.05', messageId: 6, token }), 1_002);
    exchange.receive(generate({ code: '0.00', ack: true, messageId: 1_234 }), 1_003);
    exchange.receive(generate({ code: '0.00', reset: true, messageId: 1_234 }), 1_004);
    t.same(sent, []);
  },
);

t.test('a ping is answered with a reset, and so is a request to us', async (t) => {
  const { exchange, take } = made();
  exchange.receive(Buffer.from('40000102', 'hex'), 0);
  t.match(take(), { reset: true, messageId: 0x0102 });
  exchange.receive(generate({ code: 'POST', confirmable: true, messageId: 3 }), 0);
  t.match(take(), { reset: true, messageId: 3 });
});

t.test('a malformed confirmable message is reset, any other is ignored, and both are counted', async (t) => {
  const { exchange, sent, take } = made();
  exchange.receive(Buffer.from('49450007', 'hex'), 0);
  t.match(take(), { reset: true, messageId: 7 });
  exchange.receive(Buffer.from('59450007', 'hex'), 0);
  exchange.receive(Buffer.from('ff', 'hex'), 0);
  t.same(sent, []);
  t.equal(exchange.counters.malformed, 3);
});

t.test('a critical option that is not understood makes the response a mismatch', async (t) => {
  const { exchange, outcomes, ask, take } = made();
  ask(0);
  const request = take();
  exchange.receive(
    generate({
      code: '2.05',
      confirmable: true,
      messageId: 8,
      token: request?.token ?? Buffer.alloc(0),
      options: [{ name: '9', value: Buffer.from([1]) }],
      payload: Buffer.from('1'),
    }),
    1,
  );
  t.same(outcomes, [{ kind: 'not understood', option: 9 }]);
  t.match(take(), { reset: true, messageId: 8 });
});

t.test('Block1 of zero or four bytes in a reply harms nobody', async (t) => {
  for (const [hex, expected] of [
    ['', '7'],
    ['00000000', 'not understood'],
  ] as const) {
    const { exchange, outcomes, ask, take } = made();
    ask(0);
    const { messageId = 0, token = Buffer.alloc(0) } = take() ?? {};
    const options = [{ name: 'Block1' as const, value: Buffer.from(hex, 'hex') }];
    exchange.receive(
      generate({ code: '2.05', ack: true, messageId, token, options, payload: Buffer.from('7') }),
      1,
    );
    t.equal(textOf(outcomes[0]), expected, `Block1 ${hex}`);
  }
});

t.test('one request at a time is on the wire, and the next leaves with the acknowledgement', async (t) => {
  const { exchange, sent, ask, take } = made();
  ask(0);
  ask(0);
  t.equal(sent.length, 1);
  exchange.receive(generate({ code: '0.00', ack: true, messageId: take()?.messageId ?? 0 }), 1);
  t.equal(sent.length, 1, 'NSTART counts what is not acknowledged');
});

t.test('2,000 answers with message IDs of the server leave nothing behind', async (t) => {
  const { exchange, outcomes, ask, take } = made();
  for (let i = 0; i < 2_000; i++) {
    ask(i * 5);
    const token = take()?.token ?? Buffer.alloc(0);
    exchange.receive(generate({ code: '2.05', confirmable: i % 2 === 0, messageId: i, token }), i * 5);
    if (i % 2 === 0) take();
  }
  t.equal(outcomes.length, 2_000);
  t.equal(exchange.size, 0);
  t.ok(exchange.remembered < 500, 'what was heard is bounded in bytes');
  exchange.tick(400_000);
  t.equal(exchange.remembered, 0);
});

t.test('a notification with the message ID of a pending request is a notification', async (t) => {
  const { exchange, outcomes, ask, take } = made();
  const observed = Buffer.from('aabbccddeeff0011', 'hex');
  const news: Message[] = [];
  exchange.listen(observed, (message) => news.push(message));
  ask(0);
  const { messageId = 0 } = take() ?? {};
  exchange.receive(
    generate({ code: '2.05', confirmable: true, messageId, token: observed, payload: Buffer.from('3') }),
    1,
  );
  t.match(take(), { ack: true, messageId });
  t.equal(news.length, 1);
  t.same(outcomes, []);
});

t.test('a device that restarts and counts its message IDs from the same number is heard', async (t) => {
  const { exchange, take } = made();
  const observed = Buffer.from('aabbccddeeff0011', 'hex');
  const news: string[] = [];
  exchange.listen(observed, ({ payload }) => news.push(Buffer.from(payload).toString()));
  for (const value of ['20', '21', '21']) {
    exchange.receive(
      generate({
        code: '2.05',
        confirmable: true,
        messageId: 1,
        token: observed,
        payload: Buffer.from(value),
      }),
      1,
    );
    t.match(take(), { ack: true, messageId: 1 });
  }
  t.same(news, ['20', '21']);
});

t.test('a registration that a notification overtook still hears its own ACK', async (t) => {
  const { exchange, outcomes, ask, take } = made();
  const token = Buffer.from('aabbccddeeff0011', 'hex');
  const news: string[] = [];
  exchange.listen(token, ({ payload }) => news.push(Buffer.from(payload).toString()));
  ask(0, 93_000, token);
  const { messageId = 0 } = take() ?? {};
  exchange.receive(generate({ code: '2.05', messageId: 77, token, payload: Buffer.from('old') }), 1);
  exchange.receive(generate({ code: '2.05', ack: true, messageId, token, payload: Buffer.from('new') }), 2);
  t.equal(textOf(outcomes[0]), 'old');
  t.same(news, ['new']);
});

t.test('a thousand requests at once are bounded, and each has one outcome', async (t) => {
  const { exchange, outcomes, ask } = made();
  for (let i = 0; i < 1_000; i++) ask(0);
  exchange.fail();
  t.equal(outcomes.length, 1_000);
  t.equal(outcomes.filter(({ kind }) => kind === 'full').length, 744);
  t.equal(exchange.remembered, 0);
});

t.test('more than 265 messages a second wait for their message ID', async (t) => {
  const { exchange, outcomes, ask, take } = made();
  let asked = 0;
  for (;;) {
    ask(0, 93_000);
    asked += 1;
    const { messageId, token = Buffer.alloc(0) } = take() ?? {};
    if (messageId === undefined) break;
    exchange.receive(generate({ code: '2.05', ack: true, messageId, token }), 0);
  }
  t.equal(asked, 65_537);
  t.equal(exchange.nextDue, 93_000, 'the deadline comes before the ID');
  exchange.tick(93_000);
  t.same(outcomes.at(-1), { kind: 'timeout' });
  ask(200_000);
  exchange.tick(247_000);
  t.equal(take()?.messageId, 0);
});
