import { readFileSync } from 'node:fs';
import t from 'tap';
import { isRecord } from '../../src/segmentation/field.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { noRules } from '../support/namespace.ts';
import { listings, told } from './listed.ts';
import { policyOf, rulesOf } from './policies.ts';

// Every construct that the proof understands, and its nearest relatives that it must not take for it: what nft makes of
// each is put in front of the rules of a chain, as it is listed. nft runs twice for all of them.

const skip = noRules();

interface Row {
  readonly chain: string;
  /** One after the other, in front of the rules of the chain. */
  readonly rules: readonly string[];
  readonly says: RegExp;
}

const at =
  (says: RegExp) =>
  (chain: string, ...rules: readonly string[]): Row => ({ chain, rules, says });
const each =
  (says: RegExp, chain: string) =>
  (...rules: readonly string[]): Row[] =>
    rules.map((rule) => ({ chain, rules: [rule], says }));
const PROVEN = /^proven/;
const OPENS = /not declared, (accept|by)/;
const CLOSES = / declared, (dropped|by)/;
const UNKNOWN = / says \{/;
const FAMILY = /may look at the family or not/;

const PLANT = `
gateway: { id: plant7 }
zones:
  metering:    { vlan: 20, subnet: [10.20.20.0/24, "fd00:20::/64"] }
  control:     { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  uplink:      { interface: eth0 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI reads the presses" }
  - { from: supervision, to: metering, allow: [tcp/4840, icmp], because: "energy", only: { to: [meter-main] } }
classes:
  energy-meter: { zone: metering, protocol: modbus, points: { v: { at: "input:0:float32" } } }
devices:
  meter-main: { class: energy-meter, at: "modbus-tcp://10.20.20.11?unit=1" }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;
/** Chains and sets that rows look at; none of them decides anything by itself. */
const MORE = `
add chain inet sluice too_early { type filter hook prerouting priority -500; policy accept; }
add chain inet sluice at_conntrack { type filter hook prerouting priority -200; policy accept; }
add chain inet sluice behind_conntrack { type filter hook prerouting priority -199; policy accept; }
add chain inet sluice early_out { type filter hook output priority -300; policy accept; }
add chain inet sluice behind { type filter hook postrouting priority 300; policy accept; }
add set inet sluice x_hops { typeof ip ttl; elements = { 1, 64 }; }
add set inet sluice x_ports { typeof tcp dport; elements = { 23, 24 }; }
add set inet sluice x_learnt { type ipv4_addr; flags dynamic; size 100; }
add set inet sluice x_passing { type ipv4_addr; flags timeout; timeout 1h; }
add map inet sluice x_rest { type ipv4_addr : verdict; elements = { 10.0.0.1 : drop, * : accept }; }
add set inet sluice x_names { type ifname; flags interval; elements = { "vlan*" }; }
`;

const MORE_OF_FRAMES = `
add set bridge sluice x_types { type ether_type . ifname; elements = { 0x88b5 . "lan1" }; }
add set bridge sluice x_type { type ether_type; elements = { 0x88b5 }; }
add set bridge sluice x_any { type ether_addr; elements = { 02:00:00:00:00:09, * }; }
`;

const INET: readonly Row[] = [
  // What is understood, and nothing changes.
  ...each(PROVEN, 'g_forward')('counter', 'continue', 'log prefix "x"', 'iifname "vlan99" tcp dport 23 drop'),
  ...each(PROVEN, 'd_supervision_metering')(
    'drop',
    'reject',
    'reject with icmpx type admin-prohibited',
    'reject with tcp reset',
    'ip saddr 10.20.40.0/24 reject with icmp type admin-prohibited',
    'ip6 saddr fd00:40::/64 reject with icmpv6 type admin-prohibited',
    'meta nfproto ipv6 reject with tcp reset',
    'meta l4proto icmp drop',
    'icmp type echo-request ip saddr 10.20.40.1 drop',
  ),
  ...each(PROVEN, 'behind_conntrack')('ct state new accept', 'tcp dport 22 accept'),
  ...each(PROVEN, 'g_related_6')('icmpv6 type packet-too-big accept', 'meta l4proto 58 icmpv6 type 1 accept'),

  // What is understood, and passes what should not.
  ...each(OPENS, 'g_forward')(
    'accept',
    'log accept',
    'meta nfproto ipv6 accept',
    'meta protocol ip tcp dport 23 accept',
    'iifname "vlan10" tcp dport { 23, 25-27 } accept',
    'ip saddr { 10.0.0.1-10.0.0.5, 10.9.0.0/16 } accept',
    'ip saddr & 255.0.0.0 == 10.0.0.0 accept',
    'ip daddr >= 10.0.0.5 accept',
    'meta l4proto tcp @th,16,16 23 accept',
    'meta l4proto udp th dport 23 accept',
    'meta nfproto ipv4 @nh,96,32 0x0a000001 accept',
    'ether saddr 02:00:00:00:00:01 accept',
    'ct state established accept',
    'ct state != new accept',
    'ct state { established, related } accept',
    'ct state vmap { new : accept, invalid : drop }',
    'icmp type 13 ip saddr 10.9.9.9 accept',
    'meta l4proto 58 icmpv6 type 140 ip6 saddr fd00::1 accept',
    'meta l4proto . th dport { tcp . 23 } accept',
    'ip saddr . icmp type { 10.0.0.1 . 13 } accept',
    'tcp dport @x_ports accept',
    'ct original ip daddr 10.9.9.9 accept',
    'ip protocol gre accept',
  ),
  ...each(OPENS, 'g_input')(
    'ip ttl @x_hops accept',
    'ip6 hoplimit > 254 accept',
    'iifname != "vlan10" accept',
  ),
  ...each(OPENS, 'g_output')('oifname != "lo" accept', 'icmpv6 type 128 ip6 daddr fd00:20::11 accept'),

  // And takes away what should pass.
  ...each(CLOSES, 'g_forward')(
    'return',
    'jump d_undeclared',
    'tcp dport 502 drop',
    'reject with icmpx type admin-prohibited',
  ),
  ...each(CLOSES, 'g_raw')('fib saddr . mark . iif oif missing drop', 'ip ttl < 5 drop'),

  // What nft lists as it lists something else.
  at(FAMILY)('d_supervision_metering', 'reject with icmp type admin-prohibited', 'accept'),
  at(FAMILY)('d_supervision_metering', 'meta nfproto ipv4 reject with tcp reset', 'accept'),
  at(FAMILY)('d_supervision_metering', 'meta nfproto ipv4 meta l4proto icmp drop', 'accept'),
  at(FAMILY)('d_supervision_metering', 'reject with icmpv6 type admin-prohibited', 'accept'),
  ...each(FAMILY, 'g_forward')(
    'reject with tcp reset',
    'ip saddr 10.20.40.0/24 reject with icmp type admin-prohibited',
    'meta l4proto icmp accept',
    'meta nfproto ipv6 meta l4proto ipv6-icmp accept',
    'meta l4proto ipv6-icmp icmpv6 type echo-request iifname "vlan40" oifname "vlan20" accept',
    'meta l4proto icmp icmp type echo-request iifname "vlan40" oifname "vlan20" accept',
    'meta l4proto ipv6-icmp icmpv6 type nd-neighbor-solicit ct state new accept',
    'meta l4proto icmp icmp type vmap { 13 : accept }',
    'ether type ip icmp type 13 accept',
    'icmpv6 type != 128 drop',
  ),
  ...each(/compares the port of ICMP/, 'g_forward')(
    'th dport 23 accept',
    'th dport != 23 accept',
    '@th,16,16 22 drop',
  ),
  ...each(/has two "not equal"/, 'g_forward')(
    'ip saddr != 10.0.0.1 ip daddr != 10.0.0.2 drop',
    'tcp dport != 22 ip saddr != 10.0.0.0/8 drop',
  ),

  // What is another thing there, or is not there yet.
  ...each(/on hook prerouting, priority -300: too early/, 'g_raw')(
    'iifname "vlan40" ip saddr 10.20.20.0/24 ct state invalid accept',
    'ip saddr 10.20.0.0/16 ct state invalid drop',
    'ct state vmap { invalid : accept }',
    'ct original ip daddr 10.9.9.9 drop',
  ),
  ...each(/on hook prerouting, priority -200: too early/, 'at_conntrack')('ct state new drop'),
  ...each(/on hook output, priority -300: too early/, 'early_out')('ct state invalid accept'),
  ...each(/on hook prerouting, priority -500: too early/, 'too_early')(
    'tcp dport 502 accept',
    'icmp type 8 ip saddr 10.20.40.1 accept',
  ),
  ...each(/looks at .* on hook forward/, 'g_forward')('ip ttl 64 drop', 'ip6 hoplimit 64 accept'),
  ...each(/looks at .* on hook postrouting/, 'behind')(
    'iifname "vlan10" drop',
    'ether saddr 2:0:0:0:0:1 drop',
  ),
  ...each(/looks at oifname on hook prerouting/, 'g_raw')('oifname != "x" accept', 'oifname "vlan10" drop'),
  ...each(/decides by chance/, 'g_forward')(
    'limit rate 1/second accept',
    'update @q_log_4 { ip saddr } accept',
    'update @q_log_4 { ip saddr limit rate 1/second } drop',
  ),
  ...each(/changes the set .*, which rules read/, 'g_forward')('add @q_ip_4 { ip saddr }'),
  at(/changes the set x_learnt, which rules read/)(
    'g_forward',
    'update @x_learnt { ip saddr }',
    'ip saddr @x_learnt accept',
  ),
  ...each(/may forget its elements|forgets its elements/, 'g_forward')('ip saddr @x_passing accept'),
  ...each(/x_rest has the element/, 'g_forward')('ip saddr vmap @x_rest'),
  ...each(/x_names has the element/, 'g_forward')('iifname @x_names accept'),

  // What is not understood.
  ...each(UNKNOWN, 'g_forward')(
    'iifname "vlan*" drop',
    'iifname "vlan\\*" drop',
    'iifname { "vlan*", "x" } accept',
    'iifname "any other" drop',
    'meta iif 1 accept',
    'meta mark 1 accept',
    'ct mark 1 accept',
    'meta mark set 1',
    'ct mark set 1',
    'meta nftrace set 1',
    'meta nfproto > ipv4 accept',
    'meta l4proto > 5 accept',
    'meta l4proto & 7 == 6 accept',
    'meta time >= "2026-12-24 00:00" accept',
    'meta hour "10:00"-"12:00" accept',
    'meta skuid 0 accept',
    'ether type ip tcp dport 23 accept',
    'ether saddr & ff:ff:ff:00:00:00 == 02:00:00:00:00:00 accept',
    'vlan id 5 accept',
    'ip saddr 10.0.0.1-10.0.0.5 accept',
    'ip saddr & 255.0.255.0 == 10.0.3.0 accept',
    'ip dscp 1 accept',
    'ip frag-off & 0x1fff != 0 accept',
    'ip6 nexthdr tcp accept',
    'exthdr frag exists accept',
    'icmp type 8 icmp code 0 accept',
    'icmpv6 type { 5-7 } accept',
    'tcp flags syn accept',
    'tcp sport 502 accept',
    'sctp dport 22 accept',
    '@nh,96,32 0x0a000001 accept',
    '@ll,48,48 0x020000000001 accept',
    'ct state 0x0 accept',
    'ct state ! new accept',
    'ct state & (new|established) == new accept',
    'ct status dnat accept',
    'ct direction reply accept',
    'fib saddr . iif oif missing drop',
    'fib saddr oif missing drop',
    'fib daddr type local accept',
    'quota over 10 bytes accept',
    'socket transparent 1 accept',
    'notrack',
    'delete @x_learnt { ip saddr }',
  ),
];

const KIND = /may look at what a frame is or not/;
const LOOKS = /looks at|compares|has the statement|decides by a rate/;

const BRIDGE: readonly Row[] = [
  ...each(PROVEN, 'g_ports')('log prefix "x"', 'update @q_log_mac { ether saddr }'),
  ...each(PROVEN, 'g_arp')('arp htype != 1 drop', 'arp hlen != 6 drop'),
  ...each(PROVEN, 'g_ip_6')('icmpv6 type 134 drop', 'frag nexthdr 43 drop', 'ip saddr 10.0.0.1 accept'),
  ...each(PROVEN, 'g_ip_4')('ip6 saddr fe80::1 accept', 'icmp type redirect drop', 'arp hlen != 6 accept'),

  ...each(OPENS, 'g_ports')(
    'accept',
    'iifname "lan1" accept',
    'iifname . ether saddr . ip saddr @s_ip_4 udp sport 5000 accept',
    'ip saddr 10.20.10.21 accept',
    'ip6 saddr fe80::/10 accept',
    'udp sport 5000 accept',
    'ether saddr 02:00:00:00:10:21 accept',
  ),
  ...each(OPENS, 'g_ip_6')(
    'exthdr frag != exists accept',
    'exthdr frag exists accept',
    'icmpv6 type 200 accept',
  ),
  ...each(OPENS, 'g_between')('oifname "lan1" accept', 'oifname != "lan1" accept'),
  ...each(CLOSES, 'g_between')('ip saddr 10.20.10.9 drop', 'iifname . ether saddr @s_port_mac drop'),

  ...each(KIND, 'g_ports')(
    'meta l4proto 58 icmpv6 type 200 accept',
    'meta l4proto 1 icmp type 200 accept',
    'meta protocol ip6 frag nexthdr 58 accept',
    'meta protocol arp arp saddr ip 10.0.0.1 accept',
    'exthdr frag != exists accept',
  ),
  ...each(KIND, 'g_ip_4')(
    'meta l4proto 58 icmpv6 type 134 accept',
    '@th,64,128 0xfe800000000000000000000000000001 accept',
  ),
  ...each(/has two "not equal"/, 'g_arp')('arp htype != 1 arp hlen != 6 accept'),
  ...each(/denies what a frame may not have/, 'g_ip_6')(
    'icmpv6 type != 134 accept',
    'udp sport != 67 accept',
  ),
  ...each(/where frames go that have only come in/, 'g_ports')('oifname != "x" accept', 'oifname "x" drop'),
  ...each(/a mark that others may have set/, 'g_ports')('meta mark != 0 accept', 'meta mark 0 accept'),
  ...each(/a mark that others may have set/, 'g_about')('meta mark 0 accept'),
  ...each(/changes the set .*, which rules read/, 'g_ports')(
    'add @s_port_mac { iifname . ether saddr }',
    'add @s_access { iifname }',
    'add @s_mac { ether saddr }',
    'add @s_ip_4 { iifname . ether saddr . ip saddr }',
    'delete @s_mac { ether saddr }',
  ),
  ...each(LOOKS, 'g_ports')(
    'iifname "lan*" accept',
    'iifname { "lan*", "x" } accept',
    'iifname "a b" accept',
    'meta protocol ip accept',
    'meta pkttype host accept',
    'meta time >= "2026-12-24 00:00" accept',
    'meta mark set 7',
    'ether type != ip accept',
    'ether type < 0x700 accept',
    'ether type 0x8100 accept',
    'ether type vmap { ip : accept }',
    'ether daddr 02:00:00:00:10:21 accept',
    'ether saddr & ff:ff:ff:00:00:00 == 02:00:00:00:00:00 accept',
    'vlan id 0 accept',
    'ip protocol udp accept',
    'ip daddr 10.20.10.21 accept',
    'ip saddr 10.0.0.0/8 accept',
    'ip6 nexthdr 58 accept',
    'ip6 saddr fe80::-fe81:: accept',
    'udp sport 1-5 accept',
    'udp dport 67 accept',
    'icmp type 200-201 accept',
    'arp operation reply accept',
    'limit rate 1/second accept',
    'update @q_log_mac { ether saddr } accept',
    'jump d_tagged',
    'return',
    'continue',
  ),
  ...each(/which says nothing here/, 'g_ports')(
    'ether type @x_type accept',
    'ether type . iifname @x_types accept',
  ),
  ...each(/x_any holds/, 'g_ports')('ether saddr @x_any accept'),
  ...each(LOOKS, 'g_between')('oifname "lan*" accept', 'iifname . oifname { "lan*" . "x" } accept'),
];

/** The chain that a rule of a listing is in, or the name of what else is there. */
function placeOf(object: unknown): unknown {
  const [inside] = isRecord(object) ? Object.values(object) : [];
  return isRecord(inside) ? (inside['chain'] ?? inside['name']) : undefined;
}

/** As nft lists the rules of each row, in front of those of the chain it is for. */
function listedWith(listing: string, rows: readonly Row[]): string[] {
  const document: unknown = JSON.parse(listing);
  if (!isRecord(document) || !Array.isArray(document['nftables'])) throw new Error('no listing');
  const all: readonly unknown[] = document['nftables'];
  const rest = all.filter((object) => !/^row_\d+$/.test(String(placeOf(object))));
  const texts = rest.map((object) => JSON.stringify(object));
  return rows.map(({ chain }, i) => {
    const own = all.filter(
      (object) => isRecord(object) && 'rule' in object && placeOf(object) === `row_${i}`,
    );
    const moved = own.map((object) => JSON.stringify(object).replace(`"row_${i}"`, `"${chain}"`));
    const first = rest.findIndex(
      (object) => isRecord(object) && 'rule' in object && placeOf(object) === chain,
    );
    const place = first < 0 ? rest.length : first;
    return `{"nftables":[${texts.toSpliced(place, 0, ...moved).join()}]}`;
  });
}

const scratch = (family: string, rows: readonly Row[]): string =>
  rows
    .flatMap(({ rules }, i) => [
      `add chain ${family} sluice row_${i}`,
      ...rules.map((rule) => `add rule ${family} sluice row_${i} ${rule}`),
    ])
    .join('\n');

const PORTS = readFileSync('test/golden/segmentation/30-access-ports-of-a-bridge/gateway.yaml', 'utf8');

for (const [family, rows, policy, json, more] of [
  ['inet', INET, policyOf(PLANT), rulesOf(PLANT), MORE],
  ['bridge', BRIDGE, policyOf(PORTS), rulesOf(PORTS), MORE_OF_FRAMES],
] as const) {
  t.test(`each construct of ${family} is what it is, or is not understood`, { skip }, async (t) => {
    const [listing = ''] = listings(t, [{ json, change: `${more}\n${scratch(family, rows)}\n` }]);

    for (const [i, changed] of listedWith(listing, rows).entries()) {
      const { chain = '', rules = [], says = /^$/ } = rows[i] ?? {};
      t.match(told(prove(policy, changed)).join('; '), says, `${chain}: ${rules.join('; ')}`);
    }
  });
}
