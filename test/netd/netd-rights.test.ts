import { chmodSync, chownSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { confirmed, waits } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';

// netd as it runs on an appliance: root without the rights of root, but for CAP_NET_ADMIN.

const notRoot = process.getuid?.() !== 0 && 'only root can give up what root may';
const skip =
  noRules() || missingPeer('setpriv', 'util-linux') || missingPeer('flock', 'util-linux') || notRoot;

t.test('CAP_NET_ADMIN alone is enough', { skip }, async (t) => {
  const bed = await confirmed(t);
  // As deploy/tmpfiles makes it: the gateway writes beside the rules, and can move nothing that is not its own.
  chownSync(join(bed.folder, 'data'), 0, 61_000);
  chmodSync(join(bed.folder, 'data'), 0o1770);
  bed.under('setpriv', '--bounding-set', '-all,+net_admin', '--inh-caps', '-all', '--no-new-privs');
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
