import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { Bed } from './bed.ts';
import { good, sluice } from './measure-bed.ts';

// Whoever reads that a conduit is guarded takes it for more than it is, where packets are only filtered.

const skip = noRules() || missingPeer('nsenter', 'util-linux');

const yaml = (grade: string): string => `
gateway: { id: plant7, data: ./data }
zones:
  control:     { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: 10.20.40.0/24 }
  uplink:      { interface: eth9 }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp/read], because: "HMI", guard: { grade: ${grade} } }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.9" }
`;
const WEAKER =
  /1 conduit has the weaker grade of guard, filtered at packet level, which is no enforcement \(conduit-supervision-control-0\)/;
const NO_ENFORCEMENT = /filtered: reads, packet by packet, no enforcement/;
/** As what the conduit is, and not as what it could be instead, or is not. */
const ENFORCED = /(?<!use )enforced/;

t.test('the weaker grade is called what it is, wherever it is told of', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(yaml('filtered'));
  const told: Record<string, string> = {};
  const { status, stdout, stderr } = await sluice(bed, 'check');
  t.equal(status, 0);
  told['check'] = stdout + stderr;
  told['plan'] = await good(bed, 'firewall', 'plan');
  told['apply'] = await good(bed, 'firewall', 'apply');
  told['status'] = (await sluice(bed, 'firewall', 'status')).stdout;
  told['prove'] = await good(bed, 'firewall', 'prove');

  t.match(told['check'], /conduits\[0\]\.guard\.grade.*filtered, which is weaker: .*writes past it/);
  t.match(told['plan'], NO_ENFORCEMENT);
  t.match(told['status'], WEAKER);
  t.match(told['prove'], WEAKER);
  for (const [command, text] of Object.entries(told)) t.notMatch(text, ENFORCED, command);
  t.match(JSON.parse((await sluice(bed, 'firewall', 'status', '--json')).stdout), {
    filtered: ['conduit-supervision-control-0'],
  });
  await good(bed, 'firewall', 'confirm', bed.change);

  bed.declare(yaml('enforced'));
  t.match(await good(bed, 'firewall', 'plan'), /filtered: reads.*no enforcement; becomes enforced: reads/);
  await good(bed, 'firewall', 'apply');
  for (const command of ['status', 'prove'])
    t.notMatch((await sluice(bed, 'firewall', command)).stdout, /weaker|packet level/, command);
});
