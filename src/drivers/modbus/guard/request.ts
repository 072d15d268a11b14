import type { ModbusTable } from '../../../config/config.ts';
import {
  isBitTable,
  MASK_WRITE_REGISTER,
  MAX_BITS_PER_WRITE,
  MAX_REGISTERS_PER_WRITE,
  READ_COILS,
  READ_DISCRETE_INPUTS,
  READ_HOLDING_REGISTERS,
  READ_INPUT_REGISTERS,
  readLimit,
  WRITE_MULTIPLE_COILS,
  WRITE_MULTIPLE_REGISTERS,
  WRITE_SINGLE_COIL,
  WRITE_SINGLE_REGISTER,
} from '../pdu.ts';

// Requests as a server reads them, Modbus Application Protocol V1.1b3, section 6. A request is understood only where
// every byte of it is accounted for: two programs that read it differently would be a way around the guard.

export const READ_WRITE_REGISTERS = 0x17; // 6.17
const WRITE_FILE_RECORD = 0x15; // 6.15
/** Functions that change what a device holds. */
export const WRITING: ReadonlySet<number> = new Set([
  WRITE_SINGLE_COIL,
  WRITE_SINGLE_REGISTER,
  WRITE_MULTIPLE_COILS,
  WRITE_MULTIPLE_REGISTERS,
  WRITE_FILE_RECORD,
  MASK_WRITE_REGISTER,
  READ_WRITE_REGISTERS,
]);
const MAX_REGISTERS_WRITTEN_WITH_READ = 121; // 6.17 (0x0079)
const ADDRESSES = 65_536; // 4.4

// Exception codes, section 7.
export const ILLEGAL_FUNCTION = 1;
export const ILLEGAL_ADDRESS = 2;
export const ILLEGAL_VALUE = 3;

/** Addresses of one table that a request touches. */
export interface Access {
  readonly table: ModbusTable;
  readonly address: number;
  readonly quantity: number;
}

export interface Request {
  readonly code: number;
  readonly read?: Access;
  readonly write?: Access & { readonly values: string };
}

/** What is asked; or, for what is no request that this version understands, the exception that answers it. */
export type Parsed = Request | { readonly code: number; readonly exception: number };

const READS: Readonly<Record<number, ModbusTable>> = {
  [READ_COILS]: 'coil',
  [READ_DISCRETE_INPUTS]: 'discrete',
  [READ_HOLDING_REGISTERS]: 'holding',
  [READ_INPUT_REGISTERS]: 'input',
};

/** The PDU is in `view` from `start` up to `end`, and has at least its function code. */
export function parseRequest(view: DataView, start: number, end: number): Parsed {
  const code = view.getUint8(start);
  const length = end - start;
  const refuse = (exception: number): Parsed => ({ code, exception });
  const word = (at: number): number => view.getUint16(start + at);
  const table = READS[code];
  if (table !== undefined) {
    if (length !== 5) return refuse(ILLEGAL_VALUE);
    const read = { table, address: word(1), quantity: word(3) };
    return checked({ code, read }, { read: readLimit(table), write: 0 });
  }
  switch (code) {
    case WRITE_SINGLE_COIL: {
      if (length !== 5 || (word(3) !== 0 && word(3) !== 0xff00)) return refuse(ILLEGAL_VALUE);
      return {
        code,
        write: { table: 'coil', address: word(1), quantity: 1, values: word(3) === 0 ? '0' : '1' },
      };
    }
    case WRITE_SINGLE_REGISTER: {
      if (length !== 5) return refuse(ILLEGAL_VALUE);
      return { code, write: { table: 'holding', address: word(1), quantity: 1, values: String(word(3)) } };
    }
    case WRITE_MULTIPLE_COILS:
    case WRITE_MULTIPLE_REGISTERS: {
      const write = code === WRITE_MULTIPLE_COILS ? 'coil' : 'holding';
      const values = length < 6 ? undefined : writtenAt({ view, at: start + 3, end, table: write });
      if (values === undefined) return refuse(ILLEGAL_VALUE);
      const limit = write === 'coil' ? MAX_BITS_PER_WRITE : MAX_REGISTERS_PER_WRITE;
      const access = { table: write, address: word(1), quantity: word(3), values } as const;
      return checked({ code, write: access }, { read: 0, write: limit });
    }
    case MASK_WRITE_REGISTER: {
      if (length !== 7) return refuse(ILLEGAL_VALUE);
      const values = `and ${hex(word(3))} or ${hex(word(5))}`;
      return { code, write: { table: 'holding', address: word(1), quantity: 1, values } };
    }
    case READ_WRITE_REGISTERS: {
      const values = length < 10 ? undefined : writtenAt({ view, at: start + 7, end, table: 'holding' });
      if (values === undefined) return refuse(ILLEGAL_VALUE);
      const read = { table: 'holding', address: word(1), quantity: word(3) } as const;
      const write = { table: 'holding', address: word(5), quantity: word(7), values } as const;
      return checked(
        { code, read, write },
        { read: readLimit('holding'), write: MAX_REGISTERS_WRITTEN_WITH_READ },
      );
    }
    default:
      return refuse(ILLEGAL_FUNCTION);
  }
}

/** First the quantity, then the addresses: the order of the state diagrams of section 6. */
function checked(request: Request, limits: { readonly read: number; readonly write: number }): Parsed {
  const { code } = request;
  for (const kind of ['read', 'write'] as const) {
    const access = request[kind];
    if (access === undefined) continue;
    if (access.quantity < 1 || access.quantity > limits[kind]) return { code, exception: ILLEGAL_VALUE };
    if (access.address + access.quantity > ADDRESSES) return { code, exception: ILLEGAL_ADDRESS };
  }
  return request;
}

/** More of them say nothing to a person. */
const VALUES_SHOWN = 16;

/** Quantity, byte count and values that end where the request ends; undefined where they do not fit. */
function writtenAt(where: {
  readonly view: DataView;
  readonly at: number;
  readonly end: number;
  readonly table: ModbusTable;
}): string | undefined {
  const { view, at, end, table } = where;
  const quantity = view.getUint16(at);
  const byteCount = view.getUint8(at + 2);
  const first = at + 3;
  const bits = isBitTable(table);
  const needed = bits ? (quantity + 7) >> 3 : quantity * 2;
  if (byteCount !== needed || end - first !== needed) return undefined;
  const shown = Math.min(quantity, VALUES_SHOWN);
  const values = Array.from({ length: shown }, (_, i) =>
    bits ? (view.getUint8(first + (i >> 3)) >> (i & 7)) & 1 : view.getUint16(first + i * 2),
  );
  return quantity > shown ? `${values.join(',')},...` : values.join(',');
}

const hex = (word: number): string => `0x${word.toString(16).padStart(4, '0')}`;
