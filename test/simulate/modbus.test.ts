import { fileURLToPath } from 'node:url';
import t, { type Test } from 'tap';
import type { Config, PointConfig } from '../../src/config/config.ts';
import { seconds } from '../../src/core/units.ts';
import type { Fault } from '../../src/simulate/fault.ts';
import { type Plant, startPlant } from '../../src/simulate/plant.ts';
import { HandClock } from '../support/clock.ts';
import { missingPymodbus } from '../support/modbus-peers.ts';
import { missingPeer } from '../support/peer.ts';
import { freeTcpPort } from '../support/ports.ts';
import { configOf, pointNamed, ran } from './support.ts';

const noMbpoll = missingPeer('mbpoll', 'mbpoll');
const yaml = (port: number, second: number) => `
gateway: { id: g, data: ./data }
zones: { z: { vlan: 20, subnet: 127.0.0.0/8 } }
classes:
  all:
    zone: z
    protocol: modbus
    points:
      i16: { at: "input:0:int16", scale: 0.1, offset: -40, unit: °C }
      u16: { at: "input:1:uint16:BADC", unit: A }
      i32: { at: "input:2:int32:CDAB" }
      u32: { at: "input:4:uint32:DCBA", unit: kWh }
      f32: { at: "input:6:float32", unit: V }
      f32-swapped: { at: "input:8:float32:CDAB", unit: V }
      f32-bytes: { at: "input:10:float32:BADC", unit: V }
      f32-little: { at: "input:12:float32:DCBA", unit: V }
      f64: { at: "input:14:float64", unit: bar }
      f64-little: { at: "input:18:float64:DCBA", unit: bar }
      i64: { at: "input:22:int64:CDAB", unit: h }
      u64: { at: "input:26:uint64", unit: strokes }
      bcd16: { at: "input:30:bcd16" }
      bcd32: { at: "input:31:bcd32:CDAB" }
      serial: { at: "input:33:string(15)" }
      label: { at: "input:41:string(6):BADC" }
      last: { at: "input:60:uint16" }
      flag-0: { at: "holding:100.0" }
      flag-9: { at: "holding:100.9" }
      flag-swapped: { at: "holding:101.2:bool:BADC" }
      setpoint: { at: "holding:10:float32", writable: true, min: 5, max: 80 }
      speed: { at: "holding:12:uint16", writable: true, min: 0, max: 60 }
      motor: { at: "coil:3", writable: true }
      pump: { at: "coil:4" }
      door: { at: "discrete:7" }
devices:
  one: { class: all, at: "modbus-tcp://127.0.0.1:${port}?unit=1" }
  seven: { class: all, at: "modbus-tcp://127.0.0.1:${port}?unit=7" }
  other: { class: all, at: "modbus-tcp://127.0.0.1:${second}" }
`;

interface Running {
  readonly config: Config;
  readonly plant: Plant;
  readonly clock: HandClock;
  readonly port: number;
}

async function start(t: Test, faults: Record<string, Fault> = {}): Promise<Running> {
  const port = await freeTcpPort();
  const config = configOf(yaml(port, await freeTcpPort()));
  const clock = new HandClock();
  const stop = new AbortController();
  const plant = await startPlant(config, {
    signal: stop.signal,
    clock,
    faults,
    slowBy: seconds(0.6),
    seed: 3,
  });
  t.teardown(async () => {
    stop.abort();
    await plant.stopped;
  });
  return { config, plant, clock, port };
}

const READ_ALL = fileURLToPath(new URL('read-all.py', import.meta.url));
const FLOAT32 = /^f32|^setpoint/;

function expected(point: PointConfig, value: unknown): unknown {
  if (typeof value !== 'number') return value;
  const raw = (value - point.offset) / point.scale;
  if (FLOAT32.test(point.name)) return Math.fround(raw);
  return point.name.startsWith('f64') ? raw : Math.round(raw);
}

t.test('pymodbus reads every type and order as the signal is', { skip: missingPymodbus() }, async (t) => {
  const { config, plant, clock, port } = await start(t);

  for (const [device, unit] of [
    ['one', 1],
    ['seven', 7],
    ['one', 1],
  ] as const) {
    const { text } = await ran('/usr/bin/python3', [READ_ALL, `${port}`, `${unit}`]);
    const read: unknown = JSON.parse(text);
    const points = config.points.filter((point) => point.device === device);
    t.same(
      read,
      Object.fromEntries(points.map((point) => [point.name, expected(point, plant.signal(point))])),
      device,
    );
    await clock.advance(seconds(77));
  }
});

const poll = async (port: number, unit: number, type: string, at: number, ...more: string[]) =>
  ran('mbpoll', [
    '-m',
    'tcp',
    '-0',
    '-q',
    '-1',
    '-o',
    '0.4',
    '-p',
    `${port}`,
    '-a',
    `${unit}`,
    '-t',
    type,
    '-r',
    `${at}`,
    ...more,
  ]);

t.test('mbpoll reads what signalAt says, and what it wrote itself', { skip: noMbpoll }, async (t) => {
  const { config, plant, port } = await start(t);
  const signal = (name: string) => plant.signal(pointNamed(config, 'one', name));

  t.match((await poll(port, 1, '3:float', 6, '-B', '127.0.0.1')).text, `[6]: \t${String(signal('f32'))}\n`);
  t.match((await poll(port, 1, '3:float', 8, '127.0.0.1')).text, `[8]: \t${String(signal('f32-swapped'))}\n`);
  t.match((await poll(port, 1, '0', 4, '127.0.0.1')).text, `[4]: \t${Number(signal('pump'))}\n`);

  t.equal((await poll(port, 1, '4', 12, '127.0.0.1', '--', '33')).status, 0);
  t.match((await poll(port, 1, '4', 12, '127.0.0.1')).text, '[12]: \t33\n');
  t.match(
    (await poll(port, 7, '4', 12, '127.0.0.1')).text,
    `[12]: \t${String(plant.signal(pointNamed(config, 'seven', 'speed')))}\n`,
    'its neighbour is another',
  );
  t.equal((await poll(port, 1, '4:float', 10, '-B', '127.0.0.1', '--', '21.5')).status, 0);
  t.match((await poll(port, 1, '4:float', 10, '-B', '127.0.0.1')).text, '[10]: \t21.5\n');
  const motor = signal('motor') === true ? '0' : '1';
  t.equal((await poll(port, 1, '0', 3, '127.0.0.1', '--', motor)).status, 0);
  t.match((await poll(port, 1, '0', 3, '127.0.0.1')).text, `[3]: \t${motor}\n`);
});

t.test(
  'what is not there, not writable or not behind the endpoint is an exception',
  { skip: noMbpoll },
  async (t) => {
    const { port } = await start(t);

    t.match((await poll(port, 1, '3', 61, '127.0.0.1')).text, /Illegal data address/);
    t.match((await poll(port, 1, '3', 60, '-c', '2', '127.0.0.1')).text, /Illegal data address/);
    t.match((await poll(port, 1, '1', 6, '127.0.0.1')).text, /Illegal data address/);
    t.match((await poll(port, 1, '4', 100, '127.0.0.1', '--', '1')).text, /Illegal data address/);
    t.match((await poll(port, 1, '0', 4, '127.0.0.1', '--', '1')).text, /Illegal data address/);
    t.match((await poll(port, 9, '3', 0, '127.0.0.1')).text, /Target device failed to respond/);
  },
);

t.test(
  'mbpoll sees each fault, the neighbours none, and nothing is left when it is over',
  { skip: noMbpoll },
  async (t) => {
    const { plant, port } = await start(t, { one: 'silence' });
    const seen: readonly (readonly [Fault, RegExp])[] = [
      ['silence', /timed out/],
      ['exception', /Slave device or server failure/],
      ['slow', /timed out/],
      ['wrong-transaction', /Invalid (data|argument)|timed out/],
      ['close', /reset by peer/],
    ];
    for (const [fault, says] of seen) {
      plant.fault('one', fault);
      const one = await poll(port, 1, '3', 1, '127.0.0.1');
      t.match(one.text, says, fault);
      t.notMatch(one.text, /\[1\]:/, fault);
      t.match((await poll(port, 7, '3', 1, '127.0.0.1')).text, /\[1\]:/, `neighbour of ${fault}`);
    }
    plant.fault('one', undefined);
    t.match((await poll(port, 1, '3', 1, '127.0.0.1')).text, /\[1\]:/);

    plant.fault('one', 'exception');
    t.not((await poll(port, 1, '4', 12, '127.0.0.1', '--', '44')).status, 0);
    plant.fault('one', undefined);
    t.notMatch(
      (await poll(port, 1, '4', 12, '127.0.0.1')).text,
      '[12]: \t44\n',
      'a write that failed was not done',
    );
  },
);

t.test('a port in use is one clear sentence, and whatever listened already is closed', async (t) => {
  const { config, port } = await start(t);
  const free = await freeTcpPort();
  const devices = config.devices.map((device) =>
    device.name === 'other' && 'host' in device.endpoint
      ? { ...device, endpoint: { ...device.endpoint, port: free } }
      : device,
  );
  // The free one first, so that it listens before the other fails.
  const again = { ...config, devices: devices.toReversed() };

  await t.rejects(startPlant(again, { signal: new AbortController().signal }), {
    code: 'SETUP',
    message: `modbus-tcp://127.0.0.1:${port} of seven, one is in use by another program`,
    remedy: /stop that program/,
  });
  const { plant } = await startAlone(t, free);
  t.match(plant.places, [{ address: `modbus-tcp://127.0.0.1:${free}` }]);
});

async function startAlone(t: Test, port: number) {
  const all = configOf(yaml(await freeTcpPort(), port));
  const config = { ...all, devices: all.devices.filter(({ name }) => name === 'other') };
  const stop = new AbortController();
  const plant = await startPlant(config, { signal: stop.signal });
  t.teardown(async () => {
    stop.abort();
    await plant.stopped;
  });
  return { plant };
}

t.test('an address that is not of this machine is said', async (t) => {
  const config = configOf(
    yaml(1502, 1503).replaceAll('127.0.0.0/8', '192.0.2.0/24').replaceAll('127.0.0.1', '192.0.2.1'),
  );

  await t.rejects(startPlant(config, { signal: new AbortController().signal }), {
    code: 'SETUP',
    message: /192\.0\.2\.1 of one, seven is no address of this machine/,
    remedy: /loopback/,
  });
});
