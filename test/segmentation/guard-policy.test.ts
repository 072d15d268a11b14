import t from 'tap';
import { parseConfig } from '../../src/config/parse.ts';
import { epochMs } from '../../src/core/units.ts';
import { type Connection, Judge } from '../../src/segmentation/connections.ts';
import { declare } from '../../src/segmentation/declare.ts';
import { guardsOf, observesAt } from '../../src/segmentation/guards.ts';
import { islanded } from '../../src/segmentation/island.ts';
import { noRules } from '../support/namespace.ts';
import { proofOf, told } from './listed.ts';
import { policyOf } from './policies.ts';

// Guarded conduits as a policy: what contradicts them, whose connections they allow, and what the proof finds.

const skip = noRules();

const plant = (conduits: string, more = 'mode: enforce'): string => `
gateway: { id: plant7 }
zones:
  control: { vlan: 10, subnet: [10.20.10.0/24, "fd00:10::/64"] }
  supervision: { vlan: 40, subnet: [10.20.40.0/24, "fd00:40::/64"] }
conduits:
${conduits}
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
  press-1: { class: press, at: "modbus-tcp://10.20.10.11?unit=1" }
  press-2: { class: press, at: "modbus-tcp://10.20.10.12" }
  press-3: { class: press, at: "modbus-tcp://10.20.10.11?unit=2" }
segmentation: { ${more}, management: { zone: supervision, from: [10.20.40.2], allow: [ssh] } }
`;
const line = (allow: string, more = ''): string =>
  `  - { from: supervision, to: control, allow: [${allow}], because: "b"${more} }`;
const READ = line('modbus-tcp/read');
const FILTERED = line('modbus-tcp/read', ', guard: { grade: filtered }');

function parsed(yaml: string) {
  const read = parseConfig(yaml, '/plant/gateway.yaml', 'gateway.yaml');
  if (!('config' in read)) throw new Error(JSON.stringify(read.problems));
  return read.config;
}

const many = (write: string): string => `
gateway: { id: plant7 }
zones:
  control: { vlan: 10, subnet: 10.20.0.0/16 }
  supervision: { vlan: 40, subnet: 10.30.0.0/24 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp], because: "b", guard: { write: ["${write}"] } }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
${Array.from({ length: 200 }, (_, i) => `  press-${i}: { class: press, at: "modbus-tcp://10.20.1.${i + 1}" }`).join('\n')}
segmentation: { mode: enforce, management: { zone: supervision, from: [10.30.0.2], allow: [ssh] } }
`;

const targetsOf = (write: string) => guardsOf(parsed(many(write))).flatMap(({ targets }) => targets);

t.test('where the port of one guard was that of another before, they knock otherwise', async (t) => {
  const [before, after] = [targetsOf('holding:5'), targetsOf('holding:6')];

  const same = after.flatMap((one) => {
    const other = before.find(({ listener }) => listener === one.listener);
    return other === undefined ? [] : [{ one, other }];
  });
  t.ok(same.length > 0, `${same.length} ports of 200`);
  for (const { one, other } of same) t.notSame(one.knock, other.knock, `${one.host}, before ${other.host}`);
  const knocks = [...before, ...after].map(({ knock }) => knock);
  t.equal(new Set(knocks.map(({ from, to }) => `${from} ${to}`)).size, 400);
  t.ok(
    knocks.every(({ from, to }) => [from, to].every((at) => at >> 22n === 0x7f80_0000n >> 22n)),
    'from the machine itself to itself: 127.128.0.0/10',
  );
});

t.test('what would be a way around a guard is refused', async (t) => {
  for (const [conduits, found] of [
    [[READ, line('tcp/1-1000')], /conduits\[1\] allows connections that are guarded here/],
    [
      [READ, line('modbus-tcp', ', only: { to: [press-2] }')],
      /conduits\[1\] allows connections that are guarded/,
    ],
    [[READ, line('modbus-tcp/read', ', only: { from: [10.20.40.7] }')], /conduits\[1\] guards them too/],
    [[FILTERED, READ], /guards them too/],
    [[line('modbus-tcp/read, tcp/502')], /allows the port of its guarded devices beside the guard/],
    [
      [line('modbus-tcp/read', ', only: { to: [press-1] }, guard: { grade: filtered }')],
      /other devices behind the address of press-1/,
    ],
    [
      [FILTERED, line('https', ', observe-until: 2030-01-01')],
      /filtered, between two zones that are observed/,
    ],
  ] as const) {
    const declared = declare(parsed(plant(conduits.join('\n'))));
    t.match(
      'problems' in declared && declared.problems.map((one) => one.found),
      [found],
      conduits.join('\n'),
    );
  }
  t.ok(
    'policy' in declare(parsed(plant([READ, line('https')].join('\n')))),
    'what has nothing to do with it is not',
  );
});

const at = (yaml: string, now: number): boolean | undefined => {
  const [guard] = guardsOf(parsed(yaml));
  return guard && observesAt(guard, epochMs(now));
};

t.test('a guard observes as long as the rules do, and by a clock that is right', async (t) => {
  const until = Date.UTC(2030, 0, 1);
  const days = [
    ['by its own conduit', plant(line('modbus-tcp/read', ', observe-until: 2030-01-01'))],
    ['by another one of its zones', plant([READ, line('https', ', observe-until: 2030-01-01')].join('\n'))],
    ['by mode', plant(READ, 'mode: observe, observe-until: 2030-01-01')],
  ] as const;
  for (const [name, yaml] of days) {
    t.equal(at(yaml, until - 1), true, name);
    t.equal(at(yaml, until), false, `${name}: then it is over`);
    t.equal(at(yaml, 0), false, `${name}: a clock that lost its time`);
  }
  t.equal(at(plant(READ), until - 1), false);
  t.equal(at(plant(READ, 'mode: observe'), until + 1), true, 'mode observe without an end');
});

t.test(
  'connections at a guard are those of its clients to its devices, and past it there are none',
  async (t) => {
    const policy = policyOf(plant(READ));
    const port = policy.flows.find(({ guard }) => guard !== undefined)?.guard?.listeners[0]?.port ?? 0;
    const connection = (more: Partial<Connection>): Connection => ({
      family: 4,
      protocol: 6,
      source: '10.20.40.9',
      destination: '10.20.10.11',
      sourcePort: 40_000,
      destinationPort: 502,
      icmp: undefined,
      answers: { address: '10.20.40.1', port },
      answered: true,
      trackingZone: 0,
      id: 1,
      ...more,
    });
    const own = ['10.20.10.1', '10.20.40.1'];
    const judge = new Judge(policy, own);
    t.equal(judge.judge(connection({})), 'allowed');
    t.equal(judge.flowsOf(connection({}))[0], 'conduit-supervision-control-0');
    for (const [more, why] of [
      [{ destination: '10.20.10.12' }, 'to the guard of another device'],
      [{ destination: '10.20.40.1', destinationPort: port }, 'straight to its port'],
      [{ destinationPort: 503 }, 'from another port'],
      [{ source: '10.20.10.99' }, 'of another zone'],
      [{ answers: { address: '10.20.10.11', port: 502 } }, 'past it'],
    ] as const)
      t.equal(judge.judge(connection(more)), 'forbidden', why);
    t.equal(new Judge(islanded(policy), own).judge(connection({})), 'forbidden', 'an island cuts it');
    const filtered = new Judge(policyOf(plant(FILTERED)), own);
    t.equal(filtered.judge(connection({ answers: { address: '10.20.10.11', port: 502 } })), 'allowed');
  },
);

const FOUND: readonly (readonly [title: string, conduits: string, change: string, finds: RegExp])[] = [
  [
    'a redirect to somewhere else',
    READ,
    'add element inet sluice p_guard_4 { vlan40 . 10.20.40.0/24 . 10.20.10.99 . 502 : 22 }',
    /10\.20\.10\.99 tcp\/502.*the redirects, which lead it to port 22/,
  ],
  ['a chain of redirects that was flushed', READ, 'flush chain inet sluice g_guard', /leads no connection/],
  [
    'a way past the guard',
    READ,
    'insert rule inet sluice g_forward ip daddr 10.20.10.11 tcp dport 502 accept',
    /forward .*10\.20\.10\.11 tcp\/502.*not declared, accept, by g_forward, rule 1/,
  ],
  [
    'a guarded element that is gone',
    READ,
    'delete element inet sluice m_guarded_4 { vlan40 . 10.20.40.0/24 . 10.20.10.11 . 502 }',
    /forward established .*10\.20\.10\.11 tcp\/502.*not declared, accept/,
  ],
  [
    'somebody who goes straight to the port of a guard',
    READ,
    'insert rule inet sluice g_input iifname vlan40 tcp dport 20480 accept',
    /input new .*not declared, accept, by g_input, rule 1/,
  ],
  [
    'a gateway of another file that may knock',
    READ,
    'add element inet sluice m_knock { 127.0.0.1 . 127.0.0.1 . PORT : accept }',
    /input new lo .*127\.0\.0\.1 -> 127\.0\.0\.1.*not declared, accept/,
  ],
  [
    'a listener that anybody of the machine may knock at',
    READ,
    'delete element inet sluice m_listeners { PORT }',
    /input new lo .*not declared, accept/,
  ],
  [
    'a filter with another function',
    FILTERED,
    'insert rule inet sluice x_request @ih,16,48 & 0xffffffff00ff == 0x060006 goto x_read',
    /chain x_request looks at segments otherwise/,
  ],
  [
    'a filter that is not asked',
    FILTERED,
    'delete element inet sluice m_guarded_4 { vlan40 . 10.20.40.0/24 . 10.20.10.11 . 502 }',
    /tcp\/502.*by no filter, whatever it carries/,
  ],
  [
    'a filter that lets everything pass behind it',
    FILTERED,
    'flush chain inet sluice d_noread; add rule inet sluice d_noread goto x_read',
    /what comes behind the filter, where it is no read/,
  ],
  [
    'a filter of something else',
    FILTERED,
    'add element inet sluice m_guarded_4 { vlan40 . 10.20.40.0/24 . 10.20.10.99 . 502 : goto x_filter_4 }',
    /10\.20\.10\.99 tcp\/502.*by a filter, where it is no read/,
  ],
  [
    'a way for resets that others may go',
    FILTERED,
    'add element inet sluice m_told_4 { vlan40 . 10.20.10.99 . 10.20.40.0/24 . tcp : accept }',
    /output related .*not declared, accept/,
  ],
];

for (const [title, conduits, change, finds] of FOUND) {
  t.test(`found: ${title}`, { skip }, async (t) => {
    const policy = policyOf(plant(conduits));
    t.equal(proofOf(t, policy).proven, true, 'before the change');
    const [listener] = policy.flows.flatMap(({ guard }) => guard?.listeners ?? []);
    const lines = change.replaceAll('; ', '\n').replace('PORT', String(listener?.port));
    const proof = proofOf(t, policy, lines);
    t.equal(proof.proven, false);
    t.match(told(proof).join('\n'), finds);
  });
}
