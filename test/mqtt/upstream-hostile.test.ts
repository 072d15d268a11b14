import type { Packet } from 'mqtt-packet';
import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import { upstream, type UpstreamTask } from '../../src/mqtt/upstream.ts';
import { Authority } from '../support/certificates.ts';
import { MemoryOutbox } from '../support/memory-outbox.ts';
import { until } from '../support/wait.ts';
import { RecordingLog } from './recording-log.ts';
import { obliging, ScriptedBroker, seqOf, telemetry, type Visit } from './scripted-broker.ts';

const ca = new Authority(t.testdir());
const server = ca.issue('broker', { names: 'IP:127.0.0.1' });
const gateway = ca.issue('gw1');

interface Site {
  readonly outbox: MemoryOutbox;
  readonly broker: ScriptedBroker;
  readonly log: RecordingLog;
  readonly task: UpstreamTask;
  readonly commands: string[];
}

interface Teardown {
  teardown(after: () => unknown): void;
}

async function site(t: Teardown, onSubscribe: (visit: Visit) => void): Promise<Site> {
  const outbox = new MemoryOutbox();
  const log = new RecordingLog();
  const commands: string[] = [];
  const broker = new ScriptedBroker(server, (packet: Packet, visit) => {
    obliging(packet, visit);
    if (packet.cmd === 'subscribe') onSubscribe(visit);
  });
  const port = await broker.listen();
  await outbox.consumer('upstream');
  const stopped = new AbortController();
  const task = upstream({
    config: { host: '127.0.0.1', port },
    gateway: 'gw1',
    version: '1.2.3',
    identity: gateway,
    outbox,
    onCommand: ({ payload }) => commands.push(Buffer.from(payload).toString()),
    clock: systemClock,
    log,
  });
  const running = task.run(stopped.signal);
  t.teardown(async () => {
    stopped.abort();
    await running;
    await broker.close();
  });
  return { outbox, broker, log, task, commands };
}

t.test(
  'a packet of 256 MB costs the connection at its first bytes, then commands, never telemetry',
  async (t) => {
    const topic = Buffer.from('sluice/gw1/command/press-1/setpoint');
    const head = Buffer.from([0x31, 0xff, 0xff, 0xff, 0x7f, 0, topic.length]);
    const { broker, commands, log, outbox, task } = await site(t, (visit) => {
      visit.sendBytes(Buffer.concat([head, topic, Buffer.alloc(4_096)]));
    });
    await until('a second connection', () => broker.visits.length > 1 && task.state.connected);
    outbox.add([['telemetry/m1', '{"seq":1}']]);

    await until('telemetry arrives', () => telemetry(broker.publishes).some((packet) => seqOf(packet) === 1));
    t.equal(broker.visits.length, 2);
    t.match(log.find(/more than 65536 bytes/), { level: 'warn', facts: { remedy: /retained/ } });
    t.equal(task.state.commandsRefused, 1);
    t.same(commands, []);
  },
);

t.test('messages with QoS 2 that nobody asked for are not kept', async (t) => {
  const { broker, log, commands } = await site(t, (visit) => {
    for (let messageId = 1; messageId <= 200; messageId++) {
      const topic = 'sluice/gw1/command/press-1/setpoint';
      visit.send({ cmd: 'publish', topic, payload: 'x', qos: 2, messageId, retain: false, dup: false });
    }
  });
  await until('the connection is given up', () => broker.visits.length > 1);

  t.match(log.find(/QoS 2/), { level: 'warn' });
  t.same(commands, []);
});
