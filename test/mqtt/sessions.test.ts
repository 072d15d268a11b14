import { join } from 'node:path';
import t from 'tap';
import { days, seconds } from '../../src/core/units.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { systemClock } from '../../src/core/clock.ts';
import { broker, type BrokerTask } from '../../src/mqtt/broker.ts';
import { RememberedSessions } from '../../src/mqtt/remembered.ts';
import { Authority } from '../support/certificates.ts';
import { HandClock } from '../support/clock.ts';
import { MemoryOutbox } from '../support/memory-outbox.ts';
import { freeTcpPort } from '../support/ports.ts';
import { Running } from '../support/process.ts';
import { runTask } from '../support/run-task.ts';
import { until } from '../support/wait.ts';
import { clientArgs, distinct, noMosquitto, seqs } from './mosquitto.ts';
import { RawClient } from './raw-client.ts';
import { RecordingLog } from './recording-log.ts';

const folder = t.testdir();
const ca = new Authority(folder);
const server = ca.issue('gw1', { names: 'IP:127.0.0.1' });
const keeper = ca.issue('keeper');
const CHILD = new URL('session-child.ts', import.meta.url).pathname;

interface Teardown {
  teardown(after: () => unknown): void;
}

t.test(
  'a persistent session sees no hole when the gateway is killed with -9 again and again',
  { skip: noMosquitto },
  async (t) => {
    const port = await freeTcpPort();
    const { caFile, certFile, keyFile } = server;
    const file = join(folder, 'telemetry.db');
    const start = async () => {
      const child = new Running(process.execPath, [CHILD, file, caFile, certFile, keyFile, `${port}`]);
      t.teardown(async () => child.stop('SIGKILL'));
      await child.says(/^port/);
      return child;
    };
    let gateway = await start();
    const sub = new Keeper(port);
    t.teardown(async () => sub.stop());
    await until('it is served', () => sub.seqs.length > 0);
    const children = [gateway];
    for (let round = 0; round < 3; round++) {
      const seen = distinct(sub.seqs).length;
      await until('more arrived', () => distinct(sub.seqs).length > seen + 20);
      await gateway.stop('SIGKILL');
      gateway = await start();
      children.push(gateway);
    }
    gateway.child.kill('SIGUSR2');
    await gateway.says(/^enough/);

    const said = children.flatMap(({ out }) =>
      out.map((line) => Number(/^committed (\d+)/.exec(line)?.[1] ?? 0)),
    );
    const last = Math.max(...said);
    await until('the last one arrived, and all before it', () => {
      const got = distinct(sub.seqs);
      return got.at(-1) === last && got.length === last - (got[0] ?? 0) + 1;
    });
    t.ok(last > 60, `${last} messages, ${sub.seqs.length - distinct(sub.seqs).length} of them twice`);
    t.ok(sub.history > 0, 'what had to wait came as history');
    const errors = children.flatMap(({ out }) => out.filter((line) => line.startsWith('error')));
    t.same(errors, []);
  },
);

/** mosquitto_sub with a persistent session; it gives up when a connection breaks within TLS, and is started again. */
class Keeper {
  readonly #args: readonly string[];
  readonly #runs: Running[] = [];
  #stopped = false;

  constructor(port: number) {
    const filters = ['-t', 'sluice/gw1/telemetry/#', '-t', 'sluice/gw1/history/#'];
    this.#args = [...clientArgs(port, keeper), '-i', 'keeper', '-c', '-q', '1', '-v', ...filters];
    void this.#again();
  }

  get #lines(): string[] {
    return this.#runs.flatMap(({ out }) => out);
  }

  get seqs(): number[] {
    return seqs(this.#lines);
  }

  get history(): number {
    return seqs(this.#lines, /history/).length;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#runs.at(-1)?.stop();
  }

  async #again(): Promise<void> {
    while (!this.#stopped) {
      const run = new Running('mosquitto_sub', this.#args);
      this.#runs.push(run);
      await run.ended;
    }
  }
}

async function start(t: Teardown, outbox: MemoryOutbox) {
  const log = new RecordingLog();
  const task: BrokerTask = broker({
    listen: { host: '127.0.0.1', port: 0 },
    gateway: 'gw1',
    version: '1.2.3',
    identity: server,
    outbox,
    onCommand: () => {},
    clock: systemClock,
    log,
  });
  const stop = runTask(t, task);
  const port = await until('the broker listens', () => task.port);
  return { task, log, port, stop };
}

const KEEP = { clientId: 'keeper', clean: false };
const texts = (client: RawClient) =>
  client.publishes.map(({ topic, payload }) => `${topic} ${payload.toString()}`);

t.test(
  'a session is resumed with its subscriptions after a restart, by a client that does not subscribe again',
  async (t) => {
    const outbox = new MemoryOutbox();
    const first = await start(t, outbox);
    const client = await RawClient.connect(first.port, keeper, KEEP);
    t.equal((await client.next('connack')).sessionPresent, false);
    await client.subscribe('sluice/gw1/#');
    outbox.add([['telemetry/m1', '{"seq":1}']]);
    await until('served', () => client.publishes.length === 2);
    client.drop();
    await until('gone', () => first.task.state.clients === 0);
    outbox.add([['telemetry/m1', '{"seq":2}']]);
    await first.stop();
    outbox.add([['telemetry/m1', '{"seq":3}']]);

    const second = await start(t, outbox);
    const again = await RawClient.connect(second.port, keeper, KEEP);
    t.equal((await again.next('connack')).sessionPresent, true);
    await until('served', () => again.publishes.length === 3);

    t.same(seqs(texts(again)), [2, 3]);
    t.ok(
      texts(again).every((text) => /history|status/.test(text)),
      'what waited comes as history',
    );
    t.ok(
      texts(again).some((text) => /status .*online/.test(text)),
      'and the status that it missed',
    );
    outbox.add([['telemetry/m1', '{"seq":4}']]);
    await until('live again', () => texts(again).includes('sluice/gw1/telemetry/m1 {"seq":4}'));
  },
);

t.test('what was sent and not acknowledged is sent again', async (t) => {
  const outbox = new MemoryOutbox();
  const { port, task } = await start(t, outbox);
  const client = await RawClient.connect(port, keeper, KEEP);
  await client.next('connack');
  await client.subscribe('sluice/gw1/telemetry/#');
  await client.subscribe('sluice/gw1/history/#');
  client.acknowledging = false;
  for (let seq = 1; seq <= 5; seq++) outbox.add([['telemetry/m1', `{"seq":${seq}}`]]);
  await until('sent', () => client.publishes.length === 5);
  const { messageId = 0 } = client.publishes[1] ?? {};
  client.send({ cmd: 'puback', messageId });
  await until('one is acknowledged', () => outbox.waiting('session:keeper') === 4);
  client.drop();
  await until('gone', () => task.state.clients === 0);

  const again = await RawClient.connect(port, keeper, KEEP);
  t.equal((await again.next('connack')).sessionPresent, true);
  await until('sent again', () => again.publishes.length >= 4);
  t.same(seqs(texts(again)), [1, 3, 4, 5]);
});

t.test('a session ends when its client connects clean, or unsubscribes from everything', async (t) => {
  const outbox = new MemoryOutbox();
  const { port, task } = await start(t, outbox);
  const names = async () => (await outbox.consumers()).map(({ name }) => name);
  const client = await RawClient.connect(port, keeper, KEEP);
  await client.next('connack');
  await client.subscribe('sluice/gw1/telemetry/#');
  t.same(await names(), ['session:keeper']);

  const clean = await RawClient.connect(port, keeper, { ...KEEP, clean: true });
  t.equal((await clean.next('connack')).sessionPresent, false);
  t.same(await names(), []);
  clean.drop();
  await until('gone', () => task.state.clients === 0);

  const third = await RawClient.connect(port, keeper, KEEP);
  t.equal((await third.next('connack')).sessionPresent, false);
  await third.subscribe('sluice/gw1/telemetry/#');
  await third.unsubscribe('sluice/gw1/telemetry/#');
  third.drop();
  await until('forgotten', async () => (await names()).length === 0);
  t.equal(task.state.persistentSessions, 0);
});

t.test(
  'places that clean sessions of a killed gateway left behind are given back at the start',
  async (t) => {
    const outbox = new MemoryOutbox();
    await outbox.consumer('clean:viewer');
    await outbox.consumer('upstream');
    await start(t, outbox);

    t.same(
      (await outbox.consumers()).map(({ name }) => name),
      ['upstream'],
    );
  },
);

t.test('a session whose client stays away for more than 7 days is forgotten, and that is told', async (t) => {
  const outbox = new MemoryOutbox();
  const clock = new HandClock();
  const log = new RecordingLog();
  const sessions = new RememberedSessions(outbox, clock, log);
  sessions.subscribe('keeper', 'sluice/gw1/#', 1);
  await outbox.consumer('session:keeper', sessions.note('keeper'));

  await clock.advance(days(8));
  await sessions.expire();
  t.ok(sessions.has('keeper'), 'while it is connected it is kept');
  await sessions.disconnected('keeper');
  await clock.advance(days(7));
  await sessions.expire();
  t.ok(sessions.has('keeper'));
  await clock.advance(seconds(1));
  await sessions.expire();

  t.notOk(sessions.has('keeper'));
  t.same(await outbox.consumers(), []);
  t.match(log.find(/forgotten/)?.facts['client'], 'keeper');
});

t.test(
  'a clock that is set by a year forgets nobody, and a restart counts on from the last hour',
  async (t) => {
    const outbox = new MemoryOutbox();
    const log = new RecordingLog();
    const place = async (clock: HandClock): Promise<RememberedSessions> => {
      const sessions = new RememberedSessions(outbox, clock, log);
      await sessions.load();
      return sessions;
    };
    await outbox.consumer('session:keeper', JSON.stringify({ filters: [['sluice/gw1/#', 1]] }));
    const clock = new HandClock(0);
    const first = await place(clock);
    clock.now = () => systemClock.now();

    await first.expire();
    t.ok(first.has('keeper'));
    for (let day = 0; day < 4; day++) {
      await clock.advance(days(1));
      await first.expire();
    }
    const again = new HandClock();
    const second = await place(again);
    await again.advance(days(3));
    await second.expire();
    t.ok(second.has('keeper'));
    await again.advance(seconds(1));
    await second.expire();

    t.notOk(second.has('keeper'), 'four days before the restart, three after it');
  },
);

t.test('an outbox in trouble does not end the broker over an absent client', async (t) => {
  const outbox = new MemoryOutbox();
  const clock = new HandClock();
  const log = new RecordingLog();
  await outbox.consumer('session:keeper', JSON.stringify({ filters: [['sluice/gw1/#', 1]] }));
  const sessions = new RememberedSessions(outbox, clock, log);
  await sessions.load();
  const consumer = outbox.consumer.bind(outbox);
  outbox.consumer = () => Promise.reject(new SluiceError('STORE_FAILED', 'no'));

  await clock.advance(days(1));
  await sessions.expire();
  t.equal(log.count(/not noted/), 1);
  outbox.consumer = consumer;
  await sessions.expire();

  t.match(await outbox.consumers(), [
    { note: JSON.stringify({ filters: [['sluice/gw1/#', 1]], absentFor: days(1) }) },
  ]);
});

t.test('the days of absence are counted across restarts, and looked at when the broker starts', async (t) => {
  const outbox = new MemoryOutbox();
  const filters = [['sluice/gw1/#', 1]];
  const note = (absentFor: number) => JSON.stringify({ filters, absentFor });
  await outbox.consumer('session:gone', note(days(8)));
  await outbox.consumer('session:back-soon', note(days(6)));
  const { task } = await start(t, outbox);

  t.equal(task.state.persistentSessions, 1);
  t.same(
    (await outbox.consumers()).map(({ name }) => name),
    ['session:back-soon'],
  );
});

t.test('there are at most 32 persistent sessions, and the next client hears it', async (t) => {
  const outbox = new MemoryOutbox();
  const filters = JSON.stringify({ filters: [['sluice/gw1/#', 1]] });
  for (let i = 0; i < 32; i++) await outbox.consumer(`session:client-${i}`, filters);
  const { port, log } = await start(t, outbox);

  const client = await RawClient.connect(port, keeper, KEEP);
  t.equal((await client.next('connack')).returnCode, 3);
  t.ok(log.find(/32 persistent sessions/));
  const clean = await RawClient.connect(port, keeper, { ...KEEP, clean: true });
  t.equal((await clean.next('connack')).returnCode, 0, 'a clean session is welcome');
});

t.test('a damaged note costs the subscriptions, not the start', async (t) => {
  const outbox = new MemoryOutbox();
  await outbox.consumer('session:keeper', '{"filters":[["slu');
  const { port } = await start(t, outbox);

  const client = await RawClient.connect(port, keeper, KEEP);
  t.equal((await client.next('connack')).sessionPresent, false);
  t.equal(await client.subscribe('sluice/gw1/telemetry/#'), 1);
});
