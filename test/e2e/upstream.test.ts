import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { Authority } from '../support/certificates.ts';
import { Cuttable } from '../support/cuttable.ts';
import { missingPeer } from '../support/peer.ts';
import { freeTcpPort } from '../support/ports.ts';
import { Running, SLUICE } from '../support/process.ts';
import { contradictions, holes, type Received, received } from '../support/received.ts';
import { makeSite } from '../support/site.ts';
import { until } from '../support/wait.ts';

const skip = missingPeer('mosquitto', 'mosquitto') || missingPeer('sqlite3', 'sqlite3');

/** What waits in the outbox, as a person with the stock shell would ask. */
function waiting(site: { readonly folder: string }): number {
  const file = join(site.folder, 'data/telemetry.db');
  return Number(
    execFileSync('sqlite3', ['-readonly', file, 'SELECT count(*) FROM journal'], { encoding: 'utf8' }),
  );
}

t.test(
  'values are right and seq has no hole at a Mosquitto subscriber, over a cut and kill -9',
  { skip },
  async (t) => {
    const brokerPort = await freeTcpPort();
    const path = await new Cuttable({ host: '127.0.0.1', port: brokerPort }).listen();
    t.teardown(() => path.close());
    const site = await makeSite({
      mqtt: `{ embedded: off, upstream: { url: "mqtts://127.0.0.1:${path.port}", ca: ./platform.pem } }`,
    });
    t.teardown(() => site.remove());

    // The platform: a broker with a CA of its own, which trusts the gateway's local CA and its own clients.
    const platform = new Authority(site.folder, 'Platform CA');
    const server = platform.issue('broker', { names: 'IP:127.0.0.1' });
    const client = platform.issue('historian');
    writeFileSync(join(site.folder, 'platform.pem'), server.ca);
    execFileSync(SLUICE, ['credentials', 'issue', 'unused', '--out', join(site.folder, 'keys'), site.file]);
    const gatewayCa = execFileSync('cat', [join(site.folder, 'keys/ca.pem')], { encoding: 'utf8' });
    writeFileSync(join(site.folder, 'clients.pem'), server.ca + gatewayCa);
    writeFileSync(
      join(site.folder, 'mosquitto.conf'),
      `listener ${brokerPort} 127.0.0.1
cafile ${join(site.folder, 'clients.pem')}
certfile ${server.certFile}
keyfile ${server.keyFile}
require_certificate true
use_identity_as_username true
allow_anonymous false
max_queued_messages 100000
user root
`,
    );
    const broker = new Running('mosquitto', ['-c', join(site.folder, 'mosquitto.conf'), '-v']);
    t.teardown(async () => broker.stop());
    await broker.says(/running/);
    const subscriber = new Running('mosquitto_sub', [
      ...['-h', '127.0.0.1', '-p', String(brokerPort), '--cafile', server.caFile],
      ...['--cert', client.certFile, '--key', client.keyFile, '-i', 'historian', '-c', '-q', '1'],
      ...['-v', '-t', `sluice/${site.id}/#`],
    ]);
    t.teardown(async () => subscriber.stop());
    await broker.says(/SUBSCRIBE|Sending SUBACK/);
    const messages = () => received(subscriber.out);

    const plant = new Running(SLUICE, ['simulate', site.file]);
    t.teardown(async () => plant.stop());
    let gateway = new Running(SLUICE, ['run', site.file]);
    t.teardown(async () => gateway.stop('SIGKILL'));
    await until('the first messages', () => messages().length >= 20);
    t.match(subscriber.out.join('\n'), /\/status \{"state":"online"/);

    path.cut();
    await until('a backlog of some seconds', () => waiting(site) >= 10);
    path.mend();
    await until('the backlog as history', () => messages().some(({ topic }) => topic.includes('/history/')));
    const drained = messages().length;
    await until('more live messages', () => messages().length > drained + 10);

    path.cut();
    await until('a backlog', () => waiting(site) >= 5);
    await gateway.stop('SIGKILL');
    gateway = new Running(SLUICE, ['run', site.file]);
    await until('a larger backlog', () => waiting(site) >= 10);
    path.mend();
    await until('everything to be delivered', () => waiting(site) <= 2);
    t.equal(await gateway.stop('SIGTERM'), 0);
    await until('the last will or the farewell', () =>
      /status \{"state":"offline"/.test(subscriber.out.join('\n')),
    );

    const all = messages();
    t.same(holes(all), [], 'every seq arrived');
    t.same(contradictions(all), [], 'the same seq is the same message');
    checkValues(t, all);
  },
);

/** Plausible and exact: what a correct reading of the simulated plant can be, and nothing else. */
function checkValues(t: Test, messages: readonly Received[]): void {
  const good = messages.flatMap(({ topic, samples }) =>
    samples
      .filter(({ quality }) => quality === 'good')
      .map((sample) => ({ device: topic.split('/')[3] ?? '', ...sample })),
  );
  const of = (device: string, point: string) => good.filter((s) => s.device === device && s.point === point);
  t.ok(good.length > 100, `${good.length} good samples`);
  for (const { value, unit } of of('meter-1', 'voltage')) {
    t.ok(typeof value === 'number' && value > 180 && value < 260 && unit === 'V', `voltage ${value}`);
  }
  const energies = of('meter-1', 'energy').sort((a, b) => a.time - b.time);
  t.ok(energies.length > 1, 'the counter counts');
  energies.reduce((before, { value }) => {
    t.ok(Number(value) >= before, 'a counter only grows');
    return Number(value);
  }, 0);
}
