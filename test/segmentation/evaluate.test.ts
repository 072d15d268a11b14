import * as fc from 'fast-check';
import t from 'tap';
import { ipv4Value, ipv6Value } from '../../src/segmentation/addresses.ts';
import { type Evaluation, evaluate } from '../../src/segmentation/evaluate.ts';
import { ValueReader } from '../../src/segmentation/field-value.ts';
import { Follower } from '../../src/segmentation/follow.ts';
import { type Listing, parseListing } from '../../src/segmentation/listing.ts';
import { ABSENT, type Packet, packetText, type State } from '../../src/segmentation/packet.ts';
import { OTHER_INTERFACE, PacketSpace } from '../../src/segmentation/packet-space.ts';
import { anyTable, type Json, WORLD } from './any-table.ts';

interface Evaluated {
  readonly space: PacketSpace;
  readonly listing: Listing;
  readonly evaluation: Evaluation;
}

function evaluated(objects: readonly unknown[]): Evaluated {
  const space = new PacketSpace();
  const values = new ValueReader((name) => space.interfaceNumber(name));
  const listing = parseListing(JSON.stringify({ nftables: objects }), values);
  for (const name of ['lo', ...WORLD.interfaces]) space.interfaceNumber(name);
  return { space, listing, evaluation: evaluate(space, listing) };
}

function packet(some: Partial<Packet>): Packet {
  const ordinary = { hook: 'forward', family: 'ipv4', state: 'new', in: 'vlan10', out: 'vlan20' } as const;
  const rest = {
    protocol: 6,
    port: 22,
    hopLimit: 64,
    ether: ABSENT,
    reversePath: true,
    quarantine: 0,
  } as const;
  return {
    ...ordinary,
    ...rest,
    source: ipv4Value('10.0.0.1') ?? 0,
    destination: ipv4Value('10.0.0.2') ?? 0,
    ...some,
  };
}

/** Every packet of a small world. */
const PACKETS: readonly Packet[] = ['ipv4' as const, 'ipv6' as const].flatMap((family) => {
  const addresses: readonly (number | bigint)[] =
    family === 'ipv4'
      ? WORLD.ipv4.map((text) => ipv4Value(text) ?? 0)
      : WORLD.ipv6.map((text) => ipv6Value(text) ?? 0n);
  const transports = [
    ...WORLD.ports.flatMap((port) => [6, 17].map((protocol) => ({ protocol, port }))),
    { protocol: 17, port: ABSENT },
    { protocol: 1, port: 8 },
    { protocol: 58, port: 128 },
    { protocol: 47, port: 80 },
  ];
  return addresses.flatMap((source, i) =>
    addresses.slice(0, 2).flatMap((destination) =>
      transports.flatMap((transport) =>
        (['new', 'established', 'related', 'invalid'] as const).map((state: State, j) =>
          packet({
            ...{ hook: 'input', out: '', family, source, destination, state, ...transport },
            hopLimit: [1, 64, 255][(i + j) % 3] ?? 64,
            in: WORLD.interfaces[(i + j) % 2] ?? '',
          }),
        ),
      ),
    ),
  );
});

t.test('sets of packets meet the same end as each of their packets by itself', (t) => {
  let accepted = 0;
  fc.assert(
    fc.property(anyTable('input'), (objects) => {
      const { space, listing, evaluation } = evaluated(objects);
      const unknown = evaluation.gaps.filter(
        ({ what }) => !/^has two "not equal"|elements disagree|^may look at the family/.test(what),
      );
      if (unknown.length > 0) throw new Error(JSON.stringify(unknown));
      if (evaluation.gaps.some(({ what }) => what.includes('disagree'))) return;
      const follower = new Follower(space, listing);
      for (const one of PACKETS) {
        const { outcome, rule } = follower.follow(one);
        if ((outcome === 'accept') !== space.contains(evaluation.accepted, one)) {
          throw new Error(`${packetText(one)}: ${outcome} by ${rule}`);
        }
        if (outcome === 'accept') accepted += 1;
      }
    }),
    { numRuns: Number(process.env['EVALUATE_RUNS'] ?? '120') },
  );
  t.ok(accepted > 1_000, 'some of them pass');
  t.end();
});

const own = { family: 'inet', table: 'sluice' };
const field = (protocol: string, name: string): Json => ({ payload: { protocol, field: name } });
const meta = (key: string): Json => ({ meta: { key } });
const match = (left: Json, op: string, right: unknown): Json => ({ match: { op, left, right } });
const STATE: Json = { ct: { key: 'state' } };
const accept: Json = { accept: null };
const drop: Json = { drop: null };
const goTo = (target: string): Json => ({ goto: { target } });

interface BaseRules {
  readonly hook?: string;
  readonly prio?: number;
  readonly policy?: string;
  readonly rules: readonly (readonly Json[])[];
}

/** A table of base chains, and chains to jump to. */
function table(
  bases: readonly BaseRules[],
  others: Readonly<Record<string, readonly (readonly Json[])[]>> = {},
  more: readonly Json[] = [],
): Json[] {
  const chains = [
    ...bases.map(({ hook = 'forward', prio = 0, policy = 'drop', rules }, i) => ({
      chain: { ...own, name: `g_${i}`, type: 'filter', hook, prio, policy },
      rules,
    })),
    ...Object.entries(others).map(([name, rules]) => ({ chain: { ...own, name }, rules })),
  ];
  return [
    { table: { family: 'inet', name: 'sluice', handle: 1 } },
    ...more,
    ...chains.map(({ chain }) => ({ chain })),
    ...chains.flatMap(({ chain, rules }) =>
      rules.map((expr, handle) => ({ rule: { ...own, chain: chain.name, handle, expr } })),
    ),
  ];
}

/** Whether each of these packets passes. */
function passes(objects: readonly unknown[], ...packets: readonly Packet[]): boolean[] {
  const { space, listing, evaluation } = evaluated(objects);
  if (evaluation.gaps.length > 0) throw new Error(JSON.stringify(evaluation.gaps));
  const follower = new Follower(space, listing);
  return packets.map((one) => {
    const alone = follower.follow(one).outcome === 'accept';
    if (space.contains(evaluation.accepted, one) !== alone)
      throw new Error('the two ways of evaluation disagree');
    return alone;
  });
}

const forward = (...rules: readonly (readonly Json[])[]) => table([{ rules }]);
const v6 = {
  family: 'ipv6',
  source: ipv6Value('fd00::1') ?? 0n,
  destination: ipv6Value('fd00::2') ?? 0n,
} as const;

t.test('a packet without the field does not match, whatever the rule says of it', (t) => {
  const notHost = forward([match(field('ip', 'saddr'), '!=', '10.9.9.9'), accept]);
  t.same(passes(notHost, packet({}), packet(v6)), [true, false]);

  const notPort = forward([match(field('tcp', 'dport'), '!=', 23), accept]);
  const [tcp, udp, short] = [packet({}), packet({ protocol: 17 }), packet({ port: ABSENT })];
  t.same(passes(notPort, tcp, udp, short), [true, false, false]);

  const echo = forward([match(field('icmp', 'type'), '==', 'echo-request'), accept]);
  t.throws(() => passes(echo), /may look at the family or not/);
  const ofFamily = table(
    [{ rules: [[{ vmap: { key: meta('nfproto'), data: { set: [['ipv4', goTo('c_4')]] } } }]] }],
    { c_4: [[match(field('icmp', 'type'), '==', 'echo-request'), accept]] },
  );
  t.same(
    passes(
      ofFamily,
      packet({ protocol: 1, port: 8 }),
      packet({ ...v6, protocol: 1, port: 8 }),
      packet({ port: 8 }),
    ),
    [true, false, false],
  );
  const asked = [
    match(field('icmp', 'type'), '==', 'echo-request'),
    match(field('ip', 'saddr'), '!=', '10.9.9.9'),
  ];
  t.same(
    passes(forward([...asked, accept]), packet({ protocol: 1, port: 8 })),
    [true],
    'asked later in the rule',
  );

  const notQuarantined = table([
    { rules: [[match(field('ether', 'saddr'), '!=', '02:00:00:00:00:01'), accept]] },
  ]);
  t.same(passes(notQuarantined, packet({ ether: 2 }), packet({ ether: ABSENT })), [true, false]);
  t.end();
});

t.test('"th dport" looks at any protocol, and at none without a header', (t) => {
  const any = forward([match(field('th', 'dport'), '==', 22), match(meta('l4proto'), '!=', 'tcp'), accept]);
  t.throws(() => passes(any), /compares the port of ICMP packets/);

  const other = forward(
    [match(meta('l4proto'), '==', { set: ['icmp', 'ipv6-icmp'] }), drop],
    [match(field('th', 'dport'), '==', 22), match(meta('l4proto'), '!=', 'tcp'), accept],
  );
  t.same(passes(other, packet({ protocol: 132 }), packet({ protocol: 132, port: ABSENT }), packet({})), [
    true,
    false,
    false,
  ]);
  t.end();
});

t.test('the state of a connection is one bit, and a list of states is a mask', (t) => {
  const [fresh, old, odd] = (['new', 'established', 'invalid'] as const).map((state) => packet({ state }));
  const several = [fresh, old, odd].flatMap((one) => one ?? []);
  t.same(passes(forward([match(STATE, 'in', ['established', 'new']), accept]), ...several), [
    true,
    true,
    false,
  ]);
  t.same(passes(forward([match(STATE, 'in', 'established'), accept]), ...several), [false, true, false]);
  t.same(passes(forward([match(STATE, '==', 'new'), accept]), ...several), [true, false, false]);
  t.same(passes(forward([match(STATE, '!=', 'new'), accept]), ...several), [false, true, true]);
  t.throws(() => passes(forward([match(STATE, '==', ['established', 'new']), accept])), /says/);
  t.throws(() => passes(forward([match(STATE, '!=', ['established', 'new']), accept])), /says/);
  t.end();
});

t.test('a range without braces may be two conditions on different fields, listed as one', (t) => {
  const range = { range: ['10.0.0.1', '10.0.0.9'] };
  for (const op of ['==', '!=']) {
    t.throws(() => passes(forward([match(field('ip', 'saddr'), op, range), accept])), /says/);
  }
  const braces = forward([match(field('ip', 'saddr'), '==', { set: [range] }), accept]);
  t.same(passes(braces, packet({}), packet({ source: 1 })), [true, false]);
  t.end();
});

t.test('two "not equal" in one rule may have been joined to "not both"', (t) => {
  const not = (name: string) => match(field('ip', name), '!=', '10.9.9.9');
  t.throws(() => passes(forward([not('saddr'), not('daddr'), accept])), /has two/);
  t.same(passes(forward([not('saddr'), match(meta('iifname'), '!=', 'vlan20'), accept]), packet({})), [true]);
  t.end();
});

t.test('above the highest value there is nothing', (t) => {
  const hook = 'input';
  const rules = [
    [match(field('ip', 'ttl'), '>', 255), accept],
    [match(field('ip', 'saddr'), '<', '0.0.0.0'), accept],
  ];
  const arrived = { hook, out: '' } as const;
  t.same(
    passes(
      table([{ hook, rules }]),
      packet({ ...arrived, hopLimit: 255 }),
      packet({ ...arrived, source: 0 }),
    ),
    [false, false],
  );
  t.end();
});

t.test('an accept ends only its own chain, a drop is final', (t) => {
  const early = {
    hook: 'prerouting',
    prio: -300,
    policy: 'accept',
    rules: [[match(field('tcp', 'dport'), '==', 23), drop], [accept]],
  };
  const late = { rules: [[match(field('tcp', 'dport'), '==', { set: [22, 23] }), accept]] };
  const ports = [22, 23, 80].map((port) => packet({ port }));
  t.same(passes(table([late, early]), ...ports), [true, false, false]);

  const afterwards = { prio: 10, policy: 'accept', rules: [[match(field('tcp', 'dport'), '==', 22), drop]] };
  t.same(passes(table([late, afterwards]), ...ports), [false, true, false]);
  t.end();
});

const port = (number: number) => match(field('tcp', 'dport'), '==', number);

t.test('jump comes back, goto goes back to whoever jumped', (t) => {
  const chains = {
    c_inner: [
      [port(22), accept],
      [port(23), { return: null }],
    ],
    c_middle: [[{ goto: { target: 'c_inner' } }], [port(80), accept]],
  };
  const ports = [22, 23, 80, 443].map((number) => packet({ port: number }));
  const jumping = table([{ rules: [[{ jump: { target: 'c_inner' } }], [port(80), accept]] }], chains);
  t.same(passes(jumping, ...ports), [true, false, true, false]);

  // c_middle goes to c_inner for good: its second rule is never seen; the rule behind the jump is.
  const through = table([{ rules: [[{ jump: { target: 'c_middle' } }], [port(443), accept]] }], chains);
  t.same(passes(through, ...ports), [true, false, false, true]);

  const gone = table([{ policy: 'accept', rules: [[{ goto: { target: 'c_inner' } }], [drop]] }], chains);
  t.same(passes(gone, ...ports), [true, true, true, true]);
  t.end();
});

t.test('a verdict map decides for its keys alone', (t) => {
  const data = {
    set: [
      [{ concat: ['vlan10', 'vlan20'] }, { goto: { target: 'c_pair' } }],
      [{ concat: ['vlan20', 'vlan10'] }, drop],
    ],
  };
  const dispatch: Json = { vmap: { key: { concat: [meta('iifname'), meta('oifname')] }, data } };
  const objects = table([{ rules: [[dispatch], [accept]] }], {
    c_pair: [[match(meta('l4proto'), '==', 'udp'), accept]],
  });
  const back = { in: 'vlan20', out: 'vlan10' };
  t.same(
    passes(
      objects,
      packet({}),
      packet({ protocol: 17 }),
      packet(back),
      packet({ in: OTHER_INTERFACE, out: 'vlan20' }),
    ),
    [false, true, false, true],
  );
  t.end();
});

t.test('what is logged, counted or limited for the log decides nothing', (t) => {
  const update = {
    set: {
      op: 'update',
      elem: field('ip', 'saddr'),
      set: '@q_log',
      stmt: [{ limit: { rate: 1, burst: 3, per: 'second' } }],
    },
  };
  const set = {
    set: {
      ...own,
      name: 'q_log',
      type: 'ipv4_addr',
      flags: ['timeout'],
      timeout: 60,
      size: 10,
      elem: [{ elem: { val: '10.0.0.1', limit: { rate: 1 } } }],
    },
  };
  const notes: Json[] = [update, { log: { prefix: 'x', group: 2 } }];
  const objects = table(
    [{ rules: [notes, [{ counter: { packets: 7, bytes: 9 } }, { counter: 'n_x' }, accept]] }],
    {},
    [set],
  );
  t.same(passes(objects, packet({})), [true]);

  const deciding = table([{ rules: [[update, accept]] }], {}, [set]);
  t.throws(() => passes(deciding), /decides by chance \(update of a set\)/);
  const reading = table([{ rules: [notes, [match(field('ip', 'saddr'), '==', '@q_log'), accept]] }], {}, [
    { set: { ...set.set, elem: ['10.0.0.1'] } },
  ]);
  t.throws(() => passes(reading), /changes the set q_log, which rules read/);
  t.end();
});

const named = (elem: readonly unknown[], ...flags: readonly string[]): Json => ({
  set: { ...own, name: 's_hosts', type: 'ipv4_addr', flags: ['interval', ...flags], elem },
});

t.test(
  'elements with a comment or a counter match; those with a limit or an end of their own are not understood',
  (t) => {
    const rules = [[match(field('ip', 'saddr'), '==', '@s_hosts'), accept]];
    const noted = {
      elem: {
        val: { prefix: { addr: '10.0.0.0', len: 31 } },
        comment: 'x',
        counter: { packets: 1, bytes: 1 },
      },
    };
    t.same(
      passes(
        table([{ rules }], {}, [named([noted])]),
        packet({}),
        packet({ source: ipv4Value('10.0.0.2') ?? 0 }),
      ),
      [true, false],
    );
    t.throws(
      () => passes(table([{ rules }], {}, [named([{ elem: { val: '10.0.0.1', quota: { val: 1 } } }])])),
      /set s_hosts.*has the element/,
    );
    t.throws(() => passes(table([{ rules }], {}, [named(['*'])])), /set s_hosts.*has the element/);
    const timed = { elem: { val: '10.0.0.1', timeout: 60, expires: 7 } };
    t.throws(
      () => passes(table([{ rules }], {}, [named([timed], 'timeout')])),
      /set s_hosts.*may forget its elements/,
    );
    t.throws(() => passes(table([{ rules }])), /refers to s_hosts, which is no set of the listing/);
    t.end();
  },
);

t.test('a reverse path is a condition of its own', (t) => {
  const fib = { fib: { result: 'oif', flags: ['saddr', 'mark', 'iif'] } };
  const early = { hook: 'prerouting', policy: 'accept', rules: [[match(fib, '==', false), drop]] };
  const objects = table([early, { rules: [[accept]] }]);
  t.same(passes(objects, packet({}), packet({ reversePath: false })), [true, false]);
  t.end();
});

t.test('the order of a listing and what changes by itself in it make no difference', (t) => {
  const objects = table(
    [{ rules: [[match(field('ip', 'saddr'), '==', '@s_hosts'), { jump: { target: 'c_x' } }]] }],
    { c_x: [[accept]] },
    [{ set: { ...own, name: 's_hosts', type: 'ipv4_addr', handle: 5, elem: ['10.0.0.1', '10.0.0.7'] } }],
  );
  const text = JSON.stringify(objects.toReversed()).replaceAll(/"handle":\d+/g, '"handle":99');
  const other: unknown = JSON.parse(text.replace('"10.0.0.1","10.0.0.7"', '"10.0.0.7","10.0.0.1"'));
  if (!Array.isArray(other)) throw new Error('no list');
  t.same(passes(objects, packet({}), packet({ source: 1 })), [true, false]);
  t.same(passes(other, packet({}), packet({ source: 1 })), [true, false]);
  t.end();
});

const UNKNOWN: readonly (readonly [string, unknown])[] = [
  ['another table', { chain: { family: 'ip', table: 'filter', name: 'INPUT' } }],
  ['a flowtable', { flowtable: { ...own, name: 'fast', hook: 'ingress', prio: 0, dev: 'eth0' } }],
  ['a dormant table', { table: { family: 'inet', name: 'sluice', flags: ['dormant'] } }],
  [
    'a chain of another type',
    { chain: { ...own, name: 'nat', type: 'nat', hook: 'prerouting', prio: -100, policy: 'accept' } },
  ],
  [
    'an ingress chain',
    {
      chain: { ...own, name: 'in', type: 'filter', hook: 'ingress', prio: 0, dev: 'eth0', policy: 'accept' },
    },
  ],
  ['an object of tomorrow', { tunnel: { ...own, name: 'x' } }],
  ['no object', 'nonsense'],
  ['a rule without a chain', { rule: { ...own, chain: 'nowhere', handle: 1, expr: [accept] } }],
  ['a rule of unknown keys', { rule: { ...own, chain: 'g_0', handle: 1, expr: [accept], when: 'monday' } }],
  ['a rule without words', { rule: { ...own, chain: 'g_0', handle: 1 } }],
  [
    'two statements in one',
    { rule: { ...own, chain: 'g_0', handle: 1, expr: [{ accept: null, drop: null }] } },
  ],
  [
    'a jump to nowhere',
    { rule: { ...own, chain: 'g_0', handle: 1, expr: [{ jump: { target: 'nowhere' } }] } },
  ],
  ['a verdict of tomorrow', { rule: { ...own, chain: 'g_0', handle: 1, expr: [{ teleport: null }] } }],
];

for (const [title, object] of UNKNOWN) {
  t.test(`not understood: ${title}`, (t) => {
    const objects: unknown[] = [...table([{ policy: 'accept', rules: [] }]), object];
    const { gaps } = evaluated(objects).evaluation;
    t.ok(gaps.length > 0);
    t.ok(gaps.every(({ place, what }) => place !== '' && what !== ''));
    t.end();
  });
}

t.test('no text makes the reader fall over, and none but a listing is understood', (t) => {
  const values = new ValueReader(() => 1);
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.json()), (text) => parseListing(text, values).gaps.length > 0),
    { numRuns: 500 },
  );
  fc.assert(
    fc.property(fc.array(fc.jsonValue(), { minLength: 1, maxLength: 5 }), (objects) => {
      evaluated(objects);
    }),
    { numRuns: 500 },
  );
  t.end();
});
