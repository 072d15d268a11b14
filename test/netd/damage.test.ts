import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { compile } from '../../src/segmentation/compile.ts';
import { islanded } from '../../src/segmentation/island.ts';
import { render } from '../../src/segmentation/render.ts';
import { holds } from '../../src/netd/bring.ts';
import { closedRulesOf, policyOf } from '../segmentation/policies.ts';
import { long } from '../support/long.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import type { Running } from '../support/process.ts';
import { until } from '../support/wait.ts';
import type { Bed } from './bed.ts';
import { confirmed, waits } from './change.ts';
import { asked, audited } from './measure-bed.ts';
import { AFTER, BEFORE } from './plants.ts';

// Files that are damaged while netd runs: what others take away is put back all the same, and never less than closed.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
const PATIENCE = 60_000;
const ISLAND = render(compile(islanded(policyOf(BEFORE))));
t.jobs = 2;

async function running(t: Test): Promise<{ readonly bed: Bed; readonly netd: Running }> {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  bed.declare(BEFORE);
  return { bed, netd: await bed.netd() };
}

const cutShort = (bed: Bed, name: string): void => {
  const path = join(bed.state, name);
  writeFileSync(path, readFileSync(path).subarray(0, 60));
};

/** Another program takes the table away. */
const taken = async (bed: Bed): Promise<unknown> => bed.run('nft', 'delete', 'table', 'inet', 'sluice');

const heldAgain = async (bed: Bed, rules: string): Promise<unknown> =>
  until('the rules', async () => holds(await bed.listing(), rules), PATIENCE);

t.test('the book of the quarantine, and the rules that were confirmed', { skip }, async (t) => {
  const { bed, netd } = await running(t);
  await asked(bed, 'quarantine', { device: '10.20.10.9', because: 'x' });
  const book = readFileSync(join(bed.state, 'quarantine.json'));

  cutShort(bed, 'quarantine.json');
  await taken(bed);
  await until('the table', async () => bed.listing(), PATIENCE);
  t.match(await bed.listing(), /"q_ip_4".*"elem": \["10\.20\.10\.9"\]/, 'nobody is let go');
  await netd.says(/what is known about the rules is damaged.*quarantine\.json/, PATIENCE);
  t.match(await bed.asked('status'), {
    status: 1,
    stdout: /^the kernel holds the rules that were confirmed\ndamaged: quarantine\.json/,
  });
  writeFileSync(join(bed.state, 'quarantine.json'), book);
  await asked(bed, 'release', { device: '10.20.10.9' });

  const file = join(bed.state, 'confirmed.json');
  writeFileSync(file, readFileSync(file, 'utf8').replace(/\b502\b/g, '503'));
  await taken(bed);
  await until('the rules', async () => bed.holds(BEFORE), PATIENCE);
  await netd.says(
    /what is known about the rules is damaged.*confirmed\.json is damaged; boot\.json/,
    PATIENCE,
  );
  await until('the audit', () =>
    audited(bed).some((line) => line.startsWith('damage failed netd confirmed.json')),
  );
  t.match(await bed.asked('rollback'), {
    status: 0,
    stdout: /confirmed last hold\n {2}damaged: confirmed\.json/,
  });

  await netd.stop();
  cutShort(bed, 'confirmed.json');
  cutShort(bed, 'boot.json');
  const next = await bed.netd();
  await heldAgain(bed, closedRulesOf(BEFORE));
  await next.says(/confirmed\.json is damaged, and boot\.json too: nothing but management/, PATIENCE);
  await taken(bed);
  await heldAgain(bed, closedRulesOf(BEFORE));
  t.match(await bed.asked('rollback'), {
    status: 0,
    stdout: /^there are no confirmed rules to load: all but/,
  });
  t.match(await asked(bed, 'apply'), /replaced by ones that let nothing but management through/);
  await asked(bed, 'confirm', { change: bed.change });
  t.match(await bed.asked('status'), {
    status: 0,
    stdout: /holds the rules that were confirmed\n(?!damaged)/,
  });
});

t.test('what the rules of an island were made of', { skip }, async (t) => {
  const { bed } = await running(t);
  await asked(bed, 'island', { because: 'x' });

  writeFileSync(join(bed.state, 'confirmed-policy.json'), '{');
  await taken(bed);
  await heldAgain(bed, ISLAND);
  await asked(bed, 'rollback');
  t.ok(holds(await bed.listing(), ISLAND));
  t.match(await asked(bed, 'rejoin'), /open again/);
  t.ok(await bed.holds(BEFORE));
});

t.test('an island while what it would return to is not known', { skip: skip || long }, async (t) => {
  const bed = await confirmed(t);
  t.equal((await bed.firewall('apply')).status, 0);
  t.match(await bed.firewall('island', '--because', 'x'), {
    status: 1,
    stderr: /they cannot be cut to an island/,
  });
  t.notMatch((await bed.firewall('status')).stdout, /is an island/, 'and no mark is left');
  const netd = await bed.netd();

  await asked(bed, 'island', { because: 'x' });
  bed.expire();
  await until('the roll back', () => !waits(bed), PATIENCE);
  t.ok(holds(await bed.listing(), closedRulesOf(AFTER)), 'closed, and not open');
  await netd.says(/as an island, nothing but management is let through/, PATIENCE);
  await asked(bed, 'rejoin');
  t.ok(await bed.holds(BEFORE));
});

t.test(
  'a change whose rules on the disk are damaged is taken back at once',
  { skip: skip || long },
  async (t) => {
    const { bed, netd } = await running(t);
    bed.declare(AFTER);
    await asked(bed, 'apply');

    cutShort(bed, 'candidate.json');
    await netd.says(/rolled back: nobody can confirm/, PATIENCE);
    t.ok(await bed.holds(BEFORE));
    t.notOk(waits(bed));
  },
);
