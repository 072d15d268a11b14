import { mkdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { systemClock } from '../../src/core/clock.ts';
import type { InboundCommand } from '../../src/mqtt/messages.ts';
import type { TlsIdentity } from '../../src/mqtt/tls.ts';
import { upstream, type UpstreamTask } from '../../src/mqtt/upstream.ts';
import { Authority, type Certificate } from '../support/certificates.ts';
import { MemoryOutbox } from '../support/memory-outbox.ts';
import { freeTcpPort } from '../support/ports.ts';
import { runTask } from '../support/run-task.ts';
import { until } from '../support/wait.ts';
import { distinct, mosquitto, noMosquitto, publish, seqs, subscribe, upTo } from './mosquitto.ts';
import { RecordingLog } from './recording-log.ts';

const ACL = `user gw1
topic write sluice/gw1/#
topic read sluice/gw1/command/#
user meek
topic write sluice/gw1/status
user platform
topic read sluice/#
topic write sluice/gw1/command/#
`;

const folder = t.testdir();
const ca = new Authority(folder);
const rogue = new Authority(folder, 'Rogue CA');
const server = ca.issue('broker', { names: 'IP:127.0.0.1' });
const gateway = ca.issue('gw1');
const platform = ca.issue('platform');

interface Teardown {
  teardown(after: () => unknown): void;
}

interface Gateway {
  readonly outbox: MemoryOutbox;
  readonly log: RecordingLog;
  readonly task: UpstreamTask;
  readonly commands: InboundCommand[];
  readonly stop: () => Promise<void>;
}

async function start(t: Teardown, port: number, identity: TlsIdentity, host = '127.0.0.1'): Promise<Gateway> {
  const outbox = new MemoryOutbox();
  const log = new RecordingLog();
  const commands: InboundCommand[] = [];
  await outbox.consumer('upstream');
  const task = upstream({
    config: { host, port },
    gateway: 'gw1',
    version: '1.2.3',
    identity,
    outbox,
    onCommand: (command) => {
      commands.push(command);
      task.publishResult(command.device, command.point, { id: '7', ok: true, value: 21.5 });
    },
    clock: systemClock,
    log,
  });
  const stop = runTask(t, task);
  return { outbox, log, task, commands, stop };
}

t.test('with Mosquitto over mutual TLS', { skip: noMosquitto }, async (t) => {
  const at = join(folder, 'broker');
  mkdirSync(at);
  const broker = await mosquitto(at, server, { acl: ACL });
  t.teardown(async () => broker.stop());

  await t.test('telemetry, status and results arrive in order at a subscriber, over MQTT 5', async (t) => {
    const gw = await start(t, broker.port, gateway);
    await until('connected', () => gw.task.state.connected);
    const sub = subscribe(broker.port, platform, 'sluice/gw1/#');
    t.teardown(async () => sub.stop());
    await sub.says(/status \{"state":"online"/);
    for (let seq = 1; seq <= 2_000; seq++) gw.outbox.add([[`telemetry/m${seq % 4}`, `{"seq":${seq}}`]]);

    await until('all arrived', () => seqs(sub.out).length >= 2_000);
    await until('all acknowledged', () => gw.outbox.waiting('upstream') === 0);

    t.same(seqs(sub.out), upTo(2_000));
    t.match(gw.task.state, { protocol: 5, connections: 1, setAside: 0, acknowledged: 2_000 });
  });

  await t.test(
    'a command arrives once, with its sender unknown to us, and its result goes back',
    async (t) => {
      const gw = await start(t, broker.port, gateway);
      await until('connected', () => gw.task.state.connected);
      const sub = subscribe(broker.port, platform, 'sluice/gw1/#');
      t.teardown(async () => sub.stop());
      await sub.says(/\/status /); // retained: it comes when the subscription stands
      const topic = 'sluice/gw1/command/press-1/setpoint';

      await until('the command is there', async () => {
        await publish(broker.port, platform, topic, '{"id":"7","value":21.5}');
        return gw.commands.length > 0;
      });
      const result = await sub.says(/\/result\//);

      const [command] = gw.commands;
      t.match(command, { by: 'upstream', device: 'press-1', point: 'setpoint', retained: false });
      t.equal(Buffer.from(command?.payload ?? []).toString(), '{"id":"7","value":21.5}');
      t.equal(result, 'sluice/gw1/result/press-1/setpoint {"id":"7","ok":true,"value":21.5}');
    },
  );

  await t.test('a retained command of the past is not handed out as new', async (t) => {
    await publish(
      broker.port,
      platform,
      'sluice/gw1/command/press-1/breaker',
      '{"id":"1","value":true}',
      '-r',
    );
    const gw = await start(t, broker.port, gateway);
    await until('connected', () => gw.task.state.connected);
    await until('a later one', async () => {
      await publish(broker.port, platform, 'sluice/gw1/command/press-1/later', '{"id":"2","value":true}');
      return gw.commands.some(({ point }) => point === 'later');
    });

    t.same(
      gw.commands.filter(({ point, retained }) => point === 'breaker' && !retained),
      [],
    );
    await publish(broker.port, platform, 'sluice/gw1/command/press-1/breaker', '', '-r');
  });

  await t.test('the broker says offline when the gateway stops', async (t) => {
    const gw = await start(t, broker.port, gateway);
    await until('connected', () => gw.task.state.connected);
    await gw.stop();
    const sub = subscribe(broker.port, platform, 'sluice/gw1/status');
    t.teardown(async () => sub.stop());

    t.match(await sub.says(/status/), /\{"state":"offline","since":"[^"]+Z"\}$/);
  });

  await t.test('a broker that is stopped and started during a stream gets everything', async (t) => {
    const gw = await start(t, broker.port, gateway);
    await until('connected', () => gw.task.state.connected);
    const first = subscribe(broker.port, platform, 'sluice/gw1/#', '-c', '-i', 'keeper');
    await first.says(/status/);
    let seq = 0;
    const add = (upto: number) => {
      while (seq < upto) gw.outbox.add([[`telemetry/m${++seq % 4}`, `{"seq":${seq}}`]]);
    };
    add(3_000);
    await until('the stream flows', () => gw.task.state.acknowledged > 200);
    await broker.stop();
    add(3_500);
    await until('the loss is seen', () => !gw.task.state.connected);
    await broker.start();
    const second = subscribe(broker.port, platform, 'sluice/gw1/#', '-c', '-i', 'keeper');
    t.teardown(async () => second.stop());
    add(4_000);
    await until('nothing waits', () => gw.outbox.waiting('upstream') === 0);
    await until('all arrived', () => distinct([...seqs(first.out), ...seqs(second.out)]).length === 4_000);

    t.same(distinct([...seqs(first.out), ...seqs(second.out)]), upTo(4_000));
    t.ok(gw.task.state.connections >= 2);
    t.ok(seqs(second.out, /history/).length > 0, 'what had to wait came as history');
    await first.stop();
  });

  await t.test('what the ACL denies is set aside and the stream goes on', async (t) => {
    const meek = await start(t, broker.port, ca.issue('meek'));
    meek.outbox.add([['telemetry/m1', '{"seq":1}']]);

    await until('nothing waits', () => meek.outbox.waiting('upstream') === 0);

    t.match(meek.task.state, { setAside: 1, acknowledged: 0, connections: 1 });
    t.match(meek.log.find(/set aside/)?.facts['because'], /not authorized \(0x87\)/);
  });

  await t.test('a client name that the ACL does not know is told with the remedy, once', async (t) => {
    const gw = await start(t, broker.port, ca.issue('stranger'));
    // This version of Mosquitto closes the connection after it has refused a message.
    await until('several connections', () => gw.task.state.connections >= 3);

    t.equal(gw.log.count(/upstream connected/), 1);
    t.match(gw.log.find(/not authorized \(0x87\)/)?.facts['remedy'], /in the ACL of the broker/);
    t.ok(gw.log.lines.length <= 3, JSON.stringify(gw.log.lines));
  });

  await t.test('a new certificate is shown on a new connection, and nothing is lost meanwhile', async (t) => {
    const gw = await start(t, broker.port, gateway);
    await until('connected', () => gw.task.state.connected);
    for (let seq = 1; seq <= 500; seq++) gw.outbox.add([['telemetry/m1', `{"seq":${seq}}`]]);

    gw.task.renewIdentity(ca.issue('gw1'));
    await until('connected again', () => gw.task.state.connections === 2 && gw.task.state.connected);
    await until('nothing waits', () => gw.outbox.waiting('upstream') === 0);

    t.equal(gw.task.state.setAside, 0);
    t.notOk(gw.log.find(/no connection/), 'and it is no trouble worth a line');
  });

  const troubles: readonly {
    readonly name: string;
    readonly identity: TlsIdentity;
    readonly says: RegExp;
    readonly remedy: RegExp;
  }[] = [
    {
      name: 'a broker of another CA',
      identity: { ...gateway, ca: rogue.issue('x').ca },
      says: /no connection to 127\.0\.0\.1:\d+: its certificate was not issued by the configured CA/,
      remedy: /mqtt\.upstream\.ca/,
    },
    {
      name: 'a broker that does not know our CA',
      identity: { ...rogue.issue('gw1'), ca: gateway.ca },
      says: /it does not know the CA of our certificate/,
      remedy: /mqtt\.upstream\.cert/,
    },
  ];
  for (const { name, identity, says, remedy } of troubles) {
    await t.test(`${name} is told in one sentence with the remedy, once`, async (t) => {
      const gw = await start(t, broker.port, identity);
      await until('a problem', () => gw.task.state.problem);
      await until('later attempts', () => gw.task.state.attempts >= 3);
      await gw.stop();

      t.equal(gw.log.lines.length, 1, JSON.stringify(gw.log.lines));
      t.match(gw.log.lines[0]?.what, says);
      t.match(gw.log.lines[0]?.facts['remedy'], remedy);
    });
  }
});

t.test('certificates that do not fit are explained', { skip: noMosquitto }, async (t) => {
  const cases: readonly {
    readonly name: string;
    readonly server: Certificate;
    readonly host?: string;
    readonly says: RegExp;
  }[] = [
    {
      name: 'address',
      server: ca.issue('b1', { names: 'IP:10.9.9.9' }),
      says: /is for another name \(it carries IP Address:10\.9\.9\.9\)/,
    },
    {
      name: 'name',
      server,
      host: 'localhost',
      says: /is for another name \(it carries IP Address:127\.0\.0\.1\)/,
    },
    {
      name: 'expired',
      server: ca.issue('b2', { names: 'IP:127.0.0.1', days: -1 }),
      says: /its certificate has expired/,
    },
  ];
  for (const { name, server, host, says } of cases) {
    const at = join(folder, `broker-${name}`);
    mkdirSync(at);
    const broker = await mosquitto(at, server, { acl: ACL });
    const gw = await start(t, broker.port, gateway, host);
    await until('a problem', () => gw.task.state.problem);
    t.match(gw.task.state.problem, says, name);
    await gw.stop();
    await broker.stop();
  }
});

t.test('where nothing listens, or nobody speaks TLS, that is what is said', async (t) => {
  const free = await freeTcpPort();
  const silent = await start(t, free, gateway);
  await until('a problem', () => silent.task.state.problem);
  t.match(
    silent.task.state.problem,
    /no connection to 127\.0\.0\.1:\d+: nothing listens there; start the broker/,
  );
  await silent.stop();

  const plain = createServer((socket) => {
    socket.on('error', () => {});
    socket.resume();
    socket.end('hello, this is no TLS\r\n');
  });
  await new Promise<void>((resolve) => plain.listen(0, '127.0.0.1', resolve));
  t.teardown(async () => new Promise((resolve) => plain.close(resolve)));
  const address = plain.address();
  const gw = await start(t, typeof address === 'object' ? (address?.port ?? 0) : 0, gateway);
  await until('a problem', () => gw.task.state.problem);
  t.match(gw.task.state.problem, /does not speak TLS on this port; use the mqtts port/);
});
