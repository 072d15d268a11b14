import * as fc from 'fast-check';
import t from 'tap';
import { addressText, ipv4Value, ipv6Value } from '../../src/segmentation/addresses.ts';
import { type Box, type Interval, inState, ofFamily, onHook } from '../../src/segmentation/boxes.ts';
import type { Packet } from '../../src/segmentation/packet.ts';
import { PacketSpace } from '../../src/segmentation/packet-space.ts';
import type { PacketSet } from '../../src/segmentation/packet-set.ts';

const one = (value: number | bigint): Interval => ({ low: value, high: value });

/** A universe small enough to be walked whole: two states, four sources and destinations, three ports. */
const TINY = { states: ['new', 'established'], addresses: [0, 1, 2, 3], ports: [0, 1, 2] } as const;
const EVERY_PACKET: readonly Packet[] = TINY.states.flatMap((state) =>
  TINY.addresses.flatMap((source) =>
    TINY.addresses.flatMap((destination) =>
      TINY.ports.map((port) => packet({ state, source, destination, port })),
    ),
  ),
);

function packet(some: Partial<Packet>): Packet {
  const ordinary = { hook: 'forward', family: 'ipv4', state: 'new', in: 'a', out: 'b' } as const;
  const rest = { protocol: 6, port: 0, hopLimit: 64, ether: -1, reversePath: true, quarantine: 0 } as const;
  return { ...ordinary, ...rest, source: 0, destination: 0, ...some };
}

type Formula =
  | { readonly box: Box }
  | { readonly op: 'and' | 'or' | 'minus'; readonly left: Formula; readonly right: Formula };

const interval = (top: number): fc.Arbitrary<Interval> =>
  fc.tuple(fc.nat(top), fc.nat(top)).map(([a, b]) => ({ low: Math.min(a, b), high: Math.max(a, b) }));
const intervals = (top: number) => fc.option(fc.array(interval(top), { maxLength: 2 }), { nil: undefined });
const box: fc.Arbitrary<Box> = fc
  .record({ state: intervals(1), source: intervals(3), destination: intervals(3), port: intervals(2) })
  .map((all) => ({
    family: ofFamily('ipv4'),
    ...(all.state === undefined ? {} : { state: all.state }),
    ...(all.source === undefined ? {} : { source: all.source }),
    ...(all.destination === undefined ? {} : { destination: all.destination }),
    ...(all.port === undefined ? {} : { port: all.port }),
  }));
const { formula } = fc.letrec<{ formula: Formula }>((tie) => ({
  formula: fc.oneof(
    { maxDepth: 4, withCrossShrink: true },
    box.map((one) => ({ box: one })),
    fc.record({
      op: fc.constantFrom('and', 'or', 'minus'),
      left: tie('formula'),
      right: tie('formula'),
    }),
  ),
}));

function setOf(space: PacketSpace, what: Formula): PacketSet {
  if ('box' in what) return space.set(what.box);
  const [left, right] = [setOf(space, what.left), setOf(space, what.right)];
  return space[what.op](left, right);
}

const within = (ranges: readonly Interval[] | undefined, value: number | bigint) =>
  ranges === undefined || ranges.some(({ low, high }) => low <= value && value <= high);

/** What a set means, said a second time without any diagram. */
function holds(what: Formula, one: Packet): boolean {
  if ('box' in what) {
    return (
      within(what.box.state, one.state === 'new' ? 0 : 1) &&
      within(what.box.source, one.source) &&
      within(what.box.destination, one.destination) &&
      within(what.box.port, one.port)
    );
  }
  const [left, right] = [holds(what.left, one), holds(what.right, one)];
  if (what.op === 'and') return left && right;
  return what.op === 'or' ? left || right : left && !right;
}

/** What lies outside the tiny universe is cut away, so that equality there is equality. */
function tiny(space: PacketSpace): PacketSet {
  return space.set({
    hook: onHook('forward'),
    family: ofFamily('ipv4'),
    state: inState('new', 'established'),
    in: space.interface('a'),
    out: space.interface('b'),
    source: [{ low: 0, high: 3 }],
    destination: [{ low: 0, high: 3 }],
    protocol: [{ low: 6, high: 6 }],
    port: [{ low: 0, high: 2 }],
    hopLimit: [{ low: 64, high: 64 }],
    ether: [{ low: -1, high: -1 }],
    reversePath: [{ low: 1, high: 1 }],
    quarantine: [{ low: 0, high: 0 }],
  });
}

t.test('a set holds exactly the packets that its boxes say, whatever was done to it', (t) => {
  fc.assert(
    fc.property(formula, (what) => {
      const space = new PacketSpace();
      const set = space.and(setOf(space, what), tiny(space));
      for (const one of EVERY_PACKET) {
        if (space.contains(set, one) !== holds(what, one)) throw new Error(JSON.stringify(one));
      }
      const volume = EVERY_PACKET.filter((one) => holds(what, one)).length;
      return (set === space.nothing) === (volume === 0);
    }),
    { numRuns: 300 },
  );
  t.end();
});

t.test('two sets are one object if and only if they hold the same packets; else a witness tells', (t) => {
  fc.assert(
    fc.property(formula, formula, (first, second) => {
      const space = new PacketSpace();
      const a = space.and(setOf(space, first), tiny(space));
      const b = space.and(setOf(space, second), tiny(space));
      const same = EVERY_PACKET.every((one) => holds(first, one) === holds(second, one));
      if (same !== (a === b)) throw new Error('equality is not sameness');
      const witness = space.witness(space.or(space.minus(a, b), space.minus(b, a)));
      if (witness === undefined) return same;
      return holds(first, witness) !== holds(second, witness);
    }),
    { numRuns: 1_000 },
  );
  t.end();
});

t.test('many keys at once make the same set as their boxes one by one, overlapping or not', (t) => {
  const key = fc.tuple(interval(20), interval(20), interval(9));
  fc.assert(
    fc.property(fc.array(key, { maxLength: 30 }), (keys) => {
      const space = new PacketSpace();
      const family = ofFamily('ipv4');
      const together = space.and(
        space.ofKeys(['source', 'destination', 'port'], keys),
        space.set({ family }),
      );
      const boxes = keys.map(([source, destination, port]) =>
        space.set({ family, source: [source], destination: [destination], port: [port] }),
      );
      return (
        together === space.union(boxes) && together === boxes.reduce((a, b) => space.or(a, b), space.nothing)
      );
    }),
    { numRuns: 500 },
  );
  t.end();
});

t.test('hosts that together are a range are that range, in IPv6 too', (t) => {
  const space = new PacketSpace();
  const base = ipv6Value('fd00:20::') ?? 0n;
  const family = ofFamily('ipv6');

  const hosts = Array.from({ length: 16 }, (_, i) => space.set({ family, source: [one(base + BigInt(i))] }));
  const range = space.set({ family, source: [{ low: base, high: base + 15n }] });

  t.equal(space.union(hosts), range);
  t.not(space.union(hosts.slice(1)), range);
  const missing = space.witness(space.minus(range, space.union(hosts.slice(1))));
  t.equal(addressText(missing?.source ?? 0), 'fd00:20::');
  t.end();
});

t.test('the whole width of a dimension is no condition', (t) => {
  const space = new PacketSpace();
  t.equal(space.set({ protocol: [{ low: 0, high: 255 }] }), space.everything);
  t.equal(space.set({ port: [{ low: -1, high: 65_535 }] }), space.everything);
  t.not(space.set({ port: [{ low: 0, high: 65_535 }] }), space.everything);
  t.equal(
    space.set({ family: ofFamily('ipv6'), source: [{ low: 0n, high: 2n ** 128n - 1n }] }),
    space.set({ family: ofFamily('ipv6') }),
  );
  t.equal(space.set({ source: [] }), space.nothing);
  t.end();
});

t.test('an address reads as it was written', (t) => {
  for (const text of ['0.0.0.0', '10.20.10.11', '255.255.255.255']) {
    t.equal(addressText(ipv4Value(text) ?? -1), text);
  }
  for (const text of [
    '::',
    '::1',
    'fe80::1',
    '2001:db8::1:0:0:1',
    'fd00:20:1:2:3:4:5:6',
    '::ffff:10.0.0.1',
  ]) {
    t.equal(addressText(ipv6Value(text) ?? 0n), text);
  }
  for (const text of ['10.0.0', '10.0.0.256', '1.2.3.4.5', '', 'a.b.c.d'])
    t.equal(ipv4Value(text), undefined);
  for (const text of ['1::2::3', '12345::', '1:2:3:4:5:6:7', 'g::', '::1.2.3', 'fe80::1%lan']) {
    t.equal(ipv6Value(text), undefined);
  }
  t.end();
});

t.test('400,000 exact boxes are compared within a second or two', (t) => {
  const space = new PacketSpace();
  const hosts = Array.from({ length: 1_000 }, (_, i) => one(0x0a00_0000 + i * 3));
  const service = one(502);
  const keys = Array.from({ length: 400_000 }, (_, i) => [
    hosts[i % 1_000] ?? service,
    hosts[(i * 7 + Math.floor(i / 1_000)) % 1_000] ?? service,
    service,
  ]);
  const started = performance.now();

  const all = space.ofKeys(['source', 'destination', 'port'], keys);
  const fewer = space.ofKeys(['source', 'destination', 'port'], keys.slice(1));

  const missing = space.witness(space.and(space.minus(all, fewer), space.set({ family: ofFamily('ipv4') })));
  const took = performance.now() - started;
  t.equal(missing?.source, 0x0a00_0000);
  t.comment(`${Math.round(took)} ms for two sets of 400,000 boxes, ${space.count(all)} ranges`);
  t.ok(took < 10_000, 'not of the square of their number');
  t.end();
});
