import { type Reason, reasonCode } from './quality.ts';

export type ErrorCode =
  | 'CONFIG_INVALID' // gateway.yaml is wrong; nothing was started
  | 'USAGE' // the command line is wrong
  | 'SETUP' // a port in use, a missing file, a certificate of another CA: a person has to act
  | 'DEVICE_TIMEOUT' // one unit did not answer in time; its neighbours are not affected
  | 'DEVICE_REFUSED' // the device answered that it will not (exception, 4.xx, 5.xx)
  | 'BUSY' // our own queue to the device is full; nothing was sent
  | 'REPLY_MISMATCH' // the device answered something that is not an answer to the request
  | 'CONNECTION_LOST' // the endpoint is gone, with everything behind it
  | 'MESSAGE_REFUSED' // the receiver will never take this message; the next one may be fine
  | 'OUTBOX_FULL' // the store cannot take more; what was given up is counted
  | 'STORE_FAILED'; // the store is broken and a person has to act

export interface ErrorDetails extends ErrorOptions {
  /** What the samples that were asked for get as their reason. */
  readonly reason?: Reason;
  /** What the person who reads this should do. */
  readonly remedy?: string;
}

/** Everything raised on purpose; any other error is a bug. The message says what was tried, on what, what came. */
export class SluiceError extends Error {
  readonly code: ErrorCode;
  readonly reason: number;
  readonly remedy: string | undefined;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details);
    this.name = 'SluiceError';
    this.code = code;
    this.reason = reasonCode(details.reason ?? defaultReason(code));
    this.remedy = details.remedy;
  }
}

function defaultReason(code: ErrorCode): Reason {
  switch (code) {
    case 'DEVICE_TIMEOUT':
      return 'timeout';
    case 'DEVICE_REFUSED':
    case 'BUSY':
      return 'refused';
    case 'REPLY_MISMATCH':
      return 'reply mismatch';
    default:
      return 'connection lost';
  }
}

/** The text of anything that was thrown, for a log line. */
export function errorText(error: unknown): string {
  if (error instanceof Error) {
    return error.message || error.name;
  }
  return String(error);
}
