import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { maxAge, observeOption, RawPeer } from '../coap/raw-peer.ts';
import { issue } from '../support/client.ts';
import {
  adu,
  exceptionReply,
  HostileModbus,
  registersReply,
  type WireRequest,
} from '../support/hostile-modbus.ts';
import { missingPeer } from '../support/peer.ts';
import { freeTcpPort } from '../support/ports.ts';
import { Running, SLUICE } from '../support/process.ts';
import { received, type ReceivedSample } from '../support/received.ts';
import { until } from '../support/wait.ts';

const skip = missingPeer('mosquitto_sub', 'mosquitto-clients');

/** From here on a number is one that no subscriber may ever see. */
const WRONG = 60_000;
const TIMEOUT = 200; // ms, of every device below
/** Rounds of right and wrong that each device has to have gone through. */
const ROUNDS = 3;

/** What a device does in one round; the round after it is an honest one. */
type Mischief = (request: WireRequest, right: Buffer) => void;

const wrong = (request: WireRequest): Buffer => registersReply(request, WRONG);
/** What comes only when the next request has been sent: the one that it answers was given up before. */
const owed = new WeakMap<WireRequest['socket'], Buffer>();

const MISCHIEF: Readonly<Record<string, Mischief>> = {
  late: (request) => owed.set(request.socket, wrong(request)),
  doubled: ({ socket, ...request }, right) =>
    socket.write(Buffer.concat([right, wrong({ ...request, socket })])),
  'other-id': (request, right) =>
    request.socket.write(Buffer.concat([wrong({ ...request, id: (request.id + 1) & 0xffff }), right])),
  'settled-id': (request, right) =>
    request.socket.write(Buffer.concat([wrong({ ...request, id: (request.id + 0xffff) & 0xffff }), right])),
  'other-unit': (request) => request.socket.write(wrong({ ...request, unit: request.unit + 1 })),
  'other-function': (request) => request.socket.write(adu(request, [4, 2, WRONG >> 8, WRONG & 255])),
  'too-short': (request) => request.socket.write(adu(request, [3, 2, WRONG >> 8])),
  'too-long': (request) =>
    request.socket.write(adu(request, [3, 4, WRONG >> 8, WRONG & 255, WRONG >> 8, WRONG & 255])),
  'lying-count': (request) => request.socket.write(adu(request, [3, 4, WRONG >> 8, WRONG & 255])),
  'long-exception': (request) => request.socket.write(adu(request, [0x83, 2, WRONG >> 8, WRONG & 255])),
  'other-protocol': (request) =>
    request.socket.write(adu(request, [3, 2, WRONG >> 8, WRONG & 255], { protocol: 0x1234 })),
  'length-of-300': (request) =>
    request.socket.write(adu(request, [3, 2, WRONG >> 8, WRONG & 255], { length: 300 })),
  garbage: ({ socket }) => socket.write(Buffer.from('GET / HTTP/1.1\r\nHost: plc\r\n\r\n')),
  'reset-within': (request) => {
    request.socket.write(wrong(request).subarray(0, 10));
    request.socket.resetAndDestroy();
  },
  'close-within': (request) => request.socket.end(wrong(request).subarray(0, 9)),
  'exception-without-code': (request) => request.socket.write(adu(request, [0x83, 0])),
  busy: (request) => request.socket.write(exceptionReply(request, 6)),
};

interface Hostile {
  readonly peer: HostileModbus;
  rounds: number;
}

/** Every other round is honest; its value says so, and changes, so that a report follows. */
async function hostile(mischief: Mischief): Promise<Hostile> {
  let turn = 0;
  const peer = await HostileModbus.listen((request) => {
    turn += 1;
    const right = registersReply(request, (turn >> 1) % 1_000);
    if (turn % 2 === 1) {
      const before = owed.get(request.socket) ?? Buffer.alloc(0);
      owed.delete(request.socket);
      request.socket.write(Buffer.concat([before, right]));
    } else {
      device.rounds += 1;
      mischief(request, right);
    }
  });
  const device: Hostile = { peer, rounds: 0 };
  return device;
}

t.test('whatever hostile devices send, a subscriber sees right values or none', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-hostile-'));
  const devices = new Map<string, Hostile>();
  for (const [name, mischief] of Object.entries(MISCHIEF)) devices.set(name, await hostile(mischief));
  const sensor = new RawPeer();
  const stranger = new RawPeer();
  await stranger.open();
  const sensorPort = await sensor.open();
  let told = 0;
  sensor.answer = (asked, peer) => {
    told += 1;
    const right = Buffer.from(String(told % 1_000));
    const bad = Buffer.from(String(WRONG + told));
    const token = Buffer.from(asked.token);
    token[0] = (token[0] ?? 0) ^ 1;
    if (asked.path === '/observed') {
      if (asked.observe !== 0) return;
      peer.reply(asked, { payload: right, options: [observeOption(1_000), maxAge(60)] });
      peer.notify(asked, { payload: right, options: [observeOption(1_001), maxAge(60)] });
      peer.notify(asked, { payload: bad, options: [observeOption(900), maxAge(60)] }); // overtaken
      peer.notify(asked, { payload: bad, token, options: [observeOption(1_002)] }); // of nobody
      return;
    }
    peer.reply(asked, { payload: bad, token }); // another token
    peer.reply(asked, { payload: bad, messageId: ((asked.messageId ?? 0) + 1) & 0xffff }); // another message
    stranger.reply(asked, { payload: bad }); // another port
    peer.reply(asked, { payload: right });
    peer.reply(asked, { payload: bad }); // settled
    peer.notify(asked, { payload: bad }); // settled
  };
  t.teardown(async () => {
    for (const { peer } of devices.values()) await peer.close();
    await sensor.close();
    await stranger.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const brokerPort = await freeTcpPort();
  const file = join(folder, 'gateway.yaml');
  writeFileSync(file, configuration(brokerPort, devices, sensorPort));
  const site = { folder, file, id: 'besieged', brokerPort, network: '127.0.0', remove: () => {} };
  const who = issue(site, 'reader');
  const gateway = new Running(SLUICE, ['run', file]);
  t.teardown(async () => gateway.stop('SIGKILL'));
  await gateway.says(/broker listens/);
  const subscriber = new Running('mosquitto_sub', [...who, '-v', '-t', 'sluice/besieged/#']);
  t.teardown(async () => subscriber.stop());

  await until('every device to have had its rounds', () =>
    [...devices.values()].every(({ rounds }) => rounds >= ROUNDS),
  );
  await until('the sensor to have been asked', () => told >= ROUNDS);
  const of = (device: string): readonly ReceivedSample[] =>
    received(subscriber.out)
      .filter(({ topic }) => topic.endsWith(`/${device}`))
      .flatMap(({ samples }) => samples);
  for (const name of [...devices.keys(), 'sensor']) {
    await until(
      `good values of ${name}`,
      () => of(name).filter(({ quality }) => quality === 'good').length > 2,
    );
  }

  t.equal(gateway.over, undefined, 'the gateway is alive');
  const samples = received(subscriber.out).flatMap(({ topic, samples: all }) =>
    all.map((sample) => ({ topic, ...sample })),
  );
  t.same(
    samples.filter(({ value }) => typeof value === 'number' && value >= WRONG),
    [],
    'no value of a wrong or late reply',
  );
  t.same(
    samples.filter(({ value, quality }) => (quality === 'bad') !== (value === null)),
    [],
    'what is bad has no value',
  );
  t.equal(await gateway.stop('SIGTERM'), 0, 'and it stops when it is asked to');
});

function configuration(broker: number, devices: ReadonlyMap<string, Hostile>, sensorPort: number): string {
  const lines = [...devices].map(
    ([name, { peer }]) => `  ${name}: { class: meter, at: "modbus-tcp://127.0.0.1:${peer.port}?unit=1" }`,
  );
  return `gateway: { id: besieged, data: ./data }
mqtt: { embedded: { listen: "127.0.0.1:${broker}" } }
zones: { plant: { vlan: 20, subnet: 127.0.0.0/8 } }
classes:
  meter:
    zone: plant
    protocol: modbus
    every: 50ms
    timeout: ${TIMEOUT}ms
    points: { level: { at: "holding:10:uint16" } }
  sensor:
    zone: plant
    protocol: coap
    every: 200ms
    points:
      level: { at: "/level" }
      observed: { at: "/observed", observe: true }
devices:
${lines.join('\n')}
  sensor: { class: sensor, at: "coap://127.0.0.1:${sensorPort}" }
`;
}
