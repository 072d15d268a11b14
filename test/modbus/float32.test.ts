import * as fc from 'fast-check';
import t from 'tap';
import { shortestFloat32 } from '../../src/drivers/modbus/float32.ts';

/** Digits of a decimal, without zeros at its ends. */
const digits = (value: number) =>
  (/^[-0.]*([\d.]*?)[0.]*(e|$)/.exec(String(value))?.[1] ?? '').replace('.', '').length;

const anyFloat = fc.nat(0xffff_ffff).map((bits) => {
  const view = new DataView(new ArrayBuffer(4));
  view.setUint32(0, bits);
  return view.getFloat32(0);
});
const float32 = fc
  .oneof(
    anyFloat,
    fc.double({ min: -1e6, max: 1e6, noNaN: true }).map(Math.fround),
    fc
      .integer({ min: -9_999_999, max: 9_999_999 })
      .chain((n) => fc.nat(9).map((k) => Math.fround(n / 10 ** k))),
  )
  .filter(Number.isFinite);

t.test('it is the same float32 again', async () => {
  fc.assert(
    fc.property(float32, (value) => Math.fround(shortestFloat32(value)) === value),
    { numRuns: 20_000 },
  );
});

t.test('no decimal with fewer digits is the same float32', async () => {
  fc.assert(
    fc.property(float32, (value) => {
      const length = digits(shortestFloat32(value));
      if (Number.isInteger(value) && Math.abs(value) <= 2 ** 24) return true; // exact, whatever its length
      return length <= 1 || Math.fround(Number(value.toPrecision(length - 1))) !== value;
    }),
    { numRuns: 20_000 },
  );
});

t.test('what a person typed into a device comes back as typed', async () => {
  fc.assert(
    fc.property(fc.integer({ min: -999_999, max: 999_999 }), fc.nat(12), (n, decimals) => {
      const typed = Number(`${n}e-${decimals}`);
      return shortestFloat32(Math.fround(typed)) === (typed === 0 ? 0 : typed);
    }),
    { numRuns: 20_000 },
  );
});

t.test('the ends of the range and the zeros', async (t) => {
  for (const value of [0, 1.1754944e-38, 3.4028235e38, 1e-45, 1.5e-39, 16_777_216, 0.1, 1e22, 9.999999e-14]) {
    t.equal(shortestFloat32(Math.fround(value)), value);
    t.equal(shortestFloat32(Math.fround(-value)), value === 0 ? 0 : -value);
  }
});
