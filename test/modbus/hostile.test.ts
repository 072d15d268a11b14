import t from 'tap';
import { BatchBuilder, type PointValue } from '../../src/core/batch.ts';
import { reasonCode } from '../../src/core/quality.ts';
import { milliseconds, seconds } from '../../src/core/units.ts';
import { silentLog } from '../../src/core/log.ts';
import { modbusLine } from '../../src/drivers/modbus/line.ts';
import { HandClock } from '../support/clock.ts';
import {
  adu,
  exceptionReply,
  HostileModbus,
  registersReply,
  type WireRequest,
} from '../support/hostile-modbus.ts';
import { lineTo, never, pollOutcome, rows } from '../support/modbus-line.ts';
import { modbusDevice, modbusPoint, type PointSketch } from '../support/modbus-points.ts';
import { type Scene, scene } from '../support/modbus-scene.ts';
import { until } from '../support/wait.ts';
import { scan } from '../support/scan.ts';

const TIMEOUT = seconds(1);
const ONE: readonly PointSketch[] = [{ address: 10 }];
/** Same shape, another address: what a late reply to the first would fit. */
const TWO: readonly PointSketch[] = [{ address: 10 }, { address: 900 }];

/** Polls while the device keeps silent: winds the clock once the request has arrived. */
async function pollIntoSilence(
  { peer, line, clock }: Scene,
  which = 0,
): Promise<readonly PointValue[] | string> {
  const sent = peer.requests.length;
  const outcome = pollOutcome(line, which);
  await until('the request', () => peer.requests.length > sent);
  await clock.advance(TIMEOUT);
  return outcome;
}

t.test('a reply with the id of nobody is thrown away and the right one is still taken', async (t) => {
  const { line } = await scene(t, (request) => {
    request.socket.write(registersReply({ ...request, id: (request.id + 1) & 0xffff }, 666));
    request.socket.write(registersReply(request, 111));
  });

  t.strictSame(await pollOutcome(line), [111]);
  t.equal(line.counters.discarded, 1);
});

t.test('a late reply never answers the next read of the same shape', async (t) => {
  const late: WireRequest[] = [];
  const now = await scene(t, (request) => late.push(request), TWO);
  const { peer, line } = now;
  t.equal(await pollIntoSilence(now, 0), 'DEVICE_TIMEOUT');

  peer.answer((request) => {
    for (const before of late) request.socket.write(registersReply(before, 111));
    request.socket.write(registersReply(request, 222));
  });

  t.strictSame(await pollOutcome(line, 1), [undefined, 222]);
  t.equal(line.counters.timeouts, 1);
  t.equal(line.counters.discarded, 1);
});

t.test('only the late reply: the next read times out rather than take it', async (t) => {
  const late: WireRequest[] = [];
  const now = await scene(t, (request) => late.push(request), TWO);
  await pollIntoSilence(now, 0);

  now.peer.answer((request) => late.forEach((before) => request.socket.write(registersReply(before, 111))));

  t.equal(await pollIntoSilence(now, 1), 'DEVICE_TIMEOUT');
});

t.test('a doubled reply is counted and nothing else', async (t) => {
  const { line } = await scene(
    t,
    (request) => {
      const reply = registersReply(request, request.address);
      request.socket.write(Buffer.concat([reply, reply]));
    },
    TWO,
  );

  t.strictSame(await pollOutcome(line, 0), [10]);
  t.strictSame(await pollOutcome(line, 1), [undefined, 900]);
  await until('the second copies', () => line.counters.discarded === 2);
});

const FALSE_ANSWERS: Readonly<Record<string, (request: WireRequest) => Buffer>> = {
  'another unit': (request) => registersReply({ ...request, unit: 2 }, 666),
  'another function': (request) => adu(request, [4, 2, 2, 154]),
  'an exception of another function': (request) => adu(request, [0x84, 2]),
  'an exception of three bytes': (request) => adu(request, [0x83, 2, 0]),
  'an exception of one byte': (request) => adu(request, [0x83], { length: 3 }),
  'exception code 0': (request) => adu(request, [0x83, 0]),
  'fewer bytes than asked for': (request) => adu(request, [3, 1, 154]),
  'more registers than asked for': (request) => adu(request, [3, 4, 2, 154, 2, 154]),
  'a byte count that lies': (request) => adu(request, [3, 4, 2, 154]),
  'a byte after the data': (request) => adu(request, [3, 2, 2, 154, 0]),
  'no data': (request) => adu(request, [3, 0]),
};

for (const [what, answer] of Object.entries(FALSE_ANSWERS)) {
  t.test(`${what}: no value, and the next read is right`, async (t) => {
    const now = await scene(t, (request) => request.socket.write(answer(request)));
    const { peer, line } = now;

    const outcome = what.includes('one byte') ? await pollIntoSilence(now) : await pollOutcome(line);

    t.ok(outcome === 'REPLY_MISMATCH' || outcome === 'DEVICE_TIMEOUT', String(outcome));
    if (what.includes('one byte')) return; // the stream waits for the byte that its header promised
    peer.answer((request) => request.socket.write(registersReply(request, 7)));
    t.strictSame(await pollOutcome(line), [7]);
    t.equal(line.counters.mismatches, 1);
    t.equal(peer.connections, 1, 'a false answer is no reason to reconnect');
  });
}

const FALSE_HEADERS: Readonly<Record<string, (request: WireRequest) => Buffer>> = {
  'protocol id 0x1234': (request) => adu(request, [3, 2, 2, 154], { protocol: 0x1234 }),
  'length 0': (request) => adu(request, [3, 2, 2, 154], { length: 0 }),
  'length 2': (request) => adu(request, [3, 2, 2, 154], { length: 2 }),
  'length 255': (request) => adu(request, [3, 2, 2, 154], { length: 255 }),
  'length 65535': (request) => adu(request, [3, 2, 2, 154], { length: 65_535 }),
  'a line of HTTP': () => Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
};

for (const [what, answer] of Object.entries(FALSE_HEADERS)) {
  t.test(`${what} ends the connection at once, and a new one works`, async (t) => {
    const { peer, line } = await scene(t, (request) => request.socket.write(answer(request)));

    t.equal(await pollOutcome(line), 'CONNECTION_LOST');
    t.equal(await pollOutcome(line), 'CONNECTION_LOST', 'until somebody connects again');
    peer.answer((request) => request.socket.write(registersReply(request, 7)));
    await line.connect(never);

    t.strictSame(await pollOutcome(line), [7]);
    await until('one socket only', () => peer.sockets.size === 1);
  });
}

t.test('a reply in single bytes is one reply', async (t) => {
  const { line } = await scene(t, (request) => {
    for (const byte of registersReply(request, 513)) request.socket.write(Buffer.of(byte));
  });

  t.strictSame(await pollOutcome(line), [513]);
});

t.test('a connection reset after each byte of a reply: nothing but CONNECTION_LOST', async (t) => {
  let cut = 0;
  const { peer, line } = await scene(t, (request) => {
    const reply = registersReply(request, 111).subarray(0, cut);
    if (reply.length === 0) request.socket.resetAndDestroy();
    else request.socket.write(reply, () => request.socket.resetAndDestroy());
  });

  for (cut = 0; cut < 11; cut++) {
    await line.connect(never);
    t.equal(await pollOutcome(line), 'CONNECTION_LOST', `after ${cut} bytes`);
  }
  t.equal(peer.requests.length, 11);
});

t.test('a connection closed in the middle of a reply fails at once, without any time passing', async (t) => {
  const { line } = await scene(t, (request) =>
    request.socket.end(registersReply(request, 111).subarray(0, 9)),
  );

  t.equal(await pollOutcome(line), 'CONNECTION_LOST');
});

t.test('everybody who waits learns of a reset', async (t) => {
  const points = [0, 200, 400, 600].map((address) => ({ address }));
  const { line } = await scene(
    t,
    (request) => {
      if (request.index === 3) request.socket.resetAndDestroy();
    },
    points,
    { inFlight: 4 },
  );

  const outcomes = await Promise.all(line.polls.map((_, which) => pollOutcome(line, which)));

  t.strictSame(
    outcomes,
    Array.from({ length: 4 }, () => 'CONNECTION_LOST'),
  );
});

t.test('replies in reverse order reach the requests they answer', async (t) => {
  const waiting: WireRequest[] = [];
  const points = Array.from({ length: 16 }, (_, i) => ({ address: i * 200 }));
  const { line } = await scene(
    t,
    (request) => {
      waiting.push(request);
      if (waiting.length < points.length) return;
      const replies = waiting.toReversed().map((each) => registersReply(each, each.address));
      request.socket.write(Buffer.concat(replies));
    },
    points,
    { inFlight: 16 },
  );

  const outcomes = await Promise.all(line.polls.map((_, which) => pollOutcome(line, which)));

  outcomes.forEach((outcome, i) => t.equal(outcome[i], i * 200));
});

t.test(
  'ids wrap after 65,536 requests, past the one that timed out and the one that still waits',
  async (t) => {
    const points = Array.from({ length: 16 }, (_, i) => ({ address: i * 200 }));
    const now = await scene(t, () => {}, points, { inFlight: 16 });
    const { peer, line } = now;
    t.equal(await pollIntoSilence(now), 'DEVICE_TIMEOUT');
    const waiting = pollOutcome(line, 0);
    await until('the request', () => peer.requests.length === 2);
    const [late, open] = peer.requests.splice(0);
    const ids = new Set<number>();
    let served = 0;
    peer.answer((request) => {
      ids.add(request.id);
      request.socket.write(registersReply(request, (request.address + served++) & 0xffff));
    });

    let wrong = 0;
    for (let before = 0; before < 65_536; before = served) {
      const into = new BatchBuilder();
      await Promise.all(line.polls.slice(1).map((poll) => line.poll(poll, into, scan())));
      const values = rows(into);
      for (let i = 1; i < 16; i++) if (values[i] !== ((i * 200 + before + i - 1) & 0xffff)) wrong++;
      peer.requests.length = 0;
    }
    if (open !== undefined) open.socket.write(registersReply(open, 111));

    t.equal(wrong, 0);
    t.equal(ids.size, 65_534);
    t.notOk(ids.has(late?.id ?? -1) || ids.has(open?.id ?? -1));
    t.strictSame(await waiting, [111], 'it is still answered by its own reply');
  },
);

t.test('an exception is an answer: bad with its name, on the same connection', async (t) => {
  const codes = [1, 4, 5, 8, 99];
  const { peer, line } = await scene(t, (request) => {
    request.socket.write(exceptionReply(request, codes[request.index] ?? 0));
  });

  const outcomes = [];
  for (const _ of codes) outcomes.push(await pollOutcome(line));

  t.strictSame(outcomes.flat(), [
    '<illegal function>',
    '<server device failure>',
    '<acknowledge>',
    '<memory parity error>',
    '<unknown exception>',
  ]);
  t.equal(peer.connections, 1);
  t.equal(line.counters.exceptions, codes.length);
});

t.test('a device that is busy asks to be asked again, and nothing is appended', async (t) => {
  const { peer, line } = await scene(t, (request) => request.socket.write(exceptionReply(request, 6)));
  const [poll] = line.polls;
  if (poll === undefined) throw new Error('no poll');
  const into = new BatchBuilder();

  await t.rejects(line.poll(poll, into, scan()), {
    code: 'DEVICE_REFUSED',
    reason: reasonCode('server device busy'),
  });
  t.equal(into.count, 0);
  t.equal(peer.connections, 1);
  t.equal(line.counters.exceptions, 1);
});

t.test('a gateway that speaks for a silent unit counts as its time-out', async (t) => {
  const { peer, line } = await scene(t, (request) => request.socket.write(exceptionReply(request, 0x0b)));

  t.equal(await pollOutcome(line), 'DEVICE_TIMEOUT');
  await t.rejects(line.readBack(0, never), {
    code: 'DEVICE_TIMEOUT',
    message: /gateway target failed to respond/,
  });
  t.equal(peer.connections, 1);
});

t.test('a connection that answers nothing any more is given up after three requests', async (t) => {
  const now = await scene(t, () => {});

  t.equal(await pollIntoSilence(now), 'DEVICE_TIMEOUT');
  t.equal(await pollIntoSilence(now), 'DEVICE_TIMEOUT');
  const [poll] = now.line.polls;
  if (poll === undefined) throw new Error('no poll');
  const mute = { code: 'CONNECTION_LOST', reason: reasonCode('timeout') };
  const third = t.rejects(now.line.poll(poll, new BatchBuilder(), scan()), mute, 'there, and mute');
  await until('the third request', () => now.peer.requests.length === 3);
  await now.clock.advance(TIMEOUT);
  await third;
  await until('the socket is gone', () => now.peer.sockets.size === 0);
});

t.test('one silent unit of two is no reason to reconnect, unless nothing was heard for long', async (t) => {
  const peer = await HostileModbus.listen((request) => {
    if (request.unit === 2 && request.index > 0) request.socket.write(registersReply(request, 2));
  });
  const clock = new HandClock();
  const points = [modbusPoint(0), modbusPoint(1)];
  const devices = [modbusDevice(peer.port, [0], { unit: 1 }), modbusDevice(peer.port, [1], { unit: 2 })];
  const line = modbusLine(devices, points, { clock, log: silentLog });
  t.teardown(async () => {
    await line.close();
    await peer.close();
  });
  await line.connect(never);
  const now = { peer, line, clock };

  t.equal(await pollIntoSilence(now, 1), 'DEVICE_TIMEOUT');
  t.strictSame(await pollOutcome(line, 1), [undefined, 2]);
  for (let i = 0; i < 10; i++) t.equal(await pollIntoSilence(now, 0), 'DEVICE_TIMEOUT');
  t.strictSame(await pollOutcome(line, 1), [undefined, 2]);
  await clock.advance(seconds(30));
  t.equal(await pollIntoSilence(now, 0), 'DEVICE_TIMEOUT');
  t.equal(await pollIntoSilence(now, 0), 'DEVICE_TIMEOUT');
  await clock.advance(seconds(30));

  t.equal(await pollIntoSilence(now, 0), 'CONNECTION_LOST');
});

t.test('a request that nobody answers fails after its time-out, not before', async (t) => {
  const { peer, line, clock } = await scene(t, () => {});
  let settled = false;
  const outcome = pollOutcome(line).finally(() => (settled = true));
  await until('the request', () => peer.requests.length === 1);

  await clock.advance(milliseconds(TIMEOUT - 1));
  t.notOk(settled);
  await clock.advance(milliseconds(1));

  t.equal(await outcome, 'DEVICE_TIMEOUT');
});

t.test('each of two requests fails after its own time-out', async (t) => {
  const { peer, line, clock } = await scene(t, () => {}, TWO, { inFlight: 2 });
  const half = milliseconds(TIMEOUT / 2);
  const settled: number[] = [];
  const poll = async (which: number) => {
    const outcome = pollOutcome(line, which).finally(() => settled.push(which));
    await until('the request', () => peer.requests.length === which + 1);
    return { outcome };
  };
  const first = await poll(0);
  await clock.advance(half);
  const second = await poll(1);

  await clock.advance(half);
  t.equal(await first.outcome, 'DEVICE_TIMEOUT');
  t.strictSame(settled, [0]);
  await clock.advance(half);

  t.equal(await second.outcome, 'DEVICE_TIMEOUT');
});

t.test('a reply that came in time is taken, however late the event loop gets to it', async (t) => {
  const timeout = 50;
  const peer = await HostileModbus.listen((request) => {
    request.socket.write(registersReply(request, 7));
    const end = performance.now() + 2 * timeout;
    while (performance.now() < end); // the reply lies in the socket while the deadline passes
  });
  const line = await lineTo(peer.port, ONE, { timeout });
  t.teardown(async () => {
    await line.close();
    await peer.close();
  });

  t.strictSame(await pollOutcome(line), [7]);
});

t.test('closing the line settles whoever waits', async (t) => {
  const { peer, line } = await scene(t, () => {});
  const outcome = pollOutcome(line);
  await until('the request', () => peer.requests.length === 1);

  await line.close();

  t.equal(await outcome, 'CONNECTION_LOST');
  await until('the socket is gone', () => peer.sockets.size === 0);
});

t.test('nobody listens: CONNECTION_LOST with the address and what to do', async (t) => {
  const peer = await HostileModbus.listen(() => {});
  const { port } = peer;
  await peer.close();

  await t.rejects(lineTo(port, ONE), {
    code: 'CONNECTION_LOST',
    message: new RegExp(`modbus-tcp://127.0.0.1:${port}.*ECONNREFUSED`),
    remedy: /check that/,
  });
});
