import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import t from 'tap';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { days, seconds } from '../../src/core/units.ts';
import { broker, type BrokerTask } from '../../src/mqtt/broker.ts';
import { Authority, type Certificate } from '../support/certificates.ts';
import { HandClock } from '../support/clock.ts';
import { MemoryOutbox } from '../support/memory-outbox.ts';
import { until } from '../support/wait.ts';
import { RawClient } from './raw-client.ts';
import { RecordingLog } from './recording-log.ts';

const ca = new Authority(t.testdir());
const server = ca.issue('gw1', { names: 'IP:127.0.0.1' });
const viewer = ca.issue('viewer');
const operator = ca.issue('operator', { unit: 'may-command' });

interface Teardown {
  teardown(after: () => unknown): void;
}

interface Gateway {
  readonly log: RecordingLog;
  readonly task: BrokerTask;
  readonly port: number;
  readonly stop: () => Promise<void>;
}

async function start(t: Teardown, clock: Clock = systemClock): Promise<Gateway> {
  const log = new RecordingLog();
  const listen = { host: '127.0.0.1', port: 0 };
  const outbox = new MemoryOutbox();
  const shared = { gateway: 'gw1', version: '1', identity: server, onCommand: () => {} };
  const task = broker({ ...shared, listen, outbox, clock, log });
  const stopped = new AbortController();
  const running = task.run(stopped.signal);
  const stop = async () => {
    stopped.abort();
    await running;
  };
  t.teardown(stop);
  const port = await until('the broker listens', () => task.port);
  return { log, task, port, stop };
}

function opened<S extends Socket>(t: Teardown, socket: S): S {
  socket.on('error', () => {});
  t.teardown(() => socket.destroy());
  return socket;
}

const silent = (t: Teardown, port: number): Socket => opened(t, connectTcp(port, '127.0.0.1'));
const tlsOnly = (t: Teardown, port: number, who: Certificate): Socket =>
  opened(t, connectTls({ ca: who.ca, cert: who.cert, key: who.key, port, host: '127.0.0.1' }));

interface Judge {
  equal(found: unknown, wanted: unknown, says: string): unknown;
}

async function admitted(t: Judge, port: number, who: Certificate, clientId: string): Promise<RawClient> {
  const client = await RawClient.connect(port, who, { clientId, clean: true });
  t.equal((await client.next('connack')).returnCode, 0, `${clientId} gets in`);
  return client;
}

t.test('hundreds of silent connections keep nobody out, and hold up no stop', async (t) => {
  const { log, port, stop } = await start(t);
  const sockets = Array.from({ length: 300 }, () => silent(t, port));
  await until('the crowd is there', () => sockets.every(({ connecting }) => !connecting));

  const client = await admitted(t, port, viewer, 'viewer');
  t.match(log.find(/handshakes at a time/), { level: 'warn' });
  t.ok(sockets.filter(({ closed }) => !closed).length <= 33, 'only so many are kept waiting');
  client.drop();
  await stop();
  await until('the silent ones are closed', () => sockets.every(({ closed }) => closed));
});

t.test('a handshake has ten seconds, however busily somebody drags it out', async (t) => {
  const clock = new HandClock();
  const { log, port } = await start(t, clock);
  const hello = Buffer.from('1603010200010001fc0303', 'hex'); // the first bytes of a long ClientHello
  const slow = silent(t, port);
  const before = clock.sleeping;
  await until('it is waited for', () => clock.sleeping > before);

  for (let i = 0; i < 9; i++) {
    slow.write(hello.subarray(i, i + 1));
    await clock.advance(seconds(1));
  }
  t.notOk(slow.closed);
  slow.write(hello.subarray(9, 10));
  await clock.advance(seconds(2));

  await until('it is closed', () => slow.closed);
  t.match(log.find(/did not finish/), { level: 'warn' });
});

t.test('a client whose handshake fails is closed', async (t) => {
  const { port } = await start(t);
  const socket = silent(t, port);
  socket.write('GET / HTTP/1.1\r\n\r\n');
  await until('it is closed', () => socket.closed);
});

t.test('one client cannot take the places of the others', async (t) => {
  const { port } = await start(t);
  const sockets = Array.from({ length: 200 }, () => tlsOnly(t, port, viewer));
  await until('most are turned away', () => sockets.filter(({ closed }) => !closed).length <= 4);

  const other = await admitted(t, port, operator, 'operator');
  const itself = await admitted(t, port, viewer, 'viewer');
  other.drop();
  itself.drop();
});

t.test('a connection does not outlive its certificate', async (t) => {
  const clock = new HandClock(Date.now());
  const { log, port, task } = await start(t, clock);
  const client = await admitted(t, port, viewer, 'viewer');
  t.equal(await client.subscribe('sluice/gw1/#'), 1);
  await clock.advance(days(0.9));
  t.notOk(client.closed, 'it is good for a day');

  await clock.advance(days(0.2));

  await until('it is closed', () => client.closed);
  await until('it is gone', () => task.state.clients === 0);
  t.match(log.find(/has expired/)?.facts, { client: 'viewer' });
});

t.test('a client cannot renegotiate, nor come back without its certificate', async (t) => {
  const { log, port } = await start(t);
  const to = { ca: viewer.ca, port, host: '127.0.0.1' };
  const shown = { cert: viewer.cert, key: viewer.key };
  for (const version of ['TLSv1.2', 'TLSv1.3'] as const) {
    const only = { minVersion: version, maxVersion: version };
    const first = opened(t, connectTls({ ...to, ...shown, ...only }));
    await until('the handshake', () => first.authorized);
    const session = first.getSession();
    t.ok(session, 'there is something to come back with');
    const again = opened(t, connectTls({ ...to, ...only, ...(session === undefined ? {} : { session }) }));
    let reused = false;
    again.once('secureConnect', () => {
      reused = again.isSessionReused();
    });
    await until('the second one is turned away', () => again.closed);
    t.equal(reused, false);
    t.ok(log.find(/showed no certificate/));

    if (version === 'TLSv1.3') continue; // it has no renegotiation
    const outcome = await new Promise((resolve) => {
      first.once('error', resolve);
      first.renegotiate({}, resolve);
    });
    t.match(outcome, { message: /no renegotiation/ });
  }
});
