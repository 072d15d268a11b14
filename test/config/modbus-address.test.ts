import * as fc from 'fast-check';
import t from 'tap';
import { parseModbusAddress } from '../../src/config/modbus-address.ts';

const source = (text: string) => {
  const parsed = parseModbusAddress(text);
  if ('found' in parsed) throw new Error(`${text}: ${parsed.found}; ${parsed.fix}`);
  return parsed;
};

t.test('tables, types, lengths and orders are read as written', async (t) => {
  const nothing = { kind: 'modbus', bit: undefined, characters: 0, order: 'ABCD' };
  t.same(source('coil:3'), { ...nothing, table: 'coil', address: 3, type: 'bool', length: 1 });
  t.same(source('discrete:65535:bool'), {
    ...nothing,
    table: 'discrete',
    address: 65535,
    type: 'bool',
    length: 1,
  });
  t.same(source('input:12:float32:CDAB'), {
    ...nothing,
    table: 'input',
    address: 12,
    type: 'float32',
    length: 2,
    order: 'CDAB',
  });
  t.same(source('holding:40.3'), {
    ...nothing,
    table: 'holding',
    address: 40,
    bit: 3,
    type: 'bool',
    length: 1,
  });
  t.same(source('holding:0:string(15)'), {
    ...nothing,
    table: 'holding',
    address: 0,
    type: 'string',
    length: 8,
    characters: 15,
  });
  for (const [type, length] of Object.entries({
    int16: 1,
    uint16: 1,
    bcd16: 1,
    int32: 2,
    uint32: 2,
    bcd32: 2,
    int64: 4,
    uint64: 4,
    float64: 4,
    bool: 1,
  })) {
    t.equal(source(`input:7:${type}`).length, length, type);
  }
});

t.test('a six-digit Modicon number means the table and address it stands for', async () => {
  const tables = { coil: '0', discrete: '1', input: '3', holding: '4' } as const;
  fc.assert(
    fc.property(
      fc.constantFrom('coil', 'discrete', 'input', 'holding'),
      fc.integer({ min: 0, max: 65_535 }),
      (table, address) => {
        const type = table === 'coil' || table === 'discrete' ? '' : ':uint16:BADC';
        const modicon = `${tables[table]}${String(address + 1).padStart(5, '0')}${type}`;
        t.same(source(modicon), source(`${table}:${address}${type}`), modicon);
      },
    ),
    { numRuns: 50 },
  );
  t.equal(source('400041.3').bit, 3);
});

t.test('a value never reaches beyond the last address', async () => {
  const types = fc.constantFrom('int16', 'int32', 'float64', 'string(250)', 'string(3)');
  fc.assert(
    fc.property(types, fc.integer({ min: 65_400, max: 65_540 }), (type, address) => {
      const parsed = parseModbusAddress(`holding:${address}:${type}`);
      return 'found' in parsed || parsed.address + parsed.length <= 65_536;
    }),
    { numRuns: 500 },
  );
  t.equal(source('holding:65535:int16').address, 65_535);
  t.equal(source('holding:65532:float64').address, 65_532);
  t.match(parseModbusAddress('holding:65533:float64'), { fix: 'use an address up to 65532' });
});

t.test('no text crashes the parser, and what it accepts is in range', async () => {
  const parts = fc.constantFrom(
    'coil',
    'holding',
    'input',
    ':',
    '.',
    '0',
    '65535',
    '400001',
    'string(',
    ')',
    'int16',
    'ABCD',
    '-1',
    'e5',
    '٣',
    '',
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.array(parts, { maxLength: 9 }).map((some) => some.join('')),
      ),
      (text) => {
        const parsed = parseModbusAddress(text);
        if ('found' in parsed) return parsed.found.length > 0 && parsed.fix.length > 0;
        return (
          Number.isInteger(parsed.address) && parsed.address >= 0 && parsed.address + parsed.length <= 65_536
        );
      },
    ),
    { numRuns: 2_000 },
  );
});
