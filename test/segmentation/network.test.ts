import { mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { stageUnits, unitsThere } from '../../src/netd/vlan.ts';
import { type NetworkCase, networkDifferences } from '../../src/segmentation/network-differences.ts';
import { type Family, type LiveNetwork, liveNetwork } from '../../src/segmentation/network-live.ts';
import { callersOf, lockOut } from '../../src/segmentation/network-lock-out.ts';
import { type NetworkPlan, networkPlan } from '../../src/segmentation/network-plan.ts';
import { madeLinks, networkUnits } from '../../src/segmentation/network-units.ts';
import type { Config } from '../../src/config/config.ts';

const zones = (ports: string): string => `
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"]${ports} }
  supervision: { vlan: 40, subnet: 10.20.40.0/24, address: 10.20.40.1/24 }
  uplink: { interface: eth0 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI" }
`;

function configOf(yaml: string): Config {
  const parsed = parseConfig(`gateway: { id: plant7 }\n${yaml}`, '/plant/gateway.yaml');
  if (!('config' in parsed)) throw new Error(JSON.stringify(parsed.problems));
  return parsed.config;
}

const planOf = (network: string, ports = ''): NetworkPlan =>
  networkPlan(configOf(`network: ${network}\n${zones(ports)}`));

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

interface Live {
  readonly links: readonly object[];
  /** Name of a link, and its addresses. */
  readonly addresses?: Readonly<Record<string, readonly string[]>>;
  readonly bridge?: readonly object[];
  readonly forwards?: readonly Family[];
}

function liveOf({ links, addresses = {}, bridge = [], forwards = ['v4', 'v6'] }: Live): LiveNetwork {
  const known = Object.entries(addresses).map(([ifname, list]) => ({
    ifname,
    addr_info: list.map((one) => ({ local: one.split('/')[0], prefixlen: Number(one.split('/')[1]) })),
  }));
  return liveNetwork({
    links: JSON.stringify(links),
    bridge: JSON.stringify(bridge),
    addresses: JSON.stringify(known),
    forwards: () => forwards,
  });
}

const port = (ifname: string, master?: string): object => ({ ifname, master, flags: ['UP'] });
const linkOf = (ifname: string, kind: string, data: object, link?: string): object => ({
  ifname,
  link,
  flags: ['UP'],
  linkinfo: { info_kind: kind, info_data: data },
});
const vlan = (name: string, parent: string, id: number, more = {}): object =>
  linkOf(name, 'vlan', { protocol: '802.1Q', id, ...more }, parent);
const bridge = (name: string, more = {}): object =>
  linkOf(name, 'bridge', { vlan_filtering: 1, vlan_default_pvid: 0, stp_state: 0, ...more });

/** A change from what the units of one file made to another file. */
const change = (
  before: NetworkPlan | undefined,
  plan: NetworkPlan,
  live: Live,
  closed = false,
): NetworkCase => ({
  plan,
  live: liveOf(live),
  made: madeLinks(before === undefined ? new Map() : networkUnits(before)),
  closed,
});

const told = (found: NetworkCase): string[] =>
  networkDifferences(found).map(({ link, what }) => `${link} ${what}`);
const changes = (found: NetworkCase): string[] =>
  networkDifferences(found).flatMap((one) => one.changes.map((step) => step.join(' ')));

t.test('what differs is told, with the commands that make it good', async (t) => {
  const found = change(TRUNK, TRUNK, {
    links: [port('eth1'), vlan('vlan10', 'eth1', 11), vlan('vlan40', 'eth1', 40)],
    addresses: { vlan40: ['10.20.40.9/24'] },
  });

  t.same(told(found), [
    'vlan10 is VLAN 11 on eth1, not VLAN 10 on eth1',
    'vlan40 has the address 10.20.40.9/24, and nothing wants it',
    'vlan40 has not the address 10.20.40.1/24',
  ]);
  t.same(changes(found), ['ip link del vlan10', 'ip address del 10.20.40.9/24 dev vlan40']);
});

const RIGHT_TRUNK = [port('eth1'), vlan('vlan10', 'eth1', 10), vlan('vlan40', 'eth1', 40)];
const RIGHT_ADDRESSES = {
  vlan10: ['10.20.10.1/24', 'fd00:10::1/64', 'fe80::1/64'],
  vlan40: ['10.20.40.1/24'],
};

t.test('a VLAN goes where a unit of ours made it, and no other does', async (t) => {
  const office = networkPlan(
    configOf(`network: { trunk: eth1 }
zones:
  control: { vlan: 10, subnet: 10.20.10.0/24, address: 10.20.10.1/24 }
  office: { vlan: 40, interface: vlan40, subnet: 10.20.40.0/24 }`),
  );
  const links = [...RIGHT_TRUNK, vlan('vlan99', 'eth1', 99), vlan('vlan7', 'eth0', 7)];
  const addresses = { vlan10: ['10.20.10.1/24'], vlan40: ['10.20.40.1/24'], vlan99: ['192.0.2.5/24'] };

  t.same(told(change(undefined, office, { links, addresses })), [], 'no unit of ours made them');
  t.same(
    told(change(TRUNK, office, { links, addresses })),
    [],
    'and the interface of a zone is not ours any more',
  );

  const without = networkPlan(configOf('zones: { control: { vlan: 10, subnet: 10.20.10.0/24 } }'));
  const before = change(TRUNK, without, { links, addresses });
  t.same(changes(before), ['ip link del vlan10', 'ip link del vlan40'], 'without network all of ours go');

  const onBridge = planOf('{ trunk: br-plant }');
  const trunk = change(BRIDGE, onBridge, { links: [bridge('br-plant')] });
  t.notOk(changes(trunk).includes('ip link del br-plant'), 'a trunk of the file is not');

  const elsewhere = change(TRUNK, without, {
    links: [vlan('vlan10', 'eth5', 10), linkOf('vlan40', 'veth', {})],
  });
  t.same(told(elsewhere), [], 'what has the name of ours, and is something else');
});

t.test('a link of somebody else that has the name of ours stays, and is told', async (t) => {
  const links = [port('eth1'), vlan('vlan10', 'eth0', 10), linkOf('vlan40', 'dummy', {})];

  for (const before of [undefined, TRUNK]) {
    const differences = networkDifferences(change(before, TRUNK, { links }));
    t.match(differences, [
      { what: 'is VLAN 10 on eth0, not VLAN 10 on eth1, and no unit of Sluice made it', foreign: true },
      { what: 'is a dummy, not VLAN 40 on eth1, and no unit of Sluice made it', foreign: true },
    ]);
    t.same(
      differences.flatMap((one) => [...one.changes, ...one.makes]),
      [],
    );
  }
  const [other] = networkDifferences(change(undefined, BRIDGE, { links: [linkOf('br-plant', 'veth', {})] }));
  t.match(other, { what: 'is no bridge, but veth, and no unit of Sluice made it', foreign: true });
});

const TAGGED = { vlans: [{ vlan: 10 }, { vlan: 40 }] };
const UNTAGGED = [{ vlan: 10, flags: ['PVID', 'Egress Untagged'] }];
const table = (name: string): object[] => [
  { ifname: name, ...TAGGED },
  { ifname: 'eth1', ...TAGGED },
  { ifname: 'lan1', vlans: UNTAGGED },
];
const RIGHT_BRIDGE = (name: string, more = {}, tags = {}): object[] => [
  bridge(name, more),
  port('eth1', name),
  port('lan1', name),
  vlan('vlan10', name, 10, tags),
  vlan('vlan40', name, 40),
];

t.test('a bridge is what the file wants only with the ports, tags and settings of the file', async (t) => {
  const addresses = RIGHT_ADDRESSES;
  const right = change(BRIDGE, BRIDGE, {
    links: RIGHT_BRIDGE('br-plant'),
    bridge: table('br-plant'),
    addresses,
  });
  t.same(told(right), []);

  const links = [...RIGHT_BRIDGE('br-plant'), port('eth7', 'br-plant'), port('eth8', 'br-plant')];
  const strange = change(BRIDGE, BRIDGE, {
    links,
    bridge: [...table('br-plant'), { ifname: 'eth7', vlans: UNTAGGED }],
    addresses,
  });
  t.same(told(strange), ['eth7 is a port of br-plant that the file does not name, and has VLAN 10']);
  t.same(changes(strange), ['bridge vlan del dev eth7 vid 10']);

  const wrong = change(BRIDGE, BRIDGE, {
    links: RIGHT_BRIDGE('br-plant', { vlan_protocol: '802.1ad', stp_state: 1 }, { protocol: '802.1ad' }),
    bridge: table('br-plant'),
    addresses,
  });
  t.same(told(wrong), [
    'br-plant keeps VLANs of 802.1ad apart, not of 802.1Q',
    'br-plant takes part in spanning tree',
    'vlan10 is VLAN 10 on br-plant with tags of 802.1ad, not VLAN 10 on br-plant',
  ]);
  t.match(changes(wrong)[0], /^ip link set br-plant type bridge .*vlan_protocol 802\.1Q stp_state 0$/);
});

t.test(
  'a bridge under another name: its VLANs go first, and ports get their VLANs in the new one',
  async (t) => {
    const other = planOf('{ bridge: { name: br-other, trunk: [eth1] } }', ', ports: [lan1]');
    const found = change(BRIDGE, other, {
      links: RIGHT_BRIDGE('br-plant'),
      bridge: table('br-plant'),
      addresses: RIGHT_ADDRESSES,
    });

    t.same(changes(found), ['ip link del vlan10', 'ip link del vlan40', 'ip link del br-plant']);
    const makes = networkDifferences(found).flatMap((one) => one.makes.map((step) => step.join(' ')));
    t.match(makes, [/^ip link add br-other type bridge/]);
    t.ok(makes.includes('bridge vlan add dev lan1 vid 10 pvid untagged'));
    t.equal(lockOut(found, networkDifferences(found), callersOf(configOf(zones('')))), undefined);
  },
);

t.test('forwarding is looked at where conduits lead from zone to zone', async (t) => {
  const links = RIGHT_TRUNK;
  const off = change(TRUNK, TRUNK, { links, addresses: RIGHT_ADDRESSES, forwards: [] });
  t.same(told(off), [
    'vlan10 forwards no IPv4, and conduits lead over it',
    'vlan10 forwards no IPv6, and conduits lead over it',
    'vlan40 forwards no IPv4, and conduits lead over it',
  ]);
  t.match(changes(off), ['sysctl -w net.ipv4.ip_forward=1', 'sysctl -w net.ipv6.conf.all.forwarding=1']);

  const none = change(TRUNK, TRUNK, { links: [port('eth1')], forwards: [] });
  const makes = networkDifferences(none).flatMap((one) => one.makes.map((step) => step.join(' ')));
  t.ok(makes.includes('sysctl -w net.ipv4.ip_forward=1'), 'of a VLAN that is not there yet, too');

  const closed = change(TRUNK, TRUNK, { links, addresses: RIGHT_ADDRESSES, forwards: [] }, true);
  t.match(told(closed)[0], 'vlan10 forwards no IPv4: netd stopped that, see firewall status');
  t.same(changes(closed), [], 'what netd closed nobody opens here');
});

const zonesOf = (address: string, more = ''): string => `
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, 10.20.11.0/24], address: ${address}, ports: [lan1] }${more}
  uplink: { interface: eth0 }
`;
const by = (server: string): string => `10.9.9.9 50000 ${server} 22`;

t.test('whoever comes in by an address that would be lost is not locked out', async (t) => {
  const SUPERVISION = '\n  supervision: { vlan: 40, subnet: 10.20.40.0/24, address: 10.20.40.1/24 }';
  const network = 'network: { bridge: { name: br-plant, trunk: [eth1] } }';
  const before = networkPlan(configOf(network + zonesOf('10.20.10.1/24', SUPERVISION)));
  const MANAGED = 'segmentation: { management: { zone: control, from: [10.20.10.7], allow: [ssh] } }';
  const links = RIGHT_BRIDGE('br-plant');
  const addresses = { vlan10: ['10.20.10.1/24', 'fe80::5/64'], vlan40: ['10.20.40.1/24'] };
  const bridged = table('br-plant');
  interface Asked {
    readonly session?: string;
    readonly live?: Live;
    readonly unmade?: boolean;
  }
  const outcome = (yaml: string, { session, live, unmade }: Asked = {}): string | undefined => {
    const config = configOf(yaml);
    const whole = { links, addresses, bridge: bridged, ...live };
    const found = change(unmade === true ? undefined : before, networkPlan(config), whole);
    return lockOut(found, networkDifferences(found), callersOf(config, session));
  };
  const moved = network + zonesOf('10.20.10.2/24', SUPERVISION);
  const without = network + zonesOf('10.20.10.1/24');
  const anew = `network: { bridge: { name: br-other, trunk: [eth1] } }${zonesOf('10.20.10.1/24', SUPERVISION)}`;

  t.equal(outcome(moved), undefined, 'what the file says is meant');
  t.equal(outcome(without), undefined);
  t.equal(outcome(anew), undefined);
  t.equal(outcome(without, { session: by('10.20.10.1') }), undefined, 'an address that stays');

  const lost = 'vlan10 has the address 10.20.10.1/24, which it would lose';
  t.equal(outcome(moved, { session: by('10.20.10.1') }), `${lost}: your own session came in by it`);
  t.equal(
    outcome(moved + MANAGED),
    `${lost}: it is where those who manage the gateway come in (segmentation.management)`,
  );
  const elsewhere = network + zonesOf('10.20.11.1/24', SUPERVISION);
  t.equal(outcome(elsewhere), `${lost}: whoever comes in by it would be cut off`);

  const deleted = 'vlan40 has the address 10.20.40.1/24, which would be deleted with it';
  t.equal(outcome(without, { session: by('10.20.40.1') }), `${deleted}: your own session came in by it`);
  t.match(outcome(anew, { session: by('10.20.40.1') }), deleted);
  t.match(
    outcome(anew + MANAGED),
    /^vlan10 has the address 10\.20\.10\.1\/24, which would be deleted with it/,
  );
  const added = { vlan10: ['10.20.10.1/24'], vlan40: ['10.20.40.1/24', '192.0.2.9/24'] };
  t.match(
    outcome(without, { live: { links, addresses: added } }),
    /^vlan40 has the address 192\.0\.2\.9\/24/,
  );
  const linkLocal = outcome(without, { session: by('fe80::5%vlan10') });
  t.match(linkLocal, /^vlan10 has the address fe80::5\/64.*your own session/);

  const upper = [...links, vlan('office', 'br-plant', 7)];
  const onTop = { links: upper, addresses: { ...addresses, office: ['192.0.2.5/24'] } };
  t.match(
    outcome(anew, { live: onTop }),
    'office has the address 192.0.2.5/24, which would be deleted with br-plant',
  );
  const named = anew.replace('eth0', 'office');
  t.match(
    outcome(named, { live: { links: upper } }),
    'office is the interface of a zone, and would be deleted with',
  );

  const theirs = [
    port('eth1'),
    port('lan1', 'br0'),
    bridge('br0', { vlan_filtering: 0, vlan_default_pvid: 1 }),
  ];
  const atHome = { links: theirs, addresses: { br0: ['192.0.2.1/24'] }, bridge: [] };
  const leaves = 'br0 has the address 192.0.2.1/24, which lan1 would lead to no more: whoever comes in';
  t.match(outcome(moved, { live: atHome, unmade: true }), leaves);
  const taken = outcome(moved.replace('br-plant', 'br0'), { live: atHome, unmade: true });
  t.match(taken, 'br0 has the address 192.0.2.1/24, which no frame would reach any more: whoever comes in');
});

t.test('only files of ours are written and taken away', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'sluice-units-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  stageUnits(root, networkUnits(BRIDGE)).commit();
  const staged = stageUnits(root, networkUnits(TRUNK));
  t.same([...unitsThere(root).keys()], [...networkUnits(BRIDGE).keys()].toSorted(), 'nothing yet');
  staged.commit();
  stageUnits(root, networkUnits(BRIDGE)).discard();

  t.same(
    [...unitsThere(root)],
    [...networkUnits(TRUNK)].toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
  t.same(
    readdirSync(join(root, 'etc/systemd/network')).filter((name) => name.startsWith('.')),
    [],
  );
});

t.test('what is no file, or cannot be read, is told', async (t) => {
  const root = mkdtempSync(join(tmpdir(), 'sluice-units-'));
  t.teardown(() => rmSync(root, { recursive: true }));
  t.same([...unitsThere(root)], [], 'no folder, no units');

  mkdirSync(join(root, 'etc/systemd/network/10-sluice-x.netdev'), { recursive: true });
  t.throws(() => unitsThere(root), { code: 'SETUP', message: /10-sluice-x\.netdev: EISDIR/ });
  const file = join(import.meta.dirname, 'network.test.ts');
  t.throws(() => unitsThere(file), { code: 'SETUP', message: /network\.test\.ts.*ENOTDIR/ });
});
