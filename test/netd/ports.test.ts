import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { canonical, fingerprint } from '../../src/segmentation/canonical.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import { rulesOf } from '../segmentation/policies.ts';
import { Bed, type Ran } from './bed.ts';
import { waits } from './change.ts';

// The rules of the ports go with those of the packets: through every command that changes, shows or takes back.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('flock', 'util-linux');
t.jobs = 2;

const plant = (more = ''): string => `
gateway: { id: plant7, data: ./data }
zones:
  control: { interface: br0, subnet: 10.20.10.0/24, address: 10.20.10.1/24, ports: [lan1, lan2] }
  uplink: { interface: eth0 }
conduits: [{ from: uplink, to: control, allow: [ssh], because: "maintenance", only: { from: [192.0.2.7] } }]
classes: { press: { zone: control, protocol: modbus, points: { running: { at: "coil:0" } } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11", mac: "02:00:00:00:10:11", port: lan1 }
${more}
segmentation: { mode: enforce, confirm-within: 10m, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;
const ONE = plant();
const TWO = plant('  press-2: { class: press, at: "modbus-tcp://10.20.10.12", mac: "02:00:00:00:10:12" }');

async function bridgeHolds(bed: Bed, yaml: string): Promise<boolean> {
  const { status, stdout } = await bed.run('/usr/sbin/nft', '-j', 'list', 'table', 'bridge', 'sluice');
  return (
    status === 0 &&
    fingerprint(canonical(stdout, 'bridge')) === fingerprint(canonical(rulesOf(yaml), 'bridge'))
  );
}

const sluice = async (bed: Bed, ...args: readonly string[]): Promise<Ran> =>
  bed.run(process.execPath, join(REPOSITORY, 'src/main.ts'), ...args);

t.test('applied, confirmed, planned, shown, taken back, and loaded by a start', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(ONE);

  const first = await bed.firewall('apply');
  t.equal(first.status, 0, first.stderr);
  t.ok(await bridgeHolds(bed, ONE), 'the table of the bridge is loaded');
  t.match(await bed.firewall('confirm', bed.change), { status: 0 });
  t.match(readFileSync(join(bed.state, 'boot.json'), 'utf8'), /"family":"bridge"/, 'a start loads it too');

  bed.declare(TWO);
  t.match(await bed.firewall('plan'), { status: 0, stdout: /press-2/ });
  t.match(await bed.firewall('apply'), { status: 0, stdout: /^applied and proven: change / });
  t.ok(await bridgeHolds(bed, TWO));
  bed.expire();
  await until('the roll back', () => !waits(bed));
  t.ok(await bridgeHolds(bed, ONE), 'a guard takes back the rules of the ports too');

  bed.declare(ONE);
  t.match(await sluice(bed, 'quarantine', 'press-1', '--because', 'a test'), { status: 0 });
  t.notOk(await bridgeHolds(bed, ONE));
  const held = async (): Promise<string> =>
    (await bed.run('/usr/sbin/nft', 'list', 'table', 'bridge', 'sluice')).stdout;
  t.match(await held(), /set q_mac \{[^}]*02:00:00:00:10:11[^]*set q_ip_4 \{[^}]*10\.20\.10\.11/);
  t.match(await bed.firewall('status', '--json'), { stdout: /"kernel":"confirmed","proven":true/ });
  t.match(await bed.run('/usr/sbin/nft', 'flush', 'set', 'bridge', 'sluice', 'q_mac'), { status: 0 });
  t.match(await bed.firewall('status', '--json'), { status: 1, stdout: /"kernel":"something else"/ });
  t.match(await bed.firewall('rollback'), { status: 0 });
  t.match(await held(), /set q_mac \{[^}]*02:00:00:00:10:11/, 'who is let go by hand is put back');
  t.match(await bed.firewall('island', '--because', 'a test'), { status: 0 });
  t.match(await held(), /set q_mac \{[^}]*02:00:00:00:10:11/, 'an island keeps the rules of the ports');
  t.match(await bed.firewall('rejoin'), { status: 0 });
  t.match(await sluice(bed, 'release', 'press-1', '--because', 'over'), { status: 0 });
  t.ok(await bridgeHolds(bed, ONE), 'released there too');
  t.match(await bed.firewall('status', '--json'), {
    status: 0,
    stdout: /"kernel":"confirmed","proven":true/,
  });

  await bed.run('/usr/sbin/nft', 'delete', 'table', 'bridge', 'sluice');
  t.match(await bed.firewall('status', '--json'), { status: 1, stdout: /"kernel":"something else"/ });
  t.match(await bed.firewall('rollback'), { status: 0 });
  t.ok(await bridgeHolds(bed, ONE), 'what somebody took away is there again');

  const listings = '(nft -j list table inet sluice; nft -j list table bridge sluice)';
  const prove = `${listings} | "$0" "$1" firewall prove --listing -`;
  const main = join(REPOSITORY, 'src/main.ts');
  t.match(await bed.run('sh', '-c', prove, process.execPath, main), { status: 0, stdout: /^proven: / });
  t.match(await bed.firewall('prove'), { status: 0, stdout: /^proven: / }, 'it asks the kernel itself');
});

t.test('a kernel without tables of a bridge is told, and nothing is loaded', { skip }, async (t) => {
  const bed = await Bed.make(t);
  bed.declare(ONE);
  bed.nftIs(`case "$*" in
  *"list table bridge"*) echo "Error: Could not process rule: Operation not supported" >&2; exit 1 ;;
  *"-f -"*) cat > $HERE/document.$$; if grep -q '"bridge"' $HERE/document.$$; then
    echo "Error: Could not process rule: Operation not supported" >&2; exit 1; fi; exec $NFT "$@" < $HERE/document.$$ ;;
esac
exec $NFT "$@"`);

  const refused = await bed.firewall('apply');

  t.equal(refused.status, 1);
  t.match(refused.stderr, /this kernel lacks tables of a bridge/);
  t.match(refused.stderr, /zones\.X\.ports/);
  t.equal(await bed.listing(), undefined, 'no half of it is loaded');

  bed.declare(ONE.replace(', ports: [lan1, lan2]', '').replace(', port: lan1', ''));
  t.match(await bed.firewall('apply'), { status: 0 }, 'without ports nobody needs them');
});
