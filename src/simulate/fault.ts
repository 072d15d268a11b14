import { type Duration, seconds } from '../core/units.ts';

/** What a device can be made to do wrong. */
export const FAULTS = [
  'silence', // takes requests, answers nothing
  'exception', // answers that it failed: Modbus exception 4, CoAP 5.00
  'slow', // answers late
  'wrong-transaction', // answers another transaction: Modbus id, CoAP message id and token
  'close', // Modbus: closes the connection instead of answering; CoAP: resets
] as const;
export type Fault = (typeof FAULTS)[number];

/** Later than the default time-out of a Modbus request. */
export const SLOW_BY: Duration = seconds(2);

export function isFault(text: string): text is Fault {
  return FAULTS.some((fault) => fault === text);
}

/** Which device has which fault at the moment. */
export class Faults {
  readonly #of = new Map<string, Fault>();
  readonly slowBy: Duration;

  constructor(slowBy: Duration = SLOW_BY) {
    this.slowBy = slowBy;
  }

  of(device: string): Fault | undefined {
    return this.#of.get(device);
  }

  set(device: string, fault: Fault | undefined): void {
    if (fault === undefined) this.#of.delete(device);
    else this.#of.set(device, fault);
  }
}
