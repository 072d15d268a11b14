import { existsSync, readFileSync } from 'node:fs';
import t, { type Test } from 'tap';
import { objectsOf, type TableFamily } from '../../src/segmentation/canonical.ts';
import { LOG_GROUP } from '../../src/segmentation/denials.ts';
import { text } from '../../src/segmentation/field.ts';
import { quarantineElements, withQuarantine } from '../../src/segmentation/quarantine.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import { REPOSITORY } from '../support/process.ts';
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
const PLANT = (mode: string, within = 'allow'): string => `
gateway: { id: plant7 }
zones:
  control: { interface: br0, within: ${within}, subnet: [10.20.10.0/24, "fd00:10::/64"], address: [10.20.10.1/24, "fd00:10::1/64"], ports: [lan1, lan2, lan3] }
  office: { vlan: 20, within: ${within}, subnet: 10.20.20.0/24, ports: [lan4] }
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

/** Of one sender, before its lines are held back; see `frame-render.ts`. */
const AT_ONCE = 3;
/** Far more than a second each would let through. */
const MANY = 60;

interface Case {
  readonly name: string;
  readonly port: 'lan1' | 'lan2' | 'lan4';
  readonly frame: frames.Frame;
  /** Which counter counts it; undefined where it passes. */
  readonly reason: string | undefined;
}

const proper = (name: string, frame: frames.Frame, port: Case['port'] = 'lan1'): Case => ({
  name,
  port,
  frame,
  reason: undefined,
});
const attack = (reason: string, name: string, frame: frames.Frame, port: Case['port'] = 'lan1'): Case[] =>
  frames.disguises(frame).map(([dress, dressed]) => ({
    name: `${name}, ${dress}`,
    port,
    frame: dressed,
    reason: dress === 'plain' ? reason : dress === 'LLC and SNAP' ? 'length' : 'tagged',
  }));

const { press1, press2, press6, stranger } = MAC;

/** Its own ARP, of another kind of hardware, or with addresses of another length. */
function arpOf(hardware: number, length = 6): frames.Frame {
  const frame = Buffer.from(frames.arp(press1, '10.20.10.11'));
  frame.writeUInt16BE(hardware, 14);
  frame.writeUInt8(length, 18);
  return frame;
}

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
  ...attack('arp', 'the address of another device by ARP', frames.arp(press1, '10.20.10.12')),
  ...attack('gateway', 'the address of the gateway by ARP', frames.arp(press1, '10.20.10.1')),
  ...attack('arp', 'the hardware address of another inside ARP', frames.arp(press1, '10.20.10.11', press2)),
  ...attack(
    'address',
    'a packet from another address',
    frames.udp4(press1, '10.20.10.12', '10.20.10.11', [4000, 502]),
  ),
  ...attack(
    'gateway',
    'a packet from the gateway',
    frames.udp4(press1, '10.20.10.1', '10.20.10.12', [4000, 502]),
  ),
  ...attack('dhcp', 'a DHCP server', frames.udp4(press1, '10.20.10.11', '255.255.255.255', [67, 68])),
  ...attack('dhcp', 'a DHCPv6 server', frames.udp6(press6, 'fd00:10::16', [547, 546]), 'lan2'),
  ...attack('router', 'a router', frames.advert(press6, LINK_LOCAL6), 'lan2'),
  ...attack('router', 'a router behind options', frames.advert(press6, LINK_LOCAL6, 'options'), 'lan2'),
  ...attack('router', 'a router in a fragment', frames.advert(press6, LINK_LOCAL6, 'fragment'), 'lan2'),
  ...attack(
    'fragment',
    'a fragmented neighbour',
    frames.neighbour(press6, LINK_LOCAL6, LINK_LOCAL6, 'fragment'),
    'lan2',
  ),
  ...attack('neighbour', 'the neighbour of another', frames.neighbour(press1, 'fe80::abcd', 'fd00:10::16')),
  ...attack(
    'neighbour',
    'the link-local neighbour of another',
    frames.neighbour(press1, 'fe80::abcd', LINK_LOCAL6),
  ),
  ...attack(
    'gateway',
    'the gateway as a neighbour',
    frames.neighbour(press6, LINK_LOCAL6, 'fd00:10::1'),
    'lan2',
  ),
  ...attack(
    'gateway',
    'the router that everybody has',
    frames.neighbour(press6, 'fe80::abcd', 'fe80::1'),
    'lan2',
  ),
  ...attack('neighbour', 'a claim on the address of another', frames.claim(press1, 'fd00:10::16')),
  ...attack(
    'address',
    'from the link-local address of another',
    frames.udp6(press1, LINK_LOCAL6, [4000, 502]),
  ),
  ...attack('address', 'from an IPv6 address of nobody', frames.udp6(press1, 'fd00:10::99', [4000, 502])),
  ...attack('moved', 'a device at the port of another', frames.arp(press1, '10.20.10.11'), 'lan2'),
  ...attack('moved', 'a device in the zone of others', frames.arp(press2, '10.20.10.12'), 'lan4'),
  ...attack('unknown', 'a stranger', frames.arp(stranger, '10.20.10.99')),
  ...attack('arp', 'a stranger as a device', frames.arp(stranger, '10.20.10.12'), 'lan4'),
  ...attack('arp_form', 'ARP of other hardware', arpOf(6)),
  ...attack('arp_form', 'ARP of longer hardware addresses', arpOf(1, 8)),
  ...attack(
    'gateway',
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
for call in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$call" ] || echo "$2" > "$call"; done
ip link add br0 type bridge mcast_snooping 0 stp_state 0
for i in 1 2 3 4; do
  ip link add lan$i type veth peer name far$i
  ip link set lan$i master br0 up; ip link set far$i up
done
ip link set br0 up; ip address add 10.20.10.1/24 dev br0
[ ! -s rules.json ] || nft -j -f rules.json
python3 ${REPOSITORY}test/support/frames.py far3 ${LOG_GROUP} < cases
for family in inet bridge; do nft -j list table $family sluice > $family 2>/dev/null || true; done`;

/** Always passes, and is told apart from everything else. */
function mark({ port }: Case, i: number): frames.Frame {
  const from = { lan1: press1, lan2: press2, lan4: stranger }[port];
  const body = Buffer.alloc(46);
  body.writeUInt32BE(i + 1);
  return frames.ethernet(frames.BROADCAST, from, 0x88b5, body);
}

interface Sent {
  /** Which of the cases come out at lan3. */
  readonly passed: readonly boolean[];
  /** Prefixes of what was logged for each. */
  readonly logged: readonly (readonly string[])[];
  /** Named counters that are not 0. */
  readonly counted: Readonly<Record<string, number>>;
  /** Those of the table of packets. */
  readonly routed: Readonly<Record<string, number>>;
}

function sent(t: Test, rules: string, cases = CASES, { calls = '0', marksAt = '' } = {}): Sent {
  const lines = cases.map((one, i) =>
    [one.port.replace('lan', 'far'), one.frame.toString('hex'), mark(one, i).toString('hex'), marksAt].join(
      ' ',
    ),
  );
  const place = t.testdir({ cases: `${lines.join('\n')}\n`, 'rules.json': rules });
  const ran = inNamespace(BED, place, calls);
  t.equal(ran.stderr, '');
  t.equal(ran.status, 0);
  const told = ran.stdout
    .trim()
    .split('\n')
    .map((line): readonly unknown[] => {
      const json: unknown = JSON.parse(line);
      return Array.isArray(json) ? json : [];
    });
  return {
    passed: told.map(([count]) => Number(count) > 0),
    logged: told.map(([, prefixes]) => (Array.isArray(prefixes) ? prefixes.map(String) : [])),
    counted: countersIn(`${place}/bridge`, 'bridge'),
    routed: countersIn(`${place}/inet`, 'inet'),
  };
}

function countersIn(file: string, family: TableFamily): Record<string, number> {
  const listing = readFileSync(file, 'utf8');
  if (listing === '') return {};
  const counters = (objectsOf(listing, family) ?? []).filter(({ kind }) => kind === 'counter');
  return Object.fromEntries(
    counters.flatMap(({ inside }) =>
      inside['packets'] === 0 ? [] : [[text(inside['name']), Number(inside['packets'])]],
    ),
  );
}

/** What the counters have to say of them. */
const counts = (stem: string, cases = CASES): Record<string, number> =>
  Object.fromEntries(
    [...Map.groupBy(cases, ({ reason }) => reason)].flatMap(([reason, group]) =>
      reason === undefined ? [] : [[`${stem}_${reason}`, group.length]],
    ),
  );

t.test('without the table every one of them arrives, so that each can fail', { skip }, async (t) => {
  t.same(
    sent(t, '').passed,
    CASES.map(() => true),
  );
});

t.test('with it what is proper arrives, and nothing else, however it is dressed', { skip }, async (t) => {
  const { passed, counted } = sent(t, rulesOf(PLANT('enforce')));

  for (const [i, { name, reason }] of CASES.entries()) t.equal(passed[i], reason === undefined, name);
  t.same(counted, counts('n_denied'), 'each is counted once, for what it was dropped for');
  const declared = rulesOf(PLANT('enforce')).matchAll(/"bridge","table":"sluice","name":"(n_denied_\w+)"/g);
  t.same(
    new Set([...Object.keys(counted), 'n_denied_quarantined', 'n_denied_within']),
    new Set([...declared].map(([, name]) => name)),
    'no reason is left out here',
  );
});

t.test('in mode observe everything arrives, and is counted', { skip }, async (t) => {
  const { passed, counted } = sent(t, rulesOf(PLANT('observe')));

  t.same(
    passed,
    CASES.map(() => true),
  );
  t.same(counted, counts('n_would_deny'));
});

t.test('ports of a zone are kept apart unless it lets its devices talk', { skip }, async (t) => {
  const cases = CASES.filter(({ reason, port }) => reason === undefined && port !== 'lan4');
  const everyOne = cases.map(() => true);
  // lan4 is a trunk that no zone names, where the marks come from.
  const plant = (mode: string, within: string): string =>
    rulesOf(PLANT(mode, within).replace(', ports: [lan4]', ''));
  const through = { marksAt: 'far4' };
  const apart = sent(t, plant('enforce', 'deny'), cases, through);
  const observed = sent(t, plant('observe', 'deny'), cases, through);
  const open = sent(t, plant('enforce', 'allow'), cases, through);
  const toTrunk = sent(
    t,
    rulesOf(PLANT('enforce', 'deny').replace('ports: [lan1, lan2, lan3]', 'ports: [lan1, lan2]')),
    cases,
  );

  t.same(
    apart.passed,
    cases.map(() => false),
    'nothing goes from one to another',
  );
  t.ok((apart.counted['n_denied_within'] ?? 0) >= cases.length, 'each is counted');
  t.ok(apart.logged.flat().includes('sluice denied port device of the same zone '));
  t.same(observed.passed, everyOne, 'in mode observe all of it does');
  t.ok((observed.counted['n_would_deny_within'] ?? 0) >= cases.length);
  t.same(open.passed, everyOne, 'where devices may talk they do');
  t.same(open.counted, {});
  t.same(toTrunk.passed, everyOne, 'a trunk is reached');
});

const HELD_BACK: readonly Case[] = [
  proper('a device beside it', frames.udp4(press1, '10.20.10.11', '10.20.10.12', [4000, 502])),
  proper('what finds a neighbour', frames.arp(press1, '10.20.10.11', press1, '10.20.10.14')),
  attack('quarantined', 'to its hardware address', frames.ethernet(press6, press1, 0x8892, Buffer.alloc(46))),
  attack('quarantined', 'another protocol', frames.ethernet(frames.BROADCAST, press6, 0x8892, Buffer.alloc(46))),
  attack('quarantined', 'its packet', frames.udp6(press6, LINK_LOCAL6, [4000, 502]), 'lan2'),
  attack('quarantined', 'its neighbour message', frames.neighbour(press6, LINK_LOCAL6, LINK_LOCAL6), 'lan2'),
  attack('quarantined', 'to an address', frames.udp4(press1, '10.20.10.11', '10.20.10.14', [4000, 502])),
  attack('quarantined', 'from an address', frames.udp4(stranger, '10.20.20.99', '10.20.20.5', [4000, 502]), 'lan4'),
  attack('quarantined', 'from an IPv6 address', frames.udp6(stranger, 'fd00:20::9', [4000, 502]), 'lan4'),
  attack('quarantined', 'to an IPv6 address', frames.udp6(stranger, 'fe80::9', [4000, 502], 'fd00:10::77'), 'lan4'),
].flatMap((one) => (Array.isArray(one) ? one.slice(0, 1) : one)); // biome-ignore format: a table reads better

t.test(
  'between ports nothing comes from who is in quarantine, and nothing goes there',
  { skip },
  async (t) => {
    const addresses = ['10.20.10.14', '10.20.20.99', 'fd00:20::9', 'fd00:10::77'];
    const elements = quarantineElements([{ mac: press6, addresses }]);
    for (const mode of ['enforce', 'observe']) {
      const rules = rulesOf(PLANT(mode));
      const [free, held] = [sent(t, rules, HELD_BACK), sent(t, withQuarantine(rules, elements), HELD_BACK)];

      t.same(
        free.passed,
        HELD_BACK.map(() => true),
        'without quarantine each arrives',
      );
      for (const [i, { name, reason }] of HELD_BACK.entries())
        t.equal(held.passed[i], reason === undefined, `${mode}: ${name}`);
      t.ok((held.counted['n_denied_quarantined'] ?? 0) >= 8, 'and is counted');
      t.ok(held.logged.flat().includes('sluice denied port quarantine '), 'and logged');
    }
  },
);

t.test('a sender that is denied all the time hides no other in the log', { skip }, async (t) => {
  const often = attack('arp', 'the address of another', frames.arp(press1, '10.20.10.12')).slice(0, 1);
  const once = attack('unknown', 'a stranger', frames.arp(stranger, '10.20.10.99')).slice(0, 1);
  const cases = [...Array.from({ length: MANY }, () => often).flat(), ...once];
  const began = performance.now();

  const { logged, counted } = sent(t, rulesOf(PLANT('enforce')), cases);

  const passing = (performance.now() - began) / 1_000;
  const lines = logged.slice(0, MANY).flat();
  t.same(new Set(lines), new Set(['sluice denied port foreign arp sender ']));
  t.ok(lines.length >= AT_ONCE, `${lines.length} lines of the first sender`);
  t.ok(lines.length <= AT_ONCE + Math.ceil(passing), 'and one a second more');
  t.same(logged.at(-1), ['sluice denied port unknown device ']);
  t.same(counted, { n_denied_arp: MANY, n_denied_unknown: 1 }, 'what is not logged is counted');
});

/** More than a set remembers. */
const FORGED = 4_500;

t.test('a port where every frame has another sender hides nobody at other ports', { skip }, async (t) => {
  const forged = Array.from({ length: FORGED }, (_, i): Case => {
    const from = `02:00:00:99:${(i >> 8).toString(16).padStart(2, '0')}:${(i & 255).toString(16).padStart(2, '0')}`;
    const frame = frames.arp(from, '10.20.10.99');
    return { name: 'forged', port: 'lan1', frame, reason: 'unknown' };
  });
  const once = attack('arp', 'a stranger as a device', frames.arp(stranger, '10.20.10.12'), 'lan4').slice(
    0,
    1,
  );

  const { logged, counted } = sent(t, rulesOf(PLANT('enforce')), [...forged, ...once]);

  t.same(logged.at(-1), ['sluice denied port foreign arp sender ']);
  t.same(counted, { n_denied_arp: 1, n_denied_unknown: FORGED });
});

const noCalls = existsSync('/proc/sys/net/bridge') ? false : 'this kernel has no br_netfilter';

t.test(
  'where the rules of packets judge frames too, less passes and nothing more',
  { skip: skip || noCalls },
  async (t) => {
    const cases = [
      proper('a packet to a neighbour', frames.udp4(press1, '10.20.10.11', '10.20.10.12', [4000, 502])),
      ...attack(
        'address',
        'a packet from another',
        frames.udp4(press1, '10.20.10.12', '10.20.10.11', [4000, 502]),
      ),
    ];
    // lan4 is a trunk that no zone names, where the marks come from.
    const passing = (within: string, calls: string): Sent =>
      sent(t, rulesOf(PLANT('enforce', within).replace(', ports: [lan4]', '')), cases, {
        calls,
        marksAt: 'far4',
      });

    const [alone, both, within] = [passing('deny', '0'), passing('deny', '1'), passing('allow', '1')];

    t.notOk(alone.passed.includes(true));
    t.same(both.passed, alone.passed);
    const inside = 'n_denied_control_control';
    t.notOk(inside in alone.routed, 'rules between zones see nothing of it');
    t.ok((both.routed[inside] ?? 0) > 0, 'as between the zone and itself, on its way to the trunk');
    t.same(
      within.passed,
      cases.map((_, i) => i === 0),
      'where the zone allows it',
    );
    t.same(both.counted, alone.counted, 'the table of the bridge comes first, either way');
  },
);
