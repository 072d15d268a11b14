import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
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
  t.equal((await bed.firewall('confirm', bed.change)).status, 0);
  const same = await bed.firewall('plan');
  t.equal(same.stdout, 'nothing changes, compared with the rules that are confirmed\n');
  t.equal(same.stderr, '');

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
  t.match(json, { changes: false, kernel: { lost: [{ from: 'supervision/10.20.40.66' }], gained: [] } });

  await bed.run('/usr/sbin/nft', 'delete', 'table', 'inet', 'sluice');
  t.match(
    (await bed.firewall('plan')).stdout,
    /the kernel holds something else .*: it has no table inet sluice/,
  );
});
