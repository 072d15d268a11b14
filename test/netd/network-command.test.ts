import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { Bed, type Ran, type Scope } from './bed.ts';

// `./sluice network` as a person runs it, in a network namespace, with a root folder of its own.

const skip = noRules() || missingPeer('ip', 'iproute2') || missingPeer('nsenter', 'util-linux');
const FOLDER = 'root/etc/systemd/network';

const plant = (network: string): string => `
gateway: { id: plant7, data: ./data }
network: ${network}
zones:
  control: { vlan: 10, subnet: 10.20.10.0/24, address: 10.20.10.1/24 }
  uplink: { interface: eth0 }
`;
const TRUNK = plant('{ trunk: eth1 }');

const network = async (bed: Bed, ...args: readonly string[]): Promise<Ran> =>
  bed.run(process.execPath, join(REPOSITORY, 'src/main.ts'), 'network', ...args);

/** With a trunk, a systemd-networkd that runs, and a networkctl that writes down what it is asked for. */
async function bedOf(t: Scope, yaml: string): Promise<Bed> {
  const bed = await Bed.make(t);
  bed.declare(yaml);
  await bed.run('ip', 'link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'far1');
  bed.programIs('systemctl', '[ "$*" = "is-active --quiet systemd-networkd.service" ]');
  bed.programIs('networkctl', `echo "$*" >> ${bed.folder}/asked`);
  return bed;
}

t.test('units are rendered, written, reloaded, and obsolete ones are removed', { skip }, async (t) => {
  const bed = await bedOf(t, TRUNK);
  const folder = join(bed.folder, FOLDER);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, '10-sluice-vlan99.netdev'), '[NetDev]\nName=vlan99\nKind=vlan\n');
  writeFileSync(join(folder, '20-theirs.network'), '[Match]\nName=eth0\n');

  t.match(await network(bed, 'render'), { status: 0, stdout: /# ---- 10-sluice-vlan10\.netdev\n/ });
  t.match(await network(bed, 'render', '--out', 'units'), { status: 0, stdout: '' });
  const planned = await network(bed, 'plan', '--root', 'root');
  t.match(planned, {
    status: 0,
    stdout:
      /^root\/etc\/systemd\/network\/10-sluice-eth1\.network is missing\n(?:.*\n)*.*vlan99\.netdev is obsolete\n(?:.*\n)*vlan10 is missing\n/,
  });
  t.same(readdirSync(folder).length, 2, 'a plan changes nothing');

  // The networkctl here makes no links: what is missing in the kernel is told, and is no success.
  const applied = await network(bed, 'apply', '--root', 'root');
  t.equal(applied.status, 1, applied.stderr);
  t.match(applied.stdout, /vlan10 is missing/);
  t.match(readFileSync(join(bed.folder, 'asked'), 'utf8'), /^reload\n$/);
  const rendered = readdirSync(join(bed.folder, 'units')).toSorted();
  t.same(readdirSync(folder).toSorted(), [...rendered, '20-theirs.network']);
  for (const name of rendered)
    t.equal(readFileSync(join(folder, name), 'utf8'), readFileSync(join(bed.folder, 'units', name), 'utf8'));

  const verified = await network(bed, 'verify', '--root', 'root', '--json');
  t.equal(verified.status, 1);
  const told: unknown = JSON.parse(verified.stdout);
  t.match(told, { files: [], links: [{ link: 'eth1' }, { link: 'vlan10', what: 'is missing' }] });
});

t.test('what networkd does after it has answered is waited for', { skip }, async (t) => {
  const bed = await bedOf(t, TRUNK.replace('vlan: 10, ', 'vlan: 10, interface: br0, '));
  bed.programIs('networkctl', '[ "$1" != reload ] || { sleep 1; ip link set eth1 up; } >/dev/null 2>&1 &');

  const applied = await network(bed, 'apply', '--root', 'root');

  t.equal(applied.status, 0, applied.stderr);
  t.equal(applied.stdout, 'nothing differs\n');
});

t.test('a file without a network has nothing to make', { skip }, async (t) => {
  const bed = await bedOf(
    t,
    TRUNK.replace('network: { trunk: eth1 }', '').replace('vlan: 10', 'interface: eth2'),
  );
  bed.programIs('systemctl', 'exit 3');

  for (const verb of ['plan', 'apply', 'verify'])
    t.match(
      await network(bed, verb, '--root', 'root'),
      { status: 0, stdout: /^the file has no network: / },
      verb,
    );

  mkdirSync(join(bed.folder, FOLDER), { recursive: true });
  writeFileSync(join(bed.folder, FOLDER, '10-sluice-vlan99.netdev'), '[NetDev]\nName=vlan99\nKind=vlan\n');
  t.match(await network(bed, 'apply', '--root', 'root'), {
    status: 1,
    stderr: /the units are removed, and /,
  });
  t.same(readdirSync(join(bed.folder, FOLDER)), []);
});

t.test('where networkd does not run, the command says what to do', { skip }, async (t) => {
  const bed = await bedOf(t, TRUNK);
  // As where only a bus runs: networkctl answers all the same.
  bed.programIs('systemctl', 'exit 3');

  const refused = await network(bed, 'apply', '--root', 'root');

  t.equal(refused.status, 1);
  t.match(refused.stderr, /the units are written, and systemd-networkd does not run here/);
  t.match(refused.stderr, /--without-networkd/);
  t.notOk(existsSync(join(bed.folder, 'asked')), 'nothing is loaded, and nothing removed');
  t.ok(existsSync(join(bed.folder, FOLDER, '10-sluice-vlan10.netdev')));
});

t.test('links are set by the command itself, and nothing differs then', { skip }, async (t) => {
  // Kernels without 802.1Q can do a trunk on which others make the VLANs.
  const bed = await bedOf(t, TRUNK.replace('vlan: 10, ', 'vlan: 10, interface: br0, '));

  const applied = await network(bed, 'apply', '--without-networkd', '--root', 'root');

  t.equal(applied.status, 0, applied.stderr);
  t.equal(applied.stdout, 'nothing differs\n');
  t.notOk(existsSync(join(bed.folder, 'asked')), 'networkd is not asked');
  t.match(await network(bed, 'verify', '--root', 'root'), { status: 0, stdout: 'nothing differs\n' });
  await bed.run('ip', 'link', 'set', 'eth1', 'down');
  t.match(await network(bed, 'verify', '--root', 'root'), { status: 1, stdout: 'eth1 is down\n' });
});

t.test('an interface whose address would be lost is refused', { skip }, async (t) => {
  const bed = await bedOf(t, TRUNK);
  await bed.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'eth1');

  const refused = await network(bed, 'apply', '--root', 'root');

  t.equal(refused.status, 1);
  t.match(refused.stderr, /eth1 has the address 192\.0\.2\.1\/24, which it would lose/);
  t.notOk(existsSync(join(bed.folder, FOLDER)), 'nothing is written');
});
