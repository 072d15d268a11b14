import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { confirmed, waits } from './change.ts';
import { asked, sluice } from './measure-bed.ts';
import { AFTER, BEFORE } from './plants.ts';

// A file that somebody has just begun to edit, and an nft that does not work: what is in force is seen and taken back all
// the same.

const skip = noRules() || missingPeer('nsenter', 'util-linux');
t.jobs = 2;
const HEAD = 'gateway: { id: plant7, data: ./data }\n';
/** The line of HEAD is in both; the second one is not even YAML. */
const WRONG = `${AFTER}\nbogus: 7\n`;
const BROKEN = `${HEAD}zones: {\n`;
const TOLD =
  /^gateway\.yaml has a problem, which \.\/sluice check gateway\.yaml tells: nothing but gateway\.id/;

t.test('through netd: how it stands, and what was applied is confirmed', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  await bed.netd();
  await asked(bed, 'apply');
  bed.declare(WRONG);

  const status = await bed.asked('status');
  t.match(status, { status: 1, stderr: TOLD });
  t.match(status.stdout, /cannot be gone by just now: .*gateway\.yaml is wrong; \.\/sluice check/);
  t.match(status.stdout, /proven: it accepts exactly what was declared when they were applied/);
  t.match(status.stdout, new RegExp(`change ${bed.change} is rolled back in`));
  t.match(await bed.asked('confirm', bed.change), { status: 0, stderr: TOLD });
  t.ok(await bed.holds(AFTER));
  t.match(await bed.asked('apply'), { status: 78, stderr: /bogus: unknown key/ });
  t.match(await sluice(bed, 'quarantine', '--socket', bed.socket), { status: 0, stdout: /nobody is in/ });
  bed.declare('gateway: {\n');
  t.match(await bed.asked('rollback'), { status: 0 }, 'netd knows whose rules they are');
});

t.test('directly: it is taken back, and cut', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  t.match(await bed.asked('apply'), { status: 0 });
  bed.declare(BROKEN);

  t.match(await bed.asked('rollback'), { status: 0, stderr: TOLD });
  t.ok(await bed.holds(BEFORE));
  t.notOk(waits(bed));
  t.match(await sluice(bed, 'quarantine', '10.20.10.9', '--because', 'x'), { status: 0, stderr: TOLD });
  t.match(await bed.asked('island', '--because', 'x'), { status: 0, stderr: TOLD });
  // What this bed began with was confirmed by nobody, which is told.
  t.match(await bed.firewall('audit'), { status: 1, stderr: TOLD, stdout: /island done/ });

  bed.declare('gateway: {\n');
  t.match(await bed.asked('rollback'), {
    status: 78,
    stderr: /gateway\.yaml has a problem; nothing was started/,
  });
});

t.test('netd starts with a file that is wrong, and sees to what is confirmed', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  bed.declare(WRONG);
  const netd = await bed.netd();
  await netd.says(/"what":"the configuration is wrong".*has a problem/);

  await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
  await netd.says(/what another program changed is put right/);

  t.ok(await bed.holds(BEFORE));
  bed.declare(AFTER);
  t.match(await bed.asked('apply'), { status: 0 }, 'as soon as it is right, it is gone by');
});

t.test('without nft it is told what is known without it', { skip }, async (t) => {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  t.match(await bed.firewall('apply'), { status: 0 });
  await sluice(bed, 'quarantine', '10.20.10.9', '--because', 'x');
  await bed.firewall('island', '--because', 'a worm');
  bed.nftIs('echo "Error: broken" >&2; exit 1');

  const status = await bed.firewall('status');

  t.equal(status.status, 1);
  t.match(status.stdout, /^what the kernel holds is not known, as nft does not tell it\n/);
  t.match(status.stdout, /is an island since .*: a worm \(root\)\nin quarantine: 10\.20\.10\.9 since/);
  t.match(status.stdout, new RegExp(`change ${bed.change} is rolled back in .* by 2 processes`));
  t.match(status.stdout, /\n.*tell its version: .*broken/);
  t.match(await bed.firewall('status', '--json'), { stdout: /"trouble":"[^"]*broken.*kernel":"unknown"/ });
  bed.nftIsItself();
  await bed.firewall('rollback');
});
