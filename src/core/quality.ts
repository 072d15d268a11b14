/** Quality of a sample as a column value. */
export const GOOD = 0;
export const UNCERTAIN = 1;
export const BAD = 2;
export const QUALITIES = ['good', 'uncertain', 'bad'] as const;
export type Quality = (typeof QUALITIES)[number];

/**
 * Why a sample is not good. A closed list: a reason travels as its index, and appears as text only where a person
 * or another machine reads it. Append only; the index is stored.
 */
export const REASONS = [
  '',
  'timeout', // no answer in time
  'stale', // not heard for three periods
  'connection lost', // the endpoint refused, reset or never opened
  'reply mismatch', // the answer does not fit the request
  'refused', // the device said no, without saying why
  'not a number', // NaN or infinite on the wire
  'bad encoding', // the payload cannot be decoded as declared (BCD digit above 9, text that is no number)
  'no such value', // the payload has nothing at the declared place
  'out of range', // does not fit the declared type
  // Modbus Application Protocol V1.1b3, section 7
  'illegal function',
  'illegal data address',
  'illegal data value',
  'server device failure',
  'acknowledge',
  'server device busy',
  'memory parity error',
  'gateway path unavailable',
  'gateway target failed to respond',
  'unknown exception',
  // RFC 7252, 12.1.2
  'bad request',
  'unauthorized',
  'bad option',
  'forbidden',
  'not found',
  'method not allowed',
  'not acceptable',
  'request entity incomplete',
  'precondition failed',
  'request entity too large',
  'unsupported content format',
  'internal server error',
  'not implemented',
  'bad gateway',
  'service unavailable',
  'gateway timeout',
  'proxying not supported',
  'reset', // RST instead of an answer
  'no longer observable',
  'not heard yet', // nothing was received since the start
  'driver fault', // a bug of ours, never of the device
  'implausible time', // the device says when it measured, and that cannot be; the time is that of arrival
] as const;
export type Reason = (typeof REASONS)[number];

const codes = new Map<string, number>(REASONS.map((reason, index) => [reason, index]));

/** Index of a reason in `REASONS`. */
export function reasonCode(reason: Reason): number {
  return codes.get(reason) ?? 0;
}
