import { existsSync } from 'node:fs';
import t from 'tap';
import type { Shadow } from '../../src/segmentation/shadow-path.ts';
import { noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
import { until } from '../support/wait.ts';
import type { Bed } from './bed.ts';
import { confirmed } from './change.ts';
import { BEFORE } from './plants.ts';

// What undermines the rules although they hold, made for real where this kernel can.

const skip = noRules() || missingPeer('nsenter', 'util-linux') || missingPeer('tc', 'iproute2');
const PATIENCE = 120_000;

async function shadowsOf(bed: Bed): Promise<readonly Shadow[]> {
  const script = `${REPOSITORY}test/netd/shadows-here.ts`;
  const { stdout, stderr } = await bed.run(process.execPath, script, 'gateway.yaml');
  if (stdout === '') throw new Error(stderr);
  const found: unknown = JSON.parse(stdout);
  if (!isList(found)) throw new Error(stdout);
  return found;
}

const isList = (json: unknown): json is readonly Shadow[] => Array.isArray(json);

async function shell(bed: Bed, script: string): Promise<void> {
  const { status, stderr } = await bed.run('sh', '-euc', script);
  if (status !== 0) throw new Error(stderr);
}

const shown = (found: readonly Shadow[]): string[] =>
  found
    .filter(({ kind }) => kind !== 'missing')
    .map(({ severity, kind, place }) => `${severity} ${kind}: ${place}`)
    .toSorted();

async function plant(bed: Bed): Promise<void> {
  bed.declare(BEFORE);
  await shell(
    bed,
    `for v in 10 20 40; do ip link add vlan$v type veth peer name p$v; ip link set vlan$v up; done
     echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding`,
  );
}

t.test('a chain of another table that rewrites packets is told', { skip }, async (t) => {
  const bed = await confirmed(t);
  await plant(bed);
  await shell(
    bed,
    `nft add table ip evil
     nft 'add chain ip evil pre { type filter hook prerouting priority -150; }'
     nft add rule ip evil pre ip saddr 10.20.40.5 accept`,
  );
  t.same(shown(await shadowsOf(bed)), [], 'one that only accepts undermines nothing');

  await shell(bed, 'nft add rule ip evil pre ip saddr 10.20.40.5 ip saddr set 10.20.40.77');

  const [shadow] = (await shadowsOf(bed)).filter(({ kind }) => kind !== 'missing');
  t.equal(shadow?.place, 'nftables chain ip evil pre (filter, prerouting, priority -150)');
  t.match(shadow, { kind: 'rewrites', severity: 'warning', does: /it changes ip saddr:/ });
  // A newer nft wrote what this one dies of: the heads of chains are listed, the rules are not.
  bed.nftIs('case "$*" in *"list table ip evil"*) kill -SEGV $$ ;; esac; exec $NFT "$@"');
  t.same(shown(await shadowsOf(bed)), ['warning rewrites: nftables table ip evil']);
});

t.test('each way around the rules is told for what it does', { skip }, async (t) => {
  const bed = await confirmed(t);
  await plant(bed);

  t.same(shown(await shadowsOf(bed)), [], 'our own tables are none');
  await shell(
    bed,
    `nft add table inet docker
     nft 'add chain inet docker before { type filter hook forward priority -100; policy accept; }'
     nft 'add rule inet docker before accept'
     nft 'add set inet docker bans { type ipv4_addr; }'
     tc qdisc add dev vlan10 clsact`,
  );
  t.same(shown(await shadowsOf(bed)), [], 'what only accepts undermines nothing');

  await shell(
    bed,
    `nft add table ip nat
     nft 'add chain ip nat pre { type nat hook prerouting priority -100; }'
     nft 'add chain ip nat post { type nat hook postrouting priority 100; }'
     nft 'add chain ip nat out { type route hook output priority 0; }'
     nft 'add chain inet docker deny { type filter hook forward priority 5; policy drop; }'
     nft add table netdev early
     nft 'add chain netdev early lead { type filter hook ingress device vlan20 priority 0; }'
     ip rule add fwmark 7 table 77
     ip -6 rule add from fd00:40::/64 table 78
     ip link add br0 type bridge
     ip link set vlan10 master br0
     ip link set vlan40 master br0
     echo 0 > /proc/sys/net/ipv4/ip_forward
     echo 1 > /proc/sys/net/ipv4/conf/vlan20/route_localnet
     echo 1 > /proc/sys/net/ipv4/conf/all/accept_source_route
     echo 1 > /proc/sys/net/ipv4/conf/vlan40/accept_source_route
     for v in 10 20; do echo 0 > /proc/sys/net/ipv4/conf/vlan$v/accept_source_route; done
     calls=/proc/sys/net/bridge/bridge-nf-call-ip
     if [ -d /proc/sys/net/bridge ]; then echo 1 > \${calls}tables; echo 0 > \${calls}6tables; fi
     for v in all vlan10; do echo 1 > /proc/sys/net/ipv6/conf/$v/seg6_enabled; done`,
  );
  const all = await shadowsOf(bed);
  const others = shown(all).filter((line) => !line.includes('net.bridge.'));
  t.same(others, [
    'danger bridged: vlan10 of zone control is a port of bridge br0, with vlan40',
    'danger bridged: vlan40 of zone supervision is a port of bridge br0, with vlan10',
    'danger ingress: nftables chain netdev early lead (filter, ingress, priority 0)',
    'danger source route: net.ipv4.conf.all.accept_source_route = 1, and that of vlan40',
    'danger source route: net.ipv6.conf.all.seg6_enabled = 1, and that of vlan10',
    'note drops: nftables chain inet docker deny (filter, forward, priority 5)',
    'note nat: nftables chain ip nat post (nat, postrouting, priority 100)',
    'warning forwarding: net.ipv4.ip_forward = 0',
    'warning localnet: net.ipv4.conf.vlan20.route_localnet = 1',
    'warning nat: nftables chain ip nat pre (nat, prerouting, priority -100)',
    'warning reroute: nftables chain ip nat out (route, output, priority 0)',
    'warning routing rule: IPv4 routing rule 32765 to table 77',
    'warning routing rule: IPv6 routing rule 32765 to table 78',
  ]);
  const calls = shown(all).filter((line) => line.includes('net.bridge.'));
  if (existsSync('/proc/sys/net/bridge'))
    t.same(calls, ['warning bridge: net.bridge.bridge-nf-call-iptables = 1']);
  else t.same(calls, [], 'this kernel has no br_netfilter');
  t.equal(all[0]?.severity, 'danger', 'the worst comes first');
  t.ok(all.every(({ does, remedy }) => does.length > 20 && remedy.length > 5));

  const status = await bed.firewall('status');
  t.equal(status.status, 1, 'rules that hold are not the whole truth');
  t.match(
    status.stdout,
    /^a way around the rules: vlan10 of zone control is a port of bridge br0, with vlan40: frames go between zone control and zone supervision without any rule seeing them; ip link set dev vlan10 nomaster/m,
  );
  t.match((await bed.firewall('status', '--json')).stdout, /"shadows":\[\{"kind":"\w+","severity":"danger"/);
});

t.test('an nft that dies of tables of others is told, and nothing else fails', { skip }, async (t) => {
  const bed = await confirmed(t);
  await plant(bed);
  bed.nftIs('case "$*" in *"list chains"*) kill -SEGV $$;; esac\nexec $NFT "$@"\n');

  t.match(await shadowsOf(bed), [
    { kind: 'unknown', severity: 'warning', place: 'chains of other tables', does: /killed by SIGSEGV/ },
  ]);
});

t.test('netd tells what comes and what goes', { skip }, async (t) => {
  const bed = await confirmed(t);
  await plant(bed);
  await shell(bed, 'ip link add br0 type bridge; ip link set vlan10 master br0');
  const netd = await bed.netd();

  await netd.says(
    /"something undermines the rules".*vlan10 of zone control belongs to the bridge br0/,
    PATIENCE,
  );
  await until(
    'a listening monitor',
    async () => {
      await shell(
        bed,
        `nft add table netdev t; nft 'add chain netdev t c { type filter hook ingress device vlan20 priority 0; }'`,
      );
      return netd.err.some((line) => /"a way around the rules".*netdev t c/.test(line));
    },
    PATIENCE,
  );
  await shell(bed, 'nft delete table netdev t');
  await netd.says(/"it is gone, what was beside the rules".*netdev t c/, PATIENCE);
});
