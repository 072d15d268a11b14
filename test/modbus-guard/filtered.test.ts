import t from 'tap';
import { policyOf } from '../segmentation/policies.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { missingPymodbus } from '../support/modbus-peers.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { until } from '../support/wait.ts';
import { DEVICE, GuardedPlant, NO_RESETS } from './plant.ts';

// The weaker grade against the same client and the same device: what it stops, and what it does not.

const YAML = `
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp/read], because: "HMI reads the presses", guard: { grade: filtered } }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11" }
  press-2: { class: press, at: "modbus-tcp://[fd00:10::12]" }
segmentation:
  mode: enforce
  management: { zone: supervision, from: [10.20.40.2], allow: [ssh] }
`;

const STOPPED = [
  'plain', 'pipelined', 'split', 'split in the header', 'merged and split', 'bytewise', 'urgent', 'urgent within a read',
  'a length that covers the write', 'a length that ends early', 'a length of nothing', 'another protocol id',
  'an oversized length', 'read and write',
]; // biome-ignore format: a list of names

const skip =
  noRules() ||
  missingPeer('nsenter', 'util-linux') ||
  missingPymodbus() ||
  (process.getuid?.() === 0 ? false : 'three namespaces are wired by root');

const listed = async (plant: GuardedPlant): Promise<string> =>
  plant.run('gateway', 'nft', '-j', 'list', 'table', 'inet', 'sluice');

t.test('reads pass the filter of packets, and writes of any socket do not', { skip }, async (t) => {
  const plant = await GuardedPlant.make(t, YAML);
  await plant.sh('client', NO_RESETS);

  const proof = prove(policyOf(YAML), await listed(plant));
  t.equal(proof.proven, true, 'the kernel holds what is declared');
  t.same('filtered' in proof && proof.filtered, ['conduit-supervision-control-0'], 'and what it is called');

  for (const host of [DEVICE[4], DEVICE[6]]) {
    const said = await plant.peer('pymodbus-reads', host);
    t.match(said, /read \[7, 7\]\nread \[7\]\nread \[/, `${host}: pymodbus reads, all four functions`);
    const written = await plant.peer('pymodbus', host);
    t.match(written, /write Modbus Error/, 'and is told at once that its write did not pass');
    t.comment(await plant.attack(host, ...STOPPED));
  }
  t.comment(await plant.attack(DEVICE[4], 'fragments', 'ip options'));
  t.comment(await plant.attack(DEVICE[6], 'extension headers'));
  await plant.marker(DEVICE[4], DEVICE[6]);
  t.same(plant.writes, [], 'the device carried out nothing');
  const refused = await plant.run('gateway', 'nft', 'list', 'counter', 'inet', 'sluice', 'n_denied_noread');
  t.match(refused, /packets [1-9]\d/, 'each attempt is counted');

  // This is why it is the weaker one.
  await plant.attack(DEVICE[4], 'overlap');
  await until('the write of segments that overlap', () => plant.writes.length > 0, 5_000);
  t.match(plant.writes, [/^write/], 'segments that each look like a read add up to a write, and pass');
});

/** What comes to mind first: segments that carry something have to have the function of a read where that belongs. */
const FUNCTION_CODES = `nft flush ruleset; nft add table inet naive
nft 'add chain inet naive f { type filter hook forward priority 0; }'
nft add rule inet naive f tcp dport 502 @ih,56,8 '{ 1, 2, 3, 4 }' accept
nft add rule inet naive f tcp dport 502 @ih,0,1 '{ 0, 1 }' counter reject with tcp reset`;

t.test('where function codes are compared, a write passes behind a read', { skip }, async (t) => {
  const plant = await GuardedPlant.make(t, YAML);
  await plant.sh('client', NO_RESETS);
  await plant.sh('gateway', FUNCTION_CODES);

  await plant.attack(DEVICE[4], 'plain', 'split', 'split in the header');
  await plant.marker(DEVICE[4]);
  t.same(plant.writes, [], 'it stops what looks like no read');

  for (const [name, host] of [
    ['pipelined', DEVICE[4]],
    ['urgent within a read', DEVICE[6]],
    ['overlap', DEVICE[4]],
  ] as const) {
    const before = plant.writes.length;
    await plant.attack(host, name);
    await until(`the write of ${name}`, () => plant.writes.length > before, 5_000);
  }
});

t.test('in mode observe what is no read passes, and is counted', { skip }, async (t) => {
  const yaml = YAML.replace('mode: enforce', 'mode: observe');
  const plant = await GuardedPlant.make(t, yaml);
  t.equal(prove(policyOf(yaml), await listed(plant)).proven, true, 'the kernel holds what is declared');

  for (const host of [DEVICE[4], DEVICE[6]]) {
    const before = plant.writes.length;
    await plant.attack(host, 'plain');
    await until('its write', () => plant.writes.length > before, 5_000);
  }
  const told = await plant.run('gateway', 'nft', 'list', 'counter', 'inet', 'sluice', 'n_would_deny_noread');
  t.match(told, /packets 2 /);
});
