import * as fc from 'fast-check';
import t from 'tap';
import type { ModbusTable, ModbusType } from '../../src/config/config.ts';
import { planPolls } from '../../src/drivers/modbus/plan.ts';
import { modbusDevice, modbusPoint, type PointSketch } from '../support/modbus-points.ts';

function planned(sketches: readonly PointSketch[]) {
  const points = sketches.map((sketch, index) => modbusPoint(index, sketch));
  const indices = points.map(({ index }) => index);
  return { points, polls: planPolls([modbusDevice(502, indices)], points) };
}

t.test('points that touch or overlap share a request; a gap, a table or a period parts them', async (t) => {
  const { polls } = planned([
    { address: 4, type: 'float32' },
    { address: 0, type: 'uint32' },
    { address: 2, type: 'int32' },
    { address: 2, bit: 3 },
    { address: 7 },
    { address: 6, table: 'input' },
    { address: 6, every: 5000 },
    { table: 'coil', address: 6 },
  ]);

  t.strictSame(
    polls.map(({ what, every, points }) => [what, every, points]),
    [
      ['holding 0..5 of unit 1', 1000, [1, 3, 2, 0]],
      ['holding 7 of unit 1', 1000, [4]],
      ['input 6 of unit 1', 1000, [5]],
      ['holding 6 of unit 1', 5000, [6]],
      ['coil 6 of unit 1', 1000, [7]],
    ],
  );
});

t.test('1,000 float32 are 17 requests: 62 values fit into 125 registers', async (t) => {
  const { polls } = planned(
    Array.from({ length: 1000 }, (_, i) => ({ type: 'float32', address: i * 2 }) as const),
  );

  t.equal(polls.length, 17);
  t.equal(Math.max(...polls.map(({ quantity }) => quantity)), 124);
});

t.test('two devices behind one endpoint do not share requests', async (t) => {
  const points = [modbusPoint(0, { address: 0 }), modbusPoint(1, { address: 1 })];
  const polls = planPolls([modbusDevice(502, [0], { unit: 1 }), modbusDevice(502, [1], { unit: 2 })], points);

  t.strictSame(
    polls.map(({ unit, device, points }) => [unit, device, points]),
    [
      ['1', 'meter-1', [0]],
      ['2', 'meter-2', [1]],
    ],
  );
});

t.test('a value longer than a request is refused, with what to do', async (t) => {
  t.throws(() => planned([{ type: 'string', characters: 252 }]), {
    code: 'CONFIG_INVALID',
    message: /126 registers/,
  });
});

t.test(
  'any points: each is read once and whole, no request is too long or asks for what nobody wants',
  async () => {
    const register = fc.record({
      table: fc.constantFrom<ModbusTable>('holding', 'input'),
      type: fc.constantFrom<ModbusType>('int16', 'float32', 'float64', 'bcd32', 'string'),
      address: fc.oneof(fc.nat(400), fc.nat(65_000)),
      characters: fc.constantFrom(2, 31, 250),
      every: fc.constantFrom(1000, 5000),
    });
    const bit = fc.record({
      table: fc.constantFrom<ModbusTable>('coil', 'discrete'),
      address: fc.oneof(fc.nat(4000), fc.nat(65_535)),
    });
    fc.assert(
      fc.property(fc.array(fc.oneof(register, bit), { maxLength: 300 }), (sketches) => {
        const { points, polls } = planned(sketches);
        const seen = polls.flatMap((poll) => poll.points).toSorted((a, b) => a - b);
        if (seen.length !== points.length || seen.some((index, i) => index !== i)) return false;
        return polls.every((poll) => {
          const limit = poll.table === 'coil' || poll.table === 'discrete' ? 2000 : 125;
          const wanted = new Set<number>();
          for (const index of poll.points) {
            const point = points[index];
            if (
              point?.source.kind !== 'modbus' ||
              point.source.table !== poll.table ||
              point.every !== poll.every
            ) {
              return false;
            }
            const { address, length } = point.source;
            if (address < poll.address || address + length > poll.address + poll.quantity) return false;
            for (let i = 0; i < length; i++) wanted.add(address + i);
          }
          return poll.quantity >= 1 && poll.quantity <= limit && wanted.size === poll.quantity;
        });
      }),
    );
  },
);
