import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { milliseconds } from '../../src/core/units.ts';
import { upstream, type UpstreamTask } from '../../src/mqtt/upstream.ts';
import { Authority } from '../support/certificates.ts';
import { HandClock } from '../support/clock.ts';
import { MemoryOutbox } from '../support/memory-outbox.ts';
import { until } from '../support/wait.ts';
import { distinct, upTo } from './mosquitto.ts';
import { RecordingLog } from './recording-log.ts';
import { obliging, type Script, ScriptedBroker, seqOf, telemetry } from './scripted-broker.ts';

const ca = new Authority(t.testdir());
const server = ca.issue('broker', { names: 'IP:127.0.0.1' });
const gateway = ca.issue('gw1');

interface Site {
  readonly outbox: MemoryOutbox;
  readonly broker: ScriptedBroker;
  readonly log: RecordingLog;
  readonly task: UpstreamTask;
  readonly stop: () => Promise<void>;
}

interface Teardown {
  teardown(after: () => unknown): void;
}

async function site(t: Teardown, script: Script, clock = systemClock): Promise<Site> {
  const outbox = new MemoryOutbox();
  const broker = new ScriptedBroker(server, script);
  const log = new RecordingLog();
  const port = await broker.listen();
  await outbox.consumer('upstream');
  const stopped = new AbortController();
  const task = upstream({
    config: { host: '127.0.0.1', port },
    gateway: 'gw1',
    version: '1.2.3',
    identity: gateway,
    outbox,
    clock,
    log,
  });
  const running = task.run(stopped.signal);
  const stop = async () => {
    stopped.abort();
    await running;
  };
  t.teardown(async () => {
    await stop();
    await broker.close();
  });
  return { outbox, broker, log, task, stop };
}

function fill(outbox: MemoryOutbox, from: number, to: number): void {
  for (let seq = from; seq <= to; seq++) outbox.add([[`telemetry/m${seq % 3}`, `{"seq":${seq}}`]]);
}

t.test('everything arrives through a broker that drops the connection every 50 messages', async (t) => {
  const { outbox, broker, task } = await site(t, (packet, visit) => {
    obliging(packet, visit);
    if (visit.publishes.length >= 50) visit.drop();
  });
  fill(outbox, 1, 400);

  await until('all acknowledged', () => outbox.waiting('upstream') === 0);

  t.same(distinct(telemetry(broker.publishes).map(seqOf)), upTo(400));
  t.ok(task.state.connections > 5, `${task.state.connections} connections`);
});

for (const receiveMaximum of [1, 2, 10]) {
  t.test(`a Receive Maximum of ${receiveMaximum} is never exceeded`, async (t) => {
    let open = 0;
    let most = 0;
    const { outbox, broker, task } = await site(t, (packet, visit) => {
      if (packet.cmd === 'connect') {
        visit.send({ cmd: 'connack', sessionPresent: false, reasonCode: 0, properties: { receiveMaximum } });
      }
      if (packet.cmd !== 'publish') return;
      most = Math.max(most, ++open);
      // Late enough for the whole window to be under way.
      setTimeout(() => {
        open--;
        obliging(packet, visit);
      }, 5);
    });
    fill(outbox, 1, 100);
    await until('connected', () => task.state.connected);
    fill(outbox, 101, 200);

    await until('all acknowledged', () => outbox.waiting('upstream') === 0);

    t.equal(most, receiveMaximum, 'and it is used');
    t.same(distinct(telemetry(broker.publishes).map(seqOf)), upTo(200));
  });
}

t.test('a message that the broker refuses is set aside, counted and logged once', async (t) => {
  const { outbox, broker, log, task } = await site(t, (packet, visit) => {
    if (packet.cmd === 'publish' && packet.topic.endsWith('/m1')) {
      visit.send({ cmd: 'puback', messageId: packet.messageId ?? 0, reasonCode: 0x87 });
    } else obliging(packet, visit);
  });
  fill(outbox, 1, 30);

  await until('nothing waits', () => outbox.waiting('upstream') === 0);

  t.equal(task.state.setAside, 10);
  t.equal(task.state.connections, 1, 'the connection goes on');
  t.equal(log.count(/set aside/), 1);
  t.match(log.find(/set aside/)?.facts['because'], /not authorized \(0x87\)/);
  t.equal(telemetry(broker.publishes).length, 30, 'and nothing is sent again');
});

t.test('a message above the Maximum Packet Size is never sent', async (t) => {
  const { outbox, broker, task } = await site(t, (packet, visit) => {
    if (packet.cmd === 'connect') {
      const properties = { maximumPacketSize: 200 };
      visit.send({ cmd: 'connack', sessionPresent: false, reasonCode: 0, properties });
    } else obliging(packet, visit);
  });
  // Around the payload: header, two bytes of length, topic, identifier, properties.
  const topic = 'event/x';
  const room = 200 - (1 + 2 + 2 + `sluice/gw1/${topic}`.length + 2 + 1);
  outbox.add([[topic, 'x'.repeat(room)]]);
  outbox.add([[topic, 'x'.repeat(room + 1)]]);
  outbox.add([[topic, '{"seq":3}']]);

  await until('nothing waits', () => outbox.waiting('upstream') === 0);

  t.same(
    telemetry(broker.publishes).map(({ payload }) => payload.length),
    [room, 9],
    'exactly 200 bytes are sent, 201 are not',
  );
  t.equal(telemetry(broker.publishes)[0]?.length, 200 - 3, 'remaining length');
  t.equal(task.state.setAside, 1);
});

t.test('a broker that never acknowledges is left after 30 s, and everything is sent again', async (t) => {
  const clock = new HandClock();
  let mute = true;
  const { outbox, broker, log } = await site(
    t,
    (packet, visit) => {
      if (packet.cmd !== 'publish' || !mute) obliging(packet, visit);
    },
    clock,
  );
  fill(outbox, 1, 10);
  await until('all are under way', () => telemetry(broker.publishes).length === 10);
  await clock.advance(milliseconds(30_000));
  t.equal(broker.visits.length, 1, 'patient for 30 s');

  mute = false;
  await clock.advance(milliseconds(2_000));
  await until('the link is given up', () => log.find(/has not acknowledged/));
  await until('a new connection', async () => {
    await clock.advance(milliseconds(500));
    return broker.visits.length === 2;
  });
  await until('all acknowledged', () => outbox.waiting('upstream') === 0);

  t.same(
    distinct((broker.visits[1]?.publishes ?? []).filter((p) => !p.topic.endsWith('status')).map(seqOf)),
    upTo(10),
  );
  t.ok(
    broker.visits[1]?.publishes.some(({ topic }) => topic.includes('/history/')),
    'as history',
  );
});

t.test('MQTT 3.1.1 is spoken where the broker refuses version 5', async (t) => {
  for (const refuse of [
    new Uint8Array([0x20, 0x02, 0x00, 0x01]), // CONNACK of 3.1.1: unacceptable protocol version
    new Uint8Array([0x20, 0x03, 0x00, 0x84, 0x00]), // CONNACK of 5: unsupported protocol version
  ]) {
    const { outbox, broker, task, stop } = await site(t, (packet, visit) => {
      if (packet.cmd === 'connect' && visit.version === 5) visit.sendBytes(refuse);
      else obliging(packet, visit);
    });
    fill(outbox, 1, 60);

    await until('all acknowledged', () => outbox.waiting('upstream') === 0);

    t.same(
      broker.visits.map(({ version }) => version),
      [5, 4],
      'at once, without waiting',
    );
    t.equal(task.state.protocol, 4);
    await stop();
  }
});

t.test(
  'an old broker that closes the connection on MQTT 5 without a word is reached with 3.1.1',
  async (t) => {
    const { outbox, broker, task, log } = await site(t, (packet, visit) => {
      if (packet.cmd === 'connect' && visit.version === 5) visit.drop();
      else obliging(packet, visit);
    });
    fill(outbox, 1, 10);

    await until('all acknowledged', () => outbox.waiting('upstream') === 0);

    t.same(
      broker.visits.map(({ version }) => version),
      [5, 4],
    );
    t.equal(task.state.protocol, 4);
    t.ok(log.find(/closed the connection without an answer/));
  },
);

t.test('a 3.1.1 broker never sees more than 20 messages under way', async (t) => {
  let open = 0;
  let most = 0;
  const { outbox, task } = await site(t, (packet, visit) => {
    if (packet.cmd === 'connect' && visit.version === 5) visit.sendBytes(new Uint8Array([0x20, 2, 0, 1]));
    else if (packet.cmd === 'publish') {
      most = Math.max(most, ++open);
      setTimeout(() => {
        open--;
        obliging(packet, visit);
      }, 5);
    } else obliging(packet, visit);
  });
  await until('connected', () => task.state.connected);
  fill(outbox, 1, 300);

  await until('all acknowledged', () => outbox.waiting('upstream') === 0);

  t.equal(most, 20);
});

t.test(
  'a refused connection is told in one sentence with a remedy, once, and tried again with longer waits',
  async (t) => {
    const clock = new HandClock();
    const { broker, log } = await site(
      t,
      (packet, visit) => {
        if (packet.cmd === 'connect') visit.send({ cmd: 'connack', sessionPresent: false, reasonCode: 0x87 });
      },
      clock,
    );
    const at: number[] = [];
    await until('five attempts', async () => {
      if (broker.visits.length > at.length) at.push(clock.now());
      if (clock.sleeping > 0) await clock.advance(milliseconds(50));
      return at.length === 5;
    });

    t.equal(log.lines.length, 1);
    t.match(log.lines[0]?.what, /^127\.0\.0\.1:\d+ refused the connection: not authorized \(0x87\)$/);
    t.match(log.lines[0]?.facts['remedy'], /ACL/);
    const waits = at.slice(1).map((time, i) => time - (at[i] ?? 0));
    for (const [i, wait] of waits.entries()) {
      const base = 250 * 2 ** i;
      t.ok(wait >= base * 0.5 && wait <= base * 1.5 + 100, `wait ${i} of ${wait} ms is about ${base} ms`);
    }
  },
);

t.test('the last will says offline, retained; after connecting status says online, retained', async (t) => {
  let will: unknown;
  const { broker, stop } = await site(t, (packet, visit) => {
    if (packet.cmd === 'connect') {
      will = { ...packet.will, payload: packet.will?.payload.toString() };
      t.equal(packet.clientId, 'gw1');
      t.equal(packet.clean, true);
    }
    obliging(packet, visit);
  });
  await until('status', () => broker.publishes.length === 1);
  await stop();

  t.match(will, { topic: 'sluice/gw1/status', payload: '{"state":"offline"}', qos: 1, retain: true });
  const [online, offline] = broker.publishes;
  t.match(online, { topic: 'sluice/gw1/status', qos: 1, retain: true });
  t.match(JSON.parse(String(online?.payload)), { state: 'online', since: /^\d{4}-.*Z$/, version: '1.2.3' });
  t.match(offline, { topic: 'sluice/gw1/status', qos: 1, retain: true });
  t.match(JSON.parse(String(offline?.payload)), { state: 'offline', since: /Z$/ });
});

t.test('a used-up quota is waited for, and not for ever', async (t) => {
  const clock = new HandClock();
  let generous = false;
  const { outbox, broker, task } = await site(
    t,
    (packet, visit) => {
      if (packet.cmd === 'publish' && !packet.topic.endsWith('status') && !generous) {
        visit.send({ cmd: 'puback', messageId: packet.messageId ?? 0, reasonCode: 0x97 });
      } else obliging(packet, visit);
    },
    clock,
  );
  fill(outbox, 1, 3);
  const wind = async () => {
    await clock.advance(milliseconds(250));
    return true;
  };
  await until('three connections', async () => (await wind()) && broker.visits.length >= 3);
  t.equal(task.state.setAside, 0);
  t.equal(outbox.waiting('upstream'), 3, 'the messages are kept');

  await until('set aside in the end', async () => (await wind()) && task.state.setAside === 3);
  t.equal(outbox.waiting('upstream'), 0);
  generous = true;
});
