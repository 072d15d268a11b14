import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import t, { type Test } from 'tap';
import * as z from 'zod';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import {
  behind, type Dress, type Ends, FLAGS, icmp, inFragments, inOneFragment, plain, tcp, type Transport, udp, withOptions,
} from './datagrams.ts'; // biome-ignore format: one list reads better
import { ip4 } from './frames.ts';
import { rulesOf } from './policies.ts';

// What an attacker with a raw socket sends into a gateway that holds the very rules that ship. What is expected is
// written down by hand. Each attempt is made without rules first: one that does not arrive then proves nothing.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');

const RULES = rulesOf(`
gateway: { id: plant }
zones:
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  cell: { vlan: 20, subnet: [10.20.20.0/24, "fd00:20::/64"] }
  uplink: { interface: eth0 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp, udp/5005, icmp], because: "HMI" }
  - { from: supervision, to: cell, allow: [udp/65000], because: "the mark" }
  - { from: supervision, to: gateway, allow: [icmp], because: "is it there" }
segmentation: { mode: enforce, management: { zone: supervision, from: [10.20.40.250], allow: [ssh] } }
`);

/** In this order they are w0 to w3. */
const INTERFACES = ['vlan40', 'vlan10', 'vlan20', 'eth0'] as const;
const WIRES = { supervision: 0, control: 1, cell: 2, uplink: 3 } as const;
type Place = keyof typeof WIRES;

const BED = `
link() { # interface number v4 v6
  ip link add $1 address 02:00:00:00:00:01 type veth peer name w$2
  echo 1 > /proc/sys/net/ipv6/conf/w$2/disable_ipv6
  ip address add $3 dev $1; ip -6 address add $4 dev $1 nodad
  echo 0 > /proc/sys/net/ipv4/conf/$1/rp_filter
  ip link set $1 up; ip link set w$2 up arp off
}
host() { # address interface
  ip neighbour add $1 lladdr 02:00:00:00:00:99 dev $2 nud permanent
}
ip link set lo up
echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
echo 1 > /proc/sys/net/ipv4/ip_forward
echo 1 > /proc/sys/net/ipv6/conf/all/forwarding
link vlan40 0 10.20.40.1/24 fd00:40::1/64; link vlan10 1 10.20.10.1/24 fd00:10::1/64
link vlan20 2 10.20.20.1/24 fd00:20::1/64; link eth0 3 192.0.2.1/24 2001:db8::1/64
host 10.20.40.9 vlan40; host fd00:40::9 vlan40; host 10.20.10.21 vlan10; host fd00:10::21 vlan10
host 10.20.20.9 vlan20; host 192.0.2.7 eth0; host 2001:db8::7 eth0
[ -z "$1" ] || nft -j -f "$1"
python3 "$2" ${INTERFACES.length} "$3" "$4" "$5" "$5"`;

const HMI = '10.20.40.9';
const HMI6 = 'fd00:40::9';
const PRESS = '10.20.10.21';
const PRESS6 = 'fd00:10::21';
const OUTSIDE = '192.0.2.7';
const [MARK = Buffer.alloc(0)] = plain({ source: HMI, target: '10.20.20.9' }, udp([65_001, 65_000], 'mark'));

type Sent = readonly [Place, readonly Buffer[]];

interface Attempt {
  readonly name: string;
  /** Is part of what is sent, and tells it when it comes out. */
  readonly token: string;
  /** What has to have passed before. */
  readonly before: readonly Sent[];
  readonly sent: Sent;
  readonly to: Place;
  readonly passes: boolean;
  /** The kernel itself stops it, rules or not. */
  readonly byKernel: boolean;
}

const attempts: Attempt[] = [];
/** Behind the first sixteen bytes of whatever carries it, so that it is whole in one fragment. */
const token = (): string => `this is packet number <${attempts.length}>`;

interface More {
  readonly dress?: Dress;
  readonly before?: readonly Sent[];
  readonly byKernel?: boolean;
}

function attempt(
  name: string,
  passes: boolean,
  [from, source, to, target]: readonly [Place, string, Place, string],
  transport: (text: string) => Transport,
  { dress = plain, before = [], byKernel = false }: More = {},
): void {
  const text = token();
  const sent: Sent = [from, dress({ source, target }, transport(text))];
  attempts.push({ name, token: text, before, sent, to, passes, byKernel });
}

const FORWARD = ['supervision', HMI, 'control', PRESS] as const;
const FORWARD6 = ['supervision', HMI6, 'control', PRESS6] as const;
const BACK = ['control', PRESS, 'supervision', HMI] as const;
let port = 40_000;
const next = (): number => (port += 1);

// Disguises: what is allowed passes in them too, and what is not, in none.
const DISGUISES: readonly (readonly [string, Dress, 4 | 6 | 46])[] = [
  ['plain', plain, 46],
  ['in fragments of which the first has eight bytes', inFragments(8), 46],
  ['in fragments of which the first has sixteen bytes', inFragments(16), 46],
  ['in fragments, the last one first', inFragments(8, { lastFirst: true }), 46],
  ['in fragments of which the first has all of its header', inFragments(24), 46],
  ['with an option that does nothing', withOptions([1, 1, 1, 0]), 4],
  ['in one fragment', inOneFragment, 6],
  ['behind hop-by-hop options', behind(0), 6],
  ['behind destination options', behind(60), 6],
  ['behind a routing header', behind(43), 6],
  ['behind three extension headers', behind(0, 60, 43), 6],
];
const TORN: ReadonlySet<string> = new Set(DISGUISES.slice(1, 4).map(([what]) => what));
for (const [what, dress, families] of DISGUISES) {
  for (const way of [FORWARD, FORWARD6]) {
    if (families !== 46 && (families === 6) !== (way === FORWARD6)) continue;
    const more = { dress };
    const at = `${way === FORWARD ? 'IPv4' : 'IPv6'} ${what}`;
    // A first fragment without the whole header of TCP is none (RFC 8200, 4.5).
    const torn = way === FORWARD6 && TORN.has(what);
    attempt(`tcp/502, ${at}`, !torn, way, (text) => tcp([next(), 502], FLAGS.syn, text), more);
    attempt(`udp/5005, ${at}`, true, way, (text) => udp([next(), 5005], text), more);
    attempt(`tcp/503, ${at}`, false, way, (text) => tcp([next(), 503], FLAGS.syn, text), more);
    attempt(`udp/502, ${at}`, false, way, (text) => udp([next(), 502], text), more);
    const family = way === FORWARD ? 4 : 6;
    const echo = { request: family === 4 ? 8 : 128, timestamp: family === 4 ? 13 : 139 };
    attempt(`ping, ${at}`, true, way, (text) => icmp(family, echo.request, [next(), 1], text), more);
    attempt(`another question of ICMP, ${at}`, false, way, (text) =>
      icmp(family, echo.timestamp, [next(), 1], text), more); // biome-ignore format: short
  }
}

// Flags that no connection begins with. One that is picked up in its middle opens only what is allowed.
const { fin, syn, rst, psh, ack, urg } = FLAGS;
attempt('ACK first, where it is allowed', true, FORWARD, (text) => tcp([next(), 502], ack, text));
attempt('ACK first, where it is not', false, FORWARD, (text) => tcp([next(), 503], ack, text));
for (const [name, flags] of Object.entries({
  'ACK first': ack,
  'SYN and ACK first': syn | ack,
  'PSH and ACK first': psh | ack,
  'SYN from the port of the service': syn,
  RST: rst,
})) {
  attempt(`backward, ${name}`, false, BACK, (text) => tcp([502, next()], flags, text));
}
for (const [name, flags] of Object.entries({
  'no flag': 0,
  FIN: fin,
  'SYN and FIN': syn | fin,
  'SYN and RST': syn | rst,
  'FIN, PSH and URG': fin | psh | urg,
  'all flags': fin | syn | rst | psh | ack | urg,
})) {
  attempt(`${name}, even where a connection is allowed`, false, FORWARD, (text) =>
    tcp([next(), 502], flags, text),
  );
}

// Ports of connections that are over.
function closed(own: number): Sent[] {
  const forward = { source: HMI, target: PRESS };
  const back = { source: PRESS, target: HMI };
  const say = (flags: number, sequence: number, acknowledged: number): Sent => [
    'supervision',
    plain(forward, tcp([own, 502], flags, '', { sequence, acknowledged })),
  ];
  const answer = (flags: number, sequence: number, acknowledged: number): Sent => [
    'control',
    plain(back, tcp([502, own], flags, '', { sequence, acknowledged })),
  ];
  return [
    say(syn, 100, 0),
    answer(syn | ack, 500, 101),
    say(ack, 101, 501),
    say(fin | ack, 101, 501),
    answer(fin | ack, 501, 102),
    say(ack, 102, 502),
  ];
}
// A stray answer passes while connection tracking remembers; it opens nothing. A question does not.
for (const [name, flags, passes] of [
  ['SYN', syn, false],
  ['SYN and ACK', syn | ack, true],
] as const) {
  const own = next();
  attempt(
    `${name} backward over the ports of a connection that is over`,
    passes,
    BACK,
    (text) => tcp([502, own], flags, text, { sequence: 900_000 }),
    { before: closed(own) },
  );
}
{
  const own = next();
  const asked: Sent = ['supervision', plain({ source: HMI, target: PRESS }, udp([own, 5005], 'ask'))];
  attempt('an answer', true, BACK, (text) => udp([5005, own], text), { before: [asked] });
  attempt('an answer to another port', false, BACK, (text) => udp([5005, own + 1], text), {
    before: [asked],
  });
  attempt('an answer from another port', false, BACK, (text) => udp([5006, own], text), { before: [asked] });
  attempt('an answer of somebody else', false, ['uplink', OUTSIDE, 'supervision', HMI], (text) =>
    udp([5005, own], text), { before: [asked] }); // biome-ignore format: short
}

// Errors of ICMP: they carry what they are about, and whoever knows a connection can write one.
const own = next();
const opened: readonly Sent[] = [
  ['supervision', plain({ source: HMI, target: PRESS }, udp([own, 5005], 'ask'))],
  ['control', plain({ source: PRESS, target: HMI }, udp([5005, own], 'answer'))],
  ['supervision', plain({ source: HMI6, target: PRESS6 }, udp([own, 5005], 'ask'))],
  ['control', plain({ source: PRESS6, target: HMI6 }, udp([5005, own], 'answer'))],
];
const about =
  (ends: Ends, ports: readonly [number, number], type: number, family: 4 | 6 = 4) =>
  (text: string): Transport =>
    icmp(family, type, [0, 0], Buffer.concat(plain(ends, udp(ports, text))), family === 4 ? 3 : 4);
const ASKED = { source: HMI, target: PRESS };
const ANSWERED = { source: PRESS, target: HMI };
const ASKED6 = { source: HMI6, target: PRESS6 };
const withOpened = { before: opened };
attempt('an error of the one who was asked', true, BACK, about(ASKED, [own, 5005], 3), withOpened);
attempt(
  'the same over IPv6',
  true,
  ['control', PRESS6, 'supervision', HMI6],
  about(ASKED6, [own, 5005], 1, 6),
  withOpened,
);
attempt('an error of the one who asked', true, FORWARD, about(ANSWERED, [5005, own], 3), withOpened);
attempt('a redirect', false, BACK, about(ASKED, [own, 5005], 5), withOpened);
attempt('an error about nothing that is known', false, BACK, about(ASKED, [next(), 5005], 3));
attempt(
  'an error to somebody else',
  false,
  ['control', PRESS, 'uplink', OUTSIDE],
  about(ASKED, [own, 5005], 3),
  withOpened,
);
attempt(
  'an error of a zone that has nothing to do with it',
  false,
  ['uplink', OUTSIDE, 'supervision', HMI],
  about(ASKED, [own, 5005], 3),
  withOpened,
);
attempt(
  'the same to the one who was asked',
  false,
  ['uplink', OUTSIDE, 'control', PRESS],
  about(ANSWERED, [5005, own], 11),
  withOpened,
);
attempt(
  'the same over IPv6',
  false,
  ['uplink', '2001:db8::7', 'supervision', HMI6],
  about(ASKED6, [own, 5005], 2, 6),
  withOpened,
);

// Sources.
for (const source of ['10.20.40.9', '10.20.20.9', '10.20.10.1']) {
  const kernel = source === '10.20.10.1'; // an address of the gateway itself
  attempt(`${source} as a source outside`, false, ['uplink', source, 'control', PRESS], (text) =>
    tcp([next(), 502], syn, text), { byKernel: kernel }); // biome-ignore format: short
}
attempt('::1 as a source', false, ['supervision', '::1', 'control', PRESS6], (text) =>
  tcp([next(), 502], syn, text), { byKernel: true }); // biome-ignore format: short
attempt('IPv4 in IPv6 clothes as a source', false, ['supervision', '::ffff:a14:2809', 'control', PRESS6], (text) =>
  tcp([next(), 502], syn, text), { byKernel: false }); // biome-ignore format: short
attempt('a neighbour solicitation that is routed', false, FORWARD6, (text) => icmp(6, 135, [0, 0], text));
attempt('a router advertisement that is routed', false, FORWARD6, (text) => icmp(6, 134, [0, 0], text));

// Ways that the sender chooses.
for (const [name, kind] of Object.entries({ loose: 131, strict: 137 })) {
  attempt(
    `a ${name} source route`,
    false,
    ['supervision', HMI, 'control', '10.20.40.1'],
    (text) => tcp([next(), 503], syn, text),
    { dress: withOptions([kind, 7, 4, ...ip4(PRESS), 0]), byKernel: true },
  );
}

/** Over a connection to the gateway itself, on to where nothing is allowed: rules never judge an answered one again. */
const asking = next();
const SMUGGLED = attempts.length;
attempt(
  'a source route in a connection that is allowed',
  false,
  ['supervision', HMI, 'cell', '10.20.40.1'],
  (text) => icmp(4, 8, [asking, 2], text),
  {
    dress: withOptions([131, 7, 4, ...ip4('10.20.20.9'), 0]),
    before: [
      ['supervision', plain({ source: HMI, target: '10.20.40.1' }, icmp(4, 8, [asking, 1], 'there?'))],
    ],
    byKernel: true,
  },
);

/** Of each step, what came out: wire and packet. */
const SEEN = z.array(z.array(z.tuple([z.string(), z.string()])));

function run(t: Test, rules: string, tried = attempts, knobs = ''): ReadonlyMap<Attempt, boolean> {
  const steps = tried.flatMap(({ before, sent }) =>
    [...before, sent].map(([place, packets]) =>
      packets.map((packet) => [WIRES[place], packet.toString('hex')]),
    ),
  );
  const folder = t.testdir({ 'rules.json': rules, 'steps.json': JSON.stringify(steps) });
  const file = (name: string): string => join(folder, name);
  const program = join(process.cwd(), 'test/support/wires.py');
  const load = rules === '' ? '' : file('rules.json');
  const ran = inNamespace(
    `${knobs}${BED}`,
    load,
    program,
    file('steps.json'),
    file('result.json'),
    MARK.toString('hex'),
  );
  t.equal(ran.status, 0, ran.stderr);
  const seen = SEEN.parse(JSON.parse(readFileSync(file('result.json'), 'utf8')));
  let at = -1;
  return new Map(
    tried.map((one) => {
      at += 1 + one.before.length;
      const wanted = Buffer.from(one.token.slice(one.token.indexOf('<'))).toString('hex');
      const there = (seen[at] ?? []).some(
        ([wire, packet]) => wire === `w${WIRES[one.to]}` && packet.includes(wanted),
      );
      return [one, there];
    }),
  );
}

t.test('nothing that is dressed up passes', { skip }, (t) => {
  const without = run(t, '');
  t.same(
    attempts.filter((one) => without.get(one) === one.byKernel).map(({ name }) => name),
    [],
    'without rules everything arrives but what the kernel itself stops',
  );

  const arrived = run(t, RULES);

  for (const one of attempts) t.equal(arrived.get(one), one.passes, one.name);
  t.end();
});

t.test('source routes that the kernel takes are a way around the rules', { skip }, async (t) => {
  const routed = attempts.slice(SMUGGLED - 2);

  const arrived = run(t, RULES, routed, 'echo 1 > /proc/sys/net/ipv4/conf/all/accept_source_route');

  t.same(
    routed.map((one) => arrived.get(one)),
    [false, false, true],
    'not those that open a connection; and hence it is told, see shadow.test.ts',
  );
});
