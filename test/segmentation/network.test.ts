import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { unitsThere, writeUnits } from '../../src/netd/vlan.ts';
import { liveNetwork, networkDifferences } from '../../src/segmentation/network-live.ts';
import { type NetworkPlan, networkPlan } from '../../src/segmentation/network-plan.ts';
import { networkUnits } from '../../src/segmentation/network-units.ts';

const zones = (ports: string): string => `
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"]${ports} }
  supervision: { vlan: 40, subnet: 10.20.40.0/24, address: 10.20.40.1/24 }
  uplink: { interface: eth0 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI" }
`;

function planOf(network: string, ports = ''): NetworkPlan {
  const parsed = parseConfig(
    `gateway: { id: plant7 }\nnetwork: ${network}\n${zones(ports)}`,
    '/plant/gateway.yaml',
  );
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  return networkPlan(parsed.config);
}

const BRIDGE = planOf('{ bridge: { name: br-plant, trunk: [eth1] } }', ', ports: [lan1]');
const TRUNK = planOf('{ trunk: eth1 }');
/** Directives of a unit, without its comment. */
const unit = (plan: NetworkPlan, name: string): string =>
  networkUnits(plan).get(`10-sluice-${name}`) ?? 'none';

t.test('a bridge keeps VLANs apart, and a port outside the plan has none', async (t) => {
  t.match(unit(BRIDGE, 'br-plant.netdev'), 'Kind=bridge\n\n[Bridge]\nVLANFiltering=yes\nDefaultPVID=none\n');
  t.match(unit(BRIDGE, 'br-plant.network'), /VLAN=vlan10\nVLAN=vlan40\n\n\[BridgeVLAN\]\nVLAN=10\n/);
  t.match(unit(BRIDGE, 'lan1.network'), '[BridgeVLAN]\nVLAN=10\nPVID=10\nEgressUntagged=10\n');
  t.match(unit(BRIDGE, 'eth1.network'), '[BridgeVLAN]\nVLAN=10\n\n[BridgeVLAN]\nVLAN=40\n');
  t.notMatch(unit(BRIDGE, 'eth1.network'), 'PVID');
  t.equal(networkUnits(BRIDGE).size, 8);
});

t.test('on a trunk each VLAN is an interface, with the addresses of the gateway', async (t) => {
  t.match(unit(TRUNK, 'eth1.network'), /VLAN=vlan10\nVLAN=vlan40\n$/);
  t.match(unit(TRUNK, 'vlan10.netdev'), 'Name=vlan10\nKind=vlan\n\n[VLAN]\nId=10\n');
  t.match(
    unit(TRUNK, 'vlan10.network'),
    'Address=10.20.10.1/24\nAddress=fd00:10::1/64\nAddress=fe80::1/64\nIPForward=yes\n',
  );
  t.match(unit(TRUNK, 'vlan40.network'), 'IPForward=ipv4\n');
  for (const text of networkUnits(TRUNK).values()) {
    if (text.includes('[Network]'))
      t.match(text, /RequiredForOnline=no[^]*LinkLocalAddressing=no\nIPv6AcceptRA=no/);
  }
});

t.test('what differs is told, with the commands that make it good', async (t) => {
  const links = [
    { ifname: 'eth1', flags: ['UP'] },
    { ifname: 'vlan10', link: 'eth1', flags: ['UP'], linkinfo: { info_kind: 'vlan', info_data: { id: 11 } } },
    { ifname: 'vlan99', link: 'eth1', flags: ['UP'], linkinfo: { info_kind: 'vlan', info_data: { id: 99 } } },
    { ifname: 'vlan40', link: 'eth1', flags: ['UP'], linkinfo: { info_kind: 'vlan', info_data: { id: 40 } } },
    { ifname: 'vlan7', link: 'eth0', flags: ['UP'], linkinfo: { info_kind: 'vlan', info_data: { id: 7 } } },
  ];
  const addresses = [{ ifname: 'vlan40', addr_info: [{ local: '10.20.40.9', prefixlen: 24 }] }];
  const live = liveNetwork(JSON.stringify(links), '[]', JSON.stringify(addresses));

  const found = networkDifferences(TRUNK, live, []);

  t.same(
    found.map(({ link, what }) => `${link} ${what}`),
    [
      'vlan99 is there, and nothing wants it',
      'vlan10 is VLAN 11 on eth1, not 10 on eth1',
      'vlan40 has the address 10.20.40.9/24, and nothing wants it',
      'vlan40 has not the address 10.20.40.1/24',
    ],
  );
  t.same(found[0]?.steps, [['ip', 'link', 'del', 'vlan99']]);
});

t.test('only files of ours are written and taken away', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'sluice-units-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  writeUnits(root, networkUnits(BRIDGE));
  writeUnits(root, networkUnits(TRUNK));

  t.same(
    [...unitsThere(root)],
    [...networkUnits(TRUNK)].toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
  t.same(
    readdirSync(join(root, 'etc/systemd/network')).filter((name) => name.startsWith('.')),
    [],
  );
});
