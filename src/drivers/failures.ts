import { SluiceError } from '../core/errors.ts';
import { reasonCode } from '../core/quality.ts';
import type { ErrorCounts } from './line-state.ts';

const TIMEOUT = reasonCode('timeout');

/** The endpoint is gone, with everything behind it. */
export function isLoss(error: unknown): error is SluiceError {
  return error instanceof SluiceError && error.code === 'CONNECTION_LOST';
}

/** The endpoint let us in, and then nothing behind it answered. */
export function isMute(error: unknown): boolean {
  return isLoss(error) && error.reason === TIMEOUT;
}

/** What the samples get that were asked for; `otherwise` where the driver threw what it should not. */
export function reasonOf(error: unknown, otherwise: number): number {
  return error instanceof SluiceError ? error.reason : otherwise;
}

/** Under which kind a failed request is counted. */
export function failureKind(error: unknown): keyof ErrorCounts {
  switch (error instanceof SluiceError ? error.code : undefined) {
    case 'DEVICE_TIMEOUT':
      return 'timeout';
    case 'REPLY_MISMATCH':
      return 'mismatch';
    case 'DEVICE_REFUSED':
      return 'refused';
    case 'CONNECTION_LOST':
      return 'lost';
    default:
      return 'other';
  }
}
