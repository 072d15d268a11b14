import * as fc from 'fast-check';
import t from 'tap';
import { type Batch, BatchBuilder, type PointValue, valueAt } from '../../src/core/batch.ts';
import { BAD, GOOD, REASONS, UNCERTAIN, reasonCode } from '../../src/core/quality.ts';
import {
  type Chunk,
  MAX_SAMPLES,
  decodeChunk,
  encodeChunks,
  sortedOrder,
} from '../../src/telemetry/chunk.ts';
import { JsonWriter } from '../../src/telemetry/json-writer.ts';

const START = Date.UTC(2026, 10, 22, 6);
const TIMEOUT = reasonCode('timeout');
const STALE = reasonCode('stale');

interface Sample {
  readonly time: number;
  readonly value: PointValue | null;
  readonly quality: number;
  readonly reason: number;
}

function good(time: number, value: PointValue): Sample {
  return { time, value, quality: GOOD, reason: 0 };
}

function batchOf(samples: readonly Sample[], point = 1): Batch {
  const builder = new BatchBuilder();
  for (const { time, value, quality, reason } of samples) {
    if (value === null) builder.addBad(point, time, reason);
    else builder.add(point, time, value, quality, reason);
  }
  const batch = builder.take();
  if (batch === undefined) throw new Error('no samples');
  return batch;
}

function encoded(samples: readonly Sample[]): Chunk[] {
  const batch = batchOf(samples);
  const { order } = sortedOrder(batch);
  return encodeChunks(batch, order, 0, batch.count);
}

function decoded(chunks: readonly Chunk[]): Sample[] {
  const into = new BatchBuilder();
  for (const chunk of chunks) decodeChunk(chunk, chunk.text, 7, into);
  const batch = into.take();
  if (batch === undefined) return [];
  return Array.from({ length: batch.count }, (_, i) => ({
    time: batch.times[i] ?? 0,
    value: valueAt(batch, i),
    quality: batch.qualities[i] ?? 0,
    reason: batch.reasons[i] ?? 0,
  }));
}

function texts(samples: readonly Sample[]): string[] {
  return encoded(samples).map(({ text }) => text.toString());
}

/** Without the codec: what the elements of a text say, by the rule of the format. */
function byTheRule({ t0, step, text }: Chunk): Sample[] {
  return elementsOf(text).flatMap((element, k): Sample[] => {
    const tick = t0 + k * step;
    if (!Array.isArray(element)) return [good(tick, valueOf(element))];
    if (element.length === 0) return [];
    const parts: readonly unknown[] = element;
    const [r, value, quality = GOOD, reason = 0] = parts;
    const whole = value === null ? null : valueOf(value);
    return [{ time: tick + Number(r), value: whole, quality: Number(quality), reason: Number(reason) }];
  });
}

function elementsOf(text: Buffer): unknown[] {
  const elements: unknown = JSON.parse(text.toString());
  if (!Array.isArray(elements)) throw new Error('not an array');
  return elements;
}

function valueOf(value: unknown): PointValue {
  if (typeof value === 'number' || typeof value === 'boolean' || typeof value === 'string') return value;
  throw new Error(`${JSON.stringify(value)} is no value`);
}

/** A sample a second, and a hole in the middle. */
function around(hole: number): Chunk[] {
  return encoded(Array.from({ length: 200 }, (_, k) => good(START + k * 1_000 + (k < 100 ? 0 : hole), k)));
}

function read(text: Uint8Array): void {
  decodeChunk({ t0: START, step: 1_000 }, text, 1, new BatchBuilder());
}

t.test('a value on its tick is itself, everything else says how it differs', async (t) => {
  t.same(texts([0, 1, 2].map((k) => good(START + k * 1_000, 20.5 + k))), ['[20.5,21.5,22.5]']);
  t.same(texts([0, 1_000, 2_003, 3_000].map((at) => good(START + at, 5))), ['[5,5,[3,5],5]']);
  t.same(texts([0, 1_000, 4_000, 5_000, 6_000].map((at) => good(START + at, true))), [
    '[true,true,[],[],true,true,true]',
  ]);
  t.same(
    texts([
      good(START, 'an "ä"\n'),
      { time: START + 1_000, value: null, quality: BAD, reason: TIMEOUT },
      { time: START + 2_000, value: 7, quality: UNCERTAIN, reason: STALE },
    ]),
    [`["an \\"ä\\"\\n",[0,null,2,${TIMEOUT}],[0,7,1,${STALE}]]`],
  );
});

t.test('samples without a rhythm tell their distance from the first', async (t) => {
  const times = [0, 17, 90_000, 90_001, 4_000_000, 4_000_000, 9_999_999];
  const chunks = encoded(times.map((at) => good(START + at, 1)));

  t.match(chunks, [{ step: 0, n: 7, t0: START, t1: START + 9_999_999 }]);
  t.equal(chunks[0]?.text.toString(), '[1,[17,1],[90000,1],[90001,1],[4000000,1],[4000000,1],[9999999,1]]');
});

t.test('the rhythm is found in spite of jitter', async (t) => {
  let random = 1;
  const jitter = (): number => {
    random = (random * 48_271) % 2_147_483_647;
    return (random % 41) - 20;
  };
  const chunks = encoded(Array.from({ length: 3_600 }, (_, k) => good(START + k * 1_000 + jitter(), k)));

  t.match(chunks, [{ step: 1_000, n: 3_600 }]);
});

t.test('a hole of an hour begins a new chunk, a hole of a minute does not', async (t) => {
  t.same(
    around(60_000).map(({ n }) => n),
    [200],
  );
  t.same(
    around(3_600_000).map(({ n, t0 }) => [n, t0 - START]),
    [
      [100, 0],
      [100, 3_700_000],
    ],
  );
});

t.test('a second sample at the same tick begins a new chunk, and the rhythm goes on', async (t) => {
  const samples = Array.from({ length: 200 }, (_, k) => good(START + (k < 100 ? k : k - 1) * 1_000, k));
  const chunks = encoded(samples);

  t.same(
    chunks.map(({ step, n }) => [step, n]),
    [
      [1_000, 100],
      [1_000, 100],
    ],
  );
  t.strictSame(decoded(chunks), samples);
});

t.test('a chunk never holds more than its limit, and pieces are of a size', async (t) => {
  const chunks = encoded(Array.from({ length: MAX_SAMPLES + 2 }, (_, k) => good(START + k, k)));
  const long = encoded(Array.from({ length: 50 }, (_, k) => good(START + k, `${k}`.repeat(60_000))));

  t.same(
    chunks.map(({ n }) => n),
    [2_049, 2_049],
  );
  t.ok(long.length > 1 && long.every(({ text }) => text.length < 1_300_000), 'long strings end it earlier');
});

t.test('what is bad has no value, and what is no number is bad', async (t) => {
  const builder = new BatchBuilder();
  builder.addNumber(1, START, Number.NaN);
  builder.addNumber(1, START + 1_000, 5, BAD, TIMEOUT);
  const batch = builder.peek();

  t.same(decoded(encodeChunks(batch, Uint32Array.of(0, 1), 0, 2)), [
    { time: START, value: null, quality: BAD, reason: reasonCode('not a number') },
    { time: START + 1_000, value: null, quality: BAD, reason: TIMEOUT },
  ]);
});

const numbers = fc.oneof(
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.integer(),
  fc.maxSafeInteger(),
  fc.tuple(fc.maxSafeInteger(), fc.integer({ min: 0, max: 22 })).map(([n, places]) => n / 10 ** places),
  fc.float({ noNaN: true, noDefaultInfinity: true }),
  fc.constantFrom(0, -0, 1e21, 5e-324, Number.MAX_VALUE, 2 ** 31, -(2 ** 31), 2 ** 53 + 2, 0.1 + 0.2),
);
const values = fc.oneof(
  { weight: 4, arbitrary: numbers },
  { weight: 1, arbitrary: fc.boolean() },
  { weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 20 }) },
  { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 20 }) },
);
const reasons = fc.integer({ min: 0, max: REASONS.length - 1 });
const sample = fc.oneof(
  { weight: 6, arbitrary: values.map((value) => ({ value, quality: GOOD, reason: 0 })) },
  { weight: 1, arbitrary: fc.record({ value: values, quality: fc.constant(UNCERTAIN), reason: reasons }) },
  {
    weight: 1,
    arbitrary: fc.record({ value: fc.constant(null), quality: fc.constant(BAD), reason: reasons }),
  },
);
/** Regular, jittered, holed, doubled, and without any rhythm. */
const distances = fc.oneof(
  fc.integer({ min: 1, max: 100_000 }).map((step) => fc.constant(step)),
  fc.constant(
    fc.oneof(
      { weight: 60, arbitrary: fc.constant(1_000) },
      { weight: 1, arbitrary: fc.constantFrom(0, 1, 999, 1_001, 2_000, 61_000, 62_000, 7_000_000) },
    ),
  ),
  fc.constant(fc.integer({ min: 970, max: 1_030 })),
  fc.constant(fc.nat(100_000)),
  fc.constant(fc.constantFrom(0, 0, 1)),
);
const samples = distances
  .chain((distance) => fc.array(fc.tuple(distance, sample), { minLength: 1, maxLength: 300 }))
  .map((list) => {
    let time = START;
    return list.map(([distance, rest]): Sample => {
      time += distance;
      return { time, ...rest };
    });
  });

t.test('what is decoded is what was encoded, sample by sample', async (t) => {
  fc.assert(
    fc.property(samples, (given) => {
      const chunks = encoded(given);
      const found = decoded(chunks);
      t.strictSame(found, given);
      t.ok(
        given.every(({ value }, i) => Object.is(found[i]?.value, value)),
        'a negative zero too',
      );
      t.strictSame(chunks.flatMap(byTheRule), given, 'also for a reader that only knows the rule');
      t.equal(
        chunks.reduce((sum, { n }) => sum + n, 0),
        given.length,
      );
      for (const chunk of chunks) {
        const own = byTheRule(chunk);
        t.ok(own[0]?.time === chunk.t0 && own.at(-1)?.time === chunk.t1 && own.length === chunk.n);
      }
    }),
    { numRuns: 300 },
  );
});

t.test('every number is the same double again, and short where the language writes it short', async (t) => {
  const writer = new JsonWriter();
  fc.assert(
    fc.property(fc.array(numbers, { minLength: 1 }), (list) => {
      writer.clear();
      for (const value of list) {
        const from = writer.length;
        writer.number(value);
        const text = writer.taken().toString().slice(from);
        const plain = JSON.stringify(value);
        if (!Object.is(JSON.parse(text), value)) throw new Error(`${plain} became ${text}`);
        if (!plain.includes('e') && !Object.is(value, -0) && text !== plain)
          throw new Error(`${plain} became ${text}`);
      }
    }),
    { numRuns: 2_000 },
  );
  t.pass();
});

t.test('rows are sorted by series and time, and rows of the same time stay in their order', async (t) => {
  const rows = fc.array(
    fc.record({
      point: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(1_000, 4_000_000_000)),
      time: fc.oneof(fc.nat(10), fc.nat(1_000_000)),
    }),
  );
  fc.assert(
    fc.property(rows, fc.boolean(), (given, inOrder) => {
      const list = inOrder ? given.toSorted((a, b) => a.time - b.time) : given;
      const builder = new BatchBuilder();
      for (const [i, { point, time }] of list.entries()) builder.addNumber(point, time, i);
      const batch = builder.peek();

      const { order, runs } = sortedOrder(batch);

      // Sorting is stable in the language.
      const expected = list
        .map((row, i) => ({ ...row, i }))
        .toSorted((a, b) => a.point - b.point || a.time - b.time);
      t.same(
        [...order],
        expected.map(({ i }) => i),
      );
      t.same(
        runs.flatMap(({ series, from, to }) => Array.from({ length: to - from }, () => series)),
        expected.map(({ point }) => point),
      );
      t.equal(new Set(runs.map(({ series }) => series)).size, runs.length);
    }),
    { numRuns: 500 },
  );
});

t.test('a text that is damaged is refused, whatever it says', async (t) => {
  const whole = Buffer.from('[1,[3,2.5],[],[0,null,2,1],"a\\"b",true,-1e-7]');
  read(whole);

  for (let cut = 0; cut < whole.length; cut++) t.throws(() => read(whole.subarray(0, cut)), Error);
  for (const text of [
    '',
    '[',
    '{}',
    '[1 ,2]',
    '[01]',
    '[1.]',
    '[.5]',
    '[-]',
    '[nul]',
    '[[1]]',
    '[[1,2,3]]',
    '[[1,2,7,0]]',
  ])
    t.throws(() => read(Buffer.from(text)), Error, text);
  t.throws(() => read(Buffer.from('[1]]')), Error);
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), (at, byte) => {
      const text = Buffer.from(whole);
      text[at] = byte;
      try {
        read(text);
      } catch (error) {
        if (!(error instanceof Error) || error instanceof TypeError || error instanceof RangeError)
          throw error;
      }
    }),
    { numRuns: 2_000 },
  );
});
