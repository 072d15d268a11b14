import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { milliseconds, seconds } from '../../src/core/units.ts';
import type { WireRequest } from '../support/hostile-modbus.ts';
import { until } from '../support/wait.ts';
import { adu, answered, guardBed, RawClient } from './bed.ts';

// One device and several who ask: nobody waits for the haste of another, and nothing is refused at full speed.

const OF_GREEDY = 0;
const OF_OTHER = 50;
/** Unless a test lists it. */
const FORBIDDEN = [6, 0, 5, 0, 1];
const MANY = 20_000;
const OTHER = '127.0.0.2';
const BUSY = 6;
const SILENT = 0x0b;
/** A write that waited longer is not sent any more. */
const TOO_LONG = seconds(6);

const read = (address: number): number[] => [3, 0, address, 0, 1];
const isData = (frame: Buffer): boolean => frame[7] === 3;
const refusedAs = (code: number) => (frame: Buffer) => frame[7] === 0x83 && frame[8] === code;

const ended = ({ closed, socket }: RawClient): boolean => closed || socket.readableEnded;

/** A device that answers when it is told to, one request after the other. */
function heldDevice(): { readonly answer: (request: WireRequest) => void; readonly held: WireRequest[] } {
  const held: WireRequest[] = [];
  return { held, answer: (request) => void held.push(request) };
}

/** Time that passes when the test says so, beside the real one. */
function woundClock(): { readonly clock: typeof systemClock; readonly wind: (more: number) => void } {
  let more = 0;
  const elapsed: typeof systemClock.elapsed = () => milliseconds(systemClock.elapsed() + more);
  return { clock: { ...systemClock, elapsed }, wind: (by) => (more += by) };
}

const requests = (count: number, pdu: readonly number[], from = 0): Buffer =>
  Buffer.concat(Array.from({ length: count }, (_, i) => adu(from + i, 1, pdu)));

/** Asks again with each answer, so that so many are always on their way. */
async function greedy(
  t: Parameters<typeof RawClient.to>[0],
  port: number,
  pipelined: number,
): Promise<RawClient> {
  const client = await RawClient.to(t, port);
  let answers = 0;
  client.socket.on('data', () => {
    const fresh = client.frames.length - answers;
    answers = client.frames.length;
    if (!client.closed) client.socket.write(requests(fresh, read(OF_GREEDY)));
  });
  client.socket.write(requests(pipelined, read(OF_GREEDY)));
  return client;
}

t.test('six connections that ask without end take every second turn, and no more', async (t) => {
  const { port, device, guard } = await guardBed(t, {
    answer: (request) => void setTimeout(() => answered(request), 2),
  });
  const greedies = await Promise.all(Array.from({ length: 6 }, async () => greedy(t, port, 14)));
  await until('its queue', () => guard.counters.requests >= 84);
  const other = await RawClient.to(t, port, OTHER);

  for (let i = 0; i < 20; i += 1) {
    const before = device.requests.length;
    t.same(await other.ask(i, 1, read(OF_OTHER)), [3, 2, 0, 7], `read ${i}`);
    const mine = device.requests.findIndex(({ address, index }) => index >= before && address === OF_OTHER);
    t.ok(mine - before <= 2, `it waited for ${mine - before} others`);
  }

  t.ok(device.requests.filter(({ address }) => address === OF_GREEDY).length >= 20, 'the other one goes on');
  t.ok(
    greedies.every(({ frames }) => frames.length > 0),
    'each of its connections has its turns',
  );
  t.ok(
    greedies.every(({ frames }) => frames.every(isData)),
    'and is refused nothing',
  );
  t.match(guard.counters, { busy: 0, unanswered: 0 });
});

t.test('what is too much is not read, instead of refused, and answered in the end', async (t) => {
  const { held, answer } = heldDevice();
  const { port, device, guard } = await guardBed(t, { answer, timeout: 60_000 });
  const flood = await RawClient.to(t, port);
  flood.socket.end(requests(2_000, read(OF_GREEDY)));
  await until('the first', () => held.length === 1);
  const other = await RawClient.to(t, port, OTHER);

  t.same(await other.ask(1, 1, FORBIDDEN), [0x86, 1], 'what the other asks is seen to');
  other.socket.write(adu(2, 1, read(OF_OTHER)));
  await until('its request', () => guard.counters.requests === 18);
  t.equal(guard.counters.requests, 16 + 2, 'sixteen are taken of the one, and all of the other');
  t.same(flood.frames, []);

  device.answer(answered);
  for (const request of held.splice(0)) answered(request);
  await until('every answer', () => flood.frames.length === 2_000);
  t.ok(device.requests.findIndex(({ address }) => address === OF_OTHER) <= 2, 'the other one had its turn');
  t.same(
    flood.frames.map((frame) => frame.readUInt16BE(0)),
    Array.from({ length: 2_000 }, (_, i) => i),
    'in order',
  );
  t.ok(flood.frames.every(isData));
  await until('the end', () => flood.socket.readableEnded);
});

t.test('who waited too long is told that the device is busy, and so is a person', async (t) => {
  const { clock, wind } = woundClock();
  const { held, answer } = heldDevice();
  const { port, device, guard, told, events } = await guardBed(t, {
    answer, clock, timeout: 60_000,
    limits: { write: [{ table: 'holding', low: 0, high: 9 }] },
  }); // biome-ignore format: one line of what matters here
  const flood = await RawClient.to(t, port);
  // More than the process takes: some of it lies in the kernel.
  flood.socket.write(Buffer.concat([requests(MANY, read(OF_GREEDY)), adu(MANY, 1, FORBIDDEN)]));
  await until('the first', () => held.length === 1);
  await until('sixteen', () => guard.counters.requests === 16);

  wind(TOO_LONG);
  device.answer(answered);
  for (const request of held.splice(0)) answered(request);
  await until('every answer', () => flood.frames.length === MANY + 1);

  t.equal(flood.frames.filter(isData).length, 1);
  t.equal(flood.frames.filter(refusedAs(BUSY)).length, MANY - 1);
  t.same([...(flood.frames.at(-1) ?? [])].slice(7), [0x86, BUSY], 'the write that waited behind them too');
  t.same(
    device.requests.map(({ pdu }) => pdu[0]),
    [3],
    'nothing of it reached the device',
  );
  t.match(guard.counters, { busy: MANY, unanswered: 0 });
  const facts = {
    conduit: 'conduit-supervision-control-0',
    client: '127.0.0.1',
    devices: 'press-1',
    connections: 1,
  };
  t.match(
    told,
    Array.from({ length: 5 }, () => ({
      what: 'guard: a client asks for more than the device can answer',
      facts,
    })),
  );
  t.match(events[0], { what: 'guard-busy conduit-supervision-control-0', facts });
  let id = MANY;
  // Within a turn or two of the event loop nobody can tell whether it was sent before all that.
  await until(
    'what it asks now is as good as any',
    async () => (await flood.ask((id += 1), 1, read(OF_GREEDY)))[0] === 3,
  );
});

t.test('a device that answers nobody is not called busy', async (t) => {
  const { clock, wind } = woundClock();
  const { held, answer } = heldDevice();
  const { port, guard } = await guardBed(t, { answer, clock, timeout: 200 });
  const client = await RawClient.to(t, port);
  client.socket.write(requests(10, read(OF_GREEDY)));
  await until('the first', () => held.length === 1);

  wind(TOO_LONG);

  await until('every answer', () => client.frames.length === 10);
  t.ok(client.frames.every(refusedAs(SILENT)));
  t.match(guard.counters, { busy: 0, unanswered: 10 });
});

t.test('a device that is gone is tried once a second, however much is asked', async (t) => {
  const pauses: (() => void)[] = [];
  const clock: typeof systemClock = {
    ...systemClock,
    // Whoever sweeps waits for longer, whoever opens too.
    sleep: async (duration, signal) =>
      duration <= 1_000
        ? new Promise((resolve) => pauses.push(resolve))
        : systemClock.sleep(duration, signal),
  };
  const { port, device, guard } = await guardBed(t, { clock });
  await device.close();
  const client = await RawClient.to(t, port);
  t.same(await client.ask(1, 1, read(OF_GREEDY)), [0x83, SILENT]);

  client.socket.write(requests(14, read(OF_GREEDY), 10));
  t.same(await client.ask(2, 1, FORBIDDEN), [0x86, 1]);
  t.equal(client.frames.length, 2, 'nobody is answered before the next try');
  t.equal(pauses.length, 1);
  pauses[0]?.();

  await until('all of them', () => client.frames.length === 16);
  t.equal(guard.counters.unanswered, 15);
});

t.test('what was asked by a connection that ended is forgotten', async (t) => {
  const { held, answer } = heldDevice();
  const { port, device } = await guardBed(t, { answer, timeout: 60_000 });
  const first = await RawClient.to(t, port);
  first.socket.write(requests(16, read(OF_GREEDY)));
  await until('the first', () => held.length === 1);
  const other = await RawClient.to(t, port, OTHER);
  first.socket.resetAndDestroy();
  t.same(await other.ask(1, 1, FORBIDDEN), [0x86, 1]);
  t.same(await other.ask(2, 1, FORBIDDEN), [0x86, 1], 'its end is seen before this one');

  device.answer(answered);
  for (const request of held) answered(request);
  t.same(await other.ask(3, 1, read(OF_OTHER)), [3, 2, 0, 7]);

  t.equal(device.requests.length, 2);
});

t.test('somebody with one connection is not pushed out by those with many', async (t) => {
  const { port, guard, told } = await guardBed(t);
  const connections = async (from: string, count: number): Promise<RawClient[]> => {
    const clients: RawClient[] = [];
    for (let i = 0; i < count; i += 1) {
      const client = await RawClient.to(t, port, from);
      t.same(await client.ask(1, 1, read(OF_GREEDY)), [3, 2, 0, 7]);
      clients.push(client);
    }
    return clients;
  };
  const before = guard.counters.refused;
  const [other] = await connections(OTHER, 1);
  const many: RawClient[] = [];
  for (const from of ['127.0.0.3', '127.0.0.4', '127.0.0.5', '127.0.0.6'])
    many.push(...(await connections(from, 8)));

  await until('one of them goes', () => many.filter(ended).length === 1);
  t.same(await other?.ask(9, 1, read(OF_OTHER)), [3, 2, 0, 7], 'and it is not the idlest of all');
  t.equal(guard.counters.refused, before + 1);
  t.match(told, [
    {
      what: 'guard: too many connections, the idlest one is closed',
      facts: { client: '127.0.0.3', for: '127.0.0.6' },
    },
  ]);
});

t.test('somebody who asks is not pushed out by those who never do', async (t) => {
  const { port, guard } = await guardBed(t);
  const hmi = await RawClient.to(t, port, OTHER);
  t.same(await hmi.ask(1, 1, read(OF_OTHER)), [3, 2, 0, 7]);
  const slow = await RawClient.to(t, port, '127.0.1.1');
  slow.socket.write(adu(1, 1, read(OF_GREEDY)).subarray(0, 8));

  const silent = [slow];
  for (let i = 0; i < 63; i += 1) {
    silent.push(await RawClient.to(t, port, `127.0.2.${i + 1}`));
    await until('it is taken', () => guard.counters.connections >= i + 3);
  }
  t.same(await hmi.ask(2, 1, read(OF_OTHER)), [3, 2, 0, 7], 'however many come');
  await until('the oldest go, also with half a request', () => silent.slice(0, 33).every(ended));

  const last = silent.at(-1);
  t.same(await last?.ask(1, 1, read(OF_OTHER)), [3, 2, 0, 7], 'and the newest has its time to ask');
});

t.test('of one address those go first that never asked', async (t) => {
  const { port, guard } = await guardBed(t);
  const first = await RawClient.to(t, port);
  t.same(await first.ask(1, 1, read(OF_GREEDY)), [3, 2, 0, 7]);
  const before = guard.counters.connections;

  const silent: RawClient[] = [];
  for (let i = 0; i < 8; i += 1) {
    silent.push(await RawClient.to(t, port));
    await until('it is taken', () => guard.counters.connections > before + i);
  }

  await until('one of them goes', () => silent.some(ended));
  t.same(await first.ask(2, 1, read(OF_GREEDY)), [3, 2, 0, 7]);
});

t.test('who writes to all units takes nobody the answer that is on its way', async (t) => {
  const { held, answer } = heldDevice();
  const everyone = [{ low: 0, high: 255 }];
  const { port, device, guard } = await guardBed(t, {
    answer, timeout: 300, inFlight: 2, units: everyone,
    limits: { units: everyone, write: [{ table: 'holding', low: 0, high: 9 }] },
  }); // biome-ignore format: one line of what matters here
  const hmi = await RawClient.to(t, port, OTHER);
  device.answer(answered);
  t.same(await hmi.ask(1, 1, read(OF_OTHER)), [3, 2, 0, 7]);
  device.answer(answer);
  const writer = await RawClient.to(t, port);
  writer.socket.end(adu(1, 0, FORBIDDEN));
  await until('the device has it', () => held.length === 1);
  let asked = 1;
  // One read after the other is on its way, whenever the time of the write is over.
  device.answer(answered);
  while (!ended(writer)) t.same(await hmi.ask((asked += 1), 1, read(OF_OTHER)), [3, 2, 0, 7]);

  t.same(writer.frames, [], 'nobody answers a broadcast');
  t.equal(device.connections, 1, 'and its connection stands');
  t.match(guard.counters, { unanswered: 0, busy: 0 });
});

t.test('a write to all units does not arrive much later', async (t) => {
  const { clock, wind } = woundClock();
  const sweeps: (() => void)[] = [];
  const sleep: typeof systemClock.sleep = async (duration, signal) =>
    duration === seconds(5)
      ? new Promise((resolve, reject) => {
          sweeps.push(resolve);
          signal?.addEventListener('abort', () => reject(new Error('over')));
        })
      : systemClock.sleep(duration, signal);
  const everyone = [{ low: 0, high: 255 }];
  const { port, device } = await guardBed(t, {
    answer: () => {}, timeout: 100, units: everyone, clock: { ...clock, sleep },
    limits: { units: everyone, write: [{ table: 'holding', low: 0, high: 9 }] },
  }); // biome-ignore format: one line of what matters here
  const writer = await RawClient.to(t, port);
  writer.socket.end(adu(1, 0, FORBIDDEN));
  await until('its end', () => ended(writer));
  t.equal(device.sockets.size, 1);

  wind(TOO_LONG);
  sweeps.shift()?.();

  await until('a connection that nothing came from is given up', () => device.sockets.size === 0);
});

t.test('who is refused without end is refused at a pace, and delays nobody', async (t) => {
  const waits: (() => void)[] = [];
  const clock: typeof systemClock = {
    ...systemClock,
    elapsed: () => milliseconds(0), // no time passes: there is no more to spend
    sleep: async (duration, signal) =>
      duration <= 100 ? new Promise((resolve) => waits.push(resolve)) : systemClock.sleep(duration, signal),
  };
  const { port, guard } = await guardBed(t, { clock });
  const flood = await RawClient.to(t, port);
  const other = await RawClient.to(t, port, OTHER);
  t.same(await other.ask(0, 1, read(OF_OTHER)), [3, 2, 0, 7]);

  flood.socket.write(requests(5_000, FORBIDDEN));
  const before = new Promise<number>((resolve) => {
    other.socket.once('data', () => resolve(guard.counters.forbidden));
  });
  t.same(await other.ask(1, 1, FORBIDDEN), [0x86, 1], 'somebody else is refused in between');
  t.ok((await before) < 1_000, `${await before} came first`);
  await until('a thousand at once', () => flood.frames.length === 1_000);

  await until('those that wait', () => waits.length === 16);
  t.equal(guard.counters.forbidden, 1_017, 'and the rest is not looked at');
  t.same(await other.ask(2, 1, FORBIDDEN), [0x86, 1], 'somebody else is refused at once');
  t.same(await other.ask(3, 1, read(OF_OTHER)), [3, 2, 0, 7]);
  waits[0]?.();
  await until('one more for one more', () => flood.frames.length === 1_001 && waits.length === 17);
});
