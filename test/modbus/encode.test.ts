import t from 'tap';
import type { PointValue } from '../../src/core/batch.ts';
import { type Encoded, encodeValue } from '../../src/drivers/modbus/encode.ts';
import { modbusPoint, type PointSketch } from '../support/modbus-points.ts';

function encoded(sketch: PointSketch, value: PointValue): Encoded {
  const point = modbusPoint(0, sketch);
  if (point.source.kind !== 'modbus') throw new Error('no Modbus point');
  return encodeValue(point, point.source, value);
}

const registers = (...values: readonly number[]): Encoded => ({ kind: 'registers', values });

t.test('values become the registers that the specification of the type says', async (t) => {
  t.strictSame(encoded({ type: 'int16' }, -42), registers(0xffd6));
  t.strictSame(encoded({ type: 'uint32' }, 0x01020304), registers(0x0102, 0x0304));
  t.strictSame(encoded({ type: 'uint32', order: 'CDAB' }, 0x01020304), registers(0x0304, 0x0102));
  t.strictSame(encoded({ type: 'uint32', order: 'BADC' }, 0x01020304), registers(0x0201, 0x0403));
  t.strictSame(encoded({ type: 'uint32', order: 'DCBA' }, 0x01020304), registers(0x0403, 0x0201));
  t.strictSame(encoded({ type: 'float32' }, 230.1), registers(0x4366, 0x199a));
  t.strictSame(encoded({ type: 'bcd16' }, 1234), registers(0x1234));
  t.strictSame(encoded({ type: 'bcd32' }, 98_765_432), registers(0x9876, 0x5432));
  t.strictSame(
    encoded({ type: 'uint64' }, '18446744073709551615'),
    registers(0xffff, 0xffff, 0xffff, 0xffff),
  );
  t.strictSame(encoded({ type: 'int64' }, '-9223372036854775808'), registers(0x8000, 0, 0, 0));
  t.strictSame(encoded({ type: 'string', characters: 5 }, 'PM5'), registers(0x504d, 0x3500, 0));
  t.strictSame(encoded({ type: 'string', characters: 4, order: 'DCBA' }, 'PM53'), registers(0x4d50, 0x3335));
  t.strictSame(encoded({ type: 'bool' }, true), registers(1));
  t.strictSame(encoded({ table: 'coil' }, false), { kind: 'coil', on: false });
  t.strictSame(encoded({ bit: 3 }, true), { kind: 'bit', mask: 8, on: true });
  t.strictSame(encoded({ bit: 3, order: 'BADC' }, false), { kind: 'bit', mask: 0x800, on: false });
});

t.test('scale and offset are undone exactly', async (t) => {
  t.strictSame(encoded({ scale: 0.1 }, 230.1), registers(2301));
  t.strictSame(encoded({ scale: 0.1, offset: -40 }, 23.7), registers(637));
  t.strictSame(encoded({ type: 'int16', scale: 0.01 }, -0.07), registers(0xfff9));
  t.strictSame(encoded({ scale: -1 }, -5), registers(5));
});

const REFUSED: readonly (readonly [PointSketch, PointValue])[] = [
  [{ type: 'uint16' }, 65_536],
  [{ type: 'uint16' }, -1],
  [{ type: 'int16' }, 32_768],
  [{ type: 'int16' }, 1.5],
  [{ type: 'int32' }, 2 ** 31],
  [{ type: 'uint32' }, 2 ** 32],
  [{ type: 'uint32' }, NaN],
  [{ type: 'uint32' }, Infinity],
  [{ scale: 0.1 }, 230.15],
  [{ scale: 0.1 }, 6553.6],
  [{ type: 'bcd16' }, 10_000],
  [{ type: 'bcd16' }, -1],
  [{ type: 'bcd32' }, 100_000_000],
  [{ type: 'float32' }, 1e39],
  [{ type: 'float32' }, 1e-60],
  [{ type: 'float64' }, NaN],
  [{ type: 'float64', scale: 1e-300 }, 1e300],
  [{ type: 'float32', scale: 0 }, 5],
  [{ type: 'int16', scale: 0 }, 5],
  [{ type: 'int64' }, 2 ** 53],
  [{ type: 'int64' }, '9223372036854775808'],
  [{ type: 'uint64' }, '-1'],
  [{ type: 'uint64' }, '18446744073709551616'],
  [{ type: 'uint64' }, '1e3'],
  [{ type: 'uint64', scale: 0.1 }, '10'],
  [{ type: 'uint16' }, '5'],
  [{ type: 'uint16' }, true],
  [{ type: 'bool' }, 1],
  [{ table: 'coil' }, 1],
  [{ bit: 0 }, 'true'],
  [{ type: 'string', characters: 3 }, 'PM53'],
  [{ type: 'string', characters: 2 }, 'éé'],
  [{ type: 'string', characters: 4 }, 'a '],
  [{ type: 'string', characters: 4 }, 'a\0b'],
  [{ type: 'string', characters: 4 }, 5],
  [{ type: 'string', characters: 4 }, '\ud83d'],
];

for (const [sketch, value] of REFUSED) {
  t.test(`${JSON.stringify(sketch)} refuses ${typeof value} ${String(value)}`, async (t) => {
    t.throws(() => encoded(sketch, value), { code: 'DEVICE_REFUSED', message: /^meter\/p0 cannot take / });
  });
}
