import { join } from 'node:path';
import { readFileSync, writeFileSync } from 'node:fs';
import t from 'tap';
import { verifyAudit } from '../../src/netd/audit-verify.ts';
import { holds as holdsRules } from '../../src/netd/bring.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { islanded } from '../../src/segmentation/island.ts';
import { quarantineElements, withQuarantine } from '../../src/segmentation/quarantine.ts';
import { render } from '../../src/segmentation/render.ts';
import { policyOf } from '../segmentation/policies.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { cannotMount, mountSmallDisk } from '../support/small-disk.ts';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { waits } from './change.ts';
import { filled } from './full-bed.ts';
import { asked, sluice } from './measure-bed.ts';
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
    const stone = await filled(bed, 'stone');

    const { status, stdout } = await bed.asked('rollback');

    t.equal(status, 0);
    t.match(stdout, /is taken back/);
    t.match(stdout, /this is not in the audit, which cannot be written: ENOSPC/);
    t.ok(await bed.holds(BEFORE));
    t.notOk(waits(bed));
    // The rules of the change that was taken back made room.
    const second = await filled(bed, 'second');
    t.match(await bed.asked('apply'), {
      status: 1,
      // Whichever finds the last block taken: the audit, or the rules of the change.
      stderr: /so nothing was changed: ENOSPC|ENOSPC.*; the confirmed rules hold/,
    });
    t.ok(await bed.holds(BEFORE));
    for (const one of [stone, second]) writeFileSync(one, '');
    t.match(await bed.asked('apply'), { status: 0 });
    // What this bed began with was confirmed by nobody.
    const { problems } = verifyAudit(bed.state);
    t.match(problems, [/no record tells who confirmed/]);
    t.equal(problems.length, 1);
  } finally {
    await bed.stopped();
    disk.unmount();
  }
});

/** There is no room for another file: the time of the change is over in the one that is there. */
function expireInPlace(bed: Bed): void {
  const file = join(bed.state, 'pending.json');
  const over = readFileSync(file, 'utf8').replace(/"until": [\d.]+/, (text) =>
    '"until": 0'.padEnd(text.length),
  );
  writeFileSync(file, over, { flag: 'r+' });
}

t.test('a full disk keeps nobody from being cut off, nor the conduits', { skip }, async (t) => {
  const bed = await Bed.make(t);
  const data = join(bed.folder, 'data');
  const disk = mountSmallDisk(data, 2);
  const holds = async (yaml: string, ...devices: readonly string[]): Promise<boolean> => {
    const rules = render(compile(islanded(policyOf(yaml))));
    const elements = quarantineElements([{ mac: undefined, addresses: devices }]);
    return holdsRules(await bed.listing(), withQuarantine(rules, elements));
  };
  try {
    await bed.run('chmod', '755', data);
    await bed.confirmed(BEFORE);
    bed.knows(BEFORE);
    bed.declare(AFTER);
    const netd = await bed.netd();
    await asked(bed, 'apply');
    const stone = await filled(bed, 'stone');

    const cut = await asked(bed, 'quarantine', { device: '10.20.10.9', because: 'x' });
    t.match(
      cut,
      /not on the disk \(cannot write .*ENOSPC.*does not last over a start of netd or of the machine/,
    );
    t.match(cut, /this is not in the audit/);
    const island = await asked(bed, 'island', { because: 'x' });
    t.match(island, /every conduit is cut, proven[^]*not on the disk \(/);
    t.ok(await holds(AFTER, '10.20.10.9'));
    t.match(
      (await bed.asked('status')).stdout,
      /is an island[^]*in quarantine: 10\.20\.10\.9[^]*not on the disk/,
    );

    t.notMatch(netd.err.join('\n'), /another program changed/, 'nor is it taken for drift');
    expireInPlace(bed);
    await until('its guards, who know nothing of it', () => !waits(bed));
    await until('those who stay cut', async () => holds(BEFORE, '10.20.10.9'));
    t.notMatch(netd.err.join('\n'), /another program changed/, 'nor are they taken for others');

    writeFileSync(stone, '');
    await netd.says(/"what":"what is in force is on the disk again"/);
    await netd.stop('SIGKILL');
    for (const file of ['quarantine.json', 'island.json'])
      t.match(readFileSync(join(bed.state, file), 'utf8'), /"because": "x"/);
    t.match(readFileSync(join(bed.state, 'boot.json'), 'utf8'), /10\.20\.10\.9/);
    t.match(await sluice(bed, 'firewall', 'rollback'), { status: 0, stdout: /nothing differed/ });

    await filled(bed, 'second');
    const direct = await sluice(bed, 'quarantine', '10.20.10.8', '--because', 'x', '--socket', bed.socket);
    t.match(direct, { status: 0, stdout: /cannot be written down \(.*ENOSPC.*until the next command/ });
    t.ok(await holds(BEFORE, '10.20.10.8', '10.20.10.9'));
  } finally {
    await bed.stopped();
    disk.unmount();
  }
});
