import { rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import t from 'tap';
import { Authority } from '../support/certificates.ts';
import { issue } from '../support/client.ts';
import { missingPeer } from '../support/peer.ts';
import { freeTcpPort } from '../support/ports.ts';
import { Running, SLUICE } from '../support/process.ts';
import { startGateway, startPlant } from '../support/running-site.ts';
import { holes, received } from '../support/received.ts';
import { makeSite } from '../support/site.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { until } from '../support/wait.ts';

const skip = missingPeer('mosquitto_sub', 'mosquitto-clients') || missingPeer('mosquitto', 'mosquitto');

t.test(
  'on a full disk acquisition and commands go on, and writing resumes by itself',
  { skip: skip || cannotMount() },
  async (t) => {
    const site = await makeSite();
    t.teardown(() => site.remove());
    const data = join(site.folder, 'data');
    const disk = mountSmallDisk(data, 16);
    t.teardown(() => disk.unmount());
    startPlant(t, site);
    const operator = issue(site, 'operator', '--may-command');
    const gateway = await startGateway(t, site);
    const subscriber = new Running('mosquitto_sub', [
      ...issue(site, 'reader'),
      '-v',
      '-t',
      `sluice/${site.id}/#`,
    ]);
    t.teardown(async () => subscriber.stop());
    const messages = () => received(subscriber.out);
    await until('the first messages', () => messages().length >= 5);

    const stone = fillDisk(data, 0);
    await gateway.says(/"level":"(error|warn)".*(disk|full|store|outbox)/);
    const topic = `sluice/${site.id}/command/press-1/breaker`;
    await new Running('mosquitto_pub', [...operator, '-t', topic, '-m', '{"id":"full","value":true}']).ended;
    await until('the result of a command on a full disk', () =>
      subscriber.out.some((line) => /\/result\/press-1\/breaker .*"id":"full","ok":true/.test(line)),
    );
    const during = Date.now();
    rmSync(stone);
    await until('what was read while the disk was full', () =>
      messages().some(({ samples }) => samples.some(({ time }) => time < during)),
    );
    await until('what is read now', () =>
      messages().some(({ samples }) => samples.some(({ time }) => time > during)),
    );

    t.equal(gateway.over, undefined, 'the gateway is still there');
    t.same(holes(messages()), [], 'every seq arrived or was told as a gap');
  },
);

t.test('what a person has to mend is one clear sentence with the remedy', { skip }, async (t) => {
  await t.test('a port in use', async (t) => {
    const site = await makeSite();
    t.teardown(() => site.remove());
    const other = createServer().listen(site.brokerPort, '127.0.0.1');
    t.teardown(() => other.close());
    const gateway = new Running(SLUICE, ['run', site.file]);
    t.equal(await gateway.ended, 1);
    const said = gateway.err.at(-1) ?? '';
    t.match(said, new RegExp(`^sluice: .*${site.brokerPort}.*in use.*; `), said);
  });

  await t.test('a second gateway on the same data', async (t) => {
    const site = await makeSite();
    t.teardown(() => site.remove());
    await startGateway(t, site);
    const second = new Running(SLUICE, ['run', site.file]);
    t.equal(await second.ended, 1);
    t.match(second.err.at(-1), /^sluice: another gateway runs on the data folder .*; stop it/);
  });

  await t.test('a CA file that is not there', async (t) => {
    const site = await makeSite({
      mqtt: '{ embedded: off, upstream: { url: "mqtts://127.0.0.1:1", ca: ./nowhere.pem } }',
    });
    t.teardown(() => site.remove());
    const gateway = new Running(SLUICE, ['run', site.file]);
    t.equal(await gateway.ended, 1);
    t.match(
      gateway.err.at(-1),
      /^sluice: cannot read .*nowhere\.pem, which mqtt\.upstream\.ca names: .*; put the file there/,
    );
  });

  await t.test(
    'a broker whose certificate another CA has issued: said once, and acquisition goes on',
    async (t) => {
      const brokerPort = await freeTcpPort();
      const site = await makeSite({
        mqtt: `{ embedded: off, upstream: { url: "mqtts://127.0.0.1:${brokerPort}", ca: ./platform.pem } }`,
      });
      t.teardown(() => site.remove());
      const rogue = new Authority(site.folder, 'Rogue CA').issue('broker', { names: 'IP:127.0.0.1' });
      const platform = new Authority(site.folder, 'Platform CA').issue('broker', { names: 'IP:127.0.0.1' });
      writeFileSync(join(site.folder, 'platform.pem'), platform.ca);
      writeFileSync(
        join(site.folder, 'mosquitto.conf'),
        `listener ${brokerPort} 127.0.0.1\ncafile ${rogue.caFile}\ncertfile ${rogue.certFile}\nkeyfile ${rogue.keyFile}\nrequire_certificate true\nuse_identity_as_username true\nuser root\n`,
      );
      const broker = new Running('mosquitto', ['-c', join(site.folder, 'mosquitto.conf')]);
      t.teardown(async () => broker.stop());
      await broker.says(/running/);
      const gateway = new Running(SLUICE, ['run', site.file]);
      t.teardown(async () => gateway.stop('SIGKILL'));
      const said = await gateway.says(/not issued by the configured CA/);
      t.match(said, /mqtt\.upstream\.ca/, 'the remedy names the key');
      t.equal(gateway.over, undefined);
    },
  );
});
