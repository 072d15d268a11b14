import { resolve } from 'node:path';
import t from 'tap';
import { exactly } from '../../src/segmentation/boxes.ts';
import { objectsOf } from '../../src/segmentation/canonical.ts';
import { isRecord, text } from '../../src/segmentation/field.ts';
import { FrameConditions } from '../../src/segmentation/frame-condition.ts';
import { frameListing } from '../../src/segmentation/frame-listing.ts';
import {
  atHook,
  type Carried,
  CARRIED,
  type FrameBox,
  FrameSpace,
  type Kind,
  ofKind,
} from '../../src/segmentation/frame-space.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { missingPeer } from '../support/peer.ts';
import * as frames from './frames.ts';

// Which frames the kernel finds to meet a condition, plain and with tags, and which the proof says: those that surely do
// are among them, and no others than those that may.

const skip = noRules() || missingPeer('python3', 'python3') || missingPeer('ip', 'iproute2');

const macOf = (i: number): string => `02:00:00:00:77:${i.toString(16).padStart(2, '0')}`;

interface Sort {
  readonly name: string;
  readonly of: (from: string) => frames.Frame;
  /** As it is, behind a tag. */
  readonly kinds: readonly [Kind, Kind];
  readonly carried: Carried;
  readonly type?: number;
}

/** ICMPv6 where there is no IPv6: a protocol like any other. */
function foreign(from: string): frames.Frame {
  const frame = Buffer.from(frames.udp4(from, '10.0.0.1', '10.0.0.2', [0x8800, 5]));
  frame.writeUInt8(58, 14 + 9);
  frame.writeUInt16BE(0, 14 + 10);
  frame.writeUInt16BE(frames.checksum([frame.subarray(14, 34)]), 14 + 10);
  return frame;
}

const SORTS: readonly Sort[] = [
  { name: 'udp4', of: (from) => frames.udp4(from, '10.0.0.1', '10.0.0.2', [67, 5]), kinds: ['ipv4', 'tagged ipv4'], carried: 'udp' },
  { name: 'udp6', of: (from) => frames.udp6(from, 'fe80::1', [67, 5]), kinds: ['ipv6', 'tagged ipv6'], carried: 'udp' },
  { name: 'neighbour', of: (from) => frames.neighbour(from, 'fe80::1', 'fe80::1'), kinds: ['ipv6', 'tagged ipv6'], carried: 'icmpv6', type: 136 },
  { name: 'icmpv6 in ipv4', of: foreign, kinds: ['ipv4', 'tagged ipv4'], carried: 'icmpv6', type: 136 },
  { name: 'arp', of: (from) => frames.arp(from, '10.0.0.1'), kinds: ['arp', 'tagged'], carried: 'other' },
]; // biome-ignore format: a table reads better

const SENT = SORTS.flatMap((sort) =>
  ['plain', 'VLAN 0', 'VLAN 0 twice', 'LLC and SNAP'].map((dress) => ({ sort, dress })),
);

const CONDITIONS: readonly string[] = [
  'ip saddr 10.0.0.1',
  'ether type ip ip saddr 10.0.0.1',
  'ip6 saddr fe80::1',
  'ip6 saddr fe80::/10',
  'ether type ip6 ip6 saddr fe80::1',
  'udp sport 67',
  'icmpv6 type 136',
  'meta l4proto 58 icmpv6 type 136',
  'meta protocol ip6 icmpv6 type 136',
  '@th,64,128 0xfe800000000000000000000000000001',
  'exthdr frag != exists',
  'arp htype 1',
  'arp saddr ip 10.0.0.1',
  'meta protocol arp arp saddr ip 10.0.0.1',
  'ether type ip',
  'ether type ip6',
  'ether type arp',
  'ether type { 8021q, 8021ad }',
  'ether type < 0x600',
];

const BED = `
cd "$1"
echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6
for call in /proc/sys/net/bridge/bridge-nf-call-*; do [ ! -e "$call" ] || echo 0 > "$call"; done
ip link add br0 type bridge mcast_snooping 0 stp_state 0
for i in 1 3; do
  ip link add lan$i type veth peer name far$i
  ip link set lan$i master br0 up; ip link set far$i up
done
ip link set br0 up
nft -f rules
python3 "$2" far3 20 < cases > told
nft -j list table bridge sluice`;

function boxOf({ sort, dress }: (typeof SENT)[number]): FrameBox {
  const { kinds, carried, type } = sort;
  const [plain, tagged] = kinds;
  const kind = { plain, 'VLAN 0': tagged }[dress] ?? (dress === 'LLC and SNAP' ? 'length' : 'tagged');
  return {
    ...atHook('prerouting'),
    kind: ofKind(kind),
    carried: [exactly(CARRIED.indexOf(carried))],
    ...(type !== undefined && { type: [exactly(type)] }),
  };
}

t.test('the kernel finds what surely meets a condition, and nothing that cannot', { skip }, async (t) => {
  const rules = SENT.flatMap((_, i) =>
    CONDITIONS.flatMap((condition, k) => [
      `add counter bridge sluice n_${i}_${k}`,
      `add rule bridge sluice g_ports ether saddr ${macOf(i)} ${condition} counter name n_${i}_${k}`,
    ]),
  );
  const cases = SENT.map(({ sort, dress }, i) => {
    const frame = sort.of(macOf(i));
    const dressed = new Map(frames.disguises(frame)).get(dress) ?? frame;
    const mark = frames.ethernet(frames.BROADCAST, macOf(255), 0x88b5, Buffer.alloc(46, i + 1));
    return `far1 ${dressed.toString('hex')} ${mark.toString('hex')} \n`;
  });
  const place = t.testdir({
    rules: [
      'add table bridge sluice',
      'add chain bridge sluice g_ports { type filter hook prerouting priority -300; }',
      ...rules,
      ...CONDITIONS.flatMap((condition, k) => [
        `add chain bridge sluice c_${k}`,
        `add rule bridge sluice c_${k} ${condition}`,
      ]),
    ].join('\n'),
    cases: cases.join(''),
  });
  const ran = inNamespace(BED, place, resolve('test/support/frames.py'));
  t.equal(ran.stderr, '');
  const objects = objectsOf(ran.stdout, 'bridge') ?? [];
  const counted = new Map(
    objects.flatMap(({ kind, inside }) =>
      kind === 'counter' ? [[text(inside['name']), Number(inside['packets'])] as const] : [],
    ),
  );
  const listing = frameListing(ran.stdout);
  if (listing === undefined) throw new Error('no table');
  const space = new FrameSpace([]);
  const { sets } = space;
  let met = 0;
  for (const [k, condition] of CONDITIONS.entries()) {
    const statements = listing.rules.get(`c_${k}`)?.[0]?.statements ?? [];
    const conditions = new FrameConditions(listing, space);
    const all = statements.map((one) =>
      conditions.of(isRecord(one) ? one['match'] : undefined, sets.everything, condition),
    );
    for (const [i, frame] of SENT.entries()) {
      const box = space.set(boxOf(frame));
      const meets = (of: 'set' | 'most'): boolean =>
        all.reduce((left, one) => sets.and(left, one[of]), box) !== sets.nothing;
      const is = (counted.get(`n_${i}_${k}`) ?? 0) > 0;
      if (is) met += 1;
      const name = `${condition}: ${frame.sort.name}, ${frame.dress}`;
      if (is && !meets('most')) t.fail(`${name}: the kernel finds it`);
      // What is narrower than what nft writes by itself is listed as that.
      if (!is && meets('set') && !condition.startsWith('ether type ip'))
        t.fail(`${name}: the kernel does not find it`);
    }
  }
  t.ok(met > 40, `${met} meet a condition`);
});
