import type { ModbusGuard, Span, TableSpan } from '../../../config/config.ts';
import { type Access, ILLEGAL_FUNCTION, type Parsed, type Request } from './request.ts';

/** What may be asked on one listener. */
export interface Limits {
  readonly guard: ModbusGuard;
  readonly units: readonly Span[];
}

export type Decision =
  | { readonly allowed: true; readonly request: Request }
  | { readonly allowed: false; readonly exception: number; readonly because: string };

/** On a serial line behind the device every unit obeys it, and none answers (Messaging Guide V1.0b, 4.1). */
export const BROADCAST = 0;

/** Reads and writes that lie wholly in what is listed; everything else is refused, whatever it may be. */
export function decide({ guard, units }: Limits, unit: number, parsed: Parsed): Decision {
  if (!units.some(({ low, high }) => low <= unit && unit <= high)) return refusal(`unit ${unit}`);
  if ('exception' in parsed) {
    const { exception } = parsed;
    const because =
      exception === ILLEGAL_FUNCTION ? `function ${parsed.code}` : 'no request that can be read';
    return { allowed: false, exception, because };
  }
  const { read, write } = parsed;
  if (read !== undefined && !covers(guard.read, read)) return refusal(`read of ${accessText(read)}`);
  if (write !== undefined && !covers(guard.write, write)) return refusal(`write of ${accessText(write)}`);
  // Nobody who lists no units means all of them at once.
  if (write !== undefined && unit === BROADCAST && guard.units === undefined)
    return refusal('write to every unit at once');
  return { allowed: true, request: parsed };
}

const refusal = (because: string): Decision => ({ allowed: false, exception: ILLEGAL_FUNCTION, because });

/** Ranges that touch one another are as good as one. */
function covers(spans: readonly TableSpan[], { table, address, quantity }: Access): boolean {
  let next = address;
  const last = address + quantity - 1;
  for (;;) {
    const span = spans.find((one) => one.table === table && one.low <= next && next <= one.high);
    if (span === undefined) return false;
    if (span.high >= last) return true;
    next = span.high + 1;
  }
}

export function accessText({ table, address, quantity }: Access): string {
  return quantity === 1 ? `${table}:${address}` : `${table}:${address}-${address + quantity - 1}`;
}
