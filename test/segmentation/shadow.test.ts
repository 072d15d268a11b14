import t from 'tap';
import { type ShadowFacts, shadows } from '../../src/segmentation/shadow.ts';
import { BEFORE } from '../netd/plants.ts';
import { policyOf } from './policies.ts';

// As nft, ip and tc of Debian 12 print what the kernel under test may lack: flowtables, classifiers, XDP, macvlan.

const policy = policyOf(BEFORE);
const NOTHING: ShadowFacts = {
  chains: undefined,
  tables: [],
  flowtables: undefined,
  links: undefined,
  filters: [],
  rules: [],
  legacy: [],
  switches: new Map(),
  closed: false,
  unread: [],
};
const found = (facts: Partial<ShadowFacts>): string[] =>
  shadows({ ...NOTHING, ...facts }, policy).map(
    ({ severity, kind, place }) => `${severity} ${kind}: ${place}`,
  );

const link = (ifname: string, more: object = {}): object => ({ ifname, ifindex: 2, ...more });
const PLANT = ['vlan10', 'vlan20', 'vlan40'].map((name) =>
  link(name, { link: 'eth1', linkinfo: { info_kind: 'vlan' } }),
);
const links = [...PLANT, link('eth0'), link('eth1')];

t.test('a flowtable takes connections past the rules', async (t) => {
  const flowtable = {
    family: 'ip',
    table: 'fast',
    name: 'ft',
    handle: 2,
    hook: 'ingress',
    prio: 0,
    dev: ['eth1', 'eth9'],
  };

  t.same(
    found({ links, flowtables: { nftables: [{ metainfo: {} }, { flowtable }] } }),
    ['danger flowtable: flowtable ip fast ft at eth1, eth9'],
    'also on what the VLANs lie on',
  );
  t.same(found({ links, flowtables: { nftables: [{ flowtable: { ...flowtable, dev: 'eth9' } }] } }), []);
});

const filter = (kind: string, options: object): object[] => [
  { protocol: 'all', pref: 49_152, kind, chain: 0 },
  { protocol: 'all', pref: 49_152, kind, chain: 0, options },
];
const action = (kind: string, more: object = {}): object => ({
  handle: 1,
  actions: [{ order: 1, kind, ...more }],
});
const at = (json: unknown, dev = 'vlan10'): string[] =>
  found({ links, filters: [{ dev, side: 'ingress', json }] });

t.test('filters of traffic control are judged by what they do', async (t) => {
  const redirect = action('mirred', { mirred_action: 'redirect', direction: 'egress', to_dev: 'vlan40' });
  t.same(at(filter('matchall', redirect)), [
    'danger tc: tc filter matchall at vlan10 ingress, action mirred',
  ]);
  t.same(at(filter('matchall', redirect), 'eth9'), [], 'at an interface that carries no zone');
  const mirror = action('mirred', { mirred_action: 'mirror', direction: 'egress', to_dev: 'vlan40' });
  t.same(at(filter('u32', mirror)), ['warning tc: tc filter u32 at vlan10 ingress, action mirred']);
  t.same(at(filter('bpf', { handle: '0x1', bpf_name: 'x.o:[tc]', 'direct-action': true })), [
    'danger tc: tc filter bpf at vlan10 ingress',
  ]);
  t.same(at(filter('flower', action('pedit'))), [
    'warning tc: tc filter flower at vlan10 ingress, action pedit',
  ]);
  t.same(at(filter('matchall', action('gact', { control_action: { type: 'drop' } }))), []);
});

t.test('interfaces that hang together in ways that no zone knows', async (t) => {
  const xdp = link('eth1', { xdp: { mode: 1, prog: { id: 12, name: 'fast' } } });
  t.same(found({ links: [...PLANT, link('eth0'), xdp] }), ['danger xdp: XDP program at eth1']);
  t.same(found({ links: [...links, link('eth9', { xdp: { mode: 1 } })] }), []);
  const macvlan = link('pod0', { link: 'vlan10', linkinfo: { info_kind: 'macvlan' } });
  t.same(found({ links: [...links, macvlan] }), ['danger beside: pod0 (macvlan) on vlan10 of zone control']);
  const vrf = [link('blue', { linkinfo: { info_kind: 'vrf' } }), link('eth0', { master: 'blue' })];
  t.same(found({ links: [...PLANT, ...vrf, link('eth1')] }), [
    'warning enslaved: eth0 of zone uplink belongs to the vrf blue',
  ]);
  const other = [link('vlan11', { link: 'vlan10', linkinfo: { info_kind: 'vlan' } }), link('docker0')];
  t.same(found({ links: [...links, ...other] }), [], 'an interface that no zone has is denied anyway');
  t.same(found({ links: [...PLANT, link('eth1')] }), ['note missing: eth0 of zone uplink']);
});

t.test('what is usual, and what cannot be looked at', async (t) => {
  const usual = [
    { priority: 0, src: 'all', table: 'local' },
    { priority: 32_766, src: 'all', table: 'main' },
    { priority: 32_767, src: 'all', table: 'default' },
  ];
  t.same(found({ rules: [{ family: 'IPv4', json: usual }] }), []);
  t.same(found({ rules: [{ family: 'IPv4', json: [{ priority: 100, src: 'all', table: 'local' }] }] }), [
    'warning routing rule: IPv4 routing rule 100 to table local',
  ]);
  t.same(found({ legacy: ['filter', 'nat'] }), ['warning nat: the older iptables, table nat']);
  t.same(found({ unread: [{ what: 'flowtables', why: 'nft was killed by SIGSEGV' }] }), [
    'warning unknown: flowtables',
  ]);
  t.same(
    shadows({ ...NOTHING, legacy: ['nat'] }, { ...policy, mode: 'off' }),
    [],
    'there is nothing to undermine',
  );
  for (const json of [null, 7, 'x', {}, [null], { nftables: 3 }, [{ kind: 3, options: 'x' }]]) {
    const facts = {
      chains: json,
      flowtables: json,
      links: json,
      filters: [{ dev: 'vlan10', side: 'egress', json }],
    };
    t.doesNotThrow(() => found(facts), 'whatever they print');
  }
});

const switched = (...lines: readonly string[]): ReadonlyMap<string, string> =>
  new Map(
    lines.map((line): [string, string] => {
      const [name = '', value = ''] = line.split(' ');
      return [name, value];
    }),
  );

const of = (...lines: readonly string[]): string[] => found({ links, switches: switched(...lines) });

t.test('rules of packets that judge what is bridged', async (t) => {
  const switches = switched('bridge/bridge-nf-call-iptables 1', 'bridge/bridge-nf-call-ip6tables 1');
  const withBridge = [...links, link('br0', { linkinfo: { info_kind: 'bridge' } })];

  t.same(found({ links: withBridge, switches }), [
    'warning bridge: net.bridge.bridge-nf-call-iptables = 1',
    'warning bridge: net.bridge.bridge-nf-call-ip6tables = 1',
  ]);
  t.same(found({ links, switches }), [], 'without a bridge');
  const off = switched('bridge/bridge-nf-call-iptables 0', 'bridge/bridge-nf-call-ip6tables 0');
  t.same(found({ links: withBridge, switches: off }), []);
  t.same(found({ links: withBridge }), [], 'where br_netfilter is not loaded');
});

const told = (closed: boolean, ...lines: readonly string[]) =>
  shadows({ ...NOTHING, links, closed, switches: switched(...lines) }, policy);

t.test('forwarding that is off, and forwarding that we switched off ourselves', async (t) => {
  t.match(told(false, 'ipv4/ip_forward 0', 'ipv6/conf/all/forwarding 1'), [
    { kind: 'forwarding', severity: 'warning', remedy: /^as soon as the rules hold: sysctl -w .*=1,/ },
  ]);
  t.same(told(true, 'ipv4/ip_forward 0', 'ipv6/conf/all/forwarding 0'), [], 'nobody is told to open it');
  t.match(told(true, 'ipv4/ip_forward 1', 'ipv6/conf/all/forwarding 0'), [
    { kind: 'forwarding', severity: 'danger', place: 'net.ipv4.ip_forward = 1', remedy: /ip_forward=0;/ },
  ]);
});

/** In a zone with this subnet. */
function believed(subnet: string, ...lines: readonly string[]): string[] {
  const zone = policyOf(`
gateway: { id: plant }
zones: { control: { vlan: 10, subnet: "${subnet}" }, uplink: { interface: eth0 } }
segmentation: { mode: enforce, management: { zone: uplink, from: [192.0.2.0/24], allow: [ssh] } }
`);
  return shadows({ ...NOTHING, links, switches: switched(...lines) }, zone).map(
    ({ severity, kind, place }) => `${severity} ${kind}: ${place}`,
  );
}

t.test('routers that the kernel would believe in a zone of the plant', async (t) => {
  const off = 'ipv6/conf/vlan10/forwarding 0';
  const on = 'ipv6/conf/vlan10/forwarding 1';

  for (const subnet of ['fd00:10::/64', '10.20.10.0/24']) {
    t.same(
      believed(subnet, 'ipv6/conf/vlan10/accept_ra 1', off),
      ['warning router advertisement: net.ipv6.conf.vlan10.accept_ra = 1'],
      'whichever family it has',
    );
    t.same(believed(subnet, 'ipv6/conf/vlan10/accept_ra 1', on), []);
    t.match(believed(subnet, 'ipv6/conf/vlan10/accept_ra 2', on), [/accept_ra = 2/]);
    t.same(believed(subnet, 'ipv6/conf/vlan10/accept_ra 0', off), []);
    const uplink = ['ipv6/conf/eth0/accept_ra 2', 'ipv6/conf/eth0/forwarding 0'];
    t.same(believed(subnet, ...uplink), [], 'the uplink has a router');
  }
});

t.test('ways that the sender chooses are taken where both switches say so', async (t) => {
  t.same(of('ipv4/conf/all/accept_source_route 1', 'ipv4/conf/vlan10/accept_source_route 1'), [
    'danger source route: net.ipv4.conf.all.accept_source_route = 1, and that of vlan10',
  ]);
  t.same(of('ipv6/conf/all/seg6_enabled 1', 'ipv6/conf/vlan10/seg6_enabled 1', 'ipv6/conf/vlan40/seg6_enabled 1'), [
    'danger source route: net.ipv6.conf.all.seg6_enabled = 1, and that of vlan10, vlan40',
  ]); // biome-ignore format: one line reads better
  t.same(of('ipv4/conf/all/accept_source_route 0', 'ipv4/conf/vlan10/accept_source_route 1'), []);
  t.same(of('ipv4/conf/all/accept_source_route 1', 'ipv4/conf/vlan10/accept_source_route 0'), []);
  t.same(of('ipv4/conf/all/accept_source_route 1', 'ipv4/conf/eth9/accept_source_route 1'), []);
});

const tableWith = (...expr: readonly object[]): ShadowFacts['tables'][number] => ({
  family: 'ip',
  name: 'other',
  json: {
    nftables: [
      { metainfo: {} },
      { chain: { family: 'ip', table: 'other', name: 'sub' } },
      {
        chain: { family: 'ip', table: 'other', name: 'pre', type: 'filter', hook: 'prerouting', prio: -150 },
      },
      { rule: { family: 'ip', table: 'other', chain: 'sub', expr } },
    ],
  },
});
const FOUND = ['warning rewrites: nftables chain ip other pre (filter, prerouting, priority -150)'];
const mangle = (key: object): object => ({ mangle: { key, value: 5 } });

t.test('rules of others that change packets are told, and those that do not are not', async (t) => {
  for (const statement of [
    mangle({ payload: { protocol: 'ip', field: 'saddr' } }),
    mangle({ payload: { base: 'nh', offset: 0, len: 8 } }),
    mangle({ meta: { key: 'pkttype' } }),
    mangle({ exthdr: { name: 'rt', field: 'type' } }),
    { dup: { addr: '10.0.0.1' } },
    { tproxy: { port: 8_080 } },
    { queue: { num: 3 } },
    { notrack: null },
    { xt: { type: 'target', name: 'TEE' } },
    { xt: null },
  ])
    t.same(found({ tables: [tableWith(statement)] }), FOUND, JSON.stringify(statement));
  const mark = mangle({ meta: { key: 'mark' } });
  for (const statement of [
    mangle({ payload: { protocol: 'ip', field: 'dscp' } }),
    mangle({ 'tcp option': { name: 'maxseg', field: 'size' } }),
    mangle({ meta: { key: 'priority' } }),
    mangle({ ct: { key: 'mark' } }),
    { match: { op: '==', left: { payload: { protocol: 'ip', field: 'daddr' } }, right: '1.2.3.4' } },
    { counter: { packets: 0, bytes: 0 } },
    { xt: { type: 'match', name: 'comment' } },
    { xt: { type: 'target', name: 'TCPMSS' } },
    { accept: null },
    { drop: null },
    mark,
  ])
    t.same(found({ tables: [tableWith(statement)] }), [], JSON.stringify(statement));
  const json = [{ priority: 5, src: 'all', fwmark: '0x7', table: '77' }];
  const [first] = found({ tables: [tableWith(mark)], rules: [{ family: 'IPv4', json }] });
  t.equal(first, FOUND[0], 'a mark that a routing rule goes by');
});

t.test('a table whose rules cannot be read may change packets', async (t) => {
  const tables = [{ family: 'ip', name: 'other', json: undefined, unread: 'nft was killed by SIGSEGV' }];

  t.same(found({ tables }), ['warning rewrites: nftables table ip other']);
});
