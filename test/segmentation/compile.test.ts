import * as fc from 'fast-check';
import t from 'tap';
import { seedOf } from '../support/long.ts';
import { compile } from '../../src/segmentation/compile.ts';
import type { AddressRange, Flow, Policy, Side } from '../../src/segmentation/policy.ts';
import { EVERY } from '../../src/segmentation/ranges.ts';
import type { KeyPart, Ruleset } from '../../src/segmentation/ruleset.ts';
import { render } from '../../src/segmentation/render.ts';
import { prove } from '../../src/segmentation/prove.ts';
import { inNamespace, noRules } from '../support/namespace.ts';
import { afterSteps } from './listed.ts';
import { policyOf } from './policies.ts';

// A plant so small that every packet can be tried: two zones of eight addresses, ports 1 to 6.
const ADDRESSES = 8n;
const PORTS = 6;
const ZONES = { 'a-b': 0n, c: ADDRESSES } as const;
type Name = keyof typeof ZONES | 'gateway';

const ranges = (first: bigint): fc.Arbitrary<AddressRange[]> =>
  fc
    .uniqueArray(fc.bigInt({ min: 0n, max: ADDRESSES - 1n }), { minLength: 1, maxLength: 6 })
    .chain((ends) => {
      // Neighbours in the sorted list become ranges or stay single hosts: sorted and disjoint either way.
      const sorted = ends.toSorted((a, b) => Number(a - b));
      return fc.array(fc.boolean(), { minLength: 6, maxLength: 6 }).map((joined) => {
        const list: AddressRange[] = [];
        for (let i = 0; i < sorted.length; i++) {
          const [low = 0n, next] = [sorted[i], sorted[i + 1]];
          const join = joined[i] === true && next !== undefined;
          list.push({ low: first + low, high: first + (join ? next : low) });
          if (join) i++;
        }
        return list;
      });
    });

const side = (zone: Name): fc.Arbitrary<Side> =>
  zone === 'gateway'
    ? fc
        .constantFrom([{ low: 100n, high: 100n }], [...EVERY[4]])
        .map((v4) => ({ zone, interface: undefined, v4, v6: [] }))
    : ranges(ZONES[zone]).map((v4) => ({ zone, interface: interfaceOf(zone), v4, v6: [] }));

const interfaceOf = (zone: Exclude<Name, 'gateway'>): string => (zone === 'c' ? 'vlan2' : 'vlan1');
const PAIRS: readonly (readonly [Name, Name])[] = [
  ['a-b', 'c'],
  ['a-b', 'gateway'],
  ['gateway', 'c'],
  ['c', 'c'],
];
const ends = fc.constantFrom(...PAIRS);

const flow = (i: number): fc.Arbitrary<Flow> =>
  ends.chain(([from, to]) =>
    fc
      .record({
        from: side(from),
        to: side(to),
        protocol: fc.constantFrom('tcp', 'udp', 'icmp'),
        ports: fc
          .tuple(fc.integer({ min: 1, max: PORTS }), fc.integer({ min: 1, max: PORTS }))
          .map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]),
      })
      .map((made) => ({
        ...made,
        name: `conduit-${from}-${to}-${i}`,
        kind: 'conduit',
        because: 'a test',
        path: `conduits[${i}]`,
        devices: [],
      })),
  );

const policies: fc.Arbitrary<Policy> = fc
  .tuple(flow(0), flow(1), flow(2), flow(3))
  .chain((flows) => fc.subarray(flows))
  .map((flows) => ({
    mode: 'enforce',
    zones: (['a-b', 'c'] as const).map((name) => ({
      name,
      interface: interfaceOf(name),
      v4: [{ low: ZONES[name], high: ZONES[name] + ADDRESSES - 1n }],
      v6: [],
    })),
    flows,
  }));

interface Packet {
  readonly source: bigint;
  readonly destination: bigint;
  readonly protocol: Flow['protocol'];
  readonly port: number;
}

function* packets(from: Name, to: Name): Generator<Packet> {
  const of = (zone: Name): bigint[] =>
    zone === 'gateway'
      ? [100n, 101n]
      : Array.from({ length: Number(ADDRESSES) }, (_, i) => ZONES[zone] + BigInt(i));
  for (const source of of(from)) {
    for (const destination of of(to)) {
      for (let port = 1; port <= PORTS; port++) {
        yield { source, destination, protocol: 'tcp', port };
        yield { source, destination, protocol: 'udp', port };
      }
      yield { source, destination, protocol: 'icmp', port: 0 };
    }
  }
}

const among = (list: readonly AddressRange[], value: bigint): boolean =>
  list.some(({ low, high }) => low <= value && value <= high);

/** Does a flow allow a packet? As a person would read it. */
function allows({ from, to, protocol, ports }: Flow, packet: Packet): boolean {
  if (protocol !== packet.protocol) return false;
  if (!among(from.v4, packet.source) || !among(to.v4, packet.destination)) return false;
  return protocol === 'icmp' || (ports[0] <= packet.port && packet.port <= ports[1]);
}

/** What the kernel would do in the chain of the pair: rule after rule, each map with at most one element that fits. */
function decide({ chains, maps }: Ruleset, chain: string, packet: Packet): string | undefined {
  for (const { statements } of chains.find(({ name }) => name === chain)?.rules ?? []) {
    const [first, second] = statements;
    const look = first?.kind === 'match' ? second : first;
    if (first?.kind === 'match' && packet.protocol !== 'icmp') continue;
    if (look?.kind !== 'look up' || (first?.kind !== 'match' && packet.protocol === 'icmp')) continue;
    const key = look.key.map((field) => {
      if (field === 'ip saddr') return packet.source;
      if (field === 'ip daddr') return packet.destination;
      return field === 'l4proto' ? packet.protocol : BigInt(packet.port);
    });
    const found = maps
      .find(({ name }) => name === look.map)
      ?.elements.filter((element) => element.key.every((part, i) => fits(part, key[i])));
    if ((found?.length ?? 0) > 1) throw new Error(`two elements of ${look.map} fit one packet`);
    const verdict = found?.[0]?.verdict;
    if (typeof verdict === 'object') return verdict.goto;
  }
  return undefined;
}

const fits = (part: KeyPart, value: bigint | string | undefined): boolean =>
  typeof part === 'string' || typeof value !== 'bigint'
    ? part === value
    : part.low <= value && value <= part.high;

const isOpen = ({ zone, v4 }: Side): boolean => zone === 'gateway' && v4[0]?.low === 0n;

/** Maps are looked up from exact to wide, and each one with the address of the gateway before it is left open. */
function tier({ from, to, protocol, ports }: Flow, { source, destination }: Packet): number {
  const isExact = (one: Side, value: bigint): boolean =>
    isOpen(one) || one.v4.some(({ low, high }) => low === value && high === value);
  const open = isOpen(from) || isOpen(to) ? 1 : 0;
  if (protocol === 'icmp') return open;
  return (isExact(from, source) && isExact(to, destination) && ports[0] === ports[1] ? 0 : 2) + open;
}

t.test('every packet finds the flow that allows it: the most exact one, then the first', async (t) => {
  let allowed = 0;
  fc.assert(
    fc.property(policies, (policy) => {
      const rules = compile(policy);
      for (const [from, to] of PAIRS) {
        const own = policy.flows.filter((one) => one.from.zone === from && one.to.zone === to);
        for (const packet of packets(from, to)) {
          const [best] = own
            .filter((one) => allows(one, packet))
            .toSorted((a, b) => tier(a, packet) - tier(b, packet));
          const decided = decide(rules, `c_${from.replace('-', '__')}_${to}_4`, packet);
          if (decided !== (best && `f_${best.name.replaceAll('-', '_')}`)) return false;
          if (decided !== undefined) allowed++;
        }
      }
      return true;
    }),
    { numRuns: 200 },
  );
  t.ok(allowed > 1_000, `${allowed} packets were allowed`);
});

const meet = (a: readonly KeyPart[], b: readonly KeyPart[]): boolean =>
  a.every((part, i) => {
    const other = b[i];
    if (typeof part === 'string' || typeof other !== 'object') return part === other;
    return part.low <= other.high && other.low <= part.high;
  });

t.test('no two elements of any map meet', async () => {
  fc.assert(
    fc.property(policies, (policy) =>
      compile(policy).maps.every(({ elements }) =>
        elements.every((one, i) => elements.every((other, j) => i === j || !meet(one.key, other.key))),
      ),
    ),
    { numRuns: 300 },
  );
});

t.test('whatever is compiled, nft loads', { skip: noRules() }, async (t) => {
  const documents = fc
    .sample(policies, { numRuns: 20, seed: seedOf('COMPILE_SEED', 4) })
    .map((policy) => render(compile(policy)));
  const folder = t.testdir(Object.fromEntries(documents.map((json, i) => [`${i}.json`, json])));
  const ran = inNamespace(
    'for file in "$1"/*; do nft -c -j -f "$file"; nft -j -f "$file"; echo loaded; done',
    folder,
  );

  t.equal(ran.stderr, '');
  t.equal(ran.stdout, 'loaded\n'.repeat(documents.length));
});

/** So many devices in two zones, polled, pushing, and reached by conduits by name and by class. */
function plantOf(count: number): string {
  const devices = Array.from({ length: count }, (_, i) => {
    const host = `${Math.floor(i / 200)}.${(i % 200) + 10}`;
    return i % 2 === 0
      ? `  press-${i}: { class: press, at: "modbus-tcp://10.20.${host}" }`
      : `  tank-${i}: { class: tank, at: "coap://10.30.${host}" }`;
  });
  return `
gateway: { id: plant }
coap: { listen: "10.30.0.1:5683" }
zones:
  control: { vlan: 10, subnet: 10.20.0.0/16 }
  environment: { vlan: 30, subnet: 10.30.0.0/16 }
  supervision: { vlan: 40, subnet: 10.40.0.0/16 }
conduits:
  - { from: supervision, to: control, only: { to: [press] }, allow: [modbus-tcp, icmp], because: "HMI" }
  - { from: supervision, to: control, only: { from: [10.40.0.5], to: [press-0, press-2] }, allow: [https], because: "panel" }
classes:
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
  tank: { zone: environment, protocol: coap, points: { p: { at: /p }, q: { push: true } } }
devices:
${devices.join('\n')}
segmentation: { mode: enforce, management: { zone: supervision, from: [10.40.0.250], allow: [ssh] } }
`;
}

const sizes = ({ chains, maps, sets, counters }: Ruleset) => ({
  rules: chains.flatMap((chain) => chain.rules).length,
  chains: chains.length,
  maps: maps.length,
  sets: sets.length,
  counters: counters.length,
});

t.test('a thousand devices have as many rules as ten', { skip: noRules() }, async (t) => {
  const [few, many] = [compile(policyOf(plantOf(10))), compile(policyOf(plantOf(1_000)))];

  t.same(sizes(many), sizes(few));
  t.equal(many.maps.find(({ name }) => name === 'm_gateway_control_4_any')?.elements.length, 500);
  const folder = t.testdir({ 'rules.json': render(many) });
  const ran = inNamespace(
    'nft -j -f "$1"/rules.json; nft list map inet sluice r_supervision_control_4 | grep -c 502',
    folder,
  );
  t.equal(ran.stderr, '');
  t.equal(ran.stdout.trim(), '500', 'and the kernel holds them');
});

/** Forty readers and 36 presses, of which every other one has another port: flows of one name with other ends. */
function filteredPlant(): string {
  const devices = [
    ...Array.from(
      { length: 40 },
      (_, i) => `  hmi-${i}: { class: hmi, at: "modbus-tcp://10.20.40.${10 + 2 * i}" }`,
    ),
    ...Array.from(
      { length: 36 },
      (_, i) => `  press-${i}: { class: press, at: "modbus-tcp://10.20.10.${10 + 2 * i}:${502 + (i % 2)}" }`,
    ),
  ];
  return `
gateway: { id: plant }
zones:
  control: { vlan: 10, subnet: 10.20.10.0/24 }
  supervision: { vlan: 40, subnet: 10.20.40.0/24 }
conduits:
  - { from: supervision, to: control, allow: [modbus-tcp/read], only: { from: [hmi], to: [press] }, guard: { grade: filtered }, because: "read" }
classes:
  hmi: { zone: supervision, protocol: modbus, points: { p: { at: "coil:0" } } }
  press: { zone: control, protocol: modbus, points: { p: { at: "coil:0" } } }
devices:
${devices.join('\n')}
segmentation: { mode: enforce, management: { zone: supervision, from: [10.20.40.250], allow: [ssh] } }
`;
}

t.test('from many to many by two ports: each device by its own', { skip: noRules() }, async (t) => {
  const policy = policyOf(filteredPlant());

  const [listing = ''] = afterSteps(t, [[render(compile(policy))]]);

  t.match(prove(policy, listing), { proven: true });
});
