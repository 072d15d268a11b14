import { type Complaint, complaint } from './complaint.ts';
import type { ByteOrder, ModbusSource, ModbusTable, ModbusType } from './config.ts';
import { nearest } from './nearest.ts';
import { describe } from './problem.ts';

const TABLES = ['coil', 'discrete', 'input', 'holding'] as const;
const ORDERS = ['ABCD', 'CDAB', 'BADC', 'DCBA'] as const;

/** Registers that a value takes; strings have their own length. */
const REGISTERS = {
  bool: 1,
  int16: 1,
  uint16: 1,
  int32: 2,
  uint32: 2,
  int64: 4,
  uint64: 4,
  float32: 2,
  float64: 4,
  string: 0,
  bcd16: 1,
  bcd32: 2,
} as const satisfies Record<ModbusType, number>;
const TYPES = Object.keys(REGISTERS);

/** First digit of a six-digit Modicon number; the other five count from 1. */
const MODICON: Readonly<Record<string, ModbusTable>> = {
  '0': 'coil',
  '1': 'discrete',
  '3': 'input',
  '4': 'holding',
};

/** Addresses are 16 bits (Modbus Application Protocol V1.1b3, 4.4). */
const ADDRESSES = 65_536;
/** Two bytes in each of the 125 registers that one request reads (V1.1b3, 6.3). */
const MAX_CHARACTERS = 250;
/** Two bytes in each of the 123 registers that one request writes (V1.1b3, 6.12). */
export const MAX_CHARACTERS_WRITTEN = 246;

const HOW = 'write table:address[.bit]:type[:order], such as input:0:float32, holding:40.3 or coil:3';

/** `table:address[.bit]:type[:order]`, or a six-digit Modicon number in place of table and address. */
export function parseModbusAddress(text: string): ModbusSource | Complaint {
  const [first = '', ...others] = text.split(':');
  const modicon = /^\d{6}(?:\.\d+)?$/.test(first);
  const place = modicon ? fromModicon(first) : fromTable(first, others.shift());
  if ('found' in place) return place;
  const { table, address, bit } = place;
  const [typeText, orderText, ...rest] = others;
  if (rest.length > 0) return complaint(`something after the order in ${describe(text)}`, HOW);

  const type = typeOf(text, table, bit, typeText);
  if ('found' in type) return type;
  const order = orderOf(type.type, table === 'coil' || table === 'discrete', orderText);
  if (typeof order === 'object') return order;
  const length = type.type === 'string' ? Math.ceil(type.characters / 2) : REGISTERS[type.type];
  if (address + length > ADDRESSES) {
    return complaint(
      `${type.type} at ${address} ends at ${address + length - 1}, beyond the last address`,
      `use an address up to ${ADDRESSES - length}`,
    );
  }
  return { kind: 'modbus', table, address, bit, length, order, ...type };
}

interface Place {
  readonly table: ModbusTable;
  readonly address: number;
  readonly bit: number | undefined;
}

/** `400001`, perhaps with a bit: holding register 0. */
export function fromModicon(text: string): Place | Complaint {
  const [number = '', bit] = text.split('.');
  const table = MODICON[number.slice(0, 1)];
  if (table === undefined) {
    return complaint(
      `the Modicon number ${number} names no table`,
      'begin with 0 for coils, 1 for discrete inputs, 3 for input registers, 4 for holding registers',
    );
  }
  const address = Number(number.slice(1)) - 1;
  if (address < 0 || address >= ADDRESSES) {
    return complaint(
      `the Modicon number ${number} is out of range`,
      'its last five digits run from 00001 to 65536',
    );
  }
  return withBit(table, address, bit);
}

function fromTable(name: string, where: string | undefined): Place | Complaint {
  const table = TABLES.find((known) => known === name);
  if (table === undefined) {
    const meant = nearest(name, TABLES);
    return complaint(
      `unknown table ${describe(name)}`,
      meant === undefined ? HOW : `did you mean ${meant}? Tables are ${TABLES.join(', ')}`,
    );
  }
  const [, digits, bit] = /^(\d{1,6})(?:\.(\d+))?$/.exec(where ?? '') ?? [];
  if (digits === undefined) return complaint(`no address after "${name}:"`, HOW);
  const address = Number(digits);
  if (address >= ADDRESSES) {
    return complaint(
      `address ${digits} is above ${ADDRESSES - 1}`,
      'use a zero-based address from 0 to 65535, or a six-digit Modicon number without a table',
    );
  }
  return withBit(table, address, bit);
}

function withBit(table: ModbusTable, address: number, digits: string | undefined): Place | Complaint {
  if (digits === undefined) return { table, address, bit: undefined };
  if (table === 'coil' || table === 'discrete') {
    return complaint(`a bit of a ${table}`, 'leave the bit out: a coil or discrete input is one bit');
  }
  const bit = Number(digits);
  if (digits.length > 2 || bit > 15)
    return complaint(`bit ${digits} of a register`, 'use a bit from 0 (least significant) to 15');
  return { table, address, bit };
}

interface TypeAndLength {
  readonly type: ModbusType;
  readonly characters: number;
}

function typeOf(
  text: string,
  table: ModbusTable,
  bit: number | undefined,
  given: string | undefined,
): TypeAndLength | Complaint {
  const single = table === 'coil' || table === 'discrete';
  if (given === undefined || given === '') {
    if (single || bit !== undefined) return { type: 'bool', characters: 0 };
    return complaint(
      `no type in ${describe(text)}`,
      `add the type, as in ${text.replace(/:$/, '')}:uint16; types are ${typeNames()}`,
    );
  }
  const [, characters] = /^string\((\d{1,4})\)$/.exec(given) ?? [];
  const type = characters === undefined ? TYPES.find(isType(given)) : 'string';
  if (type === undefined || !isModbusType(type)) {
    const meant = nearest(given, TYPES);
    return complaint(
      `unknown type ${describe(given)}`,
      `${meant === undefined ? '' : `did you mean ${meant === 'string' ? 'string(n)' : meant}? `}Types are ${typeNames()}`,
    );
  }
  if (single && type !== 'bool') {
    return complaint(
      `type ${given} in table ${table}`,
      `a ${table === 'coil' ? 'coil' : 'discrete input'} is bool; use table input or holding for ${given}`,
    );
  }
  if (bit !== undefined && type !== 'bool')
    return complaint(`type ${given} of a single bit`, 'leave the bit out, or make it bool');
  if (type !== 'string') return { type, characters: 0 };
  const length = Number(characters);
  if (characters === undefined)
    return complaint('string without a length', 'write string(n), with the number of characters');
  if (length < 1 || length > MAX_CHARACTERS)
    return complaint(`string(${length})`, `use a length from 1 to ${MAX_CHARACTERS}`);
  return { type, characters: length };
}

function orderOf(type: ModbusType, single: boolean, given: string | undefined): ByteOrder | Complaint {
  if (given === undefined) return 'ABCD';
  const order = ORDERS.find((known) => known === given);
  if (order === undefined)
    return complaint(`unknown byte order ${describe(given)}`, `use ${ORDERS.join(', ')}`);
  if (single && order !== 'ABCD')
    return complaint(`byte order ${order} of a single bit`, 'leave the order out');
  // A single register has no word order, and text runs from register to register.
  if ((type === 'string' || REGISTERS[type] === 1) && (order === 'CDAB' || order === 'DCBA')) {
    return complaint(
      `byte order ${order} for ${type}`,
      'use ABCD, or BADC where the bytes of a register are swapped',
    );
  }
  return order;
}

const isType = (given: string) => (type: string) => type === given && given !== 'string(n)';

function isModbusType(name: string): name is ModbusType {
  return Object.hasOwn(REGISTERS, name);
}

function typeNames(): string {
  return TYPES.map((type) => (type === 'string' ? 'string(n)' : type)).join(', ');
}
