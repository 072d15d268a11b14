import t from 'tap';
import { isRecord } from '../../src/segmentation/field.ts';
import { compile } from '../../src/segmentation/compile.ts';
import type { Policy } from '../../src/segmentation/policy.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { render } from '../../src/segmentation/render.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { listings, proofOf, told } from './listed.ts';
import { policyOf } from './policies.ts';

// What somebody changed in the kernel by hand, and what the proof says about it.
const skip = noRules();

const PLANT = `
gateway: { id: plant7 }
zones:
  metering:    { vlan: 20, subnet: [10.20.20.0/24, "fd00:20::/64"] }
  control:     { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  uplink:      { interface: eth0 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "HMI reads the presses" }
  - { from: supervision, to: metering, allow: [tcp/4840], because: "energy", only: { to: [meter-main] } }
classes:
  energy-meter: { zone: metering, protocol: modbus, points: { v: { at: "input:0:float32" } } }
devices:
  meter-main: { class: energy-meter, at: "modbus-tcp://10.20.20.11?unit=1" }
  meter-2:    { class: energy-meter, at: "modbus-tcp://[fd00:20::12]?unit=1" }
segmentation: { mode: enforce, management: { zone: uplink, from: [10.1.2.0/24], allow: [ssh] } }
`;
const HMI = '10.20.40.0/24 . 10.20.10.0/24 . tcp . 502';
const HMI_FLOW = 'goto f_conduit_supervision_control_0';

interface Change {
  readonly title: string;
  readonly change: string;
  /** The packets and what became of them; every one of them, in the order of hook, family and interfaces. */
  readonly finds: readonly RegExp[];
}

const CHANGES: readonly Change[] = [
  {
    title: 'a smuggled element',
    change:
      'add element inet sluice r_supervision_control_4 { 10.20.40.5 . 10.20.10.99 . tcp . 22 : accept }',
    finds: [
      /^forward new vlan40 -> vlan10: 10\.20\.40\.5 -> 10\.20\.10\.99 tcp\/22, not declared, accept, by g_forward, rule \d+ .*> c_supervision_control_4, rule 1 .*, element 10\.20\.40\.5 \. 10\.20\.10\.99 \. 6 \. 22$/,
    ],
  },
  {
    title: 'an element that is gone',
    change: 'delete element inet sluice m_gateway_metering_4_any { 10.20.20.11 . tcp . 502 }',
    finds: [
      /^output new gateway -> vlan20: \S+ -> 10\.20\.20\.11 tcp\/502, declared, dropped, by g_output, .* > d_gateway_metering, rule 3/,
    ],
  },
  {
    title: 'a device that took the address of another',
    change: `delete element inet sluice m_gateway_metering_6_any { fd00:20::12 . tcp . 502 }
add element inet sluice m_gateway_metering_6_any { fd00:20::13 . tcp . 502 : goto f_poll_metering }`,
    finds: [/^output new gateway -> vlan20: \S+ -> fd00:20::1[23] tcp\/502, /],
  },
  {
    title: 'a foreign rule',
    change: 'insert rule inet sluice g_forward iifname vlan10 tcp dport 23 accept',
    finds: [
      /^forward new vlan10 -> any other: 10\.20\.10\.0 -> \S+ tcp\/23, not declared, accept, by g_forward, rule 1 /,
    ],
  },
  {
    title: 'a foreign rule that drops',
    change: 'insert rule inet sluice c_supervision_control_4 ip daddr 10.20.10.7 drop',
    finds: [
      /^forward new vlan40 -> vlan10: 10\.20\.40\.0 -> 10\.20\.10\.7 tcp\/502, declared, dropped, by g_forward, .*> c_supervision_control_4, rule 1 /,
    ],
  },
  {
    title: 'a foreign chain in front',
    change:
      'add chain inet sluice early { type filter hook output priority -400; policy drop; }\nadd rule inet sluice early oifname lo accept',
    finds: [
      /^output new gateway -> vlan20: \S+ -> 10\.20\.20\.11 tcp\/502, declared, dropped, by early, policy drop$/,
    ],
  },
  {
    title: 'a changed policy, with the last rule gone',
    change: 'chain inet sluice g_forward { policy accept; }\nflush chain inet sluice d_undeclared',
    finds: [/^forward new vlan10 -> any other: .*, not declared, accept, by g_forward, policy accept$/],
  },
  {
    title: 'a changed policy behind rules that drop the rest',
    change: 'chain inet sluice g_input { policy accept; }',
    finds: [
      /^input new .*, not declared, accept, by g_input, policy accept, as soon as its rules are flushed$/,
    ],
  },
  {
    title: 'established in front of quarantine',
    change: 'insert rule inet sluice g_forward ct state established accept',
    finds: [
      /^forward established vlan10 -> any other: .* \(source in quarantine\), not declared, accept, by g_forward, rule 1 |^forward established .* in quarantine\), not declared, accept, by g_forward, rule 1 /,
    ],
  },
  {
    title: 'an interval that is one address too wide',
    change: `delete element inet sluice r_supervision_control_4 { ${HMI} }
add element inet sluice r_supervision_control_4 { 10.20.40.0/24 . 10.20.10.0-10.20.11.0 . tcp . 502 : ${HMI_FLOW} }`,
    finds: [/^forward new vlan40 -> vlan10: 10\.20\.40\.0 -> 10\.20\.11\.0 tcp\/502, not declared, accept, /],
  },
  {
    title: 'an interval that is one port too wide',
    change: `delete element inet sluice r_supervision_control_4 { ${HMI} }
add element inet sluice r_supervision_control_4 { 10.20.40.0/24 . 10.20.10.0/24 . tcp . 502-503 : ${HMI_FLOW} }`,
    finds: [/^forward new vlan40 -> vlan10: 10\.20\.40\.0 -> 10\.20\.10\.0 tcp\/503, not declared, accept, /],
  },
  {
    title: 'a source that another zone owns',
    change: 'add element inet sluice m_source_4 { vlan20 . 10.20.10.0/24 : accept }',
    finds: [
      /^input established vlan20 -> gateway: 10\.20\.10\.0 -> .*, not declared, accept, /,
      /^forward established vlan20 -> /,
    ],
  },
  {
    title: 'an interface that nobody declared',
    change:
      'add element inet sluice m_source_4 { wlan0 . 0.0.0.0/0 : accept }\nadd element inet sluice m_pairs { wlan0 . vlan10 : accept }',
    finds: [
      /^input established wlan0 -> gateway: /,
      /^forward new wlan0 -> vlan10: .*, not declared, accept, .*element wlan0 \. vlan10$/,
    ],
  },
  {
    title: 'a reverse path check that nobody declared',
    change: 'insert rule inet sluice g_raw fib saddr . mark . iif oif missing drop',
    finds: [
      /^forward new vlan40 -> vlan10: .* tcp\/502 \(no route back\), declared, dropped, by g_raw, rule 1 /,
    ],
  },
  {
    title: 'an echo request that became any ICMP',
    change: 'insert rule inet sluice g_output ip protocol icmp accept',
    finds: [
      /^output new gateway -> any other: \S+ -> \S+ icmp.*, not declared, accept, by g_output, rule 1 /,
    ],
  },
];

for (const { title, change, finds } of CHANGES) {
  t.test(`found: ${title}`, { skip }, (t) => {
    const policy = policyOf(PLANT);
    t.equal(proofOf(t, policy).proven, true, 'before the change');

    const proof = proofOf(t, policy, change);

    t.equal(proof.proven, false);
    const lines = told(proof);
    for (const expected of finds)
      t.ok(
        lines.some((line) => expected.test(line)),
        `${expected}\n${lines.join('\n')}`,
      );
    t.end();
  });
}

/** The shell's words for the number of a rule of a chain. */
const handleOf = (chain: string, what: string) =>
  `$(nft -a list chain inet sluice ${chain} | sed -n 's/.*${what} goto.*handle //p')`;

t.test('found: a quarantine rule that is gone, one by one', { skip }, (t) => {
  const policy = policyOf(PLANT);
  for (const [chain, what, finds] of [
    ['g_forward', 'ether saddr @q_mac', /^forward .*ether in quarantine/],
    ['g_forward', 'ip daddr @q_ip_4', /^forward .*destination in quarantine/],
    ['g_input', 'ip saddr @q_ip_4', /^input .*source in quarantine/],
    ['g_output', 'ip6 daddr @q_ip_6', /^output .*destination in quarantine/],
  ] as const) {
    const folder = t.testdir({ 'rules.json': render(compile(policy)) });
    const ran = inNamespace(
      `cd "$1"; nft -j -f rules.json; nft delete rule inet sluice ${chain} handle ${handleOf(chain, what)}; nft -j list table inet sluice`,
      folder,
    );
    const lines = told(prove(policy, ran.stdout));
    t.ok(
      lines.length > 0 && lines.every((line) => finds.test(line) && line.includes('not declared, accept')),
      lines.join('\n'),
    );
  }
  t.end();
});

t.test('numbers in place of names, handles and a listing of everything make no difference', { skip }, (t) => {
  const policy = policyOf(PLANT);
  const folder = t.testdir({ 'rules.json': render(compile(policy)) });
  for (const list of ['-j -n list table inet sluice', '-j -a list table inet sluice', '-j -s list ruleset']) {
    const ran = inNamespace(`cd "$1"; nft -j -f rules.json; nft ${list}`, folder);
    const proof = prove(policy, ran.stdout);
    t.equal(proof.proven, true, `${list}: ${told(proof).join('; ')}`);
  }
  const bare = inNamespace('cd "$1"; nft -j -f rules.json; nft -j -t list table inet sluice', folder);
  t.equal(prove(policy, bare.stdout).proven, false, 'without elements nothing is proven');
  t.end();
});

t.test('who is in quarantine now makes no difference to the proof', { skip }, (t) => {
  const change = `add element inet sluice q_mac { 02:00:00:00:20:11 }
add element inet sluice q_ip_4 { 10.20.20.11 }
add element inet sluice q_ip_6 { fd00:20::12 timeout 1h }`;
  const proof = proofOf(t, policyOf(PLANT), change);
  t.equal(proof.proven, true, told(proof).join('\n'));
  t.end();
});

t.test(
  'rules of mode observe do not pass for those of mode enforce, and the other way round',
  { skip },
  (t) => {
    const enforced = policyOf(PLANT);
    const observed: Policy = { ...enforced, mode: 'observe' };
    const [strict = '', loose = ''] = listings(
      t,
      [enforced, observed].map((policy) => ({ json: render(compile(policy)), change: '' })),
    );
    t.equal(prove(enforced, strict).proven, true);
    t.equal(prove(observed, loose).proven, true);

    const open = prove(enforced, loose);
    const shut = prove(observed, strict);

    t.match(told(open), [/not declared, accept, by /]);
    t.match(told(shut), [/not declared, dropped, by /]);
    t.end();
  },
);

t.test('in mode observe an accept without an objection is found', { skip }, (t) => {
  const policy: Policy = { ...policyOf(PLANT), mode: 'observe' };
  const proof = proofOf(t, policy, 'insert rule inet sluice d_control_supervision tcp dport 80 accept');
  t.match(told(proof), [
    /^forward new vlan10 -> vlan40: 10\.20\.10\.0 -> \S+ tcp\/80, not declared, accept, by /,
  ]);
  t.end();
});

const NOT_UNDERSTOOD: readonly string[] = [
  'add rule inet sluice g_output meta skuid 0 accept',
  'insert rule inet sluice g_forward meta mark 7 accept',
  'insert rule inet sluice g_forward ct mark 7 accept',
  'insert rule inet sluice g_forward ct direction reply accept',
  'insert rule inet sluice g_forward ct status dnat accept',
  'insert rule inet sluice g_forward limit rate 1/second accept',
  'insert rule inet sluice g_forward iifname "vlan*" accept',
  'insert rule inet sluice g_forward iifgroup 7 accept',
  'insert rule inet sluice g_forward tcp flags syn accept',
  'insert rule inet sluice g_forward tcp sport 80 accept',
  'insert rule inet sluice g_forward ip saddr != 10.20.40.1 ip daddr != 10.20.10.9 accept',
  'insert rule inet sluice g_forward ip saddr >= 10.20.10.1 ip daddr <= 10.20.10.9 accept',
  'insert rule inet sluice g_forward ip frag-off 0 accept',
  'insert rule inet sluice g_forward ip6 nexthdr tcp accept',
  'insert rule inet sluice g_forward @th,0,16 7 accept',
  'insert rule inet sluice g_forward th dport 7 accept',
  'insert rule inet sluice g_forward ip daddr & 0.0.0.1 == 0.0.0.1 accept',
  'insert rule inet sluice g_forward meta mark set 1',
  'insert rule inet sluice g_raw notrack',
  'insert rule inet sluice g_raw ip daddr set 10.0.0.1',
  'insert rule inet sluice g_raw oifname vlan10 drop',
  'insert rule inet sluice g_forward update @q_ip_4 { ip saddr }',
  'add chain inet sluice nat { type nat hook prerouting priority -100; }',
  'add chain inet sluice steer { type route hook output priority -150; }',
  'add element inet sluice r_supervision_control_4 { 10.20.40.7 . 10.20.10.0/24 . tcp . 500-510 : drop }',
  // The kernel goes on behind "continue", with the verdict that stands there.
  'insert rule inet sluice g_forward continue accept',
  'insert rule inet sluice g_forward iifname vmap { "vlan40" : continue } accept',
  'insert rule inet sluice g_forward iifname "vlan40" continue log accept',
  'insert rule inet sluice g_forward counter continue goto f_conduit_supervision_control_0',
  `add set inet sluice odd { type ipv4_addr; limit rate 1/second; elements = { 10.20.40.5 limit rate 1/second }; }
insert rule inet sluice g_forward ip saddr @odd accept`,
  `add set inet sluice odd { type ipv4_addr; flags timeout; elements = { 10.20.40.5 timeout 1h }; }
insert rule inet sluice g_forward ip saddr @odd accept`,
];

const COUNTER = { family: 'inet', table: 'sluice', name: 'n_odd', packets: 0, bytes: 0 };
/** Sets that hold nobody, as they are listed: they have no place in the policy, and decide all the same. */
const QUARANTINE: Readonly<Record<string, (set: Readonly<Record<string, unknown>>) => unknown>> = {
  'is gone': () => undefined,
  'lets some pass': (set) => ({ ...set, stmt: [{ limit: { rate: 1, per: 'second', burst: 5 } }] }),
  'forgets by itself': (set) => ({ ...set, timeout: 1 }),
  'holds something else': (set) => ({ ...set, type: 'inet_service' }),
};

t.test('a set of quarantine that is none is "not proven"', { skip }, (t) => {
  const policy = policyOf(PLANT);
  const [listed = ''] = listings(t, [{ json: render(compile(policy)), change: '' }]);
  for (const [what, change] of Object.entries(QUARANTINE)) {
    const changed = listed.replace(
      /\{"set": (\{"family": "inet", "name": "q_ip_4".*?\})\}/,
      (_, text: string) => {
        const set: unknown = JSON.parse(text);
        const odd = isRecord(set) ? change(set) : undefined;
        return JSON.stringify(odd === undefined ? { counter: COUNTER } : { set: odd });
      },
    );
    t.not(changed, listed);
    t.match(prove(policy, changed), { proven: false, notUnderstood: [{}] }, what);
  }
  t.end();
});

t.test('a construct that is not known is "not proven", with its place', { skip }, (t) => {
  const policy = policyOf(PLANT);
  const json = render(compile(policy));
  const listed = listings(
    t,
    NOT_UNDERSTOOD.map((change) => ({ json, change })),
  );

  for (const [i, change] of NOT_UNDERSTOOD.entries()) {
    const proof = prove(policy, listed[i] ?? '');
    const gaps = 'notUnderstood' in proof ? proof.notUnderstood : [];
    t.ok(!proof.proven && gaps.length > 0, change);
    t.ok(
      gaps.every(({ place, what }) => place !== '' && what !== ''),
      told(proof).join('; '),
    );
  }
  t.end();
});
