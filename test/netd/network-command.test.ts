import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import t from 'tap';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { Bed, type Ran, type Scope } from './bed.ts';

// `./sluice network` as a person runs it, in a network namespace, with another folder in the place of /etc.

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

const MAIN = [process.execPath, join(REPOSITORY, 'src/main.ts')];
const IN_ETC = 'mount --bind "$1" /etc; shift; exec "$@"';

async function network(bed: Bed, ...args: readonly string[]): Promise<Ran> {
  const etc = join(bed.folder, 'root/etc');
  mkdirSync(etc, { recursive: true });
  return bed.run('unshare', '-m', 'sh', '-euc', IN_ETC, 'sh', etc, ...MAIN, 'network', ...args);
}

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
  const planned = await network(bed, 'plan');
  t.match(planned, {
    status: 0,
    stdout:
      /^\/etc\/systemd\/network\/10-sluice-eth1\.network is missing\n(?:.*\n)*.*vlan99\.netdev is obsolete\n(?:.*\n)*vlan10 is missing\n/,
  });
  t.same(readdirSync(folder).length, 2, 'a plan changes nothing');

  // The networkctl here makes no links: what is missing in the kernel is told, and is no success.
  const applied = await network(bed, 'apply');
  t.equal(applied.status, 1, applied.stderr);
  t.match(applied.stdout, /vlan10 is missing/);
  t.match(readFileSync(join(bed.folder, 'asked'), 'utf8'), /^reload\n$/);
  const rendered = readdirSync(join(bed.folder, 'units')).toSorted();
  t.same(readdirSync(folder).toSorted(), [...rendered, '20-theirs.network']);
  for (const name of rendered)
    t.equal(readFileSync(join(folder, name), 'utf8'), readFileSync(join(bed.folder, 'units', name), 'utf8'));

  const verified = await network(bed, 'verify', '--json');
  t.equal(verified.status, 1);
  const told: unknown = JSON.parse(verified.stdout);
  t.match(told, { files: [], links: [{ link: 'eth1' }, { link: 'vlan10', what: 'is missing' }] });
});

t.test('what networkd does after it has answered is waited for', { skip }, async (t) => {
  const bed = await bedOf(t, TRUNK.replace('vlan: 10, ', 'vlan: 10, interface: br0, '));
  bed.programIs('networkctl', '[ "$1" != reload ] || { sleep 1; ip link set eth1 up; } >/dev/null 2>&1 &');

  const applied = await network(bed, 'apply');

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
    t.match(await network(bed, verb), { status: 0, stdout: /^the file has no network: / }, verb);

  mkdirSync(join(bed.folder, FOLDER), { recursive: true });
  writeFileSync(join(bed.folder, FOLDER, '10-sluice-vlan99.netdev'), '[NetDev]\nName=vlan99\nKind=vlan\n');
  t.match(await network(bed, 'apply'), { status: 1, stderr: /systemd-networkd does not run here/ });
  t.same(readdirSync(join(bed.folder, FOLDER)).length, 1, 'what tells whose the link is stays');
});

t.test('where networkd does not run, the command says what to do', { skip }, async (t) => {
  const bed = await bedOf(t, TRUNK);
  // As where only a bus runs: networkctl answers all the same.
  bed.programIs('systemctl', 'exit 3');

  const refused = await network(bed, 'apply');

  t.equal(refused.status, 1);
  t.match(refused.stderr, /systemd-networkd does not run here: nothing was changed/);
  t.match(refused.stderr, /--without-networkd/);
  t.notOk(existsSync(join(bed.folder, 'asked')), 'nothing is loaded, and nothing removed');
  t.notOk(existsSync(join(bed.folder, FOLDER)), 'and nothing is written');
});

t.test('links are set by the command itself, and nothing differs then', { skip }, async (t) => {
  // Kernels without 802.1Q can do a trunk on which others make the VLANs.
  const bed = await bedOf(t, TRUNK.replace('vlan: 10, ', 'vlan: 10, interface: br0, '));

  const applied = await network(bed, 'apply', '--without-networkd');

  t.equal(applied.status, 0, applied.stderr);
  t.equal(applied.stdout, 'nothing differs\n');
  t.notOk(existsSync(join(bed.folder, 'asked')), 'networkd is not asked');
  t.match(await network(bed, 'verify'), { status: 0, stdout: 'nothing differs\n' });
  await bed.run('ip', 'link', 'set', 'eth1', 'down');
  t.match(await network(bed, 'verify'), { status: 1, stdout: 'eth1 is down\n' });
});

t.test('an interface whose address would be lost is refused', { skip }, async (t) => {
  const bed = await bedOf(t, TRUNK);
  await bed.run('ip', 'address', 'add', '192.0.2.1/24', 'dev', 'eth1');

  const refused = await network(bed, 'apply');

  t.equal(refused.status, 1);
  t.match(refused.stderr, /eth1 has the address 192\.0\.2\.1\/24, which it would lose/);
  t.notOk(existsSync(join(bed.folder, FOLDER)), 'nothing is written');
});

t.test('with another root files alone are written, and no link is touched', { skip }, async (t) => {
  const bed = await kernelOf(t, TRUNK, { links: [], addresses: {} });
  const folder = join(bed.folder, 'image/etc/systemd/network');
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, '10-sluice-vlan99.netdev'), '[NetDev]\nName=vlan99\nKind=vlan\n');

  const planned = await network(bed, 'plan', '--root', 'image');
  t.match(planned, { status: 0, stdout: 'image/etc/systemd/network/10-sluice-vlan10.netdev is missing\n' });
  const applied = await network(bed, 'apply', '--root', 'image');
  t.match(applied, { status: 0, stderr: '' });
  t.match(applied.stdout, 'image/etc/systemd/network/10-sluice-vlan10.netdev is written\n');
  t.match(applied.stdout, 'image/etc/systemd/network/10-sluice-vlan99.netdev is removed\n');
  t.match(applied.stdout, /files alone: no link of this machine was changed\n$/);
  t.match(await network(bed, 'verify', '--root', 'image'), { status: 0, stdout: /^no file differs\n/ });
  t.same(readdirSync(folder).length, 3);
  const forced = await network(bed, 'apply', '--root', 'image', '--force');
  t.match(forced, { status: 64, stderr: /network apply --root takes no --force: it sets no links/ });

  t.notOk(existsSync(join(bed.folder, FOLDER)), 'the machine itself has no unit');
  t.same(asked(bed), [], 'and no program was run');
});

interface Kernel {
  readonly links: readonly object[];
  readonly addresses: Readonly<Record<string, string>>;
}

/** Kernels without 802.1Q cannot have these links: programs that say what one would, and write down what they are told. */
async function kernelOf(t: Scope, yaml: string, kernel: Kernel): Promise<Bed> {
  const bed = await bedOf(t, yaml);
  pretend(bed, kernel);
  return bed;
}

function pretend(bed: Bed, { links, addresses }: Kernel): void {
  const log = `echo "$(basename "$0") $*" >> ${bed.folder}/asked`;
  bed.programIs(
    'ip',
    `case "$*" in "-j -d link show") exec cat ${bed.folder}/links ;; "-j address show") exec cat ${bed.folder}/addresses ;; esac
${log}; [ ! -e ${bed.folder}/fails ]`,
  );
  bed.programIs('bridge', `case "$*" in *show) echo '[]' ;; *) ${log} ;; esac`);
  bed.programIs('networkctl', log);
  const known = Object.entries(addresses).map(([ifname, local]) => ({
    ifname,
    addr_info: [{ local, prefixlen: 24 }],
  }));
  writeFileSync(join(bed.folder, 'links'), JSON.stringify(links));
  writeFileSync(join(bed.folder, 'addresses'), JSON.stringify(known));
}

function asked(bed: Bed): string[] {
  const path = join(bed.folder, 'asked');
  return existsSync(path) ? readFileSync(path, 'utf8').trim().split('\n') : [];
}

const up = (ifname: string, master?: string): object => ({ ifname, master, flags: ['UP'] });
const vlan10 = (link: string): object => ({
  ...up('vlan10'),
  link,
  linkinfo: { info_kind: 'vlan', info_data: { id: 10 } },
});
const bridge = (ifname: string): object => ({
  ...up(ifname),
  linkinfo: { info_kind: 'bridge', info_data: { vlan_filtering: 1, vlan_default_pvid: 0 } },
});
const ADDRESSES = { vlan10: '10.20.10.1' };

t.test('what was ours goes however often it could not before', { skip }, async (t) => {
  const before = plant('{ bridge: { name: brA, trunk: [eth1] } }');
  const links = [up('eth1', 'brA'), bridge('brA'), vlan10('brA')];
  const bed = await kernelOf(t, before, { links, addresses: ADDRESSES });
  await network(bed, 'render', '--out', FOLDER);
  const units = readdirSync(join(bed.folder, FOLDER));
  bed.declare(before.replace(/^network.*\n/m, ''));

  bed.programIs('systemctl', 'exit 3');
  t.match(await network(bed, 'apply'), { status: 1, stderr: /systemd-networkd does not run here/ });
  t.same(asked(bed), []);
  t.same(readdirSync(join(bed.folder, FOLDER)), units, 'what tells whose they are stays');

  bed.programIs('systemctl', '');
  writeFileSync(join(bed.folder, 'fails'), '');
  t.match(await network(bed, 'apply'), { status: 1, stderr: /cannot run ip link del vlan10/ });
  t.same(readdirSync(join(bed.folder, FOLDER)), units);
  rmSync(join(bed.folder, 'fails'));
  rmSync(join(bed.folder, 'asked'));

  bed.programIs('networkctl', `echo networkctl $* >> ${bed.folder}/asked; echo '[]' > ${bed.folder}/links`);
  t.match(await network(bed, 'apply'), { status: 0, stdout: 'nothing differs\n' });
  t.same(asked(bed), ['ip link del vlan10', 'ip link del brA', 'networkctl reload']);
  t.same(readdirSync(join(bed.folder, FOLDER)), []);
});

t.test(
  'a link of somebody else that has the name of a VLAN of ours is left, and nothing done',
  { skip },
  async (t) => {
    const bed = await kernelOf(t, TRUNK, { links: [up('eth1'), vlan10('eth0')], addresses: {} });

    for (const options of [['--without-networkd'], ['--force']]) {
      const refused = await network(bed, 'apply', ...options);
      t.match(refused, {
        status: 1,
        stderr: /vlan10 is VLAN 10 on eth0.*no unit of Sluice made it: nothing was/,
      });
      t.match(refused.stderr, /ip link del vlan10/);
    }
    t.same(asked(bed), []);
    t.notOk(existsSync(join(bed.folder, FOLDER)), 'so that it is not taken for ours the next time');
  },
);

t.test('the address that the session came in by is not taken away', { skip }, async (t) => {
  const bed = await kernelOf(t, TRUNK, { links: [up('eth1'), vlan10('eth1')], addresses: ADDRESSES });
  await network(bed, 'render', '--out', FOLDER);
  bed.declare(TRUNK.replace('10.20.10.1/24', '10.20.10.2/24'));
  bed.set('SSH_CONNECTION', '10.20.10.7 50000 10.20.10.1 22');

  const refused = await network(bed, 'apply', '--without-networkd');
  t.equal(refused.status, 1);
  t.match(
    refused.stderr,
    'vlan10 has the address 10.20.10.1/24, which it would lose: your own session came in by it',
  );
  t.match(refused.stderr, /^sluice: nothing was changed: .*--force/);
  t.same(asked(bed), []);

  await network(bed, 'apply', '--without-networkd', '--force');
  const steps = ['ip address del 10.20.10.1/24 dev vlan10', 'ip address add 10.20.10.2/24 dev vlan10'];
  t.same(asked(bed), steps);
});

t.test(
  'forwarding is switched on where a conduit needs it, unless netd switched it off',
  { skip },
  async (t) => {
    const conduit = 'conduits: [{ from: control, to: uplink, allow: [https], because: "updates" }]\n';
    const bed = await bedOf(t, `${TRUNK}${conduit}`);
    // The kernel has its switches for whatever is called so.
    await bed.run('ip', 'link', 'add', 'vlan10', 'type', 'veth', 'peer', 'name', 'far10');
    const there = { links: [up('eth1'), vlan10('eth1')], addresses: ADDRESSES };
    pretend(bed, there);

    await bed.run('sh', '-c', 'echo 0 > /proc/sys/net/ipv4/ip_forward');
    t.match(await network(bed, 'verify'), {
      status: 1,
      stdout: /vlan10 forwards no IPv4, and conduits lead over it/,
    });
    t.match(await network(bed, 'apply', '--without-networkd'), { status: 0, stdout: 'nothing differs\n' });
    t.match(await network(bed, 'verify'), { status: 0, stdout: 'nothing differs\n' });

    await bed.run('sh', '-c', 'echo 0 > /proc/sys/net/ipv4/ip_forward');
    mkdirSync(bed.state);
    writeFileSync(join(bed.state, 'drift.json'), '{"events":[],"stopped":["v4"]}');
    t.match(await network(bed, 'apply', '--without-networkd'), { status: 1, stdout: /netd stopped that/ });
    t.match(await bed.run('cat', '/proc/sys/net/ipv4/ip_forward'), { stdout: '0\n' });
  },
);
