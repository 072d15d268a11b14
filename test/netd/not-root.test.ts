import { chmodSync, chownSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import { minutes } from '../../src/core/units.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { Bed, type Ran } from './bed.ts';
import { confirmed } from './change.ts';
import { asked } from './measure-bed.ts';
import { BEFORE } from './plants.ts';

// Who is not root, and changes nothing, is told what it takes.

const notRoot = process.getuid?.() !== 0 && 'only root becomes another user';
const skip = noRules() || missingPeer('setpriv', 'util-linux') || notRoot;
/** Nobody has these. */
const [STRANGER, OTHER] = [61_000, 61_001];

async function as(bed: Bed, uid: number, ...args: readonly string[]): Promise<Ran> {
  const become = ['--reuid', String(uid), '--regid', String(uid), '--clear-groups', '--no-new-privs'];
  // What tap has each process of Node write down, nobody else may write.
  const bare = ['env', '-u', 'NODE_OPTIONS', process.execPath];
  return bed.run('setpriv', ...become, ...bare, join(REPOSITORY, 'src/main.ts'), ...args);
}

async function bedOfRoot(t: Test): Promise<Bed> {
  const bed = await confirmed(t);
  chmodSync(bed.folder, 0o711);
  chmodSync(join(bed.folder, 'gateway.yaml'), 0o644);
  return bed;
}

t.test('whoever may not write there is not told that others can', { skip }, async (t) => {
  const bed = await bedOfRoot(t);

  // The others ask the same folder; each start takes a second here.
  for (const command of [
    ['quarantine', '10.20.10.9', '--because', 'x'],
    ['firewall', 'confirm', '00000000'],
    ['netd', '--socket', join(bed.folder, 'netd.sock')],
  ]) {
    const { status, stderr } = await as(bed, STRANGER, ...command);
    t.equal(status, 1, command.join(' '));
    t.match(
      stderr,
      /sluice: user 61000 may not change the rules: .*segmentation is root's; run this as root/,
    );
  }
  chmodSync(join(bed.folder, 'data'), 0o700);
  t.match(await as(bed, STRANGER, 'firewall', 'rollback'), {
    status: 1,
    stderr: /EACCES.*; run this as root, or/,
  });
});

t.test('an audit that may not be read is not called a good one', { skip }, async (t) => {
  const bed = await bedOfRoot(t);
  t.match(await bed.firewall('audit'), { status: 1, stdout: /there is no record, though .*confirmed\.json/ });
  t.equal((await bed.firewall('apply')).status, 0);
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
  t.match(await bed.firewall('audit'), { status: 0, stdout: /\n4 records from number 1 on, each follows/ });

  const ran = await as(bed, STRANGER, 'firewall', 'audit', '--json');

  t.match(ran, { status: 1, stderr: /cannot read the audit in .*EACCES.*; run this as root\n$/ });
  t.match(JSON.parse(ran.stdout), { ok: false, error: /cannot read the audit/, remedy: 'run this as root' });
  rmSync(join(bed.state, 'audit.jsonl'));
  const gone = await bed.firewall('audit', '--json');
  t.equal(gone.status, 1);
  t.match(JSON.parse(gone.stdout), { records: 0, problems: [/there is no record, though/] });
});

t.test('root is told where others can', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare('gateway: { id: plant7, data: ./data }\n');
  mkdirSync(bed.state, { mode: 0o700 });

  for (const spoil of [() => chownSync(bed.state, OTHER, OTHER), () => chmodSync(bed.state, 0o777)]) {
    spoil();
    t.match(await bed.firewall('rollback'), {
      status: 1,
      stderr: /can be written by others.*; .*chown root/,
    });
    chownSync(bed.state, 0, 0);
  }
});

t.test('whoever may ask netd reads there who is in quarantine', { skip }, async (t) => {
  const bed = await bedOfRoot(t);
  bed.knows(BEFORE);
  await bed.netd('--allow-uid', String(STRANGER));
  const list = async (uid: number, ...more: readonly string[]): Promise<Ran> =>
    as(bed, uid, 'quarantine', ...more, '--socket', bed.socket);

  t.match(await list(STRANGER), { status: 0, stdout: 'nobody is in quarantine\n', stderr: /^through netd/ });
  await asked(bed, 'quarantine', { device: '10.20.10.9', lasts: minutes(10), because: 'odd\u001b[2J' });

  const { stdout } = await list(STRANGER);
  t.match(stdout, /^10\.20\.10\.9 since 20[^ ]*Z, for (10m|\d+s): odd\\u001b\[2J \(root\)\n$/);
  t.match(JSON.parse((await list(STRANGER, '--json')).stdout), {
    quarantined: [{ device: '10.20.10.9', mac: null, addresses: ['10.20.10.9'], 'left-ms': Number }],
  });
  t.match(await list(OTHER), { status: 1, stdout: '', stderr: /user 61001 may not ask/ });
  t.match(await asked(bed, 'release', { device: '10.20.10.9' }), /is released/);
});
