import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { type Asked, maxAge, observeOption, RawPeer } from '../coap/raw-peer.ts';
import { issue } from '../support/client.ts';
import { missingPeer } from '../support/peer.ts';
import { freeTcpPort } from '../support/ports.ts';
import { Running, SLUICE } from '../support/process.ts';
import { until } from '../support/wait.ts';

const skip = missingPeer('mosquitto_sub', 'mosquitto-clients');

t.test('a device that is only observed is told to be silent, and to be back', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'sluice-presence-'));
  const peer = new RawPeer();
  const port = await peer.open();
  t.teardown(async () => {
    await peer.close();
    rmSync(folder, { recursive: true, force: true });
  });
  const tell = (asked: Asked, number: number): unknown =>
    peer.notify(asked, {
      payload: Buffer.from(String(number)),
      options: [observeOption(number), maxAge(60)],
    });
  let registered: Asked | undefined;
  peer.answer = (asked) => {
    if (registered !== undefined) return; // from now on it says nothing
    registered = asked;
    peer.reply(asked, { payload: Buffer.from('1'), options: [observeOption(1), maxAge(60)] });
  };
  const brokerPort = await freeTcpPort();
  const file = join(folder, 'gateway.yaml');
  writeFileSync(
    file,
    `gateway: { id: watching, data: ./data }
mqtt: { embedded: { listen: "127.0.0.1:${brokerPort}" } }
zones: { plant: { vlan: 20, subnet: 127.0.0.0/8 } }
classes:
  tank: { zone: plant, protocol: coap, every: 1s, points: { level: { at: "/level", observe: true } } }
devices:
  tank: { class: tank, at: "coap://127.0.0.1:${port}" }
`,
  );
  const who = issue(
    { folder, file, id: 'watching', brokerPort, network: '127.0.0', remove: () => {} },
    'reader',
  );
  const gateway = new Running(SLUICE, ['run', file]);
  t.teardown(async () => gateway.stop('SIGKILL'));
  await gateway.says(/broker listens/);
  const subscriber = new Running('mosquitto_sub', [...who, '-v', '-t', 'sluice/watching/event/#']);
  t.teardown(async () => subscriber.stop());
  const event = (kind: string): unknown => {
    const line = subscriber.out.find((text) => text.startsWith(`sluice/watching/event/${kind} `));
    return line === undefined ? undefined : JSON.parse(line.slice(line.indexOf(' ') + 1));
  };

  t.match(await until('the event of its silence', () => event('device-silent')), {
    type: 'sluice.device-silent',
    subject: 'tank',
    data: { reason: 'stale' },
  });
  await gateway.says(/"what":"device silent","device":"tank"/);

  const relation = await until('its registration', () => registered);
  tell(relation, 2);
  t.match(await until('the event of its return', () => event('device-back')), { subject: 'tank' });
  await gateway.says(/"what":"device back","device":"tank"/);
});
