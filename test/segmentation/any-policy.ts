import * as fc from 'fast-check';
import { GUARD_PORTS } from '../../src/segmentation/guards.ts';
import { shares } from '../../src/segmentation/guarded-flows.ts';
import type {
  AddressRange,
  Flow,
  FlowGuard,
  Policy,
  PolicyZone,
  Side,
} from '../../src/segmentation/policy.ts';
import { FAMILIES, ofFamily } from '../../src/segmentation/ranges.ts';

// Any policy over a few zones: one of IPv4, one of IPv6, one of both, and one that has the rest of the world. Some of its
// conduits are guarded, in either grade.

interface Net {
  readonly name: string;
  readonly interface: string;
  readonly v4: bigint | undefined;
  readonly v6: bigint | undefined;
}

const NETS: readonly Net[] = [
  { name: 'press', interface: 'vlan10', v4: 0x0a14_0a00n, v6: undefined },
  { name: 'cell-2', interface: 'vlan20', v4: undefined, v6: 0xfd00_0020n << 96n },
  { name: 'lab', interface: 'a23456789012345', v4: 0x0a14_2800n, v6: 0xfd00_0040n << 96n },
];
const HOSTS = 256n;
const LAST4 = (1n << 32n) - 1n;
const LAST6 = (1n << 128n) - 1n;
const UPLINK: PolicyZone = {
  name: 'uplink',
  interface: 'eth0',
  v4: [
    { low: 1n << 24n, high: 0x0a14_09ffn },
    { low: 0x0a14_2900n, high: (224n << 24n) - 1n },
  ],
  v6: [{ low: 0x2000n << 112n, high: (0x4000n << 112n) - 1n }],
};
const GATEWAY: Side = {
  zone: 'gateway',
  interface: undefined,
  v4: [{ low: 0n, high: LAST4 }],
  v6: [{ low: 0n, high: LAST6 }],
};

const whole = (base: bigint | undefined): AddressRange[] =>
  base === undefined ? [] : [{ low: base, high: base + HOSTS - 1n }];
const ZONES: readonly PolicyZone[] = [
  ...NETS.map(({ v4, v6, ...zone }) => ({ ...zone, v4: whole(v4), v6: whole(v6) })),
  UPLINK,
];

/** Hosts and ranges of a net: sorted and disjoint, some of them neighbours. */
function part(base: bigint | undefined): fc.Arbitrary<AddressRange[]> {
  if (base === undefined) return fc.constant([]);
  const some = fc
    .uniqueArray(fc.integer({ min: 0, max: 255 }), { minLength: 2, maxLength: 8 })
    .chain((hosts) => {
      const sorted = hosts.toSorted((a, b) => a - b).map(BigInt);
      return fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }).map((joined) =>
        joined.flatMap((join, i): AddressRange[] => {
          const [low, high] = [sorted[2 * i], sorted[2 * i + 1]];
          if (low === undefined) return [];
          if (high === undefined) return [{ low: base + low, high: base + low }];
          if (join) return [{ low: base + low, high: base + high }];
          return [low, high].map((host) => ({ low: base + host, high: base + host }));
        }),
      );
    });
  return fc.oneof(fc.constant(whole(base)), some);
}

const side: fc.Arbitrary<Side> = fc.oneof(
  ...NETS.map((net) =>
    fc
      .tuple(part(net.v4), part(net.v6))
      .map(([v4, v6]) => ({ zone: net.name, interface: net.interface, v4, v6 })),
  ),
  fc.constant({ zone: UPLINK.name, interface: UPLINK.interface, v4: UPLINK.v4, v6: UPLINK.v6 }),
);

const ports = fc.oneof(
  fc.constantFrom<[number, number]>([502, 502], [22, 22], [0, 65_535], [500, 600]),
  fc
    .tuple(fc.nat(65_535), fc.nat(65_535))
    .map(([a, b]): [number, number] => [Math.min(a, b), Math.max(a, b)]),
);

const kind = fc.constantFrom('poll', 'push', 'conduit', 'conduit', 'within', 'management', 'upstream');

function flow(i: number): fc.Arbitrary<Flow> {
  return fc
    .record({
      kind,
      one: side,
      other: side,
      protocol: fc.constantFrom('tcp', 'udp', 'icmp', 'icmpv6'),
      ports,
    })
    .map(({ kind, one, other, protocol, ports }) => {
      const ends = endsOf(kind, one, other);
      const text = { because: `reason ${i}`, path: `flows[${i}]`, devices: [] };
      return {
        name: `${kind}-${i}`,
        kind,
        ...ends,
        protocol,
        ports: protocol.startsWith('icmp') ? [0, 65_535] : ports,
        ...text,
      };
    });
}

function endsOf(kind: Flow['kind'], one: Side, other: Side): Pick<Flow, 'from' | 'to'> {
  switch (kind) {
    case 'poll':
    case 'upstream':
      return { from: GATEWAY, to: other };
    case 'push':
    case 'management':
      return { from: one, to: GATEWAY };
    case 'within':
      return { from: one, to: one };
    default:
      return { from: one, to: other };
  }
}

/** One that some packet of its protocol can have. */
function isPossible({ from, to, protocol }: Flow): boolean {
  const v4 = protocol !== 'icmpv6' && from.v4.length > 0 && to.v4.length > 0;
  const v6 = protocol !== 'icmp' && from.v6.length > 0 && to.v6.length > 0;
  return v4 || v6;
}

/** What nobody else looks into, on the ports that devices listen on. */
const limits = fc
  .tuple(
    fc.constantFrom('any unit', 'units 1', 'units 1, 3-10'),
    fc.constantFrom('reads holding:*', 'reads input:0-99, coil:7', 'reads nothing'),
    fc.constantFrom('writes nothing', 'writes holding:100-109'),
  )
  .map(([units, reads, writes]) => `${reads}; ${writes}; ${units}`);

const KNOCK = 0x7f80_0000n;

/** Single devices of a net that share a family with their clients, and where connections to them end. */
function guardedFlow(i: number): fc.Arbitrary<Flow[]> {
  return fc
    .record({
      from: side,
      net: fc.constantFrom(...NETS),
      hosts: fc.uniqueArray(fc.bigInt({ min: 1n, max: 12n }), { minLength: 1, maxLength: 3 }),
      port: fc.constantFrom(502, 502, 1502),
      grade: fc.constantFrom<FlowGuard['grade']>('enforced', 'filtered'),
      limits,
    })
    .map(({ from, net, hosts, port, grade, limits }): Flow[] => {
      const devices = (base: bigint | undefined, clients: readonly AddressRange[]): AddressRange[] =>
        base === undefined || clients.length === 0
          ? []
          : hosts.toSorted((a, b) => Number(a - b)).map((host) => ({ low: base + host, high: base + host }));
      const to: Side = {
        zone: net.name,
        interface: net.interface,
        v4: devices(net.v4, from.v4),
        v6: devices(net.v6, from.v6),
      };
      const clients = { ...from, v4: to.v4.length > 0 ? from.v4 : [], v6: to.v6.length > 0 ? from.v6 : [] };
      const first = GUARD_PORTS.low + 16 * i;
      const ends = FAMILIES.flatMap((family) =>
        ofFamily(to, family).map(({ low }) => ({ family, address: low })),
      );
      const listeners =
        grade === 'filtered'
          ? []
          : ends.map((end, k) => ({
              ...end,
              port: first + k,
              knock: { from: KNOCK + BigInt(k), to: KNOCK + BigInt(first) },
            }));
      const rest = { protocol: 'tcp', ports: [port, port], devices: [] } as const;
      const guarded: Flow = {
        ...rest,
        name: `conduit-guarded-${i}`,
        kind: 'conduit',
        from: clients,
        to,
        because: `guarded ${i}`,
        path: `guarded[${i}]`,
        guard: { grade, listeners, limits },
      };
      // The gateway asks the devices behind its listeners itself.
      const asking: Flow = {
        ...rest,
        name: `guard-${i}`,
        kind: 'guard',
        from: GATEWAY,
        to,
        because: 'asks',
        path: 'conduits',
      };
      return grade === 'enforced' ? [guarded, asking] : [guarded];
    });
}

/** What a guard looks into, nothing else may allow: as a file with that is refused. */
function apart(flows: readonly Flow[]): Flow[] {
  return flows.filter(
    (one, i) =>
      one.guard === undefined ||
      flows.every((other, k) => i === k || other.protocol !== 'tcp' || !shares(one, other)),
  );
}

export const anyPolicy: fc.Arbitrary<Policy> = fc
  .record({
    mode: fc.constantFrom('enforce', 'observe'),
    flows: fc.tuple(...Array.from({ length: 8 }, (_, i) => flow(i))).chain((flows) => fc.subarray(flows)),
    guarded: fc
      .tuple(...Array.from({ length: 3 }, (_, i) => guardedFlow(i)))
      .chain((flows) => fc.subarray(flows)),
  })
  .map(({ mode, flows, guarded }) => ({
    mode,
    zones: ZONES,
    flows: apart(
      [
        ...flows,
        ...guarded.flat().filter(({ kind, from, to }) => kind === 'guard' || from.zone !== to.zone),
      ].filter(isPossible),
    ),
  }));
