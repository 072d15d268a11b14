import t from 'tap';
import { noTwin, PlantTwin, type TwinHost, type TwinProbe } from '../support/plant-twin.ts';
import { rulesOf } from './policies.ts';

// Real packets through a gateway that holds the very rules that ship, each zone a namespace of its own. What is
// expected is written down here by hand.

const skip = noTwin();

const PLANT = `
gateway: { id: plant }
coap: { listen: "10.20.10.1:5683" }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
  metering: { vlan: 20, subnet: 10.20.20.0/24 }
  uplink: { interface: eth0 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp, icmp], because: "HMI" }
  - { from: supervision, to: control, only: { from: [10.20.40.5], to: [press-1] }, allow: [tcp/4840], because: "panel" }
  - { from: supervision, to: metering, only: { to: [meter] }, allow: [udp/5000-5010], because: "a class" }
  - { from: uplink, to: supervision, only: { from: [192.0.2.0/25] }, allow: [https], because: "service" }
  - { from: supervision, to: gateway, allow: [https, icmp], because: "admin page" }
  - { from: gateway, to: uplink, allow: [ntp], because: "time" }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
  siren: { zone: control, protocol: coap, points: { p: { push: true } } }
  meter: { zone: metering, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.21" }
  press-2: { class: press, at: "modbus-tcp://[fd00:10::22]" }
  siren-1: { class: siren, at: "coap://10.20.10.51" }
  meter-1: { class: meter, at: "modbus-tcp://10.20.20.11:1502" }
segmentation: { mode: MODE, management: { zone: uplink, from: [192.0.2.7], allow: [ssh] } }
`;

const HOSTS: readonly TwinHost[] = [
  {
    name: 'control',
    interface: 'vlan10',
    addresses: ['10.20.10.21/24', '10.20.10.22/24', '10.20.10.51/24', 'fd00:10::21/64', 'fd00:10::22/64'],
    gateway: ['10.20.10.1/24', 'fd00:10::1/64'],
    foreign: ['10.20.40.6/32', 'fd00:40::6/128'],
  },
  {
    name: 'supervision',
    interface: 'vlan40',
    addresses: ['10.20.40.5/24', '10.20.40.9/24', 'fd00:40::5/64'],
    gateway: ['10.20.40.1/24', 'fd00:40::1/64'],
  },
  {
    name: 'metering',
    interface: 'vlan20',
    addresses: ['10.20.20.11/24', '10.20.20.12/24', 'fd00:20::11/64'],
    gateway: ['10.20.20.1/24', 'fd00:20::1/64'],
  },
  {
    name: 'uplink',
    interface: 'eth0',
    addresses: ['192.0.2.7/24', '192.0.2.200/24', '2001:db8::7/64'],
    gateway: ['192.0.2.1/24', '2001:db8::1/64'],
    foreign: ['10.20.40.7/32'],
  },
  { name: 'stranger', interface: 'wlan0', addresses: ['10.66.0.2/24'], gateway: ['10.66.0.1/24'] },
];

/** `supervision 10.20.40.5 -> control 10.20.10.21 tcp/502` */
function probe(text: string, expected: boolean): TwinProbe {
  const [, from = '', source = '', to = '', target = '', protocol = '', port = '0'] =
    /^(\S+) (\S+) -> (\S+) (\S+) (tcp|udp|icmp)(?:\/(\d+))?$/.exec(text) ?? [];
  if (protocol !== 'tcp' && protocol !== 'udp' && protocol !== 'icmp') throw new Error(`no probe: ${text}`);
  return { from, source, to, target, protocol, port: Number(port), expected };
}

const all = (texts: readonly string[], expected: boolean): TwinProbe[] =>
  texts.map((text) => probe(text, expected));

const ALLOWED = [
  // The gateway polls, and devices push.
  'gateway 10.20.10.1 -> control 10.20.10.21 tcp/502',
  'gateway fd00:10::1 -> control fd00:10::22 tcp/502',
  'gateway 10.20.20.1 -> metering 10.20.20.11 tcp/1502',
  'control 10.20.10.51 -> gateway 10.20.10.1 udp/5683',
  // Conduits, in both families and of every kind.
  'supervision 10.20.40.9 -> control 10.20.10.22 tcp/502',
  'supervision fd00:40::5 -> control fd00:10::21 tcp/502',
  'supervision 10.20.40.9 -> control 10.20.10.22 icmp',
  'supervision fd00:40::5 -> control fd00:10::21 icmp',
  'supervision 10.20.40.5 -> control 10.20.10.21 tcp/4840',
  'supervision 10.20.40.9 -> metering 10.20.20.11 udp/5000',
  'supervision 10.20.40.9 -> metering 10.20.20.11 udp/5010',
  'uplink 192.0.2.7 -> supervision 10.20.40.5 tcp/443',
  'supervision 10.20.40.5 -> gateway 10.20.40.1 tcp/443',
  'supervision fd00:40::5 -> gateway fd00:40::1 tcp/443',
  'supervision 10.20.40.5 -> gateway 10.20.10.1 icmp',
  'gateway 192.0.2.1 -> uplink 192.0.2.200 udp/123',
  'gateway 2001:db8::1 -> uplink 2001:db8::7 udp/123',
  'uplink 192.0.2.7 -> gateway 192.0.2.1 tcp/22',
];

const DENIED = [
  // What the gateway does not poll.
  'gateway 10.20.10.1 -> control 10.20.10.22 tcp/502',
  'gateway 10.20.10.1 -> control 10.20.10.21 tcp/503',
  'gateway 10.20.10.1 -> control 10.20.10.21 udp/502',
  'gateway fd00:10::1 -> control fd00:10::21 tcp/502',
  'gateway 10.20.10.1 -> control 10.20.10.51 udp/5683',
  'gateway 10.20.10.1 -> control 10.20.10.21 icmp',
  'gateway 10.20.40.1 -> supervision 10.20.40.5 tcp/502',
  // Who does not push, and pushes that end elsewhere.
  'control 10.20.10.21 -> gateway 10.20.10.1 udp/5683',
  'control 10.20.10.51 -> gateway 10.20.40.1 udp/5683',
  'control 10.20.10.51 -> gateway 10.20.10.1 udp/5684',
  'control 10.20.10.51 -> gateway 10.20.10.1 tcp/443',
  'control fd00:10::21 -> gateway fd00:10::1 icmp',
  // Conduits backward, and beside what they name.
  'control 10.20.10.21 -> supervision 10.20.40.5 tcp/502',
  'control fd00:10::21 -> supervision fd00:40::5 tcp/502',
  'control 10.20.10.21 -> supervision 10.20.40.5 icmp',
  'control fd00:10::21 -> supervision fd00:40::5 icmp',
  'supervision 10.20.40.5 -> control 10.20.10.21 tcp/503',
  'supervision 10.20.40.5 -> control 10.20.10.21 udp/502',
  'supervision 10.20.40.9 -> control 10.20.10.21 tcp/4840',
  'supervision 10.20.40.5 -> control 10.20.10.22 tcp/4840',
  'supervision fd00:40::5 -> control fd00:10::21 tcp/4840',
  'supervision 10.20.40.9 -> metering 10.20.20.12 udp/5000',
  'supervision 10.20.40.9 -> metering 10.20.20.11 udp/4999',
  'supervision 10.20.40.9 -> metering 10.20.20.11 udp/5011',
  'supervision 10.20.40.9 -> metering 10.20.20.11 icmp',
  'metering 10.20.20.11 -> control 10.20.10.21 tcp/502',
  // The world outside.
  'uplink 192.0.2.200 -> supervision 10.20.40.5 tcp/443',
  'uplink 2001:db8::7 -> supervision fd00:40::5 tcp/443',
  'uplink 192.0.2.200 -> gateway 192.0.2.1 tcp/22',
  'uplink 192.0.2.7 -> gateway 192.0.2.1 tcp/443',
  'gateway 192.0.2.1 -> uplink 192.0.2.200 tcp/8883',
  'control 10.20.10.21 -> uplink 192.0.2.7 udp/123',
  // An interface that nobody declared.
  'stranger 10.66.0.2 -> gateway 10.66.0.1 tcp/443',
  'stranger 10.66.0.2 -> control 10.20.10.21 tcp/502',
  'supervision 10.20.40.5 -> stranger 10.66.0.2 tcp/443',
];

/** What would be allowed, were it not for the source. */
const SPOOFED = [
  'control 10.20.40.6 -> metering 10.20.20.11 udp/5000',
  'control fd00:40::6 -> gateway fd00:10::1 tcp/443',
  'uplink 10.20.40.7 -> control 10.20.10.21 tcp/502',
];

const rules = (mode: string): string => rulesOf(PLANT.replace('MODE', mode));

/** What another program accepts, before and after, is no permission: a drop of ours is final. */
const ACCEPTS_ALL = JSON.stringify({
  nftables: [
    { add: { table: { family: 'inet', name: 'other' } } },
    ...['input', 'forward', 'output'].flatMap((hook) =>
      [-10, 10].flatMap((prio, i) => {
        const here = { family: 'inet', table: 'other' };
        const name = `${hook}-${i}`;
        return [
          { add: { chain: { ...here, name, type: 'filter', hook, prio, policy: 'accept' } } },
          { add: { rule: { ...here, chain: name, expr: [{ accept: null }] } } },
        ];
      }),
    ),
  ],
});

t.test('what is declared passes, and nothing else', { skip }, async (t) => {
  const folder = t.testdir({ 'enforce.json': rules('enforce'), 'other.json': ACCEPTS_ALL });
  await using twin = new PlantTwin();
  await twin.build(HOSTS);
  const everything = [...ALLOWED, ...DENIED];
  const without = await twin.probe(all(everything, true));
  t.same(
    everything.filter((_, i) => without[i] !== true),
    [],
    'without rules everything arrives: the twin itself is sound',
  );

  await twin.load(`${folder}/other.json`);
  await twin.load(`${folder}/enforce.json`);
  const arrived = await twin.probe([...all(ALLOWED, true), ...all(DENIED, false)]);

  t.same(
    everything.filter((_, i) => arrived[i] === true),
    ALLOWED,
  );
  const counters = await twin.counters();
  for (const flow of ['poll_control', 'push_control', 'management', 'conduit_supervision_control_1']) {
    t.ok((counters.get(`n_flow_${flow}`) ?? 0) > 0, `${flow} was counted`);
  }
  for (const denied of ['control_supervision', 'uplink_gateway', 'gateway_control', 'undeclared']) {
    t.ok((counters.get(`n_denied_${denied}`) ?? 0) > 0, `${denied} was counted`);
  }
});

t.test('what is denied is logged with its two zones, a few lines for each source', { skip }, async (t) => {
  const [AT_ONCE, EACH, MANY] = [3, 1, 40];
  const folder = t.testdir({ 'enforce.json': rules('enforce') });
  await using twin = new PlantTwin();
  await twin.build(HOSTS);
  await twin.load(`${folder}/enforce.json`);
  const begun = performance.now();
  const many = (from: string): TwinProbe[] =>
    all(
      Array.from({ length: MANY }, (_, i) => `supervision ${from} -> metering 10.20.20.11 udp/${7_000 + i}`),
      false,
    );

  const arrived = await twin.probe([
    ...many('10.20.40.5'),
    ...many('10.20.40.9'),
    probe('control fd00:10::21 -> supervision fd00:40::5 icmp', false),
    probe('stranger 10.66.0.2 -> gateway 10.66.0.1 tcp/443', false),
  ]);

  t.notOk(arrived.includes(true));
  const lines = Map.groupBy(await twin.logged(), (prefix) => prefix);
  const count = (prefix: string): number => lines.get(prefix)?.length ?? 0;
  const most = 2 * (AT_ONCE + EACH * Math.ceil((performance.now() - begun) / 1_000));
  t.ok(count('sluice denied supervision metering ') >= 2 * AT_ONCE, 'both sources have their lines');
  t.ok(count('sluice denied supervision metering ') <= most, `and no more than ${most}`);
  t.ok(count('sluice denied control supervision ') > 0);
  t.ok(count('sluice denied foreign source ') > 0);
  t.same(
    [...lines.keys()].filter((prefix) => !prefix.startsWith('sluice denied ')),
    [],
  );
});

t.test('a source that is not of its zone is dropped at the door', { skip }, async (t) => {
  const folder = t.testdir({ 'enforce.json': rules('enforce') });
  await using twin = new PlantTwin();
  await twin.build(HOSTS);
  await twin.load(`${folder}/enforce.json`);

  // Who lies finds no neighbour under a false name: the gateway has to be known already.
  await twin.probe([probe('control fd00:10::21 -> gateway fd00:10::1 tcp/444', false)]);

  const arrived = await twin.probe(all(SPOOFED, false));

  t.same(arrived, [false, false, false]);
  const counters = await twin.counters();
  t.ok((counters.get('n_denied_spoofed') ?? 0) >= SPOOFED.length);
});

t.test('a zone without IPv6 has none, not even neighbours', { skip }, async (t) => {
  const folder = t.testdir({ 'enforce.json': rules('enforce') });
  await using twin = new PlantTwin();
  await twin.build(HOSTS);
  await twin.load(`${folder}/enforce.json`);

  const [arrived] = await twin.probe([probe('metering fd00:20::11 -> gateway fd00:20::1 icmp', false)], {
    noise: true,
  });

  t.equal(arrived, false);
  t.ok(((await twin.counters()).get('n_denied_ipv6') ?? 0) > 0);
});

t.test('what is too long for one frame is judged as a whole', { skip }, async (t) => {
  const folder = t.testdir({ 'enforce.json': rules('enforce') });
  await using twin = new PlantTwin();
  await twin.build(HOSTS);
  await twin.load(`${folder}/enforce.json`);

  const arrived = await twin.probe([
    { ...probe('supervision 10.20.40.9 -> metering 10.20.20.11 udp/5005', true), size: 5_000 },
    { ...probe('supervision 10.20.40.9 -> metering 10.20.20.12 udp/5005', false), size: 5_000 },
  ]);

  t.same(arrived, [true, false]);
});

const CELL: readonly TwinHost[] = ['2', '3'].map((last) => ({
  name: `robot-${last}`,
  interface: 'vlan50',
  // Alone in its subnet: what goes to a neighbour passes the gateway.
  addresses: [`10.20.50.${last}/32`, `fd00:50::${last}/128`],
  gateway: ['10.20.50.1/24', 'fd00:50::1/64'],
}));

const cell = (within: string): string =>
  rulesOf(`
gateway: { id: plant }
zones: { cell: { vlan: 50, subnet: [10.20.50.0/24, "fd00:50::/64"], within: ${within} } }
segmentation: { mode: enforce, management: { zone: cell, from: [10.20.50.250], allow: [ssh] } }
`);

t.test('devices of a zone reach one another where the zone allows it', { skip }, async (t) => {
  const folder = t.testdir({ 'allow.json': cell('allow'), 'deny.json': cell('deny') });
  const ways = [
    'robot-2 10.20.50.2 -> robot-3 10.20.50.3 tcp/7000',
    'robot-3 10.20.50.3 -> robot-2 10.20.50.2 udp/7000',
    'robot-2 fd00:50::2 -> robot-3 fd00:50::3 tcp/7000',
    'robot-2 fd00:50::2 -> robot-3 fd00:50::3 icmp',
  ];
  await using twin = new PlantTwin();
  await twin.build(CELL);

  await twin.load(`${folder}/deny.json`);
  t.same(await twin.probe(all(ways, false)), [false, false, false, false]);
  await twin.load(`${folder}/allow.json`);
  t.same(await twin.probe(all(ways, true)), [true, true, true, true]);
});

t.test('a connection lives while its rules are loaded again, and dies in quarantine', { skip }, async (t) => {
  const folder = t.testdir({ 'enforce.json': rules('enforce') });
  await using twin = new PlantTwin();
  await twin.build(HOSTS);
  await twin.load(`${folder}/enforce.json`);
  t.ok(await twin.open(probe('supervision 10.20.40.9 -> control 10.20.10.22 tcp/502', true)));
  t.ok(await twin.talk(), 'a word each way');

  await twin.load(`${folder}/enforce.json`);
  t.ok(await twin.talk(), 'and after the rules were replaced');

  await twin.nft('add', 'element', 'inet', 'sluice', 'q_ip_4', '{ 10.20.10.22 }');
  const [other, quarantined] = await twin.probe([
    probe('supervision 10.20.40.9 -> control 10.20.10.21 tcp/502', true),
    probe('supervision 10.20.40.9 -> control 10.20.10.22 tcp/502', false),
  ]);
  t.equal(other, true, 'its neighbour goes on');
  t.equal(quarantined, false, 'who is in quarantine does not');
  const counters = await twin.counters();
  t.ok((counters.get('n_denied_quarantined') ?? 0) > 0);
});

t.test('observing, everything passes, and what would be denied is counted', { skip }, async (t) => {
  const folder = t.testdir({ 'observe.json': rules('observe') });
  await using twin = new PlantTwin();
  await twin.build(HOSTS);
  await twin.load(`${folder}/observe.json`);

  const everything = [...ALLOWED, ...DENIED];
  const arrived = await twin.probe(all(everything, true));

  t.same(
    everything.filter((_, i) => arrived[i] !== true),
    [],
  );
  const counters = await twin.counters();
  for (const denied of [
    'control_supervision',
    'supervision_metering',
    'uplink_gateway',
    'gateway_control',
    'undeclared',
  ]) {
    t.ok((counters.get(`n_would_deny_${denied}`) ?? 0) > 0, `${denied} was counted`);
  }
  t.same(
    [...counters.keys()].filter((name) => name.startsWith('n_denied')),
    [],
  );
});
