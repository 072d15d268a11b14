import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { minutes, seconds } from '../../src/core/units.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { hosts } from './hosts.ts';
import {
  asked,
  audited,
  counts,
  good,
  heldByNetd,
  holdsFrom,
  isSilent,
  on,
  timeIsOver,
} from './measure-bed.ts';
import { managedPlant, plant, plantWithPress } from './measure-plants.ts';

// Who is held back, however they call themselves, and until when: real packets, and netd as it runs.

const skip = noRules() || missingPeer('conntrack', 'conntrack') || missingPeer('nsenter', 'util-linux');
t.jobs = 2;

const BACK = `  - { from: control, to: supervision, allow: [tcp/4002, udp/4002], because: "test" }\n`;

t.test('by its hardware address: both directions, and no address helps', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  await asks.serves(4_002);
  await holdsFrom(bed, `${plant('tcp/4001, udp/4001')}${BACK}`);
  const netd = await bed.netd();
  const mac = '02:00:00:00:10:09';
  const talks = [
    asks.talks('tcp', '10.20.10.9', 4_001),
    asks.talks('tcp', 'fd00:10::9', 4_001),
    asks.talks('udp', 'fd00:10::9', 4_001),
    serves.talks('tcp', '10.20.40.9', 4_002),
    serves.talks('tcp', 'fd00:40::9', 4_002),
  ];
  for (const talk of talks) await talk.goesOn(3);
  const [toDevice, fromDevice] = [await counts(bed, serves), await counts(bed, asks)];

  const said = await asked(bed, 'quarantine', { device: mac.toUpperCase(), because: 'a strange box' });
  t.match(said, new RegExp(`^${mac} is in quarantine \\(${mac}, 10\\.20\\.10\\.9, fd00:10::9\\)`));
  t.ok(
    await isSilent(bed, [...talks, toDevice, fromDevice]),
    'living connections are dead at once, to it and from it',
  );

  await on(bed, serves, 'ip', 'address', 'add', '10.20.10.33/24', 'dev', 'eth0');
  await on(bed, serves, 'ip', 'address', 'add', 'fd00:10::33/64', 'dev', 'eth0', 'nodad');
  const others = [asks.talks('udp', '10.20.10.33', 4_001), asks.talks('udp', 'fd00:10::33', 4_001)];
  const send =
    'import socket,sys\nfor a,b in (("10.20.10.33","10.20.40.9"),("fd00:10::33","fd00:40::9")):\n  s=socket.socket(socket.AF_INET6 if ":" in a else socket.AF_INET,socket.SOCK_DGRAM); s.bind((a,0))\n  for i in range(20): s.sendto(b"x",(b,4002))';
  const heard = await fromDevice();
  await on(bed, serves, 'python3', '-c', send);
  t.equal(await fromDevice(), heard, 'what it says under another address is not heard');
  await netd.says(/"what":"somebody in quarantine uses another address.*10\.20\.10\.33.*fd00:10::33/);
  t.ok(await isSilent(bed, [...talks, ...others, toDevice, fromDevice]), 'and nobody reaches it there');
  await asked(bed, 'status'); // the kernel holds what it shall
  t.match(audited(bed).join('\n'), /quarantine intended netd also .*10\.20\.10\.33[^]*quarantine done netd/);

  await on(bed, serves, 'ip', 'address', 'del', '10.20.10.33/24', 'dev', 'eth0');
  await on(bed, serves, 'ip', 'address', 'del', 'fd00:10::33/64', 'dev', 'eth0');
  t.match(await asked(bed, 'release', { device: mac }), /is released/);
  for (const talk of talks) await talk.goesOn(3);
});

t.test('a time that is over, seen by netd as it runs and by one that starts later', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  await holdsFrom(bed, plant('udp/4001'));
  const talk = asks.talks('udp', '10.20.10.9', 4_001);
  await talk.goesOn(3);
  const netd = await bed.netd();
  const inKernel = async (): Promise<boolean> =>
    /q_ip_4[^}]*10\.20\.10\.9/.test((await bed.run('nft', 'list', 'table', 'inet', 'sluice')).stdout);

  const put = ['quarantine', '10.20.10.9', '--because', 'a look'];
  t.match(await good(bed, ...put, '--for', '10m', '--socket', bed.socket), /, for (10m|\d+s)/);
  t.ok(await inKernel());
  t.ok(await isSilent(bed, [talk], 2));
  timeIsOver(bed);
  await netd.says(/"what":"released: its time is over".*"device":"10.20.10.9"/);
  await talk.goesOn(3);
  t.notOk(await inKernel());
  t.match(await good(bed, 'quarantine'), /nobody is in quarantine/);
  t.match(audited(bed).slice(-4), [
    'quarantine intended socket for 10m: a look',
    'quarantine done socket for 10m: a look',
    'release intended netd its time is over',
    'release done netd its time is over',
  ]);

  await netd.stop('SIGKILL');
  await good(bed, ...put, '--for', '1s', '--socket', bed.socket);
  await until('the end of its time', async () =>
    /10\.20\.10\.9 since .*, over, released by the next change: a look/.test(await good(bed, 'quarantine')),
  );
  t.ok(await inKernel(), 'nobody was there to release it');
  t.match((await bed.firewall('status')).stdout, /in quarantine: 10\.20\.10\.9 .*, over, /);
  const next = await bed.netd();
  await next.says(/"what":"released: its time is over"/);
  await talk.goesOn(3);
  t.notOk(await inKernel());
  t.match(audited(bed).slice(-2), [
    'release intended netd its time is over',
    'release done netd its time is over',
  ]);
});

t.test('nobody is released by time while the audit cannot be written', { skip }, async (t) => {
  const { bed } = await hosts(t);
  await holdsFrom(bed, plant('tcp/4001'));
  const netd = await bed.netd();
  const listed = async (address = '10.20.10.9'): Promise<boolean> =>
    new RegExp(`q_ip_4[^}]*${address}[ ,]`).test(
      (await bed.run('nft', 'list', 'table', 'inet', 'sluice')).stdout,
    );
  const [audit, away] = [join(bed.state, 'audit.jsonl'), join(bed.state, 'away')];
  await asked(bed, 'quarantine', { device: '10.20.10.9', lasts: minutes(10), because: 'x' });
  await asked(bed, 'quarantine', { device: '02:00:00:00:10:08', because: 'x' });
  renameSync(audit, away);
  mkdirSync(audit);
  timeIsOver(bed);

  await netd.says(/the audit cannot be written, so nobody is released/);
  t.ok(await listed());
  const moved = ['10.20.10.88', 'lladdr', '02:00:00:00:10:08', 'dev', 'vlan10'];
  await bed.run('ip', 'neigh', 'add', ...moved);
  await netd.says(/"what":"somebody in quarantine uses another address.*10\.20\.10\.88/);
  t.ok(await listed('10.20.10.88'), 'who moves is followed all the same');
  t.ok(await listed(), 'which lets nobody go either');
  await bed.run('nft', 'add', 'rule', 'inet', 'sluice', 'g_forward', 'tcp', 'dport', '23', 'accept');
  await netd.says(/another program changed the rules/);
  const isThere = async (): Promise<boolean> =>
    /dport 23/.test((await bed.run('nft', 'list', 'table', 'inet', 'sluice')).stdout);
  await until('rules that are put right all the same', async () => !(await isThere()));

  rmdirSync(audit);
  renameSync(away, audit);
  await netd.says(/"what":"released: its time is over"/);
  t.notOk(await listed());
  const releases = audited(bed).filter((line) => line.startsWith('release'));
  t.match(releases, [/^release intended netd/, /^release done netd/]);
});

t.test('a device that is taken out of the file stays in quarantine', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  await holdsFrom(bed, plantWithPress('10.20.10.9'));
  const [four, six] = [asks.talks('udp', '10.20.10.9', 4_001), asks.talks('udp', 'fd00:10::9', 4_001)];
  await four.goesOn(3);
  await six.goesOn(3);
  await bed.netd();
  await asked(bed, 'quarantine', { device: 'press-1', because: 'odd writes' });

  await heldByNetd(bed, plant('udp/4001'));

  t.ok(await isSilent(bed, [four, six], 4), 'by its address, and by its hardware address');
  t.match(
    await good(bed, 'quarantine'),
    /^press-1 \(02:00:00:00:10:09, 10\.20\.10\.9, fd00:10::9\) since .*odd writes/,
  );
  t.match(await asked(bed, 'status'), /in quarantine: press-1 \(02:/);
  await t.rejects(asked(bed, 'quarantine', { device: 'press-1', because: 'x' }), { message: /no device/ });
  await heldByNetd(bed, plant('udp/4001', 'observe'));
  t.ok(await isSilent(bed, [four, six], 2), 'also where everything else is only observed');
  t.match(await asked(bed, 'release', { device: 'press-1' }), /press-1 is released/);
  await four.goesOn(3);
  await six.goesOn(3);
});

t.test('nobody is let go, or overlooked, by being put there again', { skip }, async (t) => {
  const { bed } = await hosts(t);
  await holdsFrom(bed, plantWithPress('10.20.10.9'));
  await bed.netd();
  const press = { device: 'press-1' };
  await asked(bed, 'quarantine', { ...press, because: 'odd writes' });

  const again = await asked(bed, 'quarantine', { ...press, lasts: seconds(1), because: 'in a hurry' });
  t.match(again, /until it is released\n {2}warning: it was there for longer already/);
  await heldByNetd(bed, plantWithPress('10.20.10.10'));
  t.match(await asked(bed, 'quarantine', { ...press, because: 'more' }), /10\.20\.10\.10, 10\.20\.10\.9/);
  await asked(bed, 'quarantine', { device: '10.20.10.9', because: 'another' });
  t.match(await asked(bed, 'release', press), /10\.20\.10\.9 \(10\.20\.10\.9\) is still in quarantine/);
  t.match(await asked(bed, 'release', { device: '10.20.10.9' }), /^10\.20\.10\.9 is released\n$/);
  t.match(await good(bed, 'quarantine'), /nobody/);
});

t.test('whoever manages the gateway is answered, and reaches nothing else', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  const service = bed.spawn('/usr/bin/python3', join(REPOSITORY, 'test/netd/talk.py'), 'serve', '4005');
  t.teardown(() => service.kill('SIGKILL'));
  await holdsFrom(bed, managedPlant('udp/4001'));
  await bed.netd();
  const managing = (['tcp', 'udp'] as const).flatMap((protocol) =>
    ['10.20.40.1', 'fd00:40::1'].map((gateway) => asks.talks(protocol, gateway, 4_005)),
  );
  const others = ['10.20.10.9', 'fd00:10::9'].map((device) => asks.talks('udp', device, 4_001));
  for (const talk of [...managing, ...others]) await talk.goesOn(3);

  const said = await asked(bed, 'quarantine', { device: '02:00:00:00:40:09', because: 'a lost laptop' });

  t.match(said, /warning: 10\.20\.40\.9 still reaches the gateway by tcp\/4005, udp\/4005: /);
  t.match(said, /warning: fd00:40::9 still reaches/);
  t.ok(await isSilent(bed, others, 4));
  for (const talk of managing) await talk.goesOn(3);
  t.match(await asked(bed, 'status'), /proven: it accepts exactly/);
});
