import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { formatProblem } from '../../src/config/problem.ts';
import { MOST_ZONES } from '../../src/config/segmentation.ts';
import { NFT_CONSTANTS } from '../../src/config/zones.ts';
import { contradictionsOf } from '../../src/segmentation/declare.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { rulesOf } from './policies.ts';

// What can be wrong with a plant, one line for each: a change of a plant that is right, and everything that is said
// about it, with line and column. What the golden folders of test/config have is not repeated here.

const CONDUITS = 9;
const LAST = 18;

/** What is put in the place of, or behind, a part of the plant that is right. */
interface Change {
  readonly zone?: string;
  readonly conduit?: string;
  readonly device?: string;
  readonly segmentation?: string;
}

/** Lines are counted by the rows: zones end in line 7 and devices in 17 where nothing is added. */
const plant = ({ zone, conduit, device, segmentation }: Change): string => `gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: 10.0.10.0/24 }
  metering: { vlan: 20, subnet: 10.0.20.0/24 }
  six: { vlan: 30, subnet: "fd00:30::/64" }
  both: { vlan: 40, subnet: [10.0.40.0/24, "fd00:40::/64"] }
  uplink: { interface: eth0 }${zone === undefined ? '' : `\n${zone}`}
conduits:
  - ${conduit ?? '{ from: control, to: metering, allow: [ssh], because: why }'}
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
  meter: { zone: metering, protocol: modbus, points: { p: { at: "coil:0" } } }
  tank: { zone: both, protocol: coap, points: { p: { at: /p } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.0.10.11", mac: "02:00:00:00:00:0a" }
  meter-1: { class: meter, at: "modbus-tcp://10.0.20.11" }
  tank-6: { class: tank, at: "coap://[fd00:40::5]" }${device === undefined ? '' : `\n${device}`}
segmentation: ${segmentation ?? '{ mode: enforce, management: { zone: uplink, from: [192.0.2.0/24], allow: [ssh] } }'}
`;

function problemsOf(yaml: string): string[] {
  const parsed = parseConfig(yaml, '/plant/gateway.yaml', 'gateway.yaml', contradictionsOf);
  return 'problems' in parsed ? parsed.problems.map(formatProblem) : [];
}

const PLACE = 'gateway.yaml:';
const c = (column: number, rest: string): string => `${PLACE}${CONDUITS}:${column}: conduits[0]${rest}`;
const z = (column: number, rest: string): string => `${PLACE}8:${column}: zones.lab${rest}`;
const m = (column: number, rest: string): string => `${PLACE}${LAST}:${column}: segmentation.${rest}`;
const conduit = (rest: string): Change => ({ conduit: `{ ${rest}, because: why }` });
const lab = (rest: string): Change => ({ zone: `  lab: { ${rest} }` });
const managed = (rest: string): Change => ({ segmentation: `{ mode: enforce, management: ${rest} }` });
const OTHER_FAMILY = 'add a subnet of the other family to a zone, or take the conduit out';
const INTERFACE = 'write the name of a network interface, at most 15 characters, such as eth0';
const HOSTS = 'write the subnet that the hosts of the zone are in';

type Row = readonly [title: string, change: Change, ...problems: readonly string[]];

const ROWS: readonly Row[] = [
  ['nothing', {}],

  // Selectors that contradict, or match nothing.
  [
    'a device of the other zone',
    conduit('from: control, to: metering, only: { from: [meter-1] }, allow: [ssh]'),
    c(51, '.only.from[0]: device meter-1 lies in zone metering; name a device of control'),
  ],
  [
    'a class of the other zone',
    conduit('from: control, to: metering, only: { to: [press] }, allow: [ssh]'),
    c(49, '.only.to[0]: class press lies in zone control; name a class of metering'),
  ],
  [
    'a selector that is nearly one',
    conduit('from: control, to: metering, only: { from: [pres] }, allow: [ssh]'),
    c(51, '.only.from[0]: no device or class "pres" in zone control; did you mean press?'),
  ],
  [
    'a pattern, which selectors are not',
    conduit('from: control, to: metering, only: { from: ["*"] }, allow: [ssh]'),
    c(
      51,
      '.only.from[0]: no device or class "*" in zone control; devices and classes of control are press-1, press',
    ),
  ],
  [
    'the network address and the broadcast address',
    conduit('from: control, to: metering, only: { to: [10.0.20.0, 10.0.20.255] }, allow: [ssh]'),
    c(
      49,
      '.only.to[0]: 10.0.20.0 is the network address of zone metering; use an address inside 10.0.20.0/24',
    ),
    c(
      60,
      '.only.to[1]: 10.0.20.255 is the broadcast address of zone metering; use an address inside 10.0.20.0/24',
    ),
  ],
  [
    'addresses that no host has',
    conduit('from: both, to: uplink, only: { to: [224.0.0.1, "fe80::1"] }, allow: [ssh]'),
    c(44, '.only.to[0]: 224.0.0.1 is a multicast address; name addresses of hosts of uplink'),
    c(
      55,
      '.only.to[1]: fe80::1 is link-local and needs an interface beside it; name addresses of hosts of uplink',
    ),
  ],
  [
    'the gateway, asked by multicast',
    conduit('from: control, to: gateway, only: { to: [224.0.0.251] }, allow: [udp/5353]'),
  ],

  // Conduits that nothing can take.
  [
    'IPv4 to IPv6',
    conduit('from: control, to: six, allow: [ssh]'),
    c(5, `: control has IPv4 addresses and six has IPv6: nothing can flow; ${OTHER_FAMILY}`),
  ],
  [
    'a part of IPv6 to IPv4',
    conduit('from: both, to: control, only: { from: ["fd00:40::/64"] }, allow: [icmp]'),
    c(5, `: both has IPv6 addresses and control has IPv4: nothing can flow; ${OTHER_FAMILY}`),
  ],
  [
    'a device of IPv6 to IPv4',
    conduit('from: both, to: control, only: { from: [tank-6] }, allow: [ssh]'),
    c(5, ': no packet can flow from both to control; choose addresses of one family, or take it out'),
  ],
  [
    'the gateway of IPv6 to IPv4',
    conduit('from: gateway, to: control, only: { from: ["fd00::1"] }, allow: [ssh]'),
    c(5, `: gateway has IPv6 addresses and control has IPv4: nothing can flow; ${OTHER_FAMILY}`),
  ],
  ['one half of it can', conduit('from: both, to: control, allow: [icmp]')],
  [
    'the gateway to itself',
    conduit('from: gateway, to: gateway, allow: [ssh]'),
    c(26, '.to: a conduit from gateway to itself; leave it out'),
  ],
  [
    'no reason',
    { conduit: '{ from: control, to: metering, allow: [ssh] }' },
    c(5, '.because: missing; write down why these flows are needed'),
  ],
  [
    'a reason that is none',
    { conduit: '{ from: control, to: metering, allow: [ssh], because: }' },
    c(50, '.because: no value; write down why these flows are needed'),
  ],
  [
    'protocols that are no service',
    conduit('from: control, to: metering, allow: [sctp/1, icmp/8, tcp/22-]'),
    c(
      44,
      '.allow[0]: unknown service "sctp/1"; use modbus-tcp, modbus-tcp/read, coap, coaps, mqtts, https, ssh, dns, ntp, icmp, or ports such as tcp/4840 or udp/5000-5010',
    ),
    c(52, '.allow[1]: unknown service "icmp/8"; did you mean icmp?'),
    c(
      60,
      '.allow[2]: unknown service "tcp/22-"; use modbus-tcp, modbus-tcp/read, coap, coaps, mqtts, https, ssh, dns, ntp, icmp, or ports such as tcp/4840 or udp/5000-5010',
    ),
  ],

  // Guards.
  [
    'a guard on ssh',
    conduit('from: metering, to: control, allow: [ssh], guard: { read: ["coil:0"] }'),
    c(57, '.guard: a guard, and no Modbus to look into; add modbus-tcp to allow, or take it out'),
  ],
  [
    'a guard on the port of Modbus',
    conduit('from: metering, to: control, allow: [tcp/502], guard: { read: ["coil:0"] }'),
    c(61, '.guard: a guard, and no Modbus to look into; add modbus-tcp to allow, or take it out'),
  ],
  [
    'a way past the guard in the same conduit',
    conduit('from: metering, to: control, allow: [modbus-tcp/read, tcp/500-600]'),
    c(
      5,
      ': allows the port of its guarded devices beside the guard; let only one of them have each device: narrow them with only',
    ),
  ],
  [
    'a way past the guard in another one',
    conduit(
      'from: metering, to: control, allow: [modbus-tcp/read], because: w }\n  - { from: metering, to: control, allow: [modbus-tcp]',
    ),
    c(
      5,
      ': conduits[1] allows connections that are guarded here; let only one of them have each device: narrow them with only',
    ),
  ],

  // Interfaces and names.
  ['an interface of 15 characters', lab('interface: a23456789012345, subnet: 10.0.50.0/24')],
  [
    'an interface of 16 characters',
    lab('interface: a234567890123456, subnet: 10.0.50.0/24'),
    z(21, `.interface: "a234567890123456"; ${INTERFACE}`),
  ],
  [
    'a wildcard of nft',
    lab('interface: "eth*", subnet: 10.0.50.0/24'),
    z(21, `.interface: "eth*"; ${INTERFACE}`),
  ],
  [
    'an interface of two bytes a letter',
    lab('interface: ethö, subnet: 10.0.50.0/24'),
    z(21, `.interface: "ethö"; ${INTERFACE}`),
  ],
  [
    'an interface that nft would take for a protocol',
    lab('interface: tcp, subnet: 10.0.50.0/24'),
    z(21, '.interface: "tcp", which nft takes for a number of its own; give the interface another name'),
  ],
  [
    'the VLAN of another zone as an interface',
    lab('interface: vlan10, subnet: 10.0.50.0/24'),
    z(21, '.interface: vlan10 is also the interface of zone control; give each zone its own interface'),
  ],
  [
    'a VLAN that is none',
    lab('vlan: 0, subnet: 10.0.50.0/24'),
    z(16, '.vlan: 0; use a whole number from 1 to 4094'),
  ],
  [
    'a name that would end a command',
    { zone: '  "a; drop": { vlan: 50, subnet: 10.0.50.0/24 }' },
    `${PLACE}8:3: zones."a; drop": the name "a; drop"; write up to 31 of a-z, 0-9 and "-", beginning with a letter`,
  ],
  [
    'a name that JavaScript has a meaning for',
    { zone: '  __proto__: { vlan: 50, subnet: 10.0.50.0/24 }' },
    `${PLACE}8:3: zones.__proto__: a name with a meaning of its own; choose another`,
  ],
  [
    'names that others have a meaning for',
    { zone: '  constructor: { vlan: 50, subnet: 10.0.50.0/24 }\n  null: { vlan: 51, subnet: 10.0.51.0/24 }' },
  ],

  // Subnets.
  [
    'a subnet around others',
    lab('vlan: 50, subnet: 10.0.0.0/19'),
    z(28, '.subnet: 10.0.0.0/19 overlaps 10.0.10.0/24 of zone control; give each zone its own addresses'),
    z(28, '.subnet: 10.0.0.0/19 overlaps 10.0.20.0/24 of zone metering; give each zone its own addresses'),
  ],
  [
    'a subnet around one of IPv6',
    lab('vlan: 50, subnet: "fd00:30::/48"'),
    z(28, '.subnet: fd00:30::/48 overlaps fd00:30::/64 of zone six; give each zone its own addresses'),
  ],
  [
    'multicast',
    lab('vlan: 50, subnet: 224.0.0.0/24'),
    z(28, `.subnet: 224.0.0.0/24 is a multicast address; ${HOSTS}`),
  ],
  [
    'multicast of IPv6',
    lab('vlan: 50, subnet: "ff02::/16"'),
    z(28, `.subnet: ff02::/16 is a multicast address; ${HOSTS}`),
  ],
  [
    'link-local addresses',
    lab('vlan: 50, subnet: "fe80::/64"'),
    z(28, `.subnet: fe80::/64 is link-local and needs an interface beside it; ${HOSTS}`),
  ],
  [
    'IPv4 in IPv6 clothes',
    lab('vlan: 50, subnet: "::ffff:0:0/96"'),
    z(28, `.subnet: ::ffff:0:0/96 is an IPv4 address in IPv6 clothes; ${HOSTS}`),
  ],
  [
    'this network',
    lab('vlan: 50, subnet: 0.0.0.0/8'),
    z(28, `.subnet: 0.0.0.0/8 is not the address of a host; ${HOSTS}`),
  ],
  [
    'everybody',
    lab('vlan: 50, subnet: "::/0"'),
    z(
      28,
      '.subnet: ::/0: everybody; give the zone an interface and no subnet: then it has the addresses that no other zone has',
    ),
  ],
  [
    'an address in the place of a subnet',
    lab('vlan: 50, subnet: 10.0.50.0'),
    z(28, '.subnet: "10.0.50.0"; write a subnet such as 10.20.20.0/24 or fd00:20::/64'),
  ],

  // Devices.
  [
    'a device in the subnet of another zone',
    { device: '  x: { class: press, at: "modbus-tcp://10.0.20.12" }' },
    `${PLACE}18:26: devices.x.at: 10.0.20.12 is outside zone control; use an address of 10.0.10.0/24, or another class`,
  ],
  [
    'a device of the other family',
    { device: '  x: { class: press, at: "modbus-tcp://[fd00:40::9]" }' },
    `${PLACE}18:26: devices.x.at: fd00:40::9 is outside zone control; use an address of 10.0.10.0/24, or another class`,
  ],
  [
    'one address, written in two ways',
    { device: '  x: { class: tank, at: "coap://[fd00:40:0:0::0005]:5683" }' },
    `${PLACE}18:25: devices.x.at: the same address as tank-6; give each device its own address or unit`,
  ],
  [
    'one hardware address in two zones',
    { device: '  x: { class: meter, at: "modbus-tcp://10.0.20.12", mac: "02:00:00:00:00:0A" }' },
    `${PLACE}18:58: devices.x.mac: 02:00:00:00:00:0a is also the one of press-1 at 10.0.10.11; give each host its own`,
  ],

  // Management.
  [
    'enforce, and no management',
    { segmentation: '{ mode: enforce }' },
    m(
      23,
      'mode: enforce, and nobody who may manage the gateway; add management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh, https] } with your zone and addresses',
    ),
  ],
  [
    'management that is empty',
    managed(''),
    m(32, 'management: no value; write a mapping with zone, from, allow'),
  ],
  [
    'management by nothing but pings',
    managed('{ zone: uplink, from: [192.0.2.0/24], allow: [icmp] }'),
    m(89, 'management.allow: nothing to log in by; add what the gateway is managed by, such as ssh or https'),
  ],
  [
    'management by nothing but the time',
    managed('{ zone: uplink, from: [192.0.2.0/24], allow: [udp/123, ntp, dns] }'),
    m(89, 'management.allow: nothing to log in by; add what the gateway is managed by, such as ssh or https'),
  ],
  [
    'observing for ever',
    { segmentation: '{ mode: observe, observe-until: 9999-12-31 }' },
    m(47, 'observe-until: "9999-12-31" is too far ahead; use a day before 2100'),
  ],
  [
    'a subnet with the machine itself in it',
    lab('vlan: 50, subnet: 126.0.0.0/7'),
    z(28, `.subnet: 126.0.0.0/7 has 127.0.0.0/8 in it, which is the machine itself; ${HOSTS}`),
  ],
  [
    'management by no service',
    managed('{ zone: uplink, from: [192.0.2.0/24], allow: [] }'),
    m(89, 'management.allow: an empty list; name at least one service, such as ssh'),
  ],
  [
    'management without a service',
    managed('{ zone: uplink, from: [192.0.2.0/24] }'),
    m(44, 'management.allow: missing; write a list of services such as [ssh, https]'),
  ],
  [
    'management without a zone',
    managed('{ from: [192.0.2.0/24], allow: [ssh] }'),
    m(44, 'management.zone: missing; write the name of a zone'),
  ],
  [
    'management from a zone that is not there',
    managed('{ zone: uplnk, from: [192.0.2.0/24], allow: [ssh] }'),
    m(52, 'management.zone: no zone "uplnk"; did you mean uplink?'),
  ],
  [
    'management from addresses that the zone does not have',
    managed('{ zone: control, from: ["2001:db8::/64", 10.0.10.255], allow: [ssh] }'),
    m(68, 'management.from[0]: 2001:db8::/64 is not inside zone control; name addresses of 10.0.10.0/24'),
    m(
      85,
      'management.from[1]: 10.0.10.255 is the broadcast address of zone control; use an address inside 10.0.10.0/24',
    ),
  ],
  [
    'management from the addresses of another zone',
    managed('{ zone: uplink, from: [128.0.0.0/1, 0.0.0.0/1], allow: [ssh] }'),
    m(80, 'management.from[1]: 0.0.0.0/1 overlaps 10.0.10.0/24 of zone control; name addresses of uplink'),
  ],
  [
    'management by the machine itself',
    managed('{ zone: uplink, from: [127.0.0.1, "::1"], allow: [ssh] }'),
    m(67, 'management.from[0]: 127.0.0.1 is the machine itself; name addresses of hosts of uplink'),
    m(78, 'management.from[1]: ::1 is the machine itself; name addresses of hosts of uplink'),
  ],
  [
    'management by multicast',
    managed('{ zone: uplink, from: [224.0.0.1], allow: [ssh] }'),
    m(67, 'management.from[0]: 224.0.0.1 is a multicast address; name addresses of hosts of uplink'),
  ],
];

for (const [title, change, ...problems] of ROWS) {
  t.test(title, async (t) => t.same(problemsOf(plant(change)), problems));
}

/** Zones that a plant may have beside the five of it. */
const zonesOf = (count: number): string =>
  Array.from({ length: count }, (_, i) => `  z${i}: { vlan: ${100 + i}, subnet: 10.1.${i}.0/24 }`).join('\n');

t.test('as many zones as there can be rules for, and one more', async (t) => {
  t.same(problemsOf(plant({ zone: zonesOf(MOST_ZONES - 5) })), []);
  t.same(problemsOf(plant({ zone: zonesOf(MOST_ZONES - 3) })), [
    `${PLACE}67:3: zones.z59: zone 65 of 66, and rules for each two of them; declare at most 64: what needs the same may be one zone`,
  ]);
  t.same(
    problemsOf(plant({ zone: zonesOf(MOST_ZONES), segmentation: '{ mode: off }' })),
    [],
    'without rules there may be more',
  );
});

/** Words of the language of nft 1.0.6 that a zone can be called. */
const KEYWORDS = `accept add all and arp at bridge bytes cgroup chain chains comment constant continue counter
counters create ct daddr day dccp debug default define delete describe destroy drop dscp dup dynamic
echo element elements else enable esp ether export ext fib flow flowtable flush frag fwd goto hash hook hour icmp
icmpv6 if iif iifname in include inet insert integer interval ip ip6 ipsec jhash jump limit list log map mark maps
masquerade meta metainfo meter monitor mt netdev not notrack nth numgen oif oifname or osf policy position
priority protocol queue quota random redirect ref reject rename replace reset return rt rule rules ruleset saddr
sctp secmark set sets snat socket synproxy table tables tcp th time timeout to tproxy type udp udplite update vlan vmap xor original reply label ecn dnat`.split(
  /\s+/,
);
/** Those that an interface may not have. */
const interfaceOf = (word: string): string => (NFT_CONSTANTS.some((one) => one === word) ? `${word}0` : word);
/** Zones in one plant: rules grow with the square. */
const IN_ONE = 40;

t.test(
  'zones, interfaces, classes and devices that are called like words of nft simply work',
  { skip: noRules() },
  async (t) => {
    const plants: string[] = [];
    for (let first = 0; first < KEYWORDS.length; first += IN_ONE) {
      const words = KEYWORDS.slice(first, first + IN_ONE);
      const lines = (line: (word: string, i: number) => string): string => words.map(line).join('\n');
      const next = (i: number): string => words[(i + 1) % words.length] ?? '';
      plants.push(`
gateway: { id: plant }
zones:
${lines((word, i) => `  ${word}: { interface: "${interfaceOf(word)}", subnet: 10.0.${i}.0/24 }`)}
classes:
${lines((word) => `  x-${word}: { zone: ${word}, protocol: modbus, points: { ${word}: { at: "coil:0" } } }`)}
devices:
${lines((word, i) => `  ${word}: { class: x-${word}, at: "modbus-tcp://10.0.${i}.9" }`)}
conduits:
${lines((word, i) => `  - { from: ${word}, to: ${next(i)}, only: { from: [${word}] }, allow: [ssh, tcp/5000-5010], because: "${word}" }`)}
segmentation: { mode: observe }
`);
    }
    const rules = plants.map((yaml) => rulesOf(yaml));
    const folder = t.testdir(Object.fromEntries(rules.map((json, i) => [`${i}.json`, json])));
    const ran = inNamespace(
      `cd "$1"; for i in $(seq 0 ${plants.length - 1}); do
nft -j -f $i.json; nft list table inet sluice >listing; nft delete table inet sluice; nft -f listing; nft delete table inet sluice
echo $i; done`,
      folder,
    );
    t.equal(ran.stderr, '', 'loaded, listed, and the listing read again');
    t.equal(ran.stdout, plants.map((_, i) => `${i}\n`).join(''));
  },
);
