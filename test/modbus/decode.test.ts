import * as fc from 'fast-check';
import t from 'tap';
import type { ByteOrder, ModbusSource, ModbusType } from '../../src/config/config.ts';
import { BatchBuilder, type PointValue } from '../../src/core/batch.ts';
import { decodeInto, stepFor } from '../../src/drivers/modbus/decode.ts';
import { encodeValue } from '../../src/drivers/modbus/encode.ts';
import { viewOf } from '../../src/drivers/modbus/pdu.ts';
import { rows } from '../support/modbus-line.ts';
import { modbusPoint, type PointSketch } from '../support/modbus-points.ts';

const ORDERS: readonly ByteOrder[] = ['ABCD', 'CDAB', 'BADC', 'DCBA'];
const BEFORE = 3; // bytes in front of the data: nothing may depend on where a reply lies in its buffer

/** The value of a point whose data are these bytes. */
function decoded(sketch: PointSketch, bytes: Iterable<number>): PointValue | undefined {
  const point = modbusPoint(0, sketch);
  const into = new BatchBuilder();
  const view = viewOf(Uint8Array.of(0xaa, 0xaa, 0xaa, ...bytes));
  decodeInto(into, [stepFor(point, sourceOf(sketch), sketch.address ?? 0)], view, BEFORE, 1);
  return rows(into)[0];
}

function sourceOf(sketch: PointSketch): ModbusSource {
  const { source } = modbusPoint(0, sketch);
  if (source.kind !== 'modbus') throw new Error('no Modbus point');
  return source;
}

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

/** The bytes as the device of that order sends them: letters name bytes, the most significant first. */
function sent(bytes: Uint8Array, order: ByteOrder): Uint8Array {
  const words = Array.from({ length: bytes.length / 2 }, (_, i) => [...bytes.subarray(i * 2, i * 2 + 2)]);
  const ordered = order === 'CDAB' || order === 'DCBA' ? words.toReversed() : words;
  return Uint8Array.from(
    ordered.flatMap((word) => (order === 'BADC' || order === 'DCBA' ? word.toReversed() : word)),
  );
}

// Bytes by hand: IEEE 754, two's complement and binary coded decimal.
const KNOWN: readonly (readonly [ModbusType, string, PointValue])[] = [
  ['int16', 'ffd6', -42],
  ['uint16', 'ffd6', 65_494],
  ['bool', '0001', true],
  ['bool', '0000', false],
  ['int32', 'fffffffe', -2],
  ['uint32', 'fffffffe', 4_294_967_294],
  ['uint32', '00010000', 65_536],
  ['float32', '4366199a', 230.1],
  ['float32', 'c2280000', -42],
  ['float32', '7fc00000', '<not a number>'],
  ['float32', '7f800000', '<not a number>'],
  ['float32', 'ff800000', '<not a number>'],
  ['float64', '400921fb54442d18', Math.PI],
  ['float64', '7ff8000000000000', '<not a number>'],
  ['float64', 'fff0000000000000', '<not a number>'],
  ['int64', 'ffffffffffffffff', -1],
  ['int64', '001fffffffffffff', 2 ** 53 - 1],
  ['int64', '0020000000000001', '9007199254740993'],
  ['int64', '8000000000000000', '-9223372036854775808'],
  ['uint64', '8000000000000000', '9223372036854775808'],
  ['uint64', 'ffffffffffffffff', '18446744073709551615'],
  ['uint64', '00000001 00000000', 4_294_967_296],
  ['bcd16', '1234', 1234],
  ['bcd16', '12a4', '<bad encoding>'],
  ['bcd32', '98765432', 98_765_432],
  ['bcd32', '0000000f', '<bad encoding>'],
];

for (const [type, bytes, value] of KNOWN) {
  t.test(`${type} ${bytes} is ${value} in every byte order`, async (t) => {
    for (const order of ORDERS) {
      if (type === 'bool') t.equal(decoded({ type, order }, hex(bytes)), value, order);
      else t.equal(decoded({ type, order }, sent(hex(bytes), order)), value, order);
    }
  });
}

t.test('the letters of an order name the bytes as they are sent', async (t) => {
  t.equal(decoded({ type: 'uint32', order: 'ABCD' }, hex('01020304')), 0x01020304);
  t.equal(decoded({ type: 'uint32', order: 'CDAB' }, hex('03040102')), 0x01020304);
  t.equal(decoded({ type: 'uint32', order: 'BADC' }, hex('02010403')), 0x01020304);
  t.equal(decoded({ type: 'uint32', order: 'DCBA' }, hex('04030201')), 0x01020304);
  t.equal(decoded({ type: 'uint64', order: 'CDAB' }, hex('0708 0506 0304 0001')), 0x0001_0304_0506_0708);
});

const text = (bytes: string, characters: number, order: ByteOrder = 'ABCD') =>
  decoded({ type: 'string', characters, order }, hex(bytes));

t.test('texts end at NUL, lose the padding, and are never guessed', async (t) => {
  t.equal(text('504d3533 3230', 6), 'PM5320');
  t.equal(text('4d503335 3032', 6, 'BADC'), 'PM5320');
  t.equal(text('504d0041 4142', 6), 'PM');
  t.equal(text('504d2020', 4), 'PM');
  t.equal(text('504d35ff', 3), 'PM5', 'the pad byte of an odd length is not looked at');
  t.equal(text('c3a9', 2), 'é');
  t.equal(text('ffffffff', 4), '<bad encoding>');
  t.equal(text('0000', 2), '');
});

t.test('scale and offset give the decimals that a person expects', async (t) => {
  const u16 = (raw: number, scale: number, offset = 0) =>
    decoded({ type: 'uint16', scale, offset }, [raw >> 8, raw & 255]);

  t.equal(u16(3, 0.1), 0.3);
  t.equal(u16(2301, 0.1), 230.1);
  t.equal(u16(637, 0.1, -40), 23.7);
  t.equal(u16(7, 0.01), 0.07);
  t.equal(u16(4, 0.25), 1);
  t.equal(u16(7, 1 / 3), 7 / 3);
  t.equal(u16(5, 1000), 5000);
  t.equal(u16(5, 1.8, 32), 41);
  t.equal(decoded({ type: 'float64', scale: 10 }, hex('7fefffffffffffff')), '<out of range>');
  t.equal(decoded({ type: 'float32', scale: 1e300 }, hex('7f7fffff')), '<out of range>');
});

t.test('whole registers scaled by a power of ten are the nearest double to the decimal', async () => {
  fc.assert(
    fc.property(
      fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
      fc.integer({ min: 1, max: 6 }),
      (raw, decimals) => {
        const bytes = Buffer.alloc(4);
        bytes.writeInt32BE(raw);
        return (
          decoded({ type: 'int32', scale: Number(`1e-${decimals}`) }, bytes) ===
          Number(`${raw}e-${decimals}`) + 0
        );
      },
    ),
  );
});

t.test('a scaled float32 has the digits that a person expects', async () => {
  const typed = fc.tuple(fc.integer({ min: -999_999, max: 999_999 }), fc.integer({ min: 0, max: 4 }));
  fc.assert(
    fc.property(typed, fc.integer({ min: 1, max: 4 }), ([n, decimals], shift) => {
      const bytes = Buffer.alloc(4);
      bytes.writeFloatBE(Number(`${n}e-${decimals}`));
      const value = decoded({ type: 'float32', scale: Number(`1e-${shift}`) }, bytes);
      return value === Number(`${n}e-${decimals + shift}`) + 0;
    }),
    { numRuns: 5000 },
  );
});

t.test('bits of a byte and bits of a register are counted from the least significant', async (t) => {
  // Application Protocol 6.1, the example: 0xCD holds coils 27 down to 20
  const coils = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => decoded({ table: 'coil', address: 0 }, [0xcd >> i]));
  t.strictSame(coils, [true, false, true, true, false, false, true, true]);
  t.equal(decoded({ bit: 0 }, hex('0001')), true);
  t.equal(decoded({ bit: 15 }, hex('8000')), true);
  t.equal(decoded({ bit: 8 }, hex('00ff')), false);
  t.equal(decoded({ bit: 0, order: 'BADC' }, hex('0100')), true);
});

const numbers: readonly (readonly [ModbusType, fc.Arbitrary<number>])[] = [
  ['int16', fc.integer({ min: -32_768, max: 32_767 })],
  ['uint16', fc.nat(65_535)],
  ['int32', fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 })],
  ['uint32', fc.nat(2 ** 32 - 1)],
  ['bcd16', fc.nat(9_999)],
  ['bcd32', fc.nat(99_999_999)],
  ['int64', fc.maxSafeInteger()],
  ['uint64', fc.maxSafeNat()],
  ['float64', fc.double({ noNaN: true, noDefaultInfinity: true }).filter((value) => !Object.is(value, -0))],
];

for (const [type, arbitrary] of numbers) {
  t.test(`any ${type} that is written reads back, in every order`, async () => {
    fc.assert(
      fc.property(arbitrary, fc.constantFrom(...ORDERS), (value, order) => {
        const sketch = { type: type, order };
        const encoded = encodeValue(modbusPoint(0, sketch), sourceOf(sketch), value);
        if (encoded.kind !== 'registers') return false;
        return Object.is(
          decoded(
            sketch,
            encoded.values.flatMap((word) => [word >> 8, word & 255]),
          ),
          value,
        );
      }),
    );
  });
}

t.test('random registers never crash a decoder, whatever the point is', async () => {
  const types: readonly ModbusType[] = [...KNOWN.map(([type]) => type), 'string'];
  fc.assert(
    fc.property(
      fc.constantFrom(...types),
      fc.constantFrom(...ORDERS),
      fc.uint8Array({ minLength: 8, maxLength: 8 }),
      (type, order, bytes) => {
        const value = decoded({ type, order, characters: type === 'string' ? 8 : 0 }, bytes);
        return typeof value !== 'number' || Number.isFinite(value);
      },
    ),
    { numRuns: 3000 },
  );
});
