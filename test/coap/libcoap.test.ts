import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { BatchBuilder } from '../../src/core/batch.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { silentLog } from '../../src/core/log.ts';
import { milliseconds } from '../../src/core/units.ts';
import { coapLine } from '../../src/drivers/coap/line.ts';
import { coapServer } from '../../src/drivers/coap/server.ts';
import { missingPeer } from '../support/peer.ts';
import { freeUdpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { scan } from '../support/scan.ts';
import { CLIENT, libcoapClient, libcoapServer, PACKAGE, SERVER } from './libcoap.ts';
import { plant, type PointWish, type Row, rowsOf, valuesOf } from './plant.ts';

const noServer = missingPeer(SERVER, PACKAGE);
const noClient = missingPeer(CLIENT, PACKAGE);
const never = new AbortController().signal;

/** Time that runs faster, so that a retransmission after 2 s is one after 50 ms; libcoap answers within one. */
const SPEED = 40;
const fastClock: Clock = {
  now: () => systemClock.now(),
  elapsed: () => milliseconds(systemClock.elapsed() * SPEED),
  sleep: async (duration, signal) => systemClock.sleep(milliseconds(duration / SPEED), signal),
};

async function lineTo(
  t: Test,
  points: readonly PointWish[],
  options: readonly string[] = [],
  clock = systemClock,
) {
  const port = await freeUdpPort();
  const server = await libcoapServer(port, ...options);
  const config = plant({ name: 'libcoap', port, points });
  const line = coapLine(config.devices, config.points, { clock, log: silentLog });
  await line.connect(never);
  t.teardown(async () => {
    await line.close();
    await server.stop();
  });
  const into = new BatchBuilder();
  const poll = async (index: number): Promise<Row[]> => {
    const one = line.polls[index];
    if (one === undefined) throw new Error('no such poll');
    await line.poll(one, into, scan());
    return rowsOf(into.take());
  };
  return { line, into, poll };
}

t.test(
  'polls: the clock, a body of two blocks, and what is not there by name',
  { skip: noServer },
  async (t) => {
    const { poll } = await lineTo(t, [
      { name: 'time', type: 'string' },
      { name: 'example_data', type: 'string' },
      { name: 'nothing' },
    ]);
    t.match(await poll(0), [{ value: /^[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d$/ }]);
    const [example] = await poll(1);
    t.equal(String(example?.value).length, 1_500);
    t.match(example?.value, /^a123456789b.*a123456789b/);
    t.match(await poll(2), [{ value: null, reason: 'not found' }]);
  },
);

t.test('a separate response a second later is the answer', { skip: noServer }, async (t) => {
  const { poll } = await lineTo(t, [{ name: 'async', path: '/async?1', type: 'string' }]);
  t.match(await poll(0), [{ value: 'done' }]);
});

t.test(
  'a write arrives, and is read back; a new resource beyond the limit is refused',
  { skip: noServer },
  async (t) => {
    const { line } = await lineTo(t, [{ name: 'a' }, { name: 'b', type: 'string' }], ['-d', '1']);
    await line.write(0, 21.5, never);
    t.equal(await line.readBack(0, never), 21.5);
    await t.rejects(line.write(1, 'x', never), { code: 'DEVICE_REFUSED', message: /4\.06 not acceptable/ });
  },
);

t.test('the clock of libcoap is observed, each second once', { skip: noServer }, async (t) => {
  const { line, into } = await lineTo(t, [{ name: 'time', mode: 'observe', type: 'string' }]);
  const stop = new AbortController();
  const watching = line.watch(into, stop.signal);
  const seen: unknown[] = [];
  await until('three notifications', () => seen.push(...valuesOf(into.take())) >= 0 && seen.length >= 3);
  stop.abort();
  await watching;
  t.equal(new Set(seen).size, seen.length);
});

t.test(
  'with a quarter of the datagrams lost every value is right, and nearly all arrive',
  { skip: noServer },
  async (t) => {
    const { line, poll } = await lineTo(
      t,
      [{ name: 'a' }, { name: 'example_data', type: 'string' }],
      ['-d', '1', '-l', '25%'],
      fastClock,
    );
    await line.write(0, 4_711, never);
    let right = 0;
    for (let i = 0; i < 60; i++) {
      try {
        const [row] = await poll(i % 2);
        if (i % 2 === 0) t.equal(row?.value, 4_711);
        else t.equal(String(row?.value).length, 1_500);
        right += 1;
      } catch (error) {
        if (!(error instanceof SluiceError) || error.code !== 'DEVICE_TIMEOUT') throw error;
      }
    }
    t.ok(right > 50, `${right} of 60`);
  },
);

async function serverFor(t: Test) {
  const port = await freeUdpPort();
  const { devices, points } = plant(
    {
      name: 'tank-3',
      port: 1,
      points: [
        { name: 'level', mode: 'push' },
        { name: 'label', mode: 'push', type: 'string', format: 'text' },
        { name: 'pack', mode: 'push', format: 'senml-json' },
      ],
    },
    { name: 'pump', host: '127.0.0.2', port: 1, points: [{ name: 'speed', mode: 'push' }] },
  );
  const into = new BatchBuilder();
  const server = coapServer({
    listen: { host: '127.0.0.1', port },
    devices,
    points,
    into,
    clock: systemClock,
    log: silentLog,
  });
  const stop = new AbortController();
  const running = server.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  const push = async (path: string, ...options: string[]): Promise<string> => {
    const said = await libcoapClient('-B', '3', ...options, `coap://127.0.0.1:${port}${path}`);
    return said.text.trim();
  };
  await until('the server to listen', async () => (await push('/x')).includes('4.04'));
  return { into, push };
}

t.test('libcoap pushes by POST and PUT, and what is refused says its code', { skip: noClient }, async (t) => {
  const { into, push } = await serverFor(t);
  t.equal(await push('/tank-3/level', '-m', 'post', '-e', '2.75'), '');
  t.equal(await push('/tank-3/level', '-m', 'put', '-e', '2.5'), '');
  t.equal(await push('/tank-3/level', '-m', 'put', '-t', '110', '-e', '[{"n":"l","v":3}]'), '');
  t.equal(
    await push('/tank-3', '-m', 'post', '-t', '110', '-e', '[{"n":"level","v":4},{"n":"label","vs":"on"}]'),
    '',
  );
  t.same(valuesOf(into.take()), [2.75, 2.5, 3, 4, 'on']);

  const refusals = await Promise.all([
    push('/tank-3/other', '-m', 'post', '-e', '9'),
    push('/tank-3/level', '-m', 'get'),
    push('/tank-3/level', '-m', 'delete'),
    push('/tank-3/level', '-m', 'post', '-t', '42', '-e', '9'),
    push('/tank-3/level', '-m', 'post', '-e', 'high', '-t', '0'),
    push('/tank-3/level', '-m', 'post', '-e', '9', '-O', '9,0x01'),
    push('/tank-3/level', '-m', 'post', '-e', '9', '-a', '127.0.0.2'),
    push('/tank-3/level', '-m', 'post', '-e', '9', '-a', '127.0.0.3'),
    push('/pump/speed', '-m', 'post', '-e', '9'),
  ]);
  t.same(
    refusals.map((text) => text.slice(0, 4)),
    ['4.04', '4.05', '4.05', '4.15', '4.00', '4.02', '4.03', '4.03', '4.03'],
  );
  t.same(
    rowsOf(into.take()).map(({ value, reason }) => [value, reason]),
    [[null, 'bad encoding']],
  );
  t.equal(
    await push('/pump/speed', '-m', 'post', '-e', '9', '-a', '127.0.0.2'),
    '',
    'the right address is heard',
  );
  t.same(valuesOf(into.take()), [9]);
});

t.test('libcoap uploads a pack in blocks; one that is too large is 4.13', { skip: noClient }, async (t) => {
  const { into, push } = await serverFor(t);
  const folder = t.testdir({});
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const records = Array.from({ length: 100 }, (_, i) => `{"n":"p","t":${i - 100},"v":${i}}`);
  const pack = file('pack', `[${records.join(',')}]`);
  const large = file('large', 'x'.repeat(20_000));
  t.equal(await push('/tank-3/pack', '-m', 'put', '-b', '64', '-t', '110', '-f', pack), '');
  t.same(
    valuesOf(into.take()),
    Array.from({ length: 100 }, (_, i) => i),
  );
  t.match(await push('/tank-3/label', '-m', 'put', '-b', '1024', '-f', large), /^4\.13/);
  t.equal(into.take(), undefined);
});
