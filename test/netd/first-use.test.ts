import { rmSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { Bed, type Ran } from './bed.ts';
import { BEFORE } from './plants.ts';

// Whoever tries it for the first time, and a program that does.

const skip = noRules() || missingPeer('nsenter', 'util-linux');

t.test('where nothing was ever confirmed, nobody is sent to a roll back', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(BEFORE);
  t.match(await bed.run('sh', '-c', 'nft -j -f - <<E\n$1\nE', 'sh', rulesOf(BEFORE)), { status: 0 });

  const { stdout } = await bed.firewall('status');
  t.match(stdout, /^the kernel holds rules that were never confirmed here: .*apply, then confirm,/);
  t.notMatch(stdout, /rollback/);
  t.match(await bed.firewall('rollback'), { status: 1, stderr: /nothing to return to/ });
  t.match(
    (await bed.firewall('plan')).stdout,
    /^the kernel holds rules that were never confirmed; it accepts/m,
  );
});

t.test('without the data folder it is said how it is made, also to a program', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(BEFORE);
  rmSync(join(bed.folder, 'data'), { recursive: true });

  const applied = await bed.firewall('apply', '--json');

  t.match(applied, { status: 1, stderr: /; make gateway\.data first: mkdir -m 700 \S+\/data;/ });
  t.match(JSON.parse(applied.stdout), { ok: false, code: 'SETUP', error: /^cannot make /, remedy: /mkdir/ });
});

t.test('what has to be typed next means the same gateway', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(BEFORE);
  await bed.run('mv', 'gateway.yaml', 'my plant.yaml');
  const applied = await bed.firewall('apply', '--socket', 'none.sock', 'my plant.yaml');

  const [, command = ''] = /^ {2}\.\/sluice (firewall confirm .*)$/m.exec(applied.stdout) ?? [];
  t.equal(command, `firewall confirm ${bed.change} --socket none.sock 'my plant.yaml'`);
  t.match(await bed.firewall('apply', 'my plant.yaml'), {
    status: 1,
    stderr:
      /; \.\/sluice firewall confirm \w{8} 'my plant\.yaml', or \.\/sluice firewall rollback 'my plant\.yaml'$/m,
  });
  const main = `${process.execPath} ${join(REPOSITORY, 'src/main.ts')}`;
  t.match(await bed.run('sh', '-c', `${main} ${command}`), { status: 0, stdout: /^confirmed: / });
});

t.test('a program that asked for JSON gets an answer, whatever goes wrong', { skip }, async (t) => {
  const bed = await Bed.make(t);
  const asked = async (...args: readonly string[]): Promise<Ran> =>
    bed.run(process.execPath, join(REPOSITORY, 'src/main.ts'), ...args);
  const failed = async (status: number, code: string, ...args: readonly string[]): Promise<void> => {
    const ran = await asked(...args);
    t.equal(ran.status, status, args.join(' '));
    t.match(ran.stderr, /^sluice: /m);
    t.match(JSON.parse(ran.stdout), { ok: false, code, error: /./ }, args.join(' '));
  };

  await failed(78, 'CONFIG_INVALID', 'firewall', 'status', '--json');
  bed.declare(BEFORE);
  await failed(1, 'SETUP', 'firewall', 'rollback', '--json');
  await failed(1, 'SETUP', 'firewall', 'confirm', '5f3a90c2', '--json');
  await failed(1, 'SETUP', 'release', 'nobody', '--json');
  await failed(64, 'USAGE', 'firewall', 'plan', '--because', 'why', '--json');
});
