import type { ModbusTable } from '../../config/config.ts';
import { type Reason, reasonCode } from '../../core/quality.ts';

// Function codes, Modbus Application Protocol V1.1b3, section 6.
export const READ_COILS = 0x01;
export const READ_DISCRETE_INPUTS = 0x02;
export const READ_HOLDING_REGISTERS = 0x03;
export const READ_INPUT_REGISTERS = 0x04;
export const WRITE_SINGLE_COIL = 0x05;
export const WRITE_SINGLE_REGISTER = 0x06;
export const WRITE_MULTIPLE_COILS = 0x0f;
export const WRITE_MULTIPLE_REGISTERS = 0x10;
export const MASK_WRITE_REGISTER = 0x16;

export const MAX_BITS_PER_READ = 2000; // 6.1, 6.2 (0x07D0)
export const MAX_REGISTERS_PER_READ = 125; // 6.3, 6.4 (0x007D)
export const MAX_BITS_PER_WRITE = 1968; // 6.11 (0x07B0)
export const MAX_REGISTERS_PER_WRITE = 123; // 6.12 (0x007B)
const ADDRESSES = 65_536; // 4.4: address plus quantity stays within
const EXCEPTION_FLAG = 0x80; // 7: function code of an exception reply
const EXCEPTION_LENGTH = 2;

/** The reply is an answer to the request and carries what was asked for. */
export const ACCEPTED = 0;
/** The reply is no answer to the request: nothing in it may be believed. */
export const MISMATCH = -1;

const READ_FUNCTION: Readonly<Record<ModbusTable, number>> = {
  coil: READ_COILS,
  discrete: READ_DISCRETE_INPUTS,
  holding: READ_HOLDING_REGISTERS,
  input: READ_INPUT_REGISTERS,
};

const EXCEPTION_REASONS: Readonly<Record<number, Reason>> = {
  1: 'illegal function',
  2: 'illegal data address',
  3: 'illegal data value',
  4: 'server device failure',
  5: 'acknowledge',
  6: 'server device busy',
  8: 'memory parity error',
  10: 'gateway path unavailable',
  11: 'gateway target failed to respond',
};

export function isBitTable(table: ModbusTable): boolean {
  return table === 'coil' || table === 'discrete';
}

/** Bits or registers that one read of the table may ask for. */
export function readLimit(table: ModbusTable): number {
  return isBitTable(table) ? MAX_BITS_PER_READ : MAX_REGISTERS_PER_READ;
}

/** Name of an exception code (section 7). */
export function exceptionName(code: number): Reason {
  return EXCEPTION_REASONS[code] ?? 'unknown exception';
}

/** Index into REASONS of an exception code (section 7). */
export function exceptionReason(code: number): number {
  return reasonCode(exceptionName(code));
}

/** PDU of a read (6.1 to 6.4). A quantity or address that the specification forbids is a bug of the caller. */
export function readRequest(table: ModbusTable, address: number, quantity: number): Uint8Array {
  requireRange(address, quantity, readLimit(table));
  return pdu(READ_FUNCTION[table], address, quantity);
}

/** PDU that writes one coil (6.5); only 0xFF00 and 0x0000 exist. */
export function writeCoil(address: number, on: boolean): Uint8Array {
  requireRange(address, 1, 1);
  return pdu(WRITE_SINGLE_COIL, address, on ? 0xff00 : 0);
}

/** PDU that writes one register (6.6). */
export function writeRegister(address: number, value: number): Uint8Array {
  requireRange(address, 1, 1);
  return pdu(WRITE_SINGLE_REGISTER, address, value);
}

/** PDU that writes several coils (6.11); pad bits of the last byte are 0. */
export function writeCoils(address: number, values: readonly boolean[]): Uint8Array {
  requireRange(address, values.length, MAX_BITS_PER_WRITE);
  const byteCount = Math.ceil(values.length / 8);
  const request = pdu(WRITE_MULTIPLE_COILS, address, values.length, 1 + byteCount);
  request[5] = byteCount;
  values.forEach((on, i) => {
    if (on) request[6 + (i >> 3)] = (request[6 + (i >> 3)] ?? 0) | (1 << (i & 7));
  });
  return request;
}

/** PDU that writes several registers (6.12). */
export function writeRegisters(address: number, values: readonly number[]): Uint8Array {
  requireRange(address, values.length, MAX_REGISTERS_PER_WRITE);
  const request = pdu(WRITE_MULTIPLE_REGISTERS, address, values.length, 1 + values.length * 2);
  const view = viewOf(request);
  request[5] = values.length * 2;
  values.forEach((value, i) => view.setUint16(6 + i * 2, value));
  return request;
}

/** PDU that changes some bits of a register: result = (current AND and) OR (or AND NOT and) (6.16). */
export function maskWriteRegister(address: number, and: number, or: number): Uint8Array {
  requireRange(address, 1, 1);
  const request = pdu(MASK_WRITE_REGISTER, address, and, 2);
  viewOf(request).setUint16(5, or);
  return request;
}

/**
 * Is the PDU in `view` from `start` up to `end` the answer to a read of `quantity` bits or registers with function
 * `code`? ACCEPTED: the data begins at start + 2. A positive number is the code of an exception reply. MISMATCH:
 * the PDU must not be decoded. Both byte count and length have to fit (6.1 to 6.4).
 */
export function checkRead(
  view: DataView,
  start: number,
  end: number,
  code: number,
  quantity: number,
): number {
  if (end - start < 2) return MISMATCH;
  const answered = view.getUint8(start);
  if (answered === (code | EXCEPTION_FLAG)) return exceptionCode(view, start, end);
  if (answered !== code) return MISMATCH;
  const byteCount = code <= READ_DISCRETE_INPUTS ? (quantity + 7) >> 3 : quantity * 2;
  return view.getUint8(start + 1) === byteCount && end - start === 2 + byteCount ? ACCEPTED : MISMATCH;
}

/**
 * Is the PDU the answer to the write `request`? It repeats the first five bytes of the request (function, address,
 * value or quantity; 6.5, 6.6, 6.11, 6.12), seven for a mask write (6.16). Results as in `checkRead`.
 */
export function checkEcho(view: DataView, start: number, end: number, request: Uint8Array): number {
  if (end - start < 2) return MISMATCH;
  const code = request[0] ?? 0;
  if (view.getUint8(start) === (code | EXCEPTION_FLAG)) return exceptionCode(view, start, end);
  const length = code === MASK_WRITE_REGISTER ? 7 : 5;
  if (end - start !== length) return MISMATCH;
  for (let i = 0; i < length; i++) {
    if (view.getUint8(start + i) !== request[i]) return MISMATCH;
  }
  return ACCEPTED;
}

function exceptionCode(view: DataView, start: number, end: number): number {
  if (end - start !== EXCEPTION_LENGTH) return MISMATCH;
  const code = view.getUint8(start + 1);
  return code === 0 ? MISMATCH : code; // 0 is no exception code and would look like ACCEPTED
}

function pdu(code: number, first: number, second: number, more = 0): Uint8Array {
  const bytes = new Uint8Array(5 + more);
  const view = viewOf(bytes);
  bytes[0] = code;
  view.setUint16(1, first);
  view.setUint16(3, second);
  return bytes;
}

function requireRange(address: number, quantity: number, limit: number): void {
  const fits =
    Number.isInteger(address) &&
    Number.isInteger(quantity) &&
    address >= 0 &&
    quantity >= 1 &&
    quantity <= limit &&
    address + quantity <= ADDRESSES;
  if (!fits) throw new RangeError(`no Modbus request carries ${quantity} items from address ${address}`);
}

/** A DataView of exactly these bytes. */
export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
