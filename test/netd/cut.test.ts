import t from 'tap';
import { epochMs } from '../../src/core/units.ts';
import { policyOf } from '../segmentation/policies.ts';
import { long } from '../support/long.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import type { Bed } from './bed.ts';
import { hosts, must, type Talk } from './hosts.ts';
import { plant } from './measure-plants.ts';

// Real connections through a gateway whose rules change: what is forbidden stops at once, what stays loses nothing.

const skip = noRules() || missingPeer('conntrack', 'conntrack') || missingPeer('nsenter', 'util-linux');
t.jobs = 2;

async function applied(bed: Bed, yaml: string): Promise<string> {
  bed.declare(yaml);
  const { status, stdout, stderr } = await bed.firewall('apply', '--json');
  if (status !== 0) throw new Error(stderr);
  return stdout;
}

/** The kernel looks at whole ones. */
const secondsFromNow = (count: number): number => (Math.ceil(Date.now() / 1_000) + count) * 1_000;

async function isSilent(talk: Talk, others: readonly Talk[]): Promise<boolean> {
  const before = talk.count;
  for (const other of others) await other.goesOn();
  return talk.count === before;
}

t.test('what a change forbids stops at once, and nothing else is touched', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001, 4_002, 4_003);
  await applied(bed, plant('tcp/4001-4002, udp/4001-4002, icmp'));
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
  const talks = (port: number): Talk[] =>
    (['tcp', 'udp'] as const).flatMap((protocol) =>
      ['10.20.10.9', 'fd00:10::9'].map((address) => asks.talks(protocol, address, port)),
    );
  const stays = talks(4_001);
  const goes = talks(4_002);
  for (const talk of [...stays, ...goes]) await talk.goesOn(5);
  // Nothing of ours: connection tracking of another zone, and of addresses that no zone has.
  const foreign = ['-p', 'udp', '--sport', '7', '--dport', '4002', '-t', '600'];
  await must(bed, 'conntrack', '-I', '-s', '127.0.0.2', '-d', '127.0.0.3', ...foreign);
  await must(bed, 'conntrack', '-I', '-s', '192.0.2.1', '-d', '192.0.2.2', ...foreign);

  const told = await applied(bed, plant('tcp/4001, tcp/4003, udp/4001, udp/4003, icmp'));

  t.match(told, /"cut":4,/);
  for (const talk of goes) t.ok(await isSilent(talk, stays), 'it has stopped');
  const followed = await must(bed, 'conntrack', '-L');
  t.match(followed, /src=127\.0\.0\.2 /);
  t.match(followed, /src=192\.0\.2\.1 /);

  // What the change that waits allows, and the confirmed rules do not, ends with the roll back.
  const brief = talks(4_003);
  for (const talk of brief) await talk.goesOn(5);
  const rollback = await bed.firewall('rollback', '--json');
  t.equal(rollback.status, 0, rollback.stderr);
  t.match(rollback.stdout, /"cut":4,/);
  for (const talk of brief) t.ok(await isSilent(talk, stays), 'it has stopped');
  // What was forbidden for a while goes on with what it had sent and nobody had taken: no number is missing.
  for (const talk of goes) await talk.goesOn(5);
});

t.test('a roll back that nobody asked for cuts too', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001, 4_002);
  await applied(bed, plant('tcp/4001'));
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
  await applied(bed, plant('tcp/4001, tcp/4002'));
  const [stays, goes] = [asks.talks('tcp', '10.20.10.9', 4_001), asks.talks('tcp', '10.20.10.9', 4_002)];
  await goes.goesOn(5);

  bed.expire();

  await until('silence', async () => isSilent(goes, [stays]));
  t.ok(await bed.holds(plant('tcp/4001')));
});

t.test('what only observing let in is cut when that ends, by netd', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001, 4_002, 4_003);
  const yaml = plant('tcp/4001', 'observe');
  bed.declare(yaml);
  /** A file names whole minutes. */
  const observing = async (observeUntil?: number): Promise<void> =>
    bed.confirmedPolicy({
      ...policyOf(yaml),
      ...(observeUntil !== undefined && { observeUntil: epochMs(observeUntil) }),
    });
  await observing();
  const [stays, before] = [asks.talks('tcp', '10.20.10.9', 4_001), asks.talks('tcp', '10.20.10.9', 4_002)];
  for (const talk of [stays, before]) await talk.goesOn(5);
  const end = secondsFromNow(1);
  await observing(end);
  await until('the end of observing', () => Date.now() > end);
  await before.goesOn(); // the rules alone do not end it

  const netd = await bed.netd();

  await netd.says(/"observing is over: connections that only it let in are cut".*"connections":1\b/);
  t.ok(await isSilent(before, [stays]), 'it has stopped, at the start of netd');

  await observing();
  const during = asks.talks('tcp', '10.20.10.9', 4_003);
  await during.goesOn(5);
  await observing(secondsFromNow(3));
  await until('silence', async () => isSilent(during, [stays]));
  t.match((await bed.firewall('audit')).stdout, /observing is over: \d connections cut/);
});

t.test('mode observe cuts nothing', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  await applied(bed, plant('tcp/4001'));
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
  const talk = asks.talks('tcp', '10.20.10.9', 4_001);
  await talk.goesOn(5);

  t.match(await applied(bed, plant('tcp/4002', 'observe')), /"cut":0,/);

  await talk.goesOn();
});

t.test(
  'without conntrack connections end by themselves, and a person is told',
  { skip: skip || long },
  async (t) => {
    const { bed } = await hosts(t);
    bed.programIs('conntrack', 'exit 127\n');
    bed.declare(plant('tcp/4001'));

    const { status, stdout } = await bed.firewall('apply');

    t.equal(status, 0);
    t.match(stdout, /warning: connections that are forbidden now may go on until they end by themselves/);
    t.match((await bed.firewall('status')).stdout, /lacks the program conntrack.*apt-get install conntrack/);
  },
);
