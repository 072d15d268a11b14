import { chmodSync, chownSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { confirmed, waits } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';

// netd as it runs on an appliance: root without the rights of root, but for CAP_NET_ADMIN.

const notRoot = process.getuid?.() !== 0 && 'only root can give up what root may';
const skip =
  noRules() || missingPeer('setpriv', 'util-linux') || missingPeer('flock', 'util-linux') || notRoot;

const UNIT = readFileSync(join(REPOSITORY, 'deploy/systemd/sluice-netd.service'), 'utf8');
/** What ProtectProc= of systemd mounts; `default` hides nothing. */
const HIDES = /^ProtectProc=(\S+)/m.exec(UNIT)?.[1]?.replace('default', 'off') ?? 'off';
/** In the group that may ask, which is not that of root. */
const AS_THE_UNIT = `mount -t proc -o hidepid=${HIDES} proc /proc
exec setpriv --regid 61000 --clear-groups --bounding-set -all,+net_admin --inh-caps -all --no-new-privs "$@"`;

t.test('CAP_NET_ADMIN alone is enough', { skip }, async (t) => {
  const bed = await confirmed(t);
  // As deploy/tmpfiles makes it: the gateway writes beside the rules, and can move nothing that is not its own.
  chownSync(join(bed.folder, 'data'), 0, 61_000);
  chmodSync(join(bed.folder, 'data'), 0o1770);
  bed.under('unshare', '--mount', 'sh', '-c', AS_THE_UNIT, 'sh');
  await bed.netd();
  bed.under();

  t.match(await bed.asked('apply'), { status: 0, stdout: /^applied and proven/ });
  t.ok(await bed.holds(AFTER));
  t.match(await bed.asked('confirm', bed.change), { status: 0 });
  t.match(await bed.asked('status'), { status: 0 });
  bed.declare(BEFORE);
  t.equal((await bed.asked('apply')).status, 0);
  t.match(await bed.asked('rollback'), { status: 0, stdout: /is taken back/ });

  t.ok(await bed.holds(AFTER));
  t.notOk(waits(bed));
});

t.test(
  'who changed the rules is seen as it lives, and so are those who take a change back',
  { skip },
  async (t) => {
    const bed = await confirmed(t);
    bed.knows(BEFORE);
    bed.declare(BEFORE);
    bed.under('unshare', '--mount', 'sh', '-c', AS_THE_UNIT, 'sh');
    const netd = await bed.netd();
    bed.under();
    const lives = join(bed.folder, 'lives');
    const program = bed.spawn(
      'sh',
      '-c',
      `mkfifo ${lives}; exec 3<>${lives}; echo 'flush ruleset' >&3; exec nft -i <${lives}`,
    );
    t.teardown(() => program.kill('SIGKILL'));

    await netd.says(
      /another program changed the rules","by":"nft, process \d+ of user 0, started by [^"]*: nft -i/,
      60_000,
    );

    await until('the rules', async () => bed.holds(BEFORE), 60_000);
    bed.declare(AFTER);
    t.equal((await bed.firewall('apply')).status, 0);
    t.match(await bed.asked('status'), { stdout: /by 2 processes/ });
  },
);
