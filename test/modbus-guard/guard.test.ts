import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { epochMs } from '../../src/core/units.ts';
import { until } from '../support/wait.ts';
import { adu, answered, guardBed, RawClient } from './bed.ts';

// What passes the guard and what does not, byte by byte; the device notes what really reaches it.

const READ_HOLDING = [3, 0, 0, 0, 2];
const WRITE_REGISTER = [6, 0, 5, 0x12, 0x34];

t.test('a read passes, a write is answered with exception 1 and never reaches the device', async (t) => {
  const { port, device, told, events, guard } = await guardBed(t);
  const client = await RawClient.to(t, port);

  t.same(await client.ask(0x1234, 9, READ_HOLDING), [3, 4, 0, 7, 0, 7]);
  t.same(await client.ask(0x1235, 9, WRITE_REGISTER), [0x86, 1]);
  t.same(await client.ask(0x1236, 9, READ_HOLDING), [3, 4, 0, 7, 0, 7], 'the connection goes on');

  t.same(
    device.requests.map(({ unit, pdu }) => [unit, ...pdu]),
    [
      [9, ...READ_HOLDING],
      [9, ...READ_HOLDING],
    ],
  );
  const facts = {
    conduit: 'conduit-supervision-control-0',
    client: '127.0.0.1',
    devices: 'press-1',
    unit: 9,
    function: 6,
    write: 'holding:5',
    values: '4660',
    because: 'write of holding:5',
  };
  t.match(told, [{ what: 'guard: a request is forbidden', facts }]);
  t.match(events, [{ what: 'guard-forbidden conduit-supervision-control-0', facts }]);
  t.match(guard.counters, { requests: 3, forwarded: 2, forbidden: 1, unanswered: 0 });
});

/** Functions to which five bytes are no request: no coil is half on, the others are longer. */
const UNREADABLE = new Set([5, 15, 16, 22, 23]);

t.test('every function code but the reads is refused where nothing may be written', async (t) => {
  const { port, device } = await guardBed(t);
  const client = await RawClient.to(t, port);

  for (let code = 0; code < 256; code += 1) {
    if (code >= 1 && code <= 4) continue;
    const because = UNREADABLE.has(code) ? 3 : 1;
    t.same(await client.ask(code, 1, [code, 0, 0, 0, 1]), [code | 0x80, because], `${code}`);
  }

  t.same(device.requests, []);
});

t.test('requests are held to the ranges that are listed', async (t) => {
  const { port, device } = await guardBed(t, {
    limits: {
      write: [
        { table: 'holding', low: 100, high: 109 },
        { table: 'coil', low: 3, high: 3 },
      ],
    },
    units: [{ low: 1, high: 10 }],
  });
  const client = await RawClient.to(t, port);
  const cases: readonly (readonly [string, number, readonly number[], boolean])[] = [
    ['the last of the range', 1, [3, 0, 99, 0, 1], true],
    ['one beyond it', 1, [3, 0, 99, 0, 2], false],
    ['two ranges that touch', 1, [1, 0, 10, 0, 20], true],
    ['a table that is not listed', 1, [4, 0, 0, 0, 1], false],
    ['a unit that is not listed', 11, [3, 0, 0, 0, 1], false],
    ['unit 0', 0, [3, 0, 0, 0, 1], false],
    ['a register that may be written', 1, [6, 0, 100, 0, 1], true],
    ['the one before it', 1, [6, 0, 99, 0, 1], false],
    ['several registers', 10, [16, 0, 108, 0, 2, 4, 0, 1, 0, 2], true],
    ['one too many', 10, [16, 0, 108, 0, 3, 6, 0, 1, 0, 2, 0, 3], false],
    ['a mask', 1, [22, 0, 109, 0xff, 0, 0, 1], true],
    ['a mask elsewhere', 1, [22, 0, 110, 0xff, 0, 0, 1], false],
    ['a coil', 1, [5, 0, 3, 0xff, 0], true],
    ['another coil', 1, [5, 0, 4, 0xff, 0], false],
    ['several coils', 1, [15, 0, 3, 0, 1, 1, 1], true],
    ['a coil too many', 1, [15, 0, 3, 0, 2, 1, 3], false],
    ['read and write, both allowed', 1, [23, 0, 0, 0, 2, 0, 100, 0, 1, 2, 0, 9], true],
    ['read and write, the read is not', 1, [23, 0, 99, 0, 2, 0, 100, 0, 1, 2, 0, 9], false],
    ['read and write, the write is not', 1, [23, 0, 0, 0, 2, 0, 99, 0, 1, 2, 0, 9], false],
    ['diagnostics', 1, [8, 0, 1, 0, 0], false],
    ['device identification', 1, [43, 14, 1, 0], false],
    ['write file record', 1, [21, 7, 6, 0, 1, 0, 0, 0, 0], false],
  ];

  for (const [i, [what, unit, pdu, passes]] of cases.entries()) {
    const before = device.requests.length;
    const reply = await client.ask(i, unit, pdu);
    t.equal(reply[0] === pdu[0], passes, `${what}: ${reply.join()}`);
    t.equal(device.requests.length - before, passes ? 1 : 0, what);
    if (!passes) t.same(reply, [(pdu[0] ?? 0) | 0x80, 1], what);
  }
});

t.test('a write to every unit at once has to be asked for', async (t) => {
  const write = [{ table: 'holding', low: 0, high: 9 }] as const;
  const without = await guardBed(t, { limits: { write } });
  t.same(await (await RawClient.to(t, without.port)).ask(1, 0, WRITE_REGISTER), [0x86, 1]);

  const units = [{ low: 0, high: 0 }];
  const silent = await guardBed(t, { limits: { write, units }, units, timeout: 100, answer: () => {} });
  const client = await RawClient.to(t, silent.port);
  client.socket.end(adu(1, 0, WRITE_REGISTER));

  await until('the device got it', () => silent.device.requests.length === 1);
  await until('the end', () => client.closed || client.socket.readableEnded);
  t.same(client.frames, [], 'nobody answers a broadcast');
});

t.test('what cannot be read as one request never passes', async (t) => {
  const { port, device, guard } = await guardBed(t, {
    limits: { write: [{ table: 'holding', low: 0, high: 65_535 }] },
  });
  const client = await RawClient.to(t, port);
  const wrong: readonly (readonly [string, readonly number[], number])[] = [
    ['a read with bytes behind it', [3, 0, 0, 0, 1, 6, 0, 0, 0, 1], 3],
    ['a read cut short', [3, 0, 0, 0], 3],
    ['a read of nothing', [3, 0, 0, 0, 0], 3],
    ['a read of too much', [3, 0, 0, 0, 126], 3],
    ['a read beyond the last address', [3, 0xff, 0xff, 0, 2], 2],
    ['a byte count that lies', [16, 0, 0, 0, 1, 4, 0, 1, 0, 2], 3],
    ['a quantity that lies', [16, 0, 0, 0, 2, 2, 0, 1], 3],
    ['values behind the last one', [16, 0, 0, 0, 1, 2, 0, 1, 0, 2], 3],
    ['a coil that is neither on nor off', [5, 0, 0, 0x12, 0], 3],
    ['a mask cut short', [22, 0, 0, 0, 0], 3],
    ['only a function code', [6], 3],
  ];

  for (const [i, [what, pdu, code]] of wrong.entries()) {
    t.same(await client.ask(i, 1, pdu), [(pdu[0] ?? 0) | 0x80, code], what);
  }
  t.same(device.requests, []);
  t.equal(guard.counters.forbidden, wrong.length);
});

t.test('a stream that is no Modbus TCP ends, and nothing behind the mistake passes', async (t) => {
  const { port, device, guard } = await guardBed(t, { limits: { write: [] } });
  const headers: readonly (readonly number[])[] = [
    [0, 1, 0, 1, 0, 6, 1, ...READ_HOLDING], // protocol id
    [0, 1, 0, 0, 0, 1, 1], // nothing but a unit
    [0, 1, 0, 0, 0, 255, 1, ...READ_HOLDING], // more than a PDU can be
    [0, 1, 0, 0, 0xff, 0xff, 1],
  ];

  for (const header of headers) {
    const client = await RawClient.to(t, port);
    client.socket.write(Buffer.concat([Buffer.from(header), adu(7, 1, READ_HOLDING)]));
    await until('the end', () => client.closed || client.socket.readableEnded);
    t.same(client.frames, []);
  }
  t.same(device.requests, []);
  t.equal(guard.counters.broken, headers.length);
});

t.test('split, merged and lying lengths: the same requests pass, whatever the pieces', async (t) => {
  const { port, device } = await guardBed(t);

  const bytewise = await RawClient.to(t, port);
  for (const byte of [...adu(1, 1, READ_HOLDING), ...adu(2, 1, WRITE_REGISTER)]) {
    bytewise.socket.write(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  t.same(await bytewise.reply(1), [3, 4, 0, 7, 0, 7]);
  t.same(await bytewise.reply(2), [0x86, 1]);

  const merged = await RawClient.to(t, port);
  merged.socket.write(
    Buffer.concat([adu(1, 1, READ_HOLDING), adu(2, 1, WRITE_REGISTER), adu(3, 1, READ_HOLDING)]),
  );
  t.same(await merged.reply(2), [0x86, 1]);
  t.same(await merged.reply(3), [3, 4, 0, 7, 0, 7]);

  // The length covers the write behind it: to the guard that is one request with bytes behind it.
  const lying = await RawClient.to(t, port);
  lying.socket.write(adu(1, 1, [...READ_HOLDING, ...adu(2, 1, WRITE_REGISTER)], 18));
  t.same(await lying.reply(1), [0x83, 3]);
  t.same(new Set(device.requests.map(({ pdu }) => pdu[0])), new Set([3]));
});

t.test('a device that is slow, silent or gone is answered for', async (t) => {
  const { port, device, guard } = await guardBed(t, { timeout: 100, answer: () => {} });
  const client = await RawClient.to(t, port);

  t.same(await client.ask(1, 1, READ_HOLDING), [0x83, 0x0b], 'silent');
  device.answer(answered);
  await until(
    'an answer again',
    async () => (await client.ask(Math.trunc(Math.random() * 60_000), 1, READ_HOLDING))[0] === 3,
  );
  await device.close();
  t.same(await client.ask(60_001, 1, READ_HOLDING), [0x83, 0x0b], 'gone');
  t.same(await client.ask(60_002, 1, READ_HOLDING), [0x83, 0x0b], 'at once');
  t.ok(guard.counters.unanswered >= 3);
});

t.test('answers that are none are not handed on', async (t) => {
  const replies: readonly (readonly number[])[] = [
    [3, 2, 0, 7], // too short for what was asked
    [4, 4, 0, 7, 0, 7], // another function
    [3, 4, 0, 7, 0, 7, 0, 7], // bytes behind it
    [0x83, 0], // no exception code
  ];
  let next = 0;
  const { port } = await guardBed(t, {
    answer: ({ socket, id, unit }) => socket.write(adu(id, unit, replies[next++] ?? [])),
  });
  const client = await RawClient.to(t, port);

  for (const [i] of replies.entries()) t.same(await client.ask(i, 1, READ_HOLDING), [0x83, 0x0b]);

  const refusing = await guardBed(t, {
    answer: ({ socket, id, unit }) => socket.write(adu(id, unit, [0x83, 2])),
  });
  t.same(
    await (await RawClient.to(t, refusing.port)).ask(1, 1, READ_HOLDING),
    [0x83, 2],
    'an exception is an answer',
  );
});

t.test('all clients share one connection to the device', async (t) => {
  const { port, device } = await guardBed(t);
  const clients = await Promise.all(Array.from({ length: 6 }, async () => RawClient.to(t, port)));

  const replies = await Promise.all(clients.map(async (client) => client.ask(5, 1, READ_HOLDING)));

  t.same(new Set(replies.map(String)), new Set(['3,4,0,7,0,7']));
  t.equal(device.connections, 1);
  t.equal(new Set(device.requests.map(({ id }) => id)).size, 6, 'the ids are the ones of the guard');
});

t.test('more connections than it has room for: the idlest one goes', async (t) => {
  const { port, guard } = await guardBed(t);
  const clients: RawClient[] = [];
  for (let i = 0; i < 9; i += 1) {
    clients.push(await RawClient.to(t, port));
    t.same(await clients[i]?.ask(1, 1, READ_HOLDING), [3, 4, 0, 7, 0, 7]);
  }

  await until(
    'the first one goes',
    () => clients[0]?.closed === true || clients[0]?.socket.readableEnded === true,
  );
  t.equal(clients.filter(({ closed, socket }) => closed || socket.readableEnded).length, 1);
  t.equal(guard.counters.refused, 1);
});

t.test('clients that come all at once are clients, and nobody is taken for a stranger', async (t) => {
  const { port, guard, events } = await guardBed(t);

  const clients = await Promise.all([1, 2, 3, 4, 5].map(async () => RawClient.to(t, port)));

  for (const client of clients) t.same(await client.ask(1, 1, READ_HOLDING), [3, 4, 0, 7, 0, 7]);
  t.equal(guard.counters.refused, 0);
  t.same(
    events.filter(({ what }) => what.startsWith('guard-refused')),
    [],
  );
});

t.test('somebody who is no client of the conduit gets no connection', async (t) => {
  const { port, device, guard } = await guardBed(t, { clients: '10.20.40.0/24' });
  const before = guard.counters.refused;

  await t.rejects(RawClient.to(t, port), { code: 'ECONNRESET' });

  t.same(device.requests, []);
  t.ok(guard.counters.refused > before);
});

t.test('where it only observes, what it would forbid passes and is told', async (t) => {
  const { port, device, told } = await guardBed(t, { observes: { until: undefined } });
  const client = await RawClient.to(t, port);

  t.same(await client.ask(1, 1, WRITE_REGISTER), WRITE_REGISTER);
  device.answer(({ socket, id, unit }) => socket.write(adu(id, unit, [43, 14, 1, 1, 0, 0, 0])));
  t.same(
    await client.ask(2, 1, [43, 14, 1, 0, 0]),
    [43, 14, 1, 1, 0, 0, 0],
    'also what it does not understand',
  );

  t.equal(device.requests.length, 2);
  t.match(told, [
    { what: 'guard: a request would be forbidden', facts: { function: 6 } },
    { facts: { function: 43 } },
  ]);
});

t.test('observing ends by the clock, in the middle of a connection', async (t) => {
  const until = Date.UTC(2030, 0, 1);
  let now = until - 1;
  const clock = { ...systemClock, now: () => epochMs(now) };
  const { port, device, told } = await guardBed(t, { observes: { until: epochMs(until) }, clock });
  const client = await RawClient.to(t, port);

  t.same(await client.ask(1, 1, WRITE_REGISTER), WRITE_REGISTER);
  now = until;
  t.same(await client.ask(2, 1, WRITE_REGISTER), [0x86, 1]);
  now = 0;
  t.same(await client.ask(3, 1, WRITE_REGISTER), [0x86, 1], 'a clock that lost its time observes nothing');

  t.equal(device.requests.length, 1);
  t.match(told, [
    { what: 'guard: a request would be forbidden' },
    { what: 'guard: a request is forbidden' },
    { what: 'guard: a request is forbidden' },
  ]);
});

t.test('a flood of forbidden requests is counted, and told a few times', async (t) => {
  const { port, device, told, guard } = await guardBed(t);
  const client = await RawClient.to(t, port);

  for (let i = 0; i < 100; i += 1) client.socket.write(adu(i, 1, WRITE_REGISTER));
  await client.reply(99);

  t.equal(guard.counters.forbidden, 100);
  t.equal(told.length, 5);
  t.same(await client.ask(100, 1, [43, 14, 1, 0]), [0xab, 1]);
  t.match(told[5], { facts: { function: 43 } }, 'what is no write has a line of its own');
  t.same(device.requests, []);
});

t.test('a request of somebody who is gone is not sent any more', async (t) => {
  const held: (() => void)[] = [];
  const { port, device } = await guardBed(t, {
    limits: { write: [{ table: 'holding', low: 0, high: 9 }] },
    answer: (request) => held.push(() => answered(request)),
  });
  const first = await RawClient.to(t, port);
  first.socket.write(adu(1, 1, READ_HOLDING));
  await until('the device has the first', () => device.requests.length === 1);
  const second = await RawClient.to(t, port);
  second.socket.write(adu(1, 1, WRITE_REGISTER));
  const third = await RawClient.to(t, port);
  t.same(await third.ask(1, 1, [6, 0, 20, 0, 1]), [0x86, 1], 'what was sent before it was read too');
  second.socket.resetAndDestroy();
  await until('the end of it', () => second.closed);
  t.same(await third.ask(2, 1, [6, 0, 20, 0, 1]), [0x86, 1]);

  device.answer(answered);
  for (const answer of held) answer();
  t.same(await third.ask(3, 1, READ_HOLDING), [3, 4, 0, 7, 0, 7]);
  t.notOk(device.requests.some(({ pdu }) => pdu[0] === 6));
});
