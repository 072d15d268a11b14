import * as fc from 'fast-check';
import t from 'tap';
import { apart, type Entry } from '../../src/segmentation/elements.ts';
import type { KeyPart } from '../../src/segmentation/ruleset.ts';

// Entries of many flows that must not overlap in a map: what each point belongs to, and how long it takes.

const range = fc
  .tuple(fc.integer({ min: 0, max: 4 }), fc.integer({ min: 0, max: 2 }))
  .map(([low, more]): KeyPart => ({ low: BigInt(low), high: BigInt(low + more) }));
const key = fc.tuple(fc.constantFrom('lan', 'wan'), range, range, fc.constantFrom('tcp', 'udp'));
/** One entry each: those of one flow never overlap. */
const flows = fc.array(key, { minLength: 1, maxLength: 12 });

const isAt = (point: readonly (string | bigint)[], parts: readonly KeyPart[]): boolean =>
  parts.every((part, i) => {
    const value = point[i];
    if (typeof part === 'string' || typeof value !== 'bigint') return part === value;
    return part.low <= value && value <= part.high;
  });

const POINTS = ['lan', 'wan'].flatMap((place) =>
  [0n, 1n, 2n, 3n, 4n, 5n, 6n].flatMap((a) =>
    [0n, 1n, 2n, 3n, 4n, 5n, 6n].flatMap((b) => ['tcp', 'udp'].map((last) => [place, a, b, last])),
  ),
);

t.test('every point is of the first flow that has it, and of one element', async () => {
  fc.assert(
    fc.property(flows, (keys) => {
      const elements = apart(keys.map((one, i) => [{ key: one, target: `f_${i}` }]));
      return POINTS.every((point) => {
        const first = keys.findIndex((one) => isAt(point, one));
        const has = elements.filter((element) => isAt(point, element.key));
        if (first < 0) return has.length === 0;
        const [only, ...more] = has;
        return more.length === 0 && JSON.stringify(only?.verdict) === `{"goto":"f_${first}"}`;
      });
    }),
    { numRuns: 300 },
  );
});

/** As many conduits as may be, each to fifty devices of its own. */
const many = (conduits: number): Entry[][] =>
  Array.from({ length: conduits }, (_, i) =>
    Array.from({ length: 50 }, (__, k) => {
      const device = BigInt(i * 50 + k);
      const client = { low: BigInt(i) << 16n, high: (BigInt(i) << 16n) + 65_535n };
      return { key: ['lan', { low: device, high: device }, client, 'tcp'], target: 'd_odd' };
    }),
  );

t.test('many flows of different devices take no square of time', async (t) => {
  const flowsOfAll = many(380);
  const before = process.threadCpuUsage();

  const elements = apart(flowsOfAll);

  const { user, system } = process.threadCpuUsage(before);
  const spent = Math.round((user + system) / 1_000);
  t.equal(elements.length, 380 * 50);
  t.comment(`${spent} ms`);
  // Each with each was 180 million comparisons, seconds of them.
  t.ok(spent < 1_000, `${spent} ms`);
});
