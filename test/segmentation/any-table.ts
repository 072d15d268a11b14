import * as fc from 'fast-check';

// Any table over a small world, in the words of nft's JSON: conditions of every kind that the proof understands, maps,
// chains that jump and return. Its objects load with "add", and are a listing as they stand.

export type Json = Readonly<Record<string, unknown>>;

export const WORLD = {
  interfaces: ['vlan10', 'vlan20'],
  ipv4: ['10.0.0.1', '10.0.0.2', '10.0.0.3', '10.0.0.4'],
  ipv6: ['fd00::1', 'fd00::2', 'fd00::3', 'fd00::4'],
  ports: [22, 80, 502],
} as const;

const SUBCHAINS = ['c_1', 'c_2', 'c_3'] as const;
const own = { family: 'inet', table: 'sluice' };
const payload = (protocol: string, field: string): Json => ({ payload: { protocol, field } });
const meta = (key: string): Json => ({ meta: { key } });

/** A field with the values that a rule may compare it to. */
interface Word {
  readonly field: Json;
  readonly type: string;
  readonly exact: fc.Arbitrary<unknown>;
  readonly wide?: fc.Arbitrary<unknown>;
}

const one = (values: readonly unknown[]) => fc.constantFrom(...values);
/** In braces: without them nft lists ranges that are none. */
const range = (values: readonly unknown[]) =>
  fc
    .tuple(fc.nat(values.length - 1), fc.nat(values.length - 1))
    .map(([a, b]) => ({ range: [values[Math.min(a, b)], values[Math.max(a, b)]] }))
    .filter(({ range: [low, high] }) => low !== high)
    .map((inside) => ({ set: [inside] }));
const prefix = (addr: string, ...lengths: readonly number[]) =>
  one(lengths.map((len) => ({ prefix: { addr, len } })));
const ipv4 = (field: string): Word => ({
  field: payload('ip', field),
  type: 'ipv4_addr',
  exact: one(WORLD.ipv4),
  wide: fc.oneof(range(WORLD.ipv4), prefix('10.0.0.0', 8, 30, 31), prefix('10.0.0.2', 31)),
});
const ipv6 = (field: string): Word => ({
  field: payload('ip6', field),
  type: 'ipv6_addr',
  exact: one(WORLD.ipv6),
  wide: fc.oneof(range(WORLD.ipv6), prefix('fd00::', 8, 126, 127), prefix('fd00::2', 127)),
});
const port = (protocol: string): Word => ({
  field: payload(protocol, 'dport'),
  type: 'inet_service',
  exact: one(WORLD.ports),
  wide: range([0, ...WORLD.ports, 65_535]),
});

const WORDS: readonly Word[] = [
  ipv4('saddr'),
  ipv4('daddr'),
  ipv6('saddr'),
  ipv6('daddr'),
  port('udp'),
  port('tcp'),
  { field: meta('iifname'), type: 'ifname', exact: one(WORLD.interfaces) },
  { field: meta('l4proto'), type: 'inet_proto', exact: one(['tcp', 'udp']), wide: range([6, 17, 58]) },
  { field: meta('nfproto'), type: 'nf_proto', exact: one(['ipv4', 'ipv6']) },
  { field: payload('ip', 'protocol'), type: 'inet_proto', exact: one(['tcp', 'udp']) },
  { field: payload('ip', 'ttl'), type: 'integer', exact: one([1, 64, 255]), wide: range([1, 64, 255]) },
  { field: payload('ip6', 'hoplimit'), type: 'integer', exact: one([1, 64, 255]), wide: range([1, 64, 255]) },
  {
    field: payload('icmpv6', 'type'),
    type: 'icmpv6_type',
    exact: one(['echo-request', 'nd-neighbor-solicit']),
  },
  { field: payload('icmp', 'type'), type: 'icmp_type', exact: one(['echo-request', 'time-exceeded']) },
  {
    field: { ct: { key: 'state' } },
    type: 'ct_state',
    exact: one(['new', 'established', 'related', 'invalid']),
  },
];
/** Of what family it is, a type of ICMP alone does not tell a listing: most rules ask for it once more. */
const OF_FAMILY: Readonly<Record<string, Json>> = {
  icmp_type: { match: { op: '<=', left: payload('ip', 'ttl'), right: 255 } },
  icmpv6_type: { match: { op: '<=', left: payload('ip6', 'hoplimit'), right: 255 } },
};
const ORDERED = new Set(['ipv4_addr', 'ipv6_addr', 'inet_service', 'integer']);

const word = fc.constantFrom(...WORDS);
const any = ({ exact, wide }: Word) => (wide === undefined ? exact : fc.oneof(exact, wide));

function condition(from: fc.Arbitrary<Word>): fc.Arbitrary<Json> {
  return from.chain((chosen) => {
    const { field, exact, type } = chosen;
    const match = (op: string, right: fc.Arbitrary<unknown>) =>
      right.map((value): Json => ({ match: { op, left: field, right: value } }));
    // Values of one anonymous set may not overlap: exact ones.
    const set = fc.uniqueArray(exact, { minLength: 1, maxLength: 3 }).map((values) => ({ set: values }));
    const equality = [match('==', any(chosen)), match('!=', any(chosen)), match('==', set), match('!=', set)];
    if (type === 'ct_state') {
      const several = fc.uniqueArray(exact, { minLength: 1, maxLength: 3 });
      return fc.oneof(
        match('in', several),
        match('in', exact),
        match('==', exact),
        match('!=', exact),
        match('==', set),
      );
    }
    if (!ORDERED.has(type)) return fc.oneof(...equality);
    return fc.oneof(...equality, ...['<', '>', '<=', '>='].map((op) => match(op, exact)));
  });
}

/** Three fields of one packet in one key: family, addresses and port. */
const CONCATS: readonly (readonly Word[])[] = [
  [
    ipv4('saddr'),
    ipv4('daddr'),
    { field: meta('l4proto'), type: 'inet_proto', exact: one(['tcp', 'udp']) },
    port('th'),
  ],
  [ipv6('saddr'), port('udp')],
  [{ field: meta('iifname'), type: 'ifname', exact: one(WORLD.interfaces) }, ipv4('saddr')],
  [port('udp'), ipv4('saddr')],
];

function keys(words: readonly Word[], most: number): fc.Arbitrary<unknown[]> {
  const key = fc
    .tuple(...words.map(({ exact }) => exact))
    .map((parts): unknown => (parts.length === 1 ? parts[0] : { concat: parts }));
  return fc.uniqueArray(key, { minLength: 1, maxLength: most, selector: (value) => JSON.stringify(value) });
}

const keyOf = (words: readonly Word[]): unknown =>
  words.length === 1 ? words[0]?.field : { concat: words.map(({ field }) => field) };

function concatCondition(): fc.Arbitrary<Json> {
  return fc
    .constantFrom(...CONCATS)
    .chain((words) =>
      fc
        .tuple(fc.constantFrom('==', '!='), keys(words, 4))
        .map(([op, set]): Json => ({ match: { op, left: keyOf(words), right: { set } } })),
    );
}

function verdict(chain: number): fc.Arbitrary<Json> {
  const end: readonly Json[] = [{ accept: null }, { drop: null }];
  const targets = SUBCHAINS.slice(chain);
  const leave = targets.flatMap((target): Json[] => [{ jump: { target } }, { goto: { target } }]);
  return fc.constantFrom<Json>(...end, ...end, ...leave, { return: null }, { continue: null });
}

function vmap(chain: number): fc.Arbitrary<Json> {
  const words = fc.oneof(
    word.map((chosen) => [chosen]),
    fc.constantFrom(...CONCATS),
  );
  return words.chain((chosen) =>
    fc
      .tuple(keys(chosen, 5), fc.array(verdict(chain), { minLength: 5, maxLength: 5 }))
      .map(([all, verdicts]): Json => {
        const set = all.map((key, i) => [key, verdicts[i]]);
        return { vmap: { key: keyOf(chosen), data: { set } } };
      }),
  );
}

/** A map as the compiler makes them: prefixes and ranges in a key of four, and verdicts. */
const FLOWS = CONCATS[0] ?? [];
const bare = (value: unknown): unknown => (isSet(value) ? value.set[0] : value);
const isSet = (value: unknown): value is { set: unknown[] } =>
  typeof value === 'object' && value !== null && 'set' in value && Array.isArray(value.set);
const flows: fc.Arbitrary<Json> = fc
  .array(
    fc.tuple(
      fc.tuple(...FLOWS.map((part) => (part.type === 'inet_proto' ? part.exact : any(part).map(bare)))),
      fc.constantFrom<Json>({ accept: null }, { accept: null }, { drop: null }, { goto: { target: 'c_3' } }),
    ),
    { minLength: 1, maxLength: 3 },
  )
  .map((all) => {
    const elem = all.map(([concat, verdict]) => [{ concat }, verdict]);
    return {
      map: {
        ...own,
        name: 'm_flows',
        type: FLOWS.map(({ type }) => type),
        map: 'verdict',
        flags: ['interval'],
        elem,
      },
    };
  });
const hosts: fc.Arbitrary<Json> = any(ipv4('saddr')).map((value) => ({
  set: { ...own, name: 's_hosts', type: 'ipv4_addr', flags: ['interval'], elem: [bare(value)] },
}));
const inFlows: Json = { vmap: { key: { concat: FLOWS.map(({ field }) => field) }, data: '@m_flows' } };
const ofHosts = fc
  .tuple(fc.constantFrom('saddr', 'daddr'), fc.constantFrom('==', '!='))
  .map(([field, op]): Json => ({ match: { op, left: payload('ip', field), right: '@s_hosts' } }));

const alone: fc.Arbitrary<Json[]> = word.chain((chosen) => {
  const family = OF_FAMILY[chosen.type];
  return fc
    .tuple(condition(fc.constant(chosen)), fc.constantFrom(true, true, true, false))
    .map(([one, twice]) => (family !== undefined && twice ? [one, family] : [one]));
});

function rule(chain: number): fc.Arbitrary<Json[]> {
  const counted = fc.constantFrom<Json[]>([], [{ counter: null }]);
  const conditions = fc.array(
    fc.oneof(
      { weight: 4, arbitrary: alone },
      { weight: 1, arbitrary: concatCondition().map((one) => [one]) },
      { weight: 1, arbitrary: ofHosts.map((one) => [one]) },
    ),
    { maxLength: 2 },
  );
  // The map leads to the last chain, which therefore may not look into it.
  const end = fc.oneof(
    { weight: 2, arbitrary: verdict(chain) },
    { weight: 1, arbitrary: vmap(chain) },
    ...(chain < SUBCHAINS.length ? [{ weight: 1, arbitrary: fc.constant(inFlows) }] : []),
  );
  return fc.tuple(conditions, counted, end).map(([all, count, last]) => [...all.flat(), ...count, last]);
}

/** The objects of a table with one base chain on a hook. */
export function anyTable(hook: 'input' | 'forward'): fc.Arbitrary<readonly Json[]> {
  const policy = fc.constantFrom('accept', 'drop');
  const rules = fc.tuple(
    ...[0, 1, 2, 3].map((chain) => fc.array(rule(chain), { minLength: 1, maxLength: 4 })),
  );
  return fc.tuple(policy, rules, flows, hosts).map(([policy, all, map, set]) => {
    const base = { ...own, name: 'g_base', type: 'filter', hook, prio: -5, policy };
    const names = ['g_base', ...SUBCHAINS];
    return [
      { table: { family: 'inet', name: 'sluice' } },
      { chain: base },
      ...SUBCHAINS.map((name) => ({ chain: { ...own, name } })),
      map,
      set,
      ...all.flatMap((list, i) => list.map((expr) => ({ rule: { ...own, chain: names[i], expr } }))),
    ];
  });
}

/** nft takes no rule that asks for two families or two protocols at once. */
function isConsistent(expr: unknown): boolean {
  const text = JSON.stringify(expr);
  const has = (...words: readonly string[]) => words.some((word) => text.includes(`"${word}"`));
  const families = [has('ip', 'icmp', 'ipv4'), has('ip6', 'icmpv6', 'ipv6')];
  const protocols = [has('tcp'), has('udp'), has('icmp'), has('icmpv6')];
  return families.filter(Boolean).length < 2 && protocols.filter(Boolean).length < 2;
}

/** What loads a table, without the rules that nft would not take. */
export function commandsOf(objects: readonly Json[]): string {
  const kept = objects.filter((object) => !('rule' in object) || isConsistent(object['rule']));
  return JSON.stringify({ nftables: kept.map((object) => ({ add: object })) });
}

/** "th dport" reads the checksum of ICMP, and is then listed so; and nft joins comparisons so that the listing no longer tells. */
export const UNREADABLE =
  /^compares the port of ICMP|^may look at the family|"right":\{"range":|^has two "not equal"|elements disagree|"field":"checksum"/;
