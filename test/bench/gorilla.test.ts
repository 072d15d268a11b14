import * as fc from 'fast-check';
import t from 'tap';
import { gorillaDecoded, gorillaEncoded } from './gorilla.ts';
import { SIGNAL_KINDS, plantSignals, randomOf } from './plant-signals.ts';

const START = Date.UTC(2026, 10, 22);

t.test('the baseline is lossless, whatever the values and times are', async (t) => {
  const value = fc.oneof(
    fc.double(),
    fc.float(),
    fc.integer(),
    fc.constantFrom(0, -0, 1, 1 + Number.EPSILON, 5e-324, Number.MAX_VALUE, -1),
  );
  const step = fc.oneof(
    fc.constant(1_000),
    fc.nat(3_000),
    fc.constantFrom(0, 63, 64, 1_255, 1_256, 5_000, 100_000_000),
  );
  fc.assert(
    fc.property(fc.array(fc.tuple(step, value), { minLength: 1, maxLength: 200 }), (list) => {
      let time = START;
      const times = Float64Array.from(list, ([distance]) => (time += distance));
      const values = Float64Array.from(list, ([, given]) => given);

      const found = gorillaDecoded(gorillaEncoded(times, values), list.length);

      t.ok(times.every((given, i) => given === found.times[i]));
      t.ok(values.every((given, i) => Object.is(given, found.values[i])));
    }),
    { numRuns: 500 },
  );
});

t.test('it takes the bits that the paper counts', async (t) => {
  const times = Float64Array.from({ length: 1_001 }, (_, k) => START + k * 1_000);
  const still = gorillaEncoded(times, new Float64Array(1_001).fill(12));

  // 64 bits of time, 64 of the value, a first difference of 32; then a bit for the time and one for the value.
  t.equal(still.length, Math.ceil((64 + 64 + 32 + 1 + 1_000 * 2 - 1) / 8));
  const two = gorillaEncoded(times.subarray(0, 2), Float64Array.of(12, 24));
  // 12 to 24 changes one bit of the exponent: control 11, leading zeros 5, length 6, one meaningful bit.
  t.equal(two.length, Math.ceil((64 + 64 + 32 + 2 + 5 + 6 + 1) / 8));
});

t.test('the signals are the same for the same seed, and of every kind', async (t) => {
  t.equal(
    SIGNAL_KINDS.reduce((sum, { share }) => sum + share, 0),
    100,
  );
  const [one, same, other] = [plantSignals(100, 5), plantSignals(100, 5), plantSignals(100, 6)].map(
    (signals) => signals.map(({ next }) => [next(), next(), next()]),
  );
  t.same(one, same);
  t.notSame(one, other);
  for (const { name, share } of SIGNAL_KINDS)
    t.equal(plantSignals(100).filter(({ kind }) => kind.name === name).length, share, name);
  t.ok(Array.from({ length: 1_000 }, randomOf(1)).every((x) => x >= 0 && x < 1));
});
