import { createServer } from 'node:net';
import { connect } from 'node:tls';
import mqtt from 'mqtt-packet';
import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { broker, type BrokerTask } from '../../src/mqtt/broker.ts';
import type { InboundCommand } from '../../src/mqtt/messages.ts';
import { Authority, type Certificate } from '../support/certificates.ts';
import { MemoryOutbox } from '../support/memory-outbox.ts';
import { Running } from '../support/process.ts';
import { runTask } from '../support/run-task.ts';
import { until } from '../support/wait.ts';
import { clientArgs, distinct, noMosquitto, publish, seqs, subscribe, upTo } from './mosquitto.ts';
import { RawClient } from './raw-client.ts';
import { RecordingLog } from './recording-log.ts';

const folder = t.testdir();
const ca = new Authority(folder);
const rogue = new Authority(folder, 'Rogue CA');
const server = ca.issue('gw1', { names: 'IP:127.0.0.1' });
const viewer = ca.issue('viewer');
const operator = ca.issue('operator', { unit: 'may-command' });

interface Teardown {
  teardown(after: () => unknown): void;
}

interface Gateway {
  readonly outbox: MemoryOutbox;
  readonly log: RecordingLog;
  readonly task: BrokerTask;
  readonly port: number;
  readonly commands: InboundCommand[];
  readonly add: (from: number, to: number) => void;
  readonly stop: () => Promise<void>;
}

async function start(t: Teardown, outbox = new MemoryOutbox()): Promise<Gateway> {
  const log = new RecordingLog();
  const commands: InboundCommand[] = [];
  const task = broker({
    listen: { host: '127.0.0.1', port: 0 },
    gateway: 'gw1',
    version: '1.2.3',
    identity: server,
    outbox,
    onCommand: (command) => {
      commands.push(command);
      task.publishResult(command.device, command.point, { id: '7', ok: true, value: true });
    },
    clock: systemClock,
    log,
  });
  const stop = runTask(t, task);
  const port = await until('the broker listens', () => task.port);
  const add = (from: number, to: number) => {
    for (let seq = from; seq <= to; seq++) outbox.add([[`telemetry/m${seq % 4}`, `{"seq":${seq}}`]]);
  };
  return { outbox, log, task, port, commands, add, stop };
}

async function subscribed(t: Teardown, gw: Gateway, who: Certificate, filter: string, ...more: string[]) {
  const sub = subscribe(gw.port, who, filter, ...more);
  t.teardown(async () => sub.stop());
  await until('a place in the outbox', async () => (await gw.outbox.consumers()).length > 0);
  return sub;
}

t.test(
  'a subscriber with a certificate gets status, telemetry in order, and results',
  { skip: noMosquitto },
  async (t) => {
    const gw = await start(t);
    const sub = await subscribed(t, gw, viewer, 'sluice/gw1/#');
    await sub.says(/^sluice\/gw1\/status \{"state":"online","since":"[^"]+Z","version":"1.2.3"\}$/);
    gw.add(1, 1_000);
    await until('all arrived', () => seqs(sub.out).length >= 1_000);
    gw.task.publishResult('press-1', 'breaker', { id: '9', ok: false, error: 'not writable' });

    t.equal(
      await sub.says(/result/),
      'sluice/gw1/result/press-1/breaker {"id":"9","ok":false,"error":"not writable"}',
    );
    t.same(seqs(sub.out), upTo(1_000));
    t.equal(sub.out.filter((line) => line.includes('status')).length, 1, 'status comes once');
    await until('all acknowledged', () => gw.outbox.waiting('clean:viewer') === 0);

    await sub.stop();
    await until('a clean session leaves nothing', async () => (await gw.outbox.consumers()).length === 0);
  },
);

t.test('filters choose what is delivered; the rest counts as delivered', { skip: noMosquitto }, async (t) => {
  const gw = await start(t);
  const sub = await subscribed(t, gw, viewer, 'sluice/gw1/telemetry/m1', '-t', 'sluice/gw1/telemetry/+/x');
  gw.add(1, 40);
  await until('nothing waits', () => gw.outbox.waiting('clean:viewer') === 0);
  await until('its own arrived', () => seqs(sub.out).length >= 10);

  t.same(
    seqs(sub.out),
    upTo(40).filter((seq) => seq % 4 === 1),
  );
});

t.test('a QoS 0 subscription is served too', { skip: noMosquitto }, async (t) => {
  const gw = await start(t);
  const sub = new Running('mosquitto_sub', [
    ...clientArgs(gw.port, viewer),
    '-q',
    '0',
    '-t',
    'sluice/gw1/telemetry/#',
  ]);
  t.teardown(async () => sub.stop());
  await until('a place in the outbox', async () => (await gw.outbox.consumers()).length > 0);
  gw.add(1, 500);
  await until('all arrived', () => seqs(sub.out).length >= 500);

  t.same(seqs(sub.out), upTo(500));
});

t.test('who has no certificate of this CA does not get in', { skip: noMosquitto }, async (t) => {
  const gw = await start(t);
  const stranger = rogue.issue('viewer');
  const attempts: readonly (readonly string[])[] = [
    ['-h', '127.0.0.1', '-p', `${gw.port}`, '--cafile', viewer.caFile],
    clientArgs(gw.port, { ...stranger, caFile: viewer.caFile }),
    ['-h', '127.0.0.1', '-p', `${gw.port}`], // no TLS at all
    clientArgs(gw.port, ca.issue('late', { days: -1 })),
    clientArgs(gw.port, ca.issue('bad name')),
  ];
  for (const args of attempts) {
    const sub = new Running('mosquitto_sub', [...args, '-t', 'sluice/gw1/#', '-W', '2', '-i', 'viewer']);
    t.not(await sub.ended, 0);
    t.not(await sub.ended, 27, 'refused, not timed out');
    t.same(sub.out, []);
  }
  t.equal(gw.task.state.clients, 0);
  t.ok(gw.log.find(/showed no certificate/));
  t.ok(gw.log.find(/not of this gateway's CA/));
  t.ok(gw.log.find(/has expired/));
  t.ok(gw.log.find(/does not speak TLS/));
  t.ok(gw.log.find(/not allowed/));
});

t.test('a client is called what its certificate says', { skip: noMosquitto }, async (t) => {
  const gw = await start(t);
  const other = await publish(gw.port, operator, 'sluice/gw1/command/d/p', '{}', '-i', 'viewer');
  t.match(other.says, /identifier rejected/);
  t.equal(gw.log.count(/calls itself \\"viewer\\"|calls itself/), 1);

  const nameless = await RawClient.connect(gw.port, operator, { clientId: '', clean: true });
  t.equal(
    (await nameless.next('connack')).returnCode,
    0,
    'without a name it gets the one of its certificate',
  );
  nameless.drop();

  const kept = connect({ ...operator, port: gw.port, host: '127.0.0.1' });
  const answer: Buffer[] = [];
  kept.on('data', (chunk: Buffer) => answer.push(chunk));
  kept.write(Buffer.from([0x10, 12, 0, 4, ...Buffer.from('MQTT'), 4, 0, 0, 60, 0, 0]));
  await new Promise((resolve) => kept.once('close', resolve));
  t.same(Buffer.concat(answer), Buffer.from([0x20, 2, 0, 2]), 'but not for a persistent session');
});

t.test('a second connection of the same name takes over from the first', { skip: noMosquitto }, async (t) => {
  const gw = await start(t);
  const first = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await first.next('connack');
  await first.subscribe('sluice/gw1/telemetry/#');
  const second = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await second.next('connack');
  await until('the first is closed', () => first.closed);
  await second.subscribe('sluice/gw1/telemetry/#');
  gw.add(1, 10);
  await until('the second is served', () => second.publishes.length === 10);
  t.equal(gw.task.state.clients, 1);
});

t.test('nobody subscribes outside the gateway, and SUBACK says so', async (t) => {
  const gw = await start(t);
  const client = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await client.next('connack');
  const refused = [
    '#',
    '+/gw1/#',
    'sluice/+/telemetry/#',
    'sluice/gw2/#',
    '$SYS/#',
    '$share/group/sluice/gw1/#',
    'sluice/gw1/telemetry/#x',
    `sluice/gw1/${'x'.repeat(300)}`,
  ];
  for (const filter of refused.slice(0, 6)) t.equal(await client.subscribe(filter), 0x80, filter);
  t.equal(await client.subscribe(refused[7] ?? ''), 0x80, 'too long');
  for (let i = 0; i < 32; i++) t.equal(await client.subscribe(`sluice/gw1/telemetry/m${i}`), 1);
  t.equal(await client.subscribe('sluice/gw1/telemetry/m32'), 0x80, 'the 33rd subscription');
  t.equal(gw.log.count(/subscription refused/), 1, 'one line for each client');
  client.drop();
});

t.test(
  'nobody publishes, except commands where the certificate allows it',
  { skip: noMosquitto },
  async (t) => {
    const gw = await start(t);
    const sub = await subscribed(t, gw, viewer, 'sluice/gw1/#');
    await sub.says(/status/);
    const command = 'sluice/gw1/command/press-1/breaker';
    const attempts: readonly (readonly [
      who: Certificate,
      topic: string,
      payload: string,
      ...more: string[],
    ])[] = [
      [ca.issue('reader'), command, '{"id":"1"}'],
      [operator, 'sluice/gw1/telemetry/m1', '{"seq":99}'],
      [operator, 'sluice/gw1/status', 'gone', '-r'],
      [operator, 'sluice/gw1/command/press-1', '{}'],
      [operator, 'sluice/gw1/command/press-1/breaker/x', '{}'],
      [operator, 'sluice/gw2/command/press-1/breaker', '{}'],
      [operator, '$SYS/broker', 'x'],
      [operator, command, '{"id":"2"}', '-r'],
      [operator, command, 'x'.repeat(5_000)],
    ];
    for (const [who, topic, payload, ...more] of attempts) {
      const before = gw.task.state.refused;
      const name = who === operator ? 'operator' : 'reader';
      await publish(gw.port, who, topic, payload, '-i', name, ...more);
      await until('it is counted', () => gw.task.state.refused > before);
    }
    t.same(gw.commands, []);
    t.equal(gw.log.count(/publish refused/), 2, 'one line for each client');

    for (const qos of ['0', '1', '2']) {
      const done = await publish(gw.port, operator, command, `{"id":"${qos}"}`, '-i', 'operator', '-q', qos);
      t.equal(done.status, 0);
      await until('the command', () => gw.commands.length === Number(qos) + 1);
    }
    t.match(gw.commands[1], { by: 'operator', device: 'press-1', point: 'breaker', retained: false });
    await until('the results', () => sub.out.filter((line) => line.includes('result/')).length === 3);
    t.notOk(
      sub.out.some((line) => /command|seq|gone/.test(line)),
      'what was published reached no other client',
    );
  },
);

t.test('a last will is refused, because it is a publish', async (t) => {
  const gw = await start(t);
  const client = await RawClient.connect(gw.port, operator, {
    clientId: 'operator',
    clean: true,
    will: { topic: 'sluice/gw1/command/press-1/breaker', payload: Buffer.from('{}'), qos: 1, retain: false },
  });
  t.equal((await client.next('connack')).returnCode, 5);
  await until('closed', () => client.closed);
  t.same(gw.commands, []);
});

t.test('MQTT 5 is refused with a code, and the log says what to do', async (t) => {
  const gw = await start(t);
  const client = await RawClient.connect(gw.port, viewer, {
    clientId: 'viewer',
    clean: true,
    protocolVersion: 5,
  });
  await until('closed', () => client.closed);
  t.match(client.received.subarray(0, 4), Buffer.from([0x20, 2, 0, 1]));
  t.match(gw.log.find(/MQTT 5/)?.facts['remedy'], /mqttv311/);
});

t.test('an unfinished CONNECT of 10 MB is ended at its first bytes', async (t) => {
  const gw = await start(t);
  const before = process.memoryUsage().rss;
  const clients = await Promise.all(
    Array.from({ length: 10 }, async () => {
      const socket = connect({ ...viewer, port: gw.port, host: '127.0.0.1' });
      const state = { closed: false, written: 0 };
      socket.on('error', () => {});
      socket.once('close', () => {
        state.closed = true;
      });
      await new Promise((resolve) => socket.once('secureConnect', resolve));
      socket.write(Buffer.from([0x10, 0x80, 0x80, 0x80, 0x05])); // CONNECT of 10 MiB
      const chunk = Buffer.alloc(65_536);
      for (let i = 0; i < 160 && !state.closed; i++) socket.write(chunk);
      return state;
    }),
  );
  await until('all closed', () => clients.every(({ closed }) => closed));
  const grown = process.memoryUsage().rss - before;

  t.ok(grown < 180e6, `${Math.round(grown / 1e6)} MB more, with the 100 MB that this test wrote itself`);
  t.equal(gw.log.count(/sends a packet of more than 4096 bytes/), 1);
  t.equal(gw.task.state.clients, 0);
});

t.test('after CONNECT a packet may be 64 KiB and no more', async (t) => {
  const gw = await start(t);
  const client = await RawClient.connect(gw.port, operator, { clientId: 'operator', clean: true });
  await client.next('connack');
  client.send({
    cmd: 'publish',
    topic: 'sluice/gw1/command/a/b',
    payload: Buffer.alloc(70_000),
    qos: 0,
    dup: false,
    retain: false,
  });
  await until('closed', () => client.closed);
  t.ok(gw.log.find(/sends a packet of more than 65536 bytes/));
});

t.test('a subscriber that reads nothing holds up nobody else, and costs a bounded amount', async (t) => {
  const gw = await start(t);
  const slow = await RawClient.connect(gw.port, ca.issue('slow'), { clientId: 'slow', clean: true });
  await slow.next('connack');
  await slow.subscribe('sluice/gw1/#', 0);
  slow.pause();
  const quick = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await quick.next('connack');
  await quick.subscribe('sluice/gw1/telemetry/#', 1);
  const text = 'x'.repeat(10_000);
  for (let seq = 1; seq <= 2_000; seq++) gw.outbox.add([['telemetry/m1', `{"seq":${seq},"text":"${text}"}`]]);

  await until('the other one has everything', () => quick.publishes.length === 2_000);
  const waiting = gw.outbox.waiting('clean:slow');
  t.ok(waiting > 500, `${waiting} of 2000 wait in the outbox, not in memory`);
  slow.resume();
  await until(
    'and the slow one gets the rest',
    () => slow.publishes.filter(({ topic }) => /m1/.test(topic)).length === 2_000,
  );
});

t.test('a client that acknowledges nothing is sent 20 messages and no more', async (t) => {
  const gw = await start(t);
  const client = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await client.next('connack');
  client.acknowledging = false;
  await client.subscribe('sluice/gw1/telemetry/#');
  gw.add(1, 100);
  await until('the window is full', () => client.publishes.length === 20);
  client.acknowledging = true;
  for (const { messageId = 0 } of client.publishes) client.send({ cmd: 'puback', messageId });
  await until('the rest', () => client.publishes.length === 100);

  t.same(distinct(client.publishes.map(({ messageId = 0 }) => messageId)), upTo(100));
  t.same(seqs(client.publishes.map(({ payload }) => payload.toString())), upTo(100));
});

t.test('an unsubscribed topic is no longer delivered', async (t) => {
  const gw = await start(t);
  const client = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await client.next('connack');
  await client.subscribe('sluice/gw1/telemetry/m1');
  await client.subscribe('sluice/gw1/telemetry/m2');
  await client.unsubscribe('sluice/gw1/telemetry/m1');
  gw.add(1, 8);
  await until('nothing waits', () => gw.outbox.waiting('clean:viewer') === 0);

  t.same(seqs(client.publishes.map(({ payload }) => payload.toString())), [2, 6]);
});

t.test(
  'at an orderly stop subscribers hear that the gateway is offline',
  { skip: noMosquitto },
  async (t) => {
    const gw = await start(t);
    const sub = await subscribed(t, gw, viewer, 'sluice/gw1/status');
    await sub.says(/online/);
    await gw.stop();

    t.match(await sub.says(/offline/), /^sluice\/gw1\/status \{"state":"offline","since":"[^"]+Z"\}$/);
  },
);

t.test('a new certificate is shown to new connections, the open ones go on', async (t) => {
  const gw = await start(t);
  const client = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await client.next('connack');
  await client.subscribe('sluice/gw1/telemetry/#');
  const renewed = ca.issue('gw1-renewed', { names: 'IP:127.0.0.1' });
  gw.task.renewIdentity(renewed);
  const socket = connect({ ...operator, port: gw.port, host: '127.0.0.1' });
  await new Promise((resolve) => socket.once('secureConnect', resolve));
  const shown = socket.getPeerCertificate().subject.CN;
  socket.destroy();
  gw.add(1, 3);

  t.equal(shown, 'gw1-renewed');
  await until('still served', () => client.publishes.length === 3);
  const stranger = await RawClient.connect(
    gw.port,
    { ...rogue.issue('viewer'), ca: viewer.ca },
    {
      clientId: 'viewer',
      clean: true,
    },
  );
  await until('a rogue certificate is still refused', () => stranger.closed);
});

t.test('a port in use is one sentence with the remedy', async (t) => {
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => new Promise((resolve) => other.close(resolve)));
  const address = other.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const options = {
    gateway: 'gw1',
    version: '1',
    identity: server,
    outbox: new MemoryOutbox(),
    onCommand: () => {},
    clock: systemClock,
    log: new RecordingLog(),
  };
  const never = new AbortController().signal;

  await t.rejects(broker({ ...options, listen: { host: '127.0.0.1', port } }).run(never), {
    code: 'SETUP',
    message: `the broker cannot listen on 127.0.0.1:${port}: the port is in use`,
    remedy: /mqtt\.embedded\.listen/,
  });
  await t.rejects(broker({ ...options, listen: { host: '192.0.2.1', port } }).run(never), {
    code: 'SETUP',
    message: /this machine has no such address/,
  });
});

t.test('bytes that are no MQTT end one connection and nothing else', async (t) => {
  const gw = await start(t);
  const steady = await RawClient.connect(gw.port, viewer, { clientId: 'viewer', clean: true });
  await steady.next('connack');
  await steady.subscribe('sluice/gw1/telemetry/#');
  const connectPacket = mqtt.generate({ cmd: 'connect', clientId: 'operator', clean: true, keepalive: 60 });
  const garbage = [
    Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
    Buffer.from([0x30, 0x02, 0x00, 0x00]), // PUBLISH before CONNECT
    Buffer.concat([connectPacket, connectPacket]),
    Buffer.concat([connectPacket, Buffer.from([0x30, 0x02, 0x00, 0x00])]), // empty topic
    Buffer.concat([connectPacket, Buffer.from([0x82, 0x02, 0x00, 0x01])]), // SUBSCRIBE to nothing
    Buffer.concat([connectPacket, Buffer.from([0x62, 0x02, 0x00, 0x00])]), // PUBREL of nothing
    Buffer.concat([
      connectPacket,
      mqtt.generate({
        cmd: 'publish',
        topic: `sluice/${'a/'.repeat(200)}`,
        payload: '',
        qos: 1,
        messageId: 1,
        dup: false,
        retain: false,
      }),
    ]),
  ];
  for (const bytes of garbage) {
    const socket = connect({ ...operator, port: gw.port, host: '127.0.0.1' });
    socket.on('error', () => {});
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    socket.end(bytes);
    socket.resume();
    await new Promise((resolve) => socket.once('close', resolve));
  }
  gw.add(1, 5);
  await until('the other client is served', () => steady.publishes.length === 5);
  t.equal(gw.task.state.clients, 1);
});
