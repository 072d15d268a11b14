import { connect } from 'node:net';
import t from 'tap';
import { run } from '../../src/cli/simulate.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY, Running } from '../support/process.ts';
import { freeTcpPort, freeUdpPort } from '../support/ports.ts';
import { until } from '../support/wait.ts';

const skip = missingPeer('coap-client-notls', 'libcoap3-bin');

const yaml = (tcp: number, udp: number) => `
gateway: { id: g, data: ./data }
zones: { z: { vlan: 20, subnet: 127.0.0.0/8 } }
classes:
  m: { zone: z, protocol: modbus, points: { voltage: { at: "input:0:float32", unit: V } } }
  c: { zone: z, protocol: coap, points: { level: { at: /level, unit: m } } }
devices:
  meter: { class: m, at: "modbus-tcp://127.0.0.1:${tcp}?unit=4" }
  tank: { class: c, at: "coap://127.0.0.3:${udp}" }
`;

function sluice(cwd: string, ...args: string[]): Running {
  return new Running(process.execPath, [`${REPOSITORY}src/main.ts`, 'simulate', ...args], { cwd });
}

t.test('simulate says what listens where, serves it and stops cleanly with SIGTERM and SIGINT', async (t) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    const port = await freeTcpPort();
    const root = t.testdir({ 'gateway.yaml': yaml(port, await freeUdpPort()) });
    const plant = sluice(root);
    t.teardown(async () => plant.stop('SIGKILL'));

    await plant.says(/Ctrl-C stops it/);
    t.match(
      plant.out.join('\n'),
      new RegExp(`modbus-tcp://127.0.0.1:${port} +meter \\(unit 4\\)\n +coap://127.0.0.3`),
    );
    const socket = connect(port, '127.0.0.1');
    await until('a master is connected', () => socket.readyState === 'open');

    t.equal(await plant.stop(signal), 0, 'also with a connection open');
    await until('the connection is closed', () => socket.closed || socket.readableEnded);
    socket.destroy();
  }
});

t.test('an observer that vanished without a word does not hold up the stop', { skip }, async (t) => {
  const udp = await freeUdpPort();
  const plant = sluice(t.testdir({ 'gateway.yaml': yaml(await freeTcpPort(), udp) }));
  t.teardown(async () => plant.stop('SIGKILL'));
  await plant.says(/Ctrl-C stops it/);
  const observer = new Running('stdbuf', [
    '-oL',
    'coap-client-notls',
    '-m',
    'get',
    '-s',
    '60',
    '-B',
    '60',
    `coap://127.0.0.3:${udp}/level`,
  ]);
  t.teardown(async () => observer.stop('SIGKILL'));
  let told = ''; // libcoap prints no line ends
  observer.child.stdout?.on('data', (chunk: Buffer) => (told += chunk.toString()));
  await until('it was told twice', () => told.split('.').length > 2);
  await observer.stop('SIGKILL');

  // A timer of a retransmission would keep the process alive for minutes.
  t.equal(await plant.stop(), 0);
});

t.test('a program can read what listens where', async (t) => {
  const port = await freeTcpPort();
  const plant = sluice(
    t.testdir({ 'gateway.yaml': yaml(port, await freeUdpPort()) }),
    '--json',
    '--fault',
    'meter=silence',
  );
  t.teardown(async () => plant.stop('SIGKILL'));

  const line: unknown = JSON.parse(await plant.says(/"places"/));

  t.match(line, {
    places: [{ address: `modbus-tcp://127.0.0.1:${port}`, devices: ['meter (unit 4)'] }, {}],
    left: [],
  });
  t.equal(await plant.stop(), 0);
});

t.test('a port in use is status 1 and one line; wrong usage is 64', async (t) => {
  const port = await freeTcpPort();
  const root = t.testdir({ 'gateway.yaml': yaml(port, await freeUdpPort()) });
  const first = sluice(root);
  t.teardown(async () => first.stop('SIGKILL'));
  await first.says(/Ctrl-C/);

  const second = sluice(root);
  t.equal(await second.ended, 1);
  t.match(
    second.err.filter((line) => line.startsWith('sluice: ')),
    [/^sluice: modbus-tcp:.* of meter is in use by another program; stop that program/],
  );
  await first.stop();

  const wrong: readonly (readonly [RegExp, ...string[]])[] = [
    [/one file/, 'a', 'b'],
    [/no whole number/, '--seed', 'x'],
    [/DEVICE=KIND/, '--fault', 'meter=fire'],
    [/no such device/, '--fault', 'nobody=silence'],
  ];
  for (const [says, ...args] of wrong) {
    const named = args.length > 1 && args[0] !== 'a' ? [...args, `${root}/gateway.yaml`] : args;
    await t.rejects(run(named), { code: 'USAGE', message: says }, args.join(' '));
  }
  t.equal(await sluice(root, '--seed', 'x').ended, 64);
});
