import { readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import * as frames from './frames.ts';
import { rulesOf } from './policies.ts';

// Real frames through a real bridge: what an attacker at one port may send to another, with our table and without it.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');

const MAC = {
  press1: '02:00:00:00:10:11',
  press2: '02:00:00:00:10:12',
  press6: '02:00:00:00:10:16',
  stranger: '02:00:00:00:66:66',
} as const;
const PLANT = (mode: string): string => `
gateway: { id: plant7 }
zones:
  control: { interface: br0, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"], ports: [lan1, lan2, lan3] }
  office: { vlan: 20, subnet: 10.20.20.0/24, ports: [lan4] }
  uplink: { interface: eth0 }
classes:
  press: { zone: control, protocol: modbus, points: { running: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11", mac: "${MAC.press1}", port: lan1 }
  press-2: { class: press, at: "modbus-tcp://10.20.10.12", mac: "${MAC.press2}" }
  press-6: { class: press, at: "modbus-tcp://[fd00:10::16]", mac: "${MAC.press6}" }
segmentation: { mode: ${mode}, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;
/** What a host makes of the hardware address of press-6. */
const LINK_LOCAL6 = 'fe80::ff:fe00:1016';

interface Case {
  readonly name: string;
  readonly port: 'lan1' | 'lan2' | 'lan4';
  readonly frame: frames.Frame;
  readonly passes: boolean;
}

const proper = (name: string, frame: frames.Frame, port: Case['port'] = 'lan1'): Case => ({
  name,
  port,
  frame,
  passes: true,
});
const attack = (name: string, frame: frames.Frame, port: Case['port'] = 'lan1'): Case[] =>
  frames
    .disguises(frame)
    .map(([dress, dressed]) => ({ name: `${name}, ${dress}`, port, frame: dressed, passes: false }));

const { press1, press2, press6, stranger } = MAC;
const CASES: readonly Case[] = [
  proper('its own ARP', frames.arp(press1, '10.20.10.11')),
  proper('an ARP probe', frames.arp(press1, '0.0.0.0', press1, '10.20.10.11')),
  proper('a packet of its own', frames.udp4(press1, '10.20.10.11', '10.20.10.12', [4000, 502])),
  proper('a request for an address', frames.udp4(press1, '0.0.0.0', '255.255.255.255', [68, 67])),
  proper('its own IPv6 address', frames.neighbour(press6, 'fd00:10::16', 'fd00:10::16'), 'lan2'),
  proper('its link-local address', frames.neighbour(press6, LINK_LOCAL6, LINK_LOCAL6), 'lan2'),
  proper('one that it made up', frames.neighbour(press6, 'fe80::abcd', 'fe80::abcd'), 'lan2'),
  proper('is my address free', frames.claim(press6, 'fd00:10::16'), 'lan2'),
  proper('a packet of IPv6', frames.udp6(press6, 'fd00:10::16', [4000, 502]), 'lan2'),
  proper('another protocol', frames.ethernet(frames.BROADCAST, press1, 0x8892, Buffer.alloc(46))),
  proper('a device without a port of its own at another', frames.arp(press2, '10.20.10.12')),
  proper('a stranger where anybody may send', frames.arp(stranger, '10.20.20.99'), 'lan4'),
  ...attack('the address of another device by ARP', frames.arp(press1, '10.20.10.12')),
  ...attack('the address of the gateway by ARP', frames.arp(press1, '10.20.10.1')),
  ...attack('the hardware address of another inside ARP', frames.arp(press1, '10.20.10.11', press2)),
  ...attack('a packet from another address', frames.udp4(press1, '10.20.10.12', '10.20.10.11', [4000, 502])),
  ...attack('a packet from the gateway', frames.udp4(press1, '10.20.10.1', '10.20.10.12', [4000, 502])),
  ...attack('a DHCP server', frames.udp4(press1, '10.20.10.11', '255.255.255.255', [67, 68])),
  ...attack('a DHCPv6 server', frames.udp6(press6, 'fd00:10::16', [547, 546]), 'lan2'),
  ...attack('a router', frames.advert(press6, LINK_LOCAL6), 'lan2'),
  ...attack('a router behind options', frames.advert(press6, LINK_LOCAL6, 'options'), 'lan2'),
  ...attack('a router in a fragment', frames.advert(press6, LINK_LOCAL6, 'fragment'), 'lan2'),
  ...attack('a fragmented neighbour', frames.neighbour(press6, LINK_LOCAL6, LINK_LOCAL6, 'fragment'), 'lan2'),
  ...attack('the neighbour of another', frames.neighbour(press1, 'fe80::abcd', 'fd00:10::16')),
  ...attack('the link-local neighbour of another', frames.neighbour(press1, 'fe80::abcd', LINK_LOCAL6)),
  ...attack('the gateway as a neighbour', frames.neighbour(press6, LINK_LOCAL6, 'fd00:10::1'), 'lan2'),
  ...attack('the router that everybody has', frames.neighbour(press6, 'fe80::abcd', 'fe80::1'), 'lan2'),
  ...attack('a claim on the address of another', frames.claim(press1, 'fd00:10::16')),
  ...attack('from the link-local address of another', frames.udp6(press1, LINK_LOCAL6, [4000, 502])),
  ...attack('from an IPv6 address of nobody', frames.udp6(press1, 'fd00:10::99', [4000, 502])),
  ...attack('a device at the port of another', frames.arp(press1, '10.20.10.11'), 'lan2'),
  ...attack('a device in the zone of others', frames.arp(press2, '10.20.10.12'), 'lan4'),
  ...attack('a stranger', frames.arp(stranger, '10.20.10.99')),
  ...attack('a stranger as a device', frames.arp(stranger, '10.20.10.12'), 'lan4'),
  ...attack(
    'a stranger as the gateway',
    frames.udp4(stranger, '10.20.10.1', '10.20.20.1', [4000, 502]),
    'lan4',
  ),
];

const BED = `
cd "$1"
echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
# Where that is loaded, the rules of packets would judge what the bridge only carries.
for call in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$call" ] || echo 0 > "$call"; done
ip link add br0 type bridge mcast_snooping 0 stp_state 0
for i in 1 2 3 4; do
  ip link add lan$i type veth peer name far$i
  ip link set lan$i master br0 up; ip link set far$i up
done
ip link set br0 up
[ ! -s rules.json ] || nft -j -f rules.json
python3 frames.py far3 < cases > passed
nft -j list counters table bridge sluice > counters 2>/dev/null || true
cat passed`;

/** Always passes, and is told apart from everything else. */
function mark({ port }: Case, i: number): frames.Frame {
  const from = { lan1: press1, lan2: press2, lan4: stranger }[port];
  const body = Buffer.alloc(46);
  body.writeUInt32BE(i + 1);
  return frames.ethernet(frames.BROADCAST, from, 0x88b5, body);
}

/** Which of the cases come out at lan3. */
function passing(t: Test, rules: string): boolean[] {
  const lines = CASES.map((one, i) =>
    [one.port.replace('lan', 'far'), one.frame.toString('hex'), mark(one, i).toString('hex')].join(' '),
  );
  const sender = readFileSync('test/support/frames.py', 'utf8');
  const place = t.testdir({ cases: `${lines.join('\n')}\n`, 'rules.json': rules, 'frames.py': sender });
  const ran = inNamespace(BED, place);
  t.equal(ran.stderr, '');
  t.equal(ran.status, 0);
  return ran.stdout
    .trim()
    .split('\n')
    .map((count) => Number(count) > 0);
}

t.test('without the table every one of them arrives, so that each can fail', { skip }, async (t) => {
  t.same(
    passing(t, ''),
    CASES.map(() => true),
  );
});

t.test('with it what is proper arrives, and nothing else, however it is dressed', { skip }, async (t) => {
  const passed = passing(t, rulesOf(PLANT('enforce')));

  for (const [i, { name, passes }] of CASES.entries()) t.equal(passed[i], passes, name);
});

t.test('in mode observe everything arrives', { skip }, async (t) => {
  t.same(
    passing(t, rulesOf(PLANT('observe'))),
    CASES.map(() => true),
  );
});
