import t from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import type { Log } from '../../src/core/log.ts';
import { epochMs, minutes, seconds } from '../../src/core/units.ts';
import type { ModbusLine } from '../../src/drivers/modbus/line.ts';
import { HandClock } from '../support/clock.ts';
import { adu, exceptionReply, HostileModbus, type WireRequest } from '../support/hostile-modbus.ts';
import { lineTo, never, pollOutcome } from '../support/modbus-line.ts';
import { until } from '../support/wait.ts';

const POINTS = Array.from({ length: 40 }, (_, address) => ({ address }));

interface Scene {
  readonly peer: HostileModbus;
  readonly line: ModbusLine;
  readonly clock: HandClock;
  readonly told: string[];
}

/** A device whose registers hold their address, apart from those in `holes`. */
async function scene(test: Pick<typeof t, 'teardown'>, holes: Set<number>, limit = 125): Promise<Scene> {
  const told: string[] = [];
  const log: Log = {
    info: () => {},
    error: () => {},
    warn: (what, facts) => told.push(`${what}: ${String(facts?.['points'])}`),
  };
  const clock = new HandClock();
  const peer = await HostileModbus.listen((request) => answer(request, holes, limit));
  const line = await lineTo(peer.port, POINTS, { clock, log });
  test.teardown(async () => {
    await line.close();
    await peer.close();
  });
  return { peer, line, clock, told };
}

function answer(request: WireRequest, holes: ReadonlySet<number>, limit: number): void {
  const addresses = Array.from({ length: request.quantity }, (_, i) => request.address + i);
  if (request.quantity > limit) request.socket.write(exceptionReply(request, 3));
  else if (addresses.some((address) => holes.has(address))) request.socket.write(exceptionReply(request, 2));
  else
    request.socket.write(
      adu(request, [3, addresses.length * 2, ...addresses.flatMap((a) => [a >> 8, a & 255])]),
    );
}

/** Polls until a poll takes no more requests than the one before. */
async function learn({ peer, line }: Scene): Promise<void> {
  let before = Infinity;
  for (;;) {
    const sent = peer.requests.length;
    await pollOutcome(line);
    const took = peer.requests.length - sent;
    if (took > 1 && took === before) return;
    before = took;
  }
}

const expected = (holes: ReadonlySet<number>) =>
  POINTS.map(({ address }) => (holes.has(address) ? '<illegal data address>' : address));

t.test(
  'two holes: the rest is good, in as few requests as the holes allow, and it is told once',
  async (t) => {
    const holes = new Set([7, 20]);
    const now = await scene(t, holes);

    await learn(now);
    const sent = now.peer.requests.length;
    const outcome = await pollOutcome(now.line);

    t.strictSame(outcome, expected(holes));
    t.strictSame(
      now.peer.requests.slice(sent).map(({ address, quantity }) => [address, quantity]),
      [
        [0, 7],
        [8, 12],
        [21, 19],
      ],
    );
    t.strictSame(now.told, ['the device does not have these points: p7, p20']);
  },
);

t.test('a device without any of the points is not asked over and over', async (t) => {
  const holes = new Set(POINTS.map(({ address }) => address));
  const now = await scene(t, holes);
  for (let i = 0; i < 20; i++) await pollOutcome(now.line);
  const sent = now.peer.requests.length;

  const outcome = await pollOutcome(now.line);

  t.strictSame(outcome, expected(holes));
  t.equal(now.peer.requests.length, sent);
  t.ok(sent < 100);
});

t.test('no poll spends more than its share on the search', async (t) => {
  const now = await scene(t, new Set(POINTS.map(({ address }) => address)));

  for (let i = 0; i < 10; i++) {
    const sent = now.peer.requests.length;
    const outcome = await pollOutcome(now.line);
    t.equal(outcome.length, POINTS.length, 'one sample for each point');
    t.ok(now.peer.requests.length - sent <= 16);
  }
});

t.test('points that appear are found after a while, and the request is whole again', async (t) => {
  const holes = new Set([7, 20]);
  const now = await scene(t, holes);
  await learn(now);
  holes.clear();

  await now.clock.advance(minutes(10));
  await pollOutcome(now.line);
  const sent = now.peer.requests.length;
  const outcome = await pollOutcome(now.line);

  t.strictSame(outcome, expected(holes));
  t.equal(now.peer.requests.length - sent, 1);
});

t.test('a device that takes only short requests is asked in short ones', async (t) => {
  const now = await scene(t, new Set([5]), 12);

  await learn(now);
  await learn(now);

  t.strictSame(await pollOutcome(now.line), expected(new Set([5])));
});

t.test('a part that times out: nothing is appended, and what was learned stays', async (t) => {
  const holes = new Set([7]);
  const now = await scene(t, holes);
  await learn(now);
  now.peer.answer((request) => {
    if (request.address < 8) answer(request, holes, 125);
  });
  const outcome = pollOutcome(now.line);
  await until('the second part', () => now.peer.requests.at(-1)?.address === 8);
  await now.clock.advance(seconds(1));
  t.equal(await outcome, 'DEVICE_TIMEOUT');

  now.peer.answer((request) => answer(request, holes, 125));
  const sent = now.peer.requests.length;

  t.strictSame(await pollOutcome(now.line), expected(holes));
  t.equal(now.peer.requests.length - sent, 2);
});

t.test('another exception of a part is bad and teaches nothing', async (t) => {
  const holes = new Set([7]);
  const now = await scene(t, holes);
  await learn(now);
  now.peer.answer((request) => request.socket.write(exceptionReply(request, 4)));
  const outcome = await pollOutcome(now.line);
  now.peer.answer((request) => answer(request, holes, 125));

  t.equal(outcome[3], '<server device failure>');
  t.equal(outcome[7], '<illegal data address>');
  t.strictSame(await pollOutcome(now.line), expected(holes));
});

t.test('parts of a scan that come later than others carry their own time', async (t) => {
  const one = await scene(t, new Set([7]));
  await learn(one);
  const into = new BatchBuilder();
  const [poll] = one.line.polls;
  if (poll === undefined) throw new Error('no poll');
  let now = 1_000;

  await one.line.poll(poll, into, { signal: never, stamp: () => epochMs(now++) });

  const batch = into.take();
  const times = Array.from({ length: batch?.count ?? 0 }, (_, i) => [batch?.points[i], batch?.times[i]]);
  t.same(
    times,
    POINTS.map(({ address }) => [address, address < 7 ? 1_000 : address === 7 ? 1_001 : 1_002]),
  );
});
