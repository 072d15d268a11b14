import type { BatchBuilder } from '../../core/batch.ts';
import { SluiceError } from '../../core/errors.ts';
import type { Duration, EpochMs } from '../../core/units.ts';
import { decodeInto, type Step, stepFor } from './decode.ts';
import { ACCEPTED, checkRead, exceptionName, exceptionReason, MISMATCH, readRequest } from './pdu.ts';
import { extentOf, extentText, type ModbusPoint } from './plan.ts';
import type { Counters } from './counters.ts';
import type { Exchange } from './transport.ts';

/** Codes that a serial gateway answers for a device behind it: the unit is silent (section 7, 0A and 0B). */
const GATEWAY_CODES: readonly number[] = [0x0a, 0x0b];
/** The request asks for something that is not there, wholly or in part (section 7, 02 and 03). */
const HOLE_CODES: readonly number[] = [0x02, 0x03];

const BUSY_CODE = 0x06; // long work goes on; ask again later (section 7)

export interface Unit {
  readonly endpoint: string;
  readonly unit: number;
  readonly timeout: Duration;
}

/** One read, prepared once: the request, how to check the reply, how to take it apart. */
export interface Reading {
  readonly of: Unit;
  readonly what: string;
  readonly pdu: Uint8Array;
  readonly quantity: number;
  readonly steps: readonly Step[];
}

/** Prepares the read of points of one unit and table that one request can carry. */
export function readingOf(of: Unit, points: readonly ModbusPoint[]): Reading {
  const first = points[0];
  if (first === undefined) throw new Error('a read without points');
  const { table } = first.source;
  const extent = extentOf(points);
  return {
    of,
    what: `read of ${extentText(table, extent, of.unit)}`,
    pdu: readRequest(table, extent.address, extent.quantity),
    quantity: extent.quantity,
    steps: points.map(({ config, source }) => stepFor(config, source, extent.address)),
  };
}

export interface ReadDependencies {
  readonly counters: Counters;
  /**
   * The device says that something of what was asked for is not there: `leave` appends nothing, so that the caller can
   * ask for less; otherwise it is called and a bad sample is appended for each point.
   */
  readonly onHole: 'leave' | ((exception: number) => void);
}

/** Where the samples of a reply go, and with which time. */
export interface Sink {
  readonly into: BatchBuilder;
  readonly stamp: () => EpochMs;
}

/** Carries out one `Reading`: the samples are appended while the reply is still in the receive buffer. */
export class ReadExchange implements Exchange {
  readonly unit: number;
  readonly pdu: Uint8Array;
  readonly timeout: Duration;
  /** Code of the exception reply, 0 where there was none. */
  exception = 0;
  readonly #reading: Reading;
  readonly #sink: Sink;
  readonly #deps: ReadDependencies;

  constructor(reading: Reading, sink: Sink, deps: ReadDependencies) {
    this.unit = reading.of.unit;
    this.pdu = reading.pdu;
    this.timeout = reading.of.timeout;
    this.#reading = reading;
    this.#sink = sink;
    this.#deps = deps;
  }

  get what(): string {
    return this.#reading.what;
  }

  /** Did the device say that something of what was asked for is not there? */
  get hole(): boolean {
    return HOLE_CODES.includes(this.exception);
  }

  accept(view: DataView, start: number, end: number): void {
    const { steps, quantity, pdu } = this.#reading;
    const { into, stamp } = this.#sink;
    const result = checkRead(view, start, end, pdu[0] ?? 0, quantity);
    if (result === ACCEPTED) {
      decodeInto(into, steps, view, start + 2, stamp());
      return;
    }
    if (result === MISMATCH) throw mismatch(this.#reading.of, this.what);
    this.#deps.counters.exceptions++;
    this.exception = result;
    refuseGatewayCode(this.#reading.of, this.what, result);
    if (result === BUSY_CODE) throw busy(this.#reading.of, this.what);
    if (this.hole) {
      if (this.#deps.onHole === 'leave') return;
      this.#deps.onHole(result);
    }
    const reason = exceptionReason(result);
    const time = stamp();
    for (const { point } of steps) into.addBad(point, time, reason);
  }
}

export function mismatch({ endpoint }: Unit, what: string): SluiceError {
  return new SluiceError('REPLY_MISMATCH', `${endpoint} answered the ${what} with something else`, {
    remedy: 'check the address, and that no second gateway mixes up replies',
  });
}

function busy({ endpoint }: Unit, what: string): SluiceError {
  const reason = exceptionName(BUSY_CODE);
  return new SluiceError('DEVICE_REFUSED', `${endpoint} answered the ${what}: ${reason}`, { reason });
}

/** A gateway that speaks for a silent unit: a time-out of that unit, not an answer of it. */
export function refuseGatewayCode({ endpoint, unit }: Unit, what: string, code: number): void {
  if (!GATEWAY_CODES.includes(code)) return;
  throw new SluiceError('DEVICE_TIMEOUT', `${endpoint} answered the ${what}: ${exceptionName(code)}`, {
    reason: exceptionName(code),
    remedy: `check that unit ${unit} is on the line behind ${endpoint}`,
  });
}
