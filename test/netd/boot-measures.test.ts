import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import type { Bed } from './bed.ts';
import { hosts, must } from './hosts.ts';
import { asked, audited, counts, good, holdsFrom, isSilent } from './measure-bed.ts';
import { plant } from './measure-plants.ts';

// A machine that starts while somebody is in quarantine, or while it is an island: first the shell script, then netd.

const notRoot = process.getuid?.() !== 0 && 'only real root tells the files of others apart';
const skip =
  noRules() || missingPeer('conntrack', 'conntrack') || missingPeer('nsenter', 'util-linux') || notRoot;

const forwarding = async (bed: Bed, on: 0 | 1): Promise<void> =>
  void (await must(bed, 'sysctl', '-qw', `net.ipv4.ip_forward=${on}`, `net.ipv6.conf.all.forwarding=${on}`));

/** Nothing of before is in the kernel, and nothing is forwarded until the rules are there. */
async function starts(bed: Bed): Promise<string> {
  await forwarding(bed, 0);
  await must(bed, 'nft', 'flush', 'ruleset');
  await must(bed, 'conntrack', '-F');
  const script = join(REPOSITORY, 'deploy/firewall-boot.sh');
  const { status, stderr } = await bed.run('sh', script, bed.state, join(bed.folder, 'run/boot.json'));
  if (status !== 0) throw new Error(stderr);
  await forwarding(bed, 1);
  return stderr;
}

t.test('what was in force before a start of the machine is in force after it', { skip }, async (t) => {
  const { bed, asks, serves } = await hosts(t);
  await serves.serves(4_001);
  await holdsFrom(bed, plant('tcp/4001, udp/4001'));
  const [four, six] = [asks.talks('udp', '10.20.10.9', 4_001), asks.talks('udp', 'fd00:10::9', 4_001)];
  await four.goesOn(3);
  await six.goesOn(3);
  const arrived = await counts(bed, serves);

  await good(bed, 'quarantine', '10.20.10.9', '--because', 'odd writes');
  t.match(await starts(bed), /the rules that were confirmed last are loaded/);
  t.ok(await isSilent(bed, [four], 3), 'by the rules of the start alone');
  await six.goesOn(3);
  const netd = await bed.netd();
  await asked(bed, 'status');
  t.ok(await isSilent(bed, [four], 2), 'and when netd runs');

  await asked(bed, 'island', { because: 'a worm' });
  await netd.stop();
  t.match(await starts(bed), /the rules that were confirmed last are loaded/);
  t.ok(await isSilent(bed, [four, six, arrived], 4), 'an island is one from the first packet on');
  const next = await bed.netd();
  t.match(await asked(bed, 'status'), /is an island since[^]*in quarantine: 10\.20\.10\.9/);
  t.ok(await isSilent(bed, [four, six, arrived], 2));

  t.match(await asked(bed, 'rejoin'), /open again/);
  await six.goesOn(3);
  t.ok(await isSilent(bed, [four], 2), 'the end of the island is not that of the quarantine');
  t.match(await asked(bed, 'release', { device: '10.20.10.9' }), /is released/);
  await four.goesOn(3);
  t.match(
    audited(bed).slice(-4),
    ['rejoin intended socket', 'rejoin done socket', 'release intended socket', 'release done socket'].map(
      (line) => new RegExp(`^${line}`),
    ),
  );

  await next.stop();
  await starts(bed);
  await four.goesOn(3);
  await six.goesOn(3);
});
