import { join } from 'node:path';
import t, { type Test } from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { days, hours, minutes } from '../../src/core/units.ts';
import { certificateWatch } from '../../src/housekeeping.ts';
import { type Identity, openIdentity } from '../../src/identity/identity.ts';
import { HandClock, settle } from '../support/clock.ts';
import { until } from '../support/wait.ts';

const NOW = Date.UTC(2026, 10, 26, 12);

interface Watched {
  readonly clock: HandClock;
  readonly identity: Identity;
  renewals: number;
  looks: number;
}

async function watched(t: Test, start: number): Promise<Watched> {
  const clock = new HandClock(start);
  const folder = join(t.testdir(), 'identity');
  const identity = await openIdentity({ folder, gatewayId: 'gw', addresses: ['127.0.0.1'], clock });
  const watch: Watched = { clock, identity, renewals: 0, looks: 0 };
  const stop = new AbortController();
  const renewIfDue = async (): Promise<boolean> => {
    watch.looks++;
    return identity.renewIfDue();
  };
  const task = certificateWatch({ renewIfDue }, () => watch.renewals++, { clock, log: silentLog });
  const running = task.run(stop.signal);
  t.teardown(async () => {
    stop.abort();
    await running;
  });
  await settle();
  return watch;
}

t.test('a clock that is set right makes an expired certificate a new one within a minute', async (t) => {
  const watch = await watched(t, NOW - days(300));
  t.ok(watch.identity.notAfter < NOW, 'it would be over by now');

  watch.clock.set(NOW);
  await watch.clock.advance(minutes(1));
  await until('it is renewed', () => watch.renewals === 1);

  t.ok(watch.identity.notAfter > NOW + days(80));
  await watch.clock.advance(hours(1));
  t.equal(watch.looks, 1, 'and that was that');
});

t.test('the same of one that is not valid yet', async (t) => {
  const watch = await watched(t, NOW + days(300));

  watch.clock.set(NOW);
  await watch.clock.advance(minutes(1));
  await until('it is renewed', () => watch.renewals === 1);

  t.ok(watch.identity.notAfter < NOW + days(100));
});

t.test('a clock that is moved by seconds, or not at all, is looked at and nothing else', async (t) => {
  const watch = await watched(t, NOW);

  watch.clock.set(NOW + 30_000);
  await watch.clock.advance(hours(5));
  t.equal(watch.looks, 0);
  await watch.clock.advance(hours(1));
  await until('the certificate is looked at', () => watch.looks === 1);
  t.equal(watch.renewals, 0);
});

t.test('where it cannot be renewed at once it is tried again with the next minute', async (t) => {
  const clock = new HandClock(NOW);
  const stop = new AbortController();
  const [said, told]: string[][] = [[], []];
  let looks = 0;
  const renewIfDue = async (): Promise<boolean> => {
    looks++;
    if (looks < 3) return Promise.reject(new Error('no space left on device'));
    return Promise.resolve(true);
  };
  const log = { ...silentLog, error: (what: string) => said?.push(what) };
  const running = certificateWatch({ renewIfDue }, () => told?.push('renewed'), { clock, log }).run(
    stop.signal,
  );
  await settle();

  clock.set(NOW + days(100));
  await clock.advance(minutes(10));

  t.equal(looks, 3);
  t.same([said, told], [['certificate renewal failed', 'certificate renewal failed'], ['renewed']]);
  stop.abort();
  await running;
});
