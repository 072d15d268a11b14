import { join } from 'node:path';
import { writeFileSync } from 'node:fs';
import t from 'tap';
import { Audit } from '../../src/netd/audit.ts';
import { verifyAudit } from '../../src/netd/audit-verify.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { cannotMount, fillDisk, mountSmallDisk } from '../support/small-disk.ts';
import { Bed } from './bed.ts';
import { waits } from './change.ts';
import { AFTER, BEFORE } from './plants.ts';

const skip =
  noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux') || cannotMount();

t.test('on a full disk nothing is given, and everything can be taken back', { skip }, async (t) => {
  const bed = await Bed.make(t);
  const data = join(bed.folder, 'data');
  const disk = mountSmallDisk(data, 2);
  try {
    await bed.run('chmod', '755', data);
    await bed.confirmed(BEFORE);
    bed.declare(AFTER);
    await bed.netd();
    t.equal((await bed.asked('apply')).status, 0);
    const stone = fillDisk(data, 0);
    // What is left of the last block takes a few records more.
    const audit = new Audit(bed.state);
    const who = { uid: 0, user: 'root', via: 'netd' } as const;
    const fill = async (): Promise<void> => {
      while ((await audit.record(who, { verb: 'fill', outcome: 'done' })) === undefined);
    };
    await fill();

    const { status, stdout } = await bed.asked('rollback');

    t.equal(status, 0);
    t.match(stdout, /is taken back/);
    t.match(stdout, /this is not in the audit, which cannot be written: ENOSPC/);
    t.ok(await bed.holds(BEFORE));
    t.notOk(waits(bed));
    // The rules of the change that was taken back made room.
    const second = fillDisk(data, 0, 'second');
    await fill();
    t.match(await bed.asked('apply'), {
      status: 1,
      // Whichever finds the last block taken: the audit, or the rules of the change.
      stderr: /so nothing was changed: ENOSPC|ENOSPC.*; the confirmed rules hold/,
    });
    t.ok(await bed.holds(BEFORE));
    for (const one of [stone, second]) writeFileSync(one, '');
    t.match(await bed.asked('apply'), { status: 0 });
    t.same(verifyAudit(bed.state).problems, []);
  } finally {
    await bed.stopped();
    disk.unmount();
  }
});
