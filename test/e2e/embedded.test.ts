import { join } from 'node:path';
import t from 'tap';
import { issue } from '../support/client.ts';
import { missingPeer } from '../support/peer.ts';
import { accepts } from '../support/ports.ts';
import { Running } from '../support/process.ts';
import { startGateway, startPlant } from '../support/running-site.ts';
import { contradictions, holes, received } from '../support/received.ts';
import { makeSite } from '../support/site.ts';
import { until } from '../support/wait.ts';

const skip = missingPeer('mosquitto_sub', 'mosquitto-clients');

t.test(
  'a persistent subscriber of the embedded broker sees no hole over kill -9 of the gateway',
  { skip },
  async (t) => {
    const site = await makeSite();
    t.teardown(() => site.remove());
    startPlant(t, site);
    const who = issue(site, 'historian');
    let gateway = await startGateway(t, site);

    // mosquitto_sub ends when a TLS connection breaks; its session is the broker's, so the next one goes on.
    const lines: string[] = [];
    let subscriber: Running | undefined;
    let finished = false;
    const subscribing = (async () => {
      for (;;) {
        await until('the broker', async () => finished || (await accepts(site.brokerPort)));
        if (finished) return;
        subscriber = new Running('mosquitto_sub', [...who, '-c', '-v', '-t', `sluice/${site.id}/#`]);
        await subscriber.ended;
        lines.push(...subscriber.out);
      }
    })();
    const finish = async () => {
      finished = true;
      await subscriber?.stop();
      await subscribing;
    };
    t.teardown(finish);
    const messages = () =>
      received([...lines, ...(subscriber?.over === undefined ? (subscriber?.out ?? []) : [])]);
    await until('the first messages', () => messages().length >= 10);

    for (let kill = 1; kill <= 3; kill++) {
      const before = messages().length;
      await gateway.stop('SIGKILL');
      gateway = await startGateway(t, site);
      await until(`messages after kill ${kill}`, () => messages().length > before + 15);
    }
    t.equal(await gateway.stop('SIGTERM'), 0, 'a stop on request ends with 0');

    const all = messages();
    t.same(holes(all), [], 'every seq arrived');
    t.same(contradictions(all), [], 'the same seq is the same message');
    t.ok(all.some(({ topic }) => topic.includes('/telemetry/')));
    const devices = new Set(all.map(({ topic }) => topic.split('/')[3]));
    t.same(
      [...devices].sort((a, b) => (a ?? '').localeCompare(b ?? '')),
      ['meter-1', 'meter-2', 'press-1', 'tank-1'],
      'every device is heard',
    );
  },
);

t.test(
  'the embedded broker lets nobody in without a certificate, and a reader write nothing',
  { skip },
  async (t) => {
    const site = await makeSite();
    t.teardown(() => site.remove());
    startPlant(t, site);
    const reader = issue(site, 'reader');
    const operator = issue(site, 'operator', '--may-command');
    await startGateway(t, site);

    const stranger = new Running('mosquitto_sub', [
      ...['-h', '127.0.0.1', '-p', String(site.brokerPort), '--cafile', join(site.folder, 'keys/ca.pem')],
      ...['-i', 'reader', '-C', '1', '-W', '10', '-t', `sluice/${site.id}/#`],
    ]);
    t.not(await stranger.ended, 0, 'without a certificate nothing is read');
    t.same(stranger.out, []);

    const results = new Running('mosquitto_sub', [...reader, '-v', '-t', `sluice/${site.id}/#`]);
    t.teardown(async () => results.stop());
    await until('the subscription', () => received(results.out).length > 0);
    const answer = async (id: string): Promise<unknown> => {
      const line = await until(`the result of ${id}`, () =>
        results.out.find((text) => text.includes('/result/') && text.includes(`"id":"${id}"`)),
      );
      return JSON.parse(line.slice(line.indexOf('{')));
    };
    const command = async (point: string, payload: object, who = operator) => {
      const topic = `sluice/${site.id}/command/press-1/${point}`;
      return new Running('mosquitto_pub', [...who, '-t', topic, '-m', JSON.stringify(payload)]).ended;
    };

    await command('breaker', { id: 'a1', value: true });
    t.match(await answer('a1'), { ok: true, value: true }, 'a writable coil is switched and read back');
    await command('setpoint', { id: 'a2', value: 7.5 });
    t.match(await answer('a2'), { ok: true, value: 7.5 });
    await command('setpoint', { id: 'a3', value: 99 });
    t.match(await answer('a3'), { ok: false, error: /16/ }, 'a value above max is refused, with the limit');
    await command('pressure', { id: 'a4', value: 1 });
    t.match(await answer('a4'), { ok: false, error: /writable/ }, 'a point that is not writable is refused');

    // The reader's own command must not arrive: afterwards the operator reads back what he had set himself.
    await command('breaker', { id: 'a5', value: false }, issue(site, 'reader-2'));
    await command('breaker', { id: 'a6', value: true });
    await answer('a6');
    t.notOk(
      results.out.some((line) => line.includes('"id":"a5"')),
      'a reader commands nothing',
    );
    await until('the new value as telemetry', () =>
      received(results.out).some(({ samples }) =>
        samples.some((s) => s.point === 'setpoint' && s.value === 7.5),
      ),
    );
  },
);

t.test(
  'an orderly stop with subscribers of persistent sessions goes without a complaint',
  { skip },
  async (t) => {
    const site = await makeSite();
    t.teardown(() => site.remove());
    const credentials = ['one', 'two', 'three'].map((name) => issue(site, name));
    const subscribers: Running[] = [];
    for (let round = 1; round <= 3; round++) {
      const gateway = await startGateway(t, site);
      if (round === 1) {
        for (const who of credentials) {
          const subscriber = new Running('mosquitto_sub', [...who, '-c', '-v', '-t', `sluice/${site.id}/#`]);
          t.teardown(async () => subscriber.stop());
          subscribers.push(subscriber);
        }
      }
      // mosquitto_sub ends where TLS breaks off, and comes back by itself where it was closed.
      for (const { out } of subscribers) {
        await until(
          `subscribed for time ${round}`,
          () => new Set(out.filter((line) => line.includes('"state":"online"'))).size >= round,
        );
      }

      t.equal(await gateway.stop('SIGTERM'), 0);

      t.notMatch(gateway.err.join('\n'), /"level":"error"/);
    }
  },
);
