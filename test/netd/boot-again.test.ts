import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { holds } from '../../src/netd/bring.ts';
import { DriftBook } from '../../src/netd/drift-book.ts';
import { State } from '../../src/netd/state.ts';
import { compile } from '../../src/segmentation/compile.ts';
import { islanded } from '../../src/segmentation/island.ts';
import { quarantineElements, withQuarantine } from '../../src/segmentation/quarantine.ts';
import { render } from '../../src/segmentation/render.ts';
import { closedRulesOf, policyOf, rulesOf } from '../segmentation/policies.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY, type Running } from '../support/process.ts';
import { until } from '../support/wait.ts';
import type { Bed } from './bed.ts';
import { confirmed } from './change.ts';
import { asked } from './measure-bed.ts';
import { BEFORE } from './plants.ts';

// What ends a start that closed: the unit is started again, somebody rolls back. And what is done until then.

const notRoot = process.getuid?.() !== 0 && 'only real root tells the files of others apart';
const skip = noRules() || missingPeer('nsenter', 'util-linux') || notRoot;
const SHUT = closedRulesOf(BEFORE);
t.jobs = 2;

/** BEFORE was applied and confirmed; the machine has just been started, and holds nothing. */
async function started(t: Test): Promise<Bed> {
  const bed = await confirmed(t);
  bed.knows(BEFORE);
  bed.declare(BEFORE);
  new State(join(bed.folder, 'data')).keepClosed(SHUT);
  await bed.run('nft', 'delete', 'table', 'inet', 'sluice');
  return bed;
}

const reportOf = (bed: Bed): string => join(bed.folder, 'run/boot.json');

/** The unit is started, or started again; what came of it. */
async function starts(bed: Bed): Promise<string | undefined> {
  await bed.run('sh', join(REPOSITORY, 'deploy/firewall-boot.sh'), bed.state, reportOf(bed));
  return /"outcome":"([^"]*)"/.exec(readFileSync(reportOf(bed), 'utf8'))?.[1];
}

const netdOf = async (bed: Bed): Promise<Running> => bed.netd('--boot-report', reportOf(bed));
const bootOf = (bed: Bed): string => join(bed.state, 'boot.json');

/** nft refuses this file, or is what it was. */
const refuses = (bed: Bed, file: string | undefined): void => {
  const program = join(bed.folder, 'refuses');
  const refuse = file === undefined ? '' : `case "$*" in *${file}) exit 1 ;; esac\n`;
  writeFileSync(program, `#!/bin/sh\n${refuse}exec nft "$@"\n`, { mode: 0o755 });
  bed.set('SLUICE_NFT', program);
};

t.test('what closed and was opened since does not close again when netd starts', { skip }, async (t) => {
  const bed = await started(t);
  writeFileSync(bootOf(bed), '{');
  t.equal(await starts(bed), 'closed');

  t.match(await bed.firewall('rollback'), { status: 0 });
  t.equal(new State(join(bed.folder, 'data')).booted()?.rules, rulesOf(BEFORE), 'the next start opens');
  const netd = await netdOf(bed);
  await netd.says(/somebody opened it since/);
  t.ok(await bed.holds(BEFORE));

  writeFileSync(bootOf(bed), '{');
  t.equal(await starts(bed), 'closed');
  await until('that netd told it', () => !existsSync(reportOf(bed)));
  await until('what netd puts right', async () => bed.holds(BEFORE));
  await netd.stop();
  await netdOf(bed);
  t.match(await bed.asked('status'), { status: 0, stdout: /holds the rules that were confirmed/ });
});

t.test('a start of the unit that loads what is confirmed ends one that failed', { skip }, async (t) => {
  const bed = await started(t);
  bed.set('SLUICE_NFT', join(bed.folder, 'none'));
  t.equal(await starts(bed), 'failed');
  const netd = await netdOf(bed);
  t.ok(holds(await bed.listing(), SHUT), 'netd closes');

  refuses(bed, undefined);
  t.equal(await starts(bed), 'confirmed');
  await netd.says(/"what":"when the machine started","outcome":"confirmed"/);

  t.match(await bed.asked('status'), { status: 0, stdout: /holds the rules that were confirmed/ });
  t.ok(await bed.holds(BEFORE));
  t.strictSame(new DriftBook(bed.state).read().events, [], 'and nobody is blamed for it');
});

t.test('what takes away while a start has closed lasts over the roll back', { skip }, async (t) => {
  const bed = await started(t);
  refuses(bed, '/boot.json');
  t.equal(await starts(bed), 'closed');
  const netd = await netdOf(bed);
  const suspects = quarantineElements([{ mac: undefined, addresses: ['10.20.10.9'] }]);
  const island = withQuarantine(render(compile(islanded(policyOf(BEFORE)))), suspects);

  await asked(bed, 'quarantine', { device: '10.20.10.9', because: 'x' });
  t.match(readFileSync(bootOf(bed), 'utf8'), '"10.20.10.9"', 'the next start holds it back');
  t.match(await asked(bed, 'island', { because: 'x' }), /^a start has closed.*\n.*rollback/);
  t.ok(holds(await bed.listing(), withQuarantine(SHUT, suspects)), 'neither opens anything');

  t.match(await bed.asked('rollback'), { status: 0 });
  t.ok(holds(await bed.listing(), island));
  await netd.stop();
  refuses(bed, undefined);
  await bed.run('nft', 'flush', 'ruleset');
  t.equal(await starts(bed), 'confirmed');
  t.ok(holds(await bed.listing(), island), 'also after the next start');
});
