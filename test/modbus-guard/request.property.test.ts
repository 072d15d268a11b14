import * as fc from 'fast-check';
import t from 'tap';
import type { TableSpan } from '../../src/config/config.ts';
import { decide } from '../../src/drivers/modbus/guard/decide.ts';
import { parseRequest } from '../../src/drivers/modbus/guard/request.ts';
import { MbapFramer, MIN_REQUEST_LENGTH } from '../../src/drivers/modbus/framing.ts';
import { viewOf } from '../../src/drivers/modbus/pdu.ts';

// For any bytes: the same requests whatever the pieces, and nothing passes that a second reading of the specification,
// written for this test alone, does not let pass.

const parsed = (pdu: readonly number[]) => parseRequest(viewOf(Uint8Array.from(pdu)), 0, pdu.length);

const cells = (table: string, from: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `${table} ${from + i}`);
const inside = (from: number, count: number, most: number): boolean =>
  count >= 1 && count <= most && from + count <= 65_536;

/** What a device would touch, laid out by hand from sections 6.1 to 6.17; undefined where it is no such request. */
function touched(pdu: readonly number[]): { reads: string[]; writes: string[] } | undefined {
  const word = (at: number): number => (pdu[at] ?? 0) * 256 + (pdu[at + 1] ?? 0);
  const [code] = pdu;
  switch (code) {
    case 1:
    case 2:
    case 3:
    case 4: {
      const table = ['coil', 'discrete', 'holding', 'input'][code - 1] ?? '';
      if (pdu.length !== 5 || !inside(word(1), word(3), code <= 2 ? 2000 : 125)) return undefined;
      return { reads: cells(table, word(1), word(3)), writes: [] };
    }
    case 5:
      if (pdu.length !== 5 || (word(3) !== 0 && word(3) !== 65_280)) return undefined;
      return { reads: [], writes: cells('coil', word(1), 1) };
    case 6:
      return pdu.length === 5 ? { reads: [], writes: cells('holding', word(1), 1) } : undefined;
    case 15: {
      const size = Math.ceil(word(3) / 8);
      if (pdu.length !== 6 + size || pdu[5] !== size || !inside(word(1), word(3), 1968)) return undefined;
      return { reads: [], writes: cells('coil', word(1), word(3)) };
    }
    case 16: {
      const size = word(3) * 2;
      if (pdu.length !== 6 + size || pdu[5] !== size || !inside(word(1), word(3), 123)) return undefined;
      return { reads: [], writes: cells('holding', word(1), word(3)) };
    }
    case 22:
      return pdu.length === 7 ? { reads: [], writes: cells('holding', word(1), 1) } : undefined;
    case 23: {
      const size = word(7) * 2;
      if (pdu.length !== 10 + size || pdu[9] !== size) return undefined;
      if (!inside(word(1), word(3), 125) || !inside(word(5), word(7), 121)) return undefined;
      return { reads: cells('holding', word(1), word(3)), writes: cells('holding', word(5), word(7)) };
    }
    default:
      return undefined;
  }
}

const word = fc.oneof(
  fc.integer({ min: 0, max: 140 }),
  fc.constantFrom(1968, 2000, 2001, 65_280, 65_535),
  fc.nat(65_535),
);
const bytes = (n: number): number[] => [n >> 8, n & 255];
const code = fc.oneof(fc.constantFrom(1, 2, 3, 4, 5, 6, 15, 16, 22, 23), fc.nat(255));
/** Near to what is right, so that much of it is. */
const request = fc.oneof(
  fc.tuple(code, fc.array(fc.nat(255), { maxLength: 20 })).map(([first, rest]) => [first, ...rest]),
  fc.tuple(code, word, word).map(([first, a, b]) => [first, ...bytes(a), ...bytes(b)]),
  fc
    .tuple(fc.constantFrom(15, 16), word, fc.integer({ min: 0, max: 20 }), fc.integer({ min: -1, max: 1 }))
    .map(([first, address, count, off]) => {
      const size = first === 15 ? (count + 7) >> 3 : count * 2;
      return [
        first,
        ...bytes(address),
        ...bytes(count),
        size,
        ...Array.from({ length: Math.max(0, size + off) }, () => 1),
      ];
    }),
  fc
    .tuple(word, word, word, fc.integer({ min: 0, max: 20 }))
    .map(([from, count, to, n]) => [
      23,
      ...bytes(from),
      ...bytes(count),
      ...bytes(to),
      ...bytes(n),
      n * 2,
      ...Array.from({ length: n * 2 }, () => 2),
    ]),
);
const span = fc
  .record({
    table: fc.constantFrom('coil', 'discrete', 'input', 'holding'),
    low: fc.nat(200),
    more: fc.nat(100),
  })
  .map(({ table, low, more }): TableSpan => ({ table, low, high: low + more }));
const spans = fc.oneof(
  fc.array(span, { maxLength: 6 }),
  fc.constant(
    (['coil', 'discrete', 'input', 'holding'] as const).map(
      (table): TableSpan => ({ table, low: 0, high: 65_535 }),
    ),
  ),
);

const has = (list: readonly TableSpan[]) => (cell: string) => {
  const [table, at] = cell.split(' ');
  return list.some((one) => one.table === table && one.low <= Number(at) && Number(at) <= one.high);
};

t.test('exactly what only touches listed addresses passes', async (t) => {
  let passed = 0;
  fc.assert(
    fc.property(request, spans, spans, (pdu, read, write) => {
      const cells = touched(pdu);
      const expected = cells !== undefined && cells.reads.every(has(read)) && cells.writes.every(has(write));
      const guard = { grade: 'enforced', units: undefined, read, write } as const;
      const { allowed } = decide({ guard, units: [{ low: 1, high: 1 }] }, 1, parsed(pdu));
      if (allowed) passed += 1;
      return allowed === expected;
    }),
    { numRuns: 4_000 },
  );
  t.ok(passed > 200, `${passed} passed: it says something about both`);
});

t.test('any segmentation of any bytes gives the same requests or the same refusal', async () => {
  const frame = request.map((pdu) => [0, 9, 0, 0, 0, pdu.length + 1, 1, ...pdu]);
  const stream = fc
    .array(fc.oneof(frame, fc.array(fc.nat(255), { maxLength: 12 }), frame), { maxLength: 12 })
    .map((parts) => Uint8Array.from(parts.flat()));
  fc.assert(
    fc.property(stream, fc.array(fc.integer({ min: 1, max: 40 }), { minLength: 1 }), (all, sizes) => {
      const cut = (pieces: readonly number[]): string => {
        const framer = new MbapFramer(MIN_REQUEST_LENGTH);
        const seen: unknown[] = [];
        const sink = {
          frame: (id: number, view: DataView, start: number, end: number) =>
            void seen.push([id, view.getUint8(start), parseRequest(view, start + 1, end)]),
        };
        let whole = true;
        for (let at = 0, i = 0; at < all.length; i += 1) {
          const piece = all.slice(at, at + (pieces[i % pieces.length] ?? 1));
          whole = framer.push(viewOf(piece), piece.length, sink);
          at += piece.length;
        }
        return JSON.stringify([seen, whole, whole ? framer.held : 0]);
      };
      return cut(sizes) === cut([1]) && cut(sizes) === cut([all.length + 1]);
    }),
    { numRuns: 1_000 },
  );
});
