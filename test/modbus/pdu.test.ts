import * as fc from 'fast-check';
import t from 'tap';
import type { ModbusTable } from '../../src/config/config.ts';
import {
  ACCEPTED,
  checkEcho,
  checkRead,
  exceptionName,
  maskWriteRegister,
  MISMATCH,
  readRequest,
  viewOf,
  writeCoil,
  writeCoils,
  writeRegister,
  writeRegisters,
} from '../../src/drivers/modbus/pdu.ts';

const check = (reply: readonly number[], code: number, quantity: number) =>
  checkRead(viewOf(Uint8Array.from(reply)), 0, reply.length, code, quantity);
const bits = (text: string) => Array.from(text, (bit) => bit === '1');

t.test('requests are those of the examples in the specification', async (t) => {
  t.strictSame([...readRequest('coil', 0x13, 19)], [1, 0, 0x13, 0, 0x13], '6.1');
  t.strictSame([...readRequest('discrete', 0xc4, 22)], [2, 0, 0xc4, 0, 0x16], '6.2');
  t.strictSame([...readRequest('holding', 0x6b, 3)], [3, 0, 0x6b, 0, 3], '6.3');
  t.strictSame([...readRequest('input', 8, 1)], [4, 0, 8, 0, 1], '6.4');
  t.strictSame([...writeCoil(0xac, true)], [5, 0, 0xac, 0xff, 0], '6.5');
  t.strictSame([...writeRegister(1, 3)], [6, 0, 1, 0, 3], '6.6');
  t.strictSame([...writeCoils(0x13, bits('1011001110'))], [15, 0, 0x13, 0, 10, 2, 0xcd, 1], '6.11');
  t.strictSame([...writeRegisters(1, [10, 0x102])], [16, 0, 1, 0, 2, 4, 0, 10, 1, 2], '6.12');
  t.strictSame([...maskWriteRegister(4, 0xf2, 0x25)], [22, 0, 4, 0, 0xf2, 0, 0x25], '6.16');
});

t.test('replies of the examples in the specification are accepted', async (t) => {
  t.equal(check([1, 3, 0xcd, 0x6b, 5], 1, 19), ACCEPTED, '6.1');
  t.equal(check([2, 3, 0xac, 0xdb, 0x35], 2, 22), ACCEPTED, '6.2');
  t.equal(check([3, 6, 2, 0x2b, 0, 0, 0, 0x64], 3, 3), ACCEPTED, '6.3');
  t.equal(check([4, 2, 0, 10], 4, 1), ACCEPTED, '6.4');
  t.equal(check([0x81, 2], 1, 19), 2, 'section 7');
});

t.test('what the specification does not allow is never sent', async (t) => {
  const forbidden: readonly (() => Uint8Array)[] = [
    () => readRequest('holding', 0, 126),
    () => readRequest('input', 0, 0),
    () => readRequest('coil', 0, 2001),
    () => readRequest('discrete', 65_535, 2),
    () => readRequest('holding', -1, 1),
    () => readRequest('holding', 0.5, 1),
    () => writeRegister(65_536, 1),
    () =>
      writeRegisters(
        0,
        Array.from({ length: 124 }, () => 0),
      ),
    () =>
      writeCoils(
        0,
        Array.from({ length: 1969 }, () => true),
      ),
    () => writeRegisters(0, []),
  ];

  for (const request of forbidden) t.throws(request, { name: 'RangeError' });
  t.equal(readRequest('holding', 65_411, 125).length, 5);
  t.equal(
    writeRegisters(
      0,
      Array.from({ length: 123 }, () => 0),
    ).length,
    252,
    'a PDU has 253 bytes at most',
  );
});

t.test('of all replies of any bytes only those of the right shape are accepted', async () => {
  const reply = fc.oneof(
    fc.uint8Array({ maxLength: 260 }),
    fc
      .tuple(fc.integer({ min: 1, max: 4 }), fc.nat(255), fc.uint8Array({ maxLength: 251 }))
      .map(([code, count, data]) => Uint8Array.of(code, count, ...data)),
    fc
      .tuple(fc.integer({ min: 1, max: 4 }), fc.uint8Array({ maxLength: 251 }))
      .map(([code, data]) => Uint8Array.of(code, data.length, ...data)),
  );
  fc.assert(
    fc.property(
      reply,
      fc.integer({ min: 1, max: 4 }),
      fc.integer({ min: 1, max: 125 }),
      (bytes, code, quantity) => {
        const result = checkRead(viewOf(bytes), 0, bytes.length, code, quantity);
        const expected = code <= 2 ? Math.ceil(quantity / 8) : quantity * 2;
        const right = bytes[0] === code && bytes[1] === expected && bytes.length === 2 + expected;
        const exception = bytes.length === 2 && bytes[0] === code + 128 && bytes[1] !== 0;
        return result === (right ? ACCEPTED : exception ? bytes[1] : MISMATCH);
      },
    ),
    { numRuns: 2000 },
  );
});

t.test('a write is accepted only with its own echo, whatever bytes come', async () => {
  const request = fc.constantFrom(
    writeCoil(1, true),
    writeRegister(7, 9),
    writeCoils(3, [true, false]),
    writeRegisters(5, [1, 2]),
    maskWriteRegister(4, 1, 2),
  );
  const flips = fc.array(fc.tuple(fc.nat(7), fc.integer({ min: 1, max: 255 })), { maxLength: 2 });
  fc.assert(
    fc.property(request, flips, fc.integer({ min: -2, max: 2 }), (sent, changes, longer) => {
      const echo = [...sent.subarray(0, sent[0] === 22 ? 7 : 5)];
      const reply = Uint8Array.from({ length: echo.length + longer }, (_, i) => echo[i] ?? 0);
      for (const [at, flip] of changes) if (at < reply.length) reply[at] = (reply[at] ?? 0) ^ flip;
      const same = longer === 0 && echo.every((byte, i) => byte === reply[i]);
      return (checkEcho(viewOf(reply), 0, reply.length, sent) === ACCEPTED) === same;
    }),
    { numRuns: 2000 },
  );
});

t.test('an exception without a code is no answer: 0 would look like data', async (t) => {
  t.equal(checkRead(viewOf(Uint8Array.of(0x83, 0)), 0, 2, 3, 1), MISMATCH);
  t.equal(checkEcho(viewOf(Uint8Array.of(0x86, 0)), 0, 2, writeRegister(7, 9)), MISMATCH);
});

t.test('every exception code has a name', async (t) => {
  t.equal(exceptionName(2), 'illegal data address');
  t.equal(exceptionName(11), 'gateway target failed to respond');
  t.equal(exceptionName(200), 'unknown exception');
});

t.test('tables know their functions', async (t) => {
  const tables: readonly ModbusTable[] = ['coil', 'discrete', 'holding', 'input'];
  t.strictSame(
    tables.map((table) => readRequest(table, 0, 1)[0]),
    [1, 2, 3, 4],
  );
});
