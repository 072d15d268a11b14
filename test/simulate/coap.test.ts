import { createSocket } from 'node:dgram';
import { decode } from 'cbor2';
import { generate, parse } from 'coap-packet';
import t, { type Test } from 'tap';
import { seconds } from '../../src/core/units.ts';
import { startPlant } from '../../src/simulate/plant.ts';
import { HandClock } from '../support/clock.ts';
import { missingPeer } from '../support/peer.ts';
import { freeUdpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';
import { configOf, pointNamed, ran } from './support.ts';

const CLIENT = 'coap-client-notls';
const skip = missingPeer(CLIENT, 'libcoap3-bin');

const yaml = (port: number, gateway: number) => `
gateway: { id: g, data: ./data }
coap: { listen: "127.0.0.1:${gateway}" }
zones: { z: { vlan: 20, subnet: 127.30.0.0/16 } }
classes:
  tank:
    zone: z
    protocol: coap
    every: 4s
    points:
      level: { at: "/sensors/level", observe: true, unit: m }
      flow: { at: "/sensors/all", format: json, pointer: /pipe/flow, unit: m3 }
      open: { at: "/sensors/all", format: json, pointer: /valve, type: bool }
      temperature: { at: "/t", format: cbor, pointer: /t, unit: Cel, scale: 0.5, offset: 3 }
      humidity: { at: "/pack", format: senml-json, record: "urn:h", unit: "%RH" }
      dew: { at: "/pack", format: senml-json, record: "urn:d", unit: Cel }
      binary: { at: "/bin", format: senml-cbor, unit: Cel }
      medium: { at: "/medium", type: string }
      setpoint: { at: "/setpoint", writable: true, min: 0, max: 9 }
      pump: { at: "/pump", format: json, pointer: /on, type: bool, writable: true }
  shaker:
    zone: z
    protocol: coap
    every: 4s
    points:
      velocity: { push: true, format: senml-cbor, unit: mm/s }
      alarm: { push: true, format: text, type: bool }
devices:
  tank-1: { class: tank, at: "coap://127.30.0.1:${port}" }
  tank-2: { class: tank, at: "coap://127.30.0.2:${port}" }
  shaker-in-hall-b: { class: shaker, at: "coap://127.30.0.3:${port}" }
`;

async function start(t: Test) {
  const [port, gateway] = [await freeUdpPort(), await freeUdpPort()];
  const config = configOf(yaml(port, gateway));
  const clock = new HandClock();
  const stop = new AbortController();
  const plant = await startPlant(config, { signal: stop.signal, clock, slowBy: seconds(0.5) });
  t.teardown(async () => {
    stop.abort();
    await plant.stopped;
  });
  const signal = (name: string, device = 'tank-1') => plant.signal(pointNamed(config, device, name));
  const get = async (path: string, host = '127.30.0.1', ...more: string[]) =>
    (await ran(CLIENT, ['-m', 'get', '-B', '1', ...more, `coap://${host}:${port}${path}`])).text.trim();
  return { config, plant, clock, signal, get, port, gateway };
}

t.test('libcoap reads what signalAt says, in every format', { skip }, async (t) => {
  const { clock, signal, get } = await start(t);

  for (let i = 0; i < 2; i++) {
    t.equal(await get('/sensors/level'), String(signal('level')));
    t.same(JSON.parse(await get('/sensors/all')), { pipe: { flow: signal('flow') }, valve: signal('open') });
    t.same(JSON.parse(await get('/pack')), [
      { n: 'urn:h', u: '%RH', t: Math.floor(clock.now() / 1_000), v: signal('humidity') },
      { n: 'urn:d', u: 'Cel', t: Math.floor(clock.now() / 1_000), v: signal('dew') },
    ]);
    t.equal(await get('/medium'), signal('medium'));
    t.equal(await get('/sensors/level', '127.30.0.2'), String(signal('level', 'tank-2')));
    t.not(await get('/sensors/level', '127.30.0.2'), String(signal('level')));
    await clock.advance(seconds(95));
  }
});

/** One confirmable request from a socket of our own, for what a command line cannot show. */
async function asked(host: string, port: number, path: string, options: { readonly accept?: number } = {}) {
  const socket = createSocket('udp4');
  try {
    const reply = new Promise<Buffer>((resolve) => socket.once('message', resolve));
    const accept =
      options.accept === undefined ? [] : [{ name: 'Accept' as const, value: Buffer.of(options.accept) }];
    const segments = path.slice(1).split('/');
    const datagram = generate({
      code: '0.01',
      confirmable: true,
      messageId: 77,
      token: Buffer.of(1, 2),
      options: [
        ...segments.map((segment) => ({ name: 'Uri-Path' as const, value: Buffer.from(segment) })),
        ...accept,
      ],
    });
    socket.send(datagram, port, host);
    return parse(await reply);
  } finally {
    socket.close();
  }
}

const option = (name: string, { options }: ReturnType<typeof parse>) =>
  options.find((one) => one.name === name)?.value;

t.test('a representation carries its Content-Format and its age, and Accept is obeyed', async (t) => {
  const { signal, port } = await start(t);

  const cbor = await asked('127.30.0.1', port, '/t');
  t.equal(cbor.code, '2.05');
  t.same(option('Content-Format', cbor), Buffer.of(60));
  t.same(option('Max-Age', cbor), Buffer.of(60));
  const raw = Number(((Number(signal('temperature')) - 3) / 0.5).toPrecision(12)); // without the noise of the division
  t.same(decode(cbor.payload), { t: raw });

  const senml = await asked('127.30.0.1', port, '/bin', { accept: 112 });
  t.same(option('Content-Format', senml), Buffer.of(112));
  const pack: unknown = decode(senml.payload, { preferMap: true });
  t.equal(Array.isArray(pack) && pack[0] instanceof Map && pack[0].get(2), signal('binary'));

  t.same(option('Content-Format', await asked('127.30.0.1', port, '/sensors/level')), Buffer.of());
  t.equal((await asked('127.30.0.1', port, '/bin', { accept: 50 })).code, '4.06');
});

t.test('libcoap observes, and is told when the value changes', { skip }, async (t) => {
  const { plant, clock, signal, port } = await start(t);
  const before = String(signal('level'));

  const observing = ran(CLIENT, [
    '-m',
    'get',
    '-s',
    '2',
    '-B',
    '3',
    `coap://127.30.0.1:${port}/sensors/level`,
  ]);
  await until('the observer is registered', () => plant.observers === 1);
  await clock.advance(seconds(60));
  const { text } = await observing;

  t.match(text, before);
  t.match(text, String(signal('level')));
  await until('the observer has gone', () => plant.observers === 0);
});

t.test('what libcoap puts is kept, and only where the point is writable', { skip }, async (t) => {
  const { get, port, clock } = await start(t);
  const put = async (path: string, payload: string, format = '0') =>
    (
      await ran(CLIENT, [
        '-m',
        'put',
        '-B',
        '1',
        '-t',
        format,
        '-e',
        payload,
        `coap://127.30.0.1:${port}${path}`,
      ])
    ).text;

  t.equal(await put('/setpoint', '7.25'), '');
  t.equal(await put('/pump', '{"on":true}', '50'), '');
  await clock.advance(seconds(100));
  t.equal(await get('/setpoint'), '7.25');
  t.equal(await get('/pump'), '{"on":true}');
  t.equal(await put('/pump', '{"on":false}', '50'), '');
  t.equal(await get('/pump'), '{"on":false}');
  t.match(await put('/sensors/level', '7'), /4\.05/);
  t.match(await put('/nothing', '7'), /4\.04/);
  t.match(await put('/setpoint', 'warm'), /4\.00/);
  t.match(await put('/pump', '{"on":', '50'), /4\.00/);
  t.match(await put('/pump', 'x', '42'), /4\.15/);
  t.match(await get('/nothing'), /4\.04/);
});

t.test('libcoap sees each fault, the neighbours none', { skip }, async (t) => {
  const { plant, get } = await start(t);

  plant.fault('tank-1', 'silence');
  t.equal(await get('/sensors/level'), '');
  plant.fault('tank-1', 'exception');
  t.match(await get('/sensors/level'), /5\.00/);
  plant.fault('tank-1', 'wrong-transaction');
  t.notMatch(await get('/sensors/level'), /^\d/);
  plant.fault('tank-1', 'close');
  t.notMatch(await get('/sensors/level'), /^\d/);
  t.match(await get('/sensors/level', '127.30.0.2'), /^\d/, 'neighbour');
  plant.fault('tank-1', 'slow');
  const before = Date.now();
  t.match(await get('/sensors/level', '127.30.0.1', '-B', '3'), /^\d/);
  t.ok(Date.now() - before >= 500, 'half a second late');
  plant.fault('tank-1', undefined);
  t.match(await get('/sensors/level'), /^\d/);
});

t.test('a device pushes to the gateway from its own address, and counts the answers', async (t) => {
  const [port, gateway] = [await freeUdpPort(), await freeUdpPort()];
  const config = configOf(yaml(port, gateway));
  const heard: {
    readonly from: string;
    readonly path: string;
    readonly format: number | undefined;
    readonly payload: Buffer;
  }[] = [];
  const socket = createSocket('udp4');
  await new Promise<void>((resolve) => socket.bind(gateway, '127.0.0.1', resolve));
  socket.on('message', (datagram, { address, port: from }) => {
    const { code, options, payload, messageId, token, confirmable } = parse(datagram);
    const path = options.filter(({ name }) => name === 'Uri-Path').map(({ value }) => String(value));
    const format = options.find(({ name }) => name === 'Content-Format')?.value;
    heard.push({
      from: address,
      path: `${code} /${path.join('/')}`,
      format: Buffer.isBuffer(format) ? (format[0] ?? 0) : undefined,
      payload,
    });
    t.equal(confirmable, true);
    socket.send(generate({ code: '2.04', ack: true, messageId, token }), from, address);
  });
  const clock = new HandClock();
  const stop = new AbortController();

  const plant = await startPlant(config, { signal: stop.signal, clock });
  const signal = (name: string) => plant.signal(pointNamed(config, 'shaker-in-hall-b', name));
  await until('both points were pushed', () => heard.length === 2);
  const [velocity, alarm] = heard;

  t.match(velocity, { from: '127.30.0.3', path: '0.02 /shaker-in-hall-b/velocity', format: 112 });
  const pack: unknown = decode(velocity?.payload ?? Buffer.of(), { preferMap: true });
  t.equal(Array.isArray(pack) && pack[0] instanceof Map && pack[0].get(2), signal('velocity'));
  t.match(alarm, { from: '127.30.0.3', path: '0.02 /shaker-in-hall-b/alarm', format: 0 });
  t.equal(alarm?.payload.toString(), String(signal('alarm')));

  await clock.advance(seconds(1));
  t.equal(heard.length, 2, 'twice a period is enough');
  await clock.advance(seconds(1));
  await until('they were pushed again', () => heard.length === 4);
  await until('the answers were counted', () => plant.answers().get('2.04') === 4);

  stop.abort();
  await plant.stopped;
  socket.close();
});

t.test('a UDP port in use is one clear sentence', async (t) => {
  const { config, port } = await start(t);

  await t.rejects(startPlant(config, { signal: new AbortController().signal }), {
    code: 'SETUP',
    message: `coap://127.30.0.1:${port} of tank-1 is in use by another program`,
  });
});

t.test('garbage neither stops a device nor goes unnoticed by the next request', async (t) => {
  const { signal, port } = await start(t);
  const socket = createSocket('udp4');
  for (const bytes of [
    [],
    [0x40],
    [0x40, 1, 0, 1, 0xff],
    [0x4f, 1, 0, 1],
    [0xff, 0xff, 0xff, 0xff],
    [0x40, 1, 0, 1, 0xd0],
  ]) {
    await new Promise((resolve) => socket.send(Buffer.from(bytes), port, '127.30.0.1', resolve));
  }
  socket.close();

  const reply = await asked('127.30.0.1', port, '/sensors/level');

  t.equal(reply.payload.toString(), String(signal('level')));
});
