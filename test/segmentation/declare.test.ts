import t from 'tap';
import { formatAddress } from '../../src/config/network.ts';
import type { AddressRange, Flow, Policy } from '../../src/segmentation/policy.ts';
import { policyOf } from './policies.ts';

/** `a>b tcp/502 10.0.0.1,10.0.0.2` on each side, as short as a person would say it. */
function said({ flows }: Policy): string[] {
  return flows.map((flow) => `${flow.name}: ${end(flow.from)} > ${end(flow.to)} ${traffic(flow)}`);
}

function traffic({ protocol, ports: [low, high] }: Flow): string {
  if (protocol !== 'tcp' && protocol !== 'udp') return protocol;
  return low === high ? `${protocol}/${low}` : `${protocol}/${low}-${high}`;
}

const end = ({ zone, v4, v6 }: Flow['from']): string =>
  `${zone}(${[...text(4, v4), ...text(6, v6)].join(' ')})`;

function text(family: 4 | 6, list: readonly AddressRange[]): string[] {
  return list.map(({ low, high }) => {
    if (low === 0n && high > 1n << 31n) return `any${family}`;
    const [first, last] = [formatAddress(family, low), formatAddress(family, high)];
    return low === high ? first : `${first}..${last}`;
  });
}

const CLASSES = `
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
  tank: { zone: control, protocol: coap, points: { p: { at: /p } } }
  siren: { zone: control, protocol: coap, points: { p: { push: true } } }
  both: { zone: control, protocol: coap, points: { p: { at: /p }, q: { push: true } } }
`;
const plant = (zones: string, more: string): string =>
  `gateway: { id: plant }\nsegmentation: { mode: observe }\nzones: ${zones}\n${more}`;
const LISTENING = 'coap: { listen: "10.0.0.1:5683" }';
const CONTROL = '{ control: { vlan: 10, subnet: 10.0.0.0/24 }, up: { interface: eth0 } }';

t.test('the gateway reaches devices exactly where their addresses say', async (t) => {
  const policy = policyOf(
    plant(
      '{ control: { vlan: 10, subnet: [10.0.0.0/24, "fd00::/64"] } }',
      `${LISTENING}${CLASSES}
devices:
  a: { class: press, at: "modbus-tcp://10.0.0.12?unit=1" }
  b: { class: press, at: "modbus-tcp://10.0.0.12?unit=2" }
  c: { class: press, at: "modbus-tcp://[fd00::5]" }
  d: { class: press, at: "modbus-tcp://10.0.0.11" }
  e: { class: press, at: "modbus-rtu-tcp://10.0.0.13:4001" }
  f: { class: tank, at: "coap://10.0.0.14" }
`,
    ),
  );

  t.same(said(policy), [
    'poll-control: gateway(any4 any6) > control(10.0.0.11 10.0.0.12 fd00::5) tcp/502',
    'poll-control: gateway(any4) > control(10.0.0.13) tcp/4001',
    'poll-control: gateway(any4) > control(10.0.0.14) udp/5683',
  ]);
  t.same(
    policy.flows.map(({ path, devices }) => [path, devices]),
    [
      ['devices', ['a', 'b', 'c', 'd']],
      ['devices.e', ['e']],
      ['devices.f', ['f']],
    ],
  );
});

t.test('a device that only pushes is not asked, and reaches coap.listen', async (t) => {
  const devices = `${CLASSES}
devices:
  a: { class: siren, at: "coap://10.0.0.21" }
  b: { class: both, at: "coap://10.0.0.22" }
`;
  t.same(said(policyOf(plant(CONTROL, `${LISTENING}${devices}`))), [
    'poll-control: gateway(any4) > control(10.0.0.22) udp/5683',
    'push-control: control(10.0.0.21 10.0.0.22) > gateway(10.0.0.1) udp/5683',
  ]);
  t.same(
    said(policyOf(plant(CONTROL, `coap: { listen: "0.0.0.0:5600" }${devices}`)))[1],
    'push-control: control(10.0.0.21 10.0.0.22) > gateway(any4) udp/5600',
  );
});

const upstream = (url: string): string[] =>
  said(policyOf(plant(CONTROL, `mqtt: { upstream: { url: "${url}", ca: ca.pem } }`)));

t.test('the upstream is reached where it is, and a name is any address beyond the plant', async (t) => {
  t.same(upstream('mqtts://192.0.2.8'), ['upstream-up: gateway(any4) > up(192.0.2.8) tcp/8883']);
  t.same(upstream('mqtts://10.0.0.8:1'), ['upstream-control: gateway(any4) > control(10.0.0.8) tcp/1']);
  t.same(upstream('mqtts://127.0.0.1'), [], 'that never leaves the machine');
  t.same(upstream('mqtts://broker.example.com'), [
    'upstream-up: gateway(any4 any6) > up(1.0.0.0..9.255.255.255 10.0.1.0..126.255.255.255 128.0.0.0..223.255.255.255 ' +
      '::2..::fffe:ffff:ffff ::1:0:0:0..fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff fec0::..feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff) tcp/8883',
  ]);
});

t.test('an upstream that no zone has is a contradiction', async (t) => {
  for (const [url, found] of [
    ['mqtts://10.9.0.1', /no zone has 10\.9\.0\.1/],
    ['mqtts://broker.example.com', /is a name, and no zone has the rest of the world/],
  ] as const) {
    const yaml = plant(
      '{ a: { vlan: 1, subnet: 10.0.0.0/24 } }',
      `mqtt: { upstream: { url: "${url}", ca: ca.pem } }`,
    );
    t.throws(() => policyOf(yaml), { message: found });
    t.doesNotThrow(() => policyOf(yaml.replace('mode: observe', 'mode: off')));
  }
});

t.test('conduits are services between zones, or between the parts that they name', async (t) => {
  const zones =
    '{ control: { vlan: 10, subnet: 10.0.0.0/24 }, hmi: { vlan: 20, subnet: [10.1.0.0/24, "fd00::/64"] } }';
  const conduits = (...lines: readonly string[]): string[] =>
    said(
      policyOf(
        plant(
          zones,
          `conduits: [${lines.join(', ')}]\n${LISTENING}${CLASSES}
devices:
  a: { class: press, at: "modbus-tcp://10.0.0.11" }
  b: { class: press, at: "modbus-tcp://10.0.0.12" }
`,
        ),
      ),
    ).slice(1);

  t.same(conduits('{ from: hmi, to: control, allow: [dns, icmp, tcp/1-9], because: x }'), [
    'conduit-hmi-control-0: hmi(10.1.0.0..10.1.0.255) > control(10.0.0.0..10.0.0.255) udp/53',
    'conduit-hmi-control-0: hmi(10.1.0.0..10.1.0.255) > control(10.0.0.0..10.0.0.255) tcp/53',
    'conduit-hmi-control-0: hmi(10.1.0.0..10.1.0.255) > control(10.0.0.0..10.0.0.255) icmp',
    'conduit-hmi-control-0: hmi(10.1.0.0..10.1.0.255) > control(10.0.0.0..10.0.0.255) tcp/1-9',
  ]);
  t.same(
    conduits(
      '{ from: hmi, to: control, allow: [ssh], because: x, only: { from: ["fd00::1", 10.1.0.5], to: [press, 10.0.0.12, 10.0.0.128/25] } }',
      '{ from: control, to: gateway, allow: [https], because: x, only: { to: [10.0.0.1] } }',
      '{ from: hmi, to: control, allow: [ssh], because: y }',
    ),
    [
      'conduit-hmi-control-0: hmi(10.1.0.5) > control(10.0.0.11 10.0.0.12 10.0.0.128..10.0.0.255) tcp/22',
      'conduit-control-gateway-0: control(10.0.0.0..10.0.0.255) > gateway(10.0.0.1) tcp/443',
      'conduit-hmi-control-1: hmi(10.1.0.0..10.1.0.255) > control(10.0.0.0..10.0.0.255) tcp/22',
    ],
    'numbered among those of the same zones, in the families that both ends have',
  );
});

t.test('management and what a zone may do within itself', async (t) => {
  const yaml = plant(CONTROL, '').replace(
    '{ mode: observe }',
    '{ mode: enforce, management: { zone: up, from: [192.0.2.7], allow: [ssh, icmp] } }',
  );
  t.same(said(policyOf(yaml)), [
    'management: up(192.0.2.7) > gateway(any4) tcp/22',
    'management: up(192.0.2.7) > gateway(any4) icmp',
  ]);
  t.same(said(policyOf(plant('{ a: { vlan: 1, subnet: 10.0.0.0/30, within: allow } }', ''))), [
    'within-a: a(10.0.0.0..10.0.0.3) > a(10.0.0.0..10.0.0.3) tcp/0-65535',
    'within-a: a(10.0.0.0..10.0.0.3) > a(10.0.0.0..10.0.0.3) udp/0-65535',
    'within-a: a(10.0.0.0..10.0.0.3) > a(10.0.0.0..10.0.0.3) icmp',
  ]);
});

t.test('segmentation that is off declares nothing, whatever else there is', async (t) => {
  const yaml = `gateway: { id: plant }\nzones: { control: { subnet: 10.0.0.0/24 } }\nconduits: [{ from: control, to: gateway, allow: [ssh], because: x }]`;
  t.same(policyOf(yaml), { mode: 'off', zones: [], flows: [] });
});
