import { BatchBuilder, valueAt, type PointValue } from '../../core/batch.ts';
import type { Clock } from '../../core/clock.ts';
import { SluiceError } from '../../core/errors.ts';
import type { Duration, EpochMs } from '../../core/units.ts';
import { type Encoded, encodeValue } from './encode.ts';
import {
  ACCEPTED,
  checkEcho,
  exceptionName,
  maskWriteRegister,
  MISMATCH,
  writeCoil,
  writeCoils,
  writeRegister,
  writeRegisters,
} from './pdu.ts';
import { extentOf, extentText, type ModbusPoint } from './plan.ts';
import { mismatch, ReadExchange, readingOf, refuseGatewayCode, type Unit } from './reading.ts';
import type { Counters } from './counters.ts';
import type { Connection, Exchange } from './transport.ts';

const ILLEGAL_FUNCTION = 0x01; // nothing was done: another function may do the same (section 7)
const ACKNOWLEDGE = 0x05; // accepted, takes long; the write must not be repeated (section 7)
const ALL_BITS = 0xffff;

/** A writable point and the unit it lives in. */
export interface Target extends ModbusPoint {
  readonly of: Unit;
}

export interface WriteDependencies {
  readonly connection: Connection;
  readonly clock: Clock;
  readonly counters: Counters;
}

/**
 * Writes one value, all of it in one request: FC 5 for a coil, FC 6 for a register, FC 16 for several, FC 22 for a bit
 * of a register. A device without FC 5 or FC 6 gets FC 15 or FC 16. A device without FC 22 gets its register read,
 * changed and written: whatever else writes to the other bits of that register in between is undone.
 * DEVICE_TIMEOUT means that nobody knows whether it was written.
 */
export async function writeValue(target: Target, value: PointValue, deps: WriteDependencies): Promise<void> {
  const { source, config } = target;
  const { address } = source;
  const encoded: Encoded = encodeValue(config, source, value);
  switch (encoded.kind) {
    case 'coil':
      await firstKnown(target, deps, [
        () => writeCoil(address, encoded.on),
        () => writeCoils(address, [encoded.on]),
      ]);
      return;
    case 'registers': {
      const [only, ...more] = encoded.values;
      const multiple = () => writeRegisters(address, encoded.values);
      const single = only === undefined || more.length > 0 ? [] : [() => writeRegister(address, only)];
      await firstKnown(target, deps, [...single, multiple]);
      return;
    }
    case 'bit':
      await writeBit(target, encoded, deps);
      return;
    default:
      encoded satisfies never;
  }
}

async function writeBit(
  target: Target,
  { mask, on }: { readonly mask: number; readonly on: boolean },
  deps: WriteDependencies,
): Promise<void> {
  const { address } = target.source;
  const masked = await send(target, maskWriteRegister(address, ALL_BITS & ~mask, on ? mask : 0), deps);
  if (masked === ILLEGAL_FUNCTION) {
    const register = await wholeRegister(target, deps);
    const changed = on ? register | mask : register & ~mask;
    await firstKnown(target, deps, [
      () => writeRegister(address, changed),
      () => writeRegisters(address, [changed]),
    ]);
    return;
  }
  requireDone(target, masked);
}

/** The first request that is no illegal function decides. */
async function firstKnown(
  target: Target,
  deps: WriteDependencies,
  requests: readonly (() => Uint8Array)[],
): Promise<void> {
  let result = ILLEGAL_FUNCTION;
  for (const request of requests) {
    result = await send(target, request(), deps);
    if (result !== ILLEGAL_FUNCTION) break;
  }
  requireDone(target, result);
}

function requireDone({ of, source }: Target, result: number): void {
  if (result === ACCEPTED || result === ACKNOWLEDGE) return;
  const reason = exceptionName(result);
  const extent = extentText(source.table, { address: source.address, quantity: source.length }, of.unit);
  throw new SluiceError('DEVICE_REFUSED', `${of.endpoint} refused the write of ${extent}: ${reason}`, {
    reason,
    remedy: 'check that the device lets this address be written',
  });
}

async function send(target: Target, pdu: Uint8Array, deps: WriteDependencies): Promise<number> {
  const exchange = new WriteExchange(target, pdu, deps.counters);
  await deps.connection.exchange(exchange);
  return exchange.result;
}

/** The register of a bit as it is now, whatever its byte order. */
async function wholeRegister({ of, config, source }: Target, deps: WriteDependencies): Promise<number> {
  const plain = { ...config, scale: 1, offset: 0 };
  const register = { ...source, bit: undefined, type: 'uint16', length: 1, order: 'ABCD' } as const;
  const reading = readingOf(of, [{ config: plain, source: register }]);
  const into = new BatchBuilder();
  const stamp = (): EpochMs => deps.clock.now();
  const exchange = new ReadExchange(reading, { into, stamp }, { ...deps, onHole: () => {} });
  await deps.connection.exchange(exchange);
  const batch = into.take();
  const value = batch === undefined ? null : valueAt(batch, 0);
  if (typeof value === 'number') return value;
  const reason = exceptionName(exchange.exception);
  throw new SluiceError('DEVICE_REFUSED', `${of.endpoint} answered the ${reading.what}: ${reason}`, {
    reason,
  });
}

class WriteExchange implements Exchange {
  readonly unit: number;
  readonly pdu: Uint8Array;
  readonly timeout: Duration;
  /** ACCEPTED or the code of the exception reply. */
  result = MISMATCH;
  readonly #target: Target;
  readonly #counters: Counters;

  constructor(target: Target, pdu: Uint8Array, counters: Counters) {
    this.unit = target.of.unit;
    this.timeout = target.of.timeout;
    this.pdu = pdu;
    this.#target = target;
    this.#counters = counters;
  }

  get what(): string {
    const { source, of } = this.#target;
    return `write of ${extentText(source.table, extentOf([this.#target]), of.unit)}`;
  }

  accept(view: DataView, start: number, end: number): void {
    const result = checkEcho(view, start, end, this.pdu);
    if (result === MISMATCH) throw mismatch(this.#target.of, this.what);
    if (result > 0) {
      this.#counters.exceptions++;
      refuseGatewayCode(this.#target.of, this.what, result);
    }
    this.result = result;
  }
}
