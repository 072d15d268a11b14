import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { Bed } from './bed.ts';

// What people are told of a kernel that holds something else than what was confirmed.

const skip = noRules() || (process.getuid?.() === 0 ? false : 'only root may ask the kernel');

const plant = (conduits: string): string => `
gateway: { id: plant, data: ./data }
zones:
  control: { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: 10.20.40.0/24 }
conduits: ${conduits}
classes: { press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } } }
devices: { press-1: { class: press, at: "modbus-tcp://10.20.10.21" } }
segmentation: { mode: enforce, management: { zone: supervision, from: [10.20.40.9], allow: [ssh] } }
`;
const HMI =
  '[{ from: supervision, to: control, only: { to: [press-1] }, allow: [modbus-tcp], because: HMI }]';

t.test('a plan tells who gains and loses, and what the kernel holds instead', { skip }, async (t) => {
  const bed = await Bed.make(t);
  writeFileSync(join(bed.folder, 'gateway.yaml'), plant(HMI));
  t.equal((await bed.firewall('apply')).status, 0);
  t.same((await bed.firewall('plan')).stdout.split('\n').slice(-2), [
    `change ${bed.change} waits to be confirmed, and is what the kernel holds; it accepts what the file declares`,
    '',
  ]);
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
  const same = await bed.firewall('plan');
  t.equal(same.stdout, 'nothing changes, compared with the rules that are confirmed\n');
  t.match(same.stderr, /^directly: no netd listens at [^\n]*\n$/);

  writeFileSync(join(bed.folder, 'gateway.yaml'), plant('[]'));
  const lines = (await bed.firewall('plan')).stdout.split('\n');
  t.same(lines, [
    'compared with the rules that are confirmed:',
    '- supervision/* may no longer reach control/press-1 tcp/502 modbus-tcp (conduits[0]: HMI)',
    '',
  ]);

  const element = '{ 10.20.40.66 . 10.20.10.21 . tcp . 23 : accept }';
  await bed.run('/usr/sbin/nft', 'add', 'element', 'inet', 'sluice', 'r_supervision_control_4', element);
  writeFileSync(join(bed.folder, 'gateway.yaml'), plant(HMI));
  const smuggled = await bed.firewall('plan');
  t.same(smuggled.stdout.split('\n'), [
    'nothing changes, compared with the rules that are confirmed',
    'the kernel holds something else than the rules that are confirmed; compared with it:',
    '- supervision/10.20.40.66 may no longer reach control/press-1 tcp/23',
    '',
  ]);
  const json: unknown = JSON.parse((await bed.firewall('plan', '--json')).stdout);
  t.match(json, {
    file: 'gateway.yaml',
    changes: false,
    waiting: null,
    kernel: { lost: [{ from: 'supervision/10.20.40.66' }], gained: [] },
  });

  await bed.run('/usr/sbin/nft', 'delete', 'table', 'inet', 'sluice');
  t.match(
    (await bed.firewall('plan')).stdout,
    /the kernel holds something else .*: it has no table inet sluice/,
  );
});

const PERMITTED = 61_001;

t.test(
  'a plan goes through netd, for whom it may not be read otherwise',
  { skip: skip || missingPeer('setpriv', 'util-linux') },
  async (t) => {
    const bed = await Bed.make(t);
    chmodSync(bed.folder, 0o755);
    writeFileSync(join(bed.folder, 'gateway.yaml'), plant(HMI), { mode: 0o644 });
    await bed.confirmed(plant(HMI));
    bed.knows(plant(HMI));
    await bed.netd('--allow-uid', String(PERMITTED));
    const asUser = async (...args: readonly string[]) =>
      bed.run(
        'setpriv',
        ...['--reuid', String(PERMITTED), '--regid', String(PERMITTED), '--clear-groups'],
        ...['env', '-u', 'NODE_COMPILE_CACHE', process.execPath, join(REPOSITORY, 'src/main.ts')],
        ...['firewall', 'plan', ...args],
      );

    const told = await asUser('--json', '--socket', bed.socket);
    t.match(told, { status: 0, stderr: `through netd at ${bed.socket}\n` });
    const json: unknown = JSON.parse(told.stdout);
    t.match(json, { file: 'gateway.yaml', against: 'confirmed', changes: false, kernel: null });
    const alone = await asUser('--json');
    t.match(alone, {
      status: 1,
      stderr: /^directly: no netd .*\nsluice: cannot read .*EACCES.*; run this as root/,
    });
    const failed: unknown = JSON.parse(alone.stdout);
    t.match(failed, {
      ok: false,
      code: 'SETUP',
      error: /^cannot read .*EACCES/,
      remedy: /^run this as root/,
    });
  },
);

t.test('a file that netd does not go by is planned directly', { skip }, async (t) => {
  const bed = await Bed.make(t);
  writeFileSync(join(bed.folder, 'gateway.yaml'), plant(HMI));
  writeFileSync(join(bed.folder, 'next.yaml'), plant('[]'));
  await bed.confirmed(plant(HMI));
  bed.knows(plant(HMI));
  const folder = join(bed.folder, 's');
  const socket = join(folder, 'plant.sock');
  await bed.netd('--socket', socket);

  t.match(await bed.firewall('plan', '--socket', socket, 'next.yaml'), {
    status: 1,
    stdout: '',
    stderr: /not by .*next\.yaml/,
  });
  // The place where netd is looked for, in a file system of this command alone.
  const place = `mount -t tmpfs none /run; mkdir /run/sluice; mount --bind ${folder} /run/sluice; exec "$@"`;
  const command = [process.execPath, join(REPOSITORY, 'src/main.ts'), 'firewall', 'plan'];
  const next = await bed.run('unshare', '-m', 'sh', '-ec', place, 'sh', ...command, 'next.yaml');
  t.match(next, {
    status: 0,
    stdout: /may no longer reach control\/press-1 tcp\/502/,
    stderr: /^directly: netd at .* not by .*next\.yaml/,
  });
  const same = await bed.run('unshare', '-m', 'sh', '-ec', place, 'sh', ...command);
  t.match(same, {
    status: 0,
    stdout: /^nothing changes/,
    stderr: /^through netd at \/run\/sluice\/plant\.sock$/m,
  });
});
