import { type ErrorCode, SluiceError, errorText } from '../core/errors.ts';
import type { Facts, Log } from '../core/log.ts';

/** An error of a thread, as it can be cloned. */
export interface Failure {
  readonly code: ErrorCode;
  readonly message: string;
  readonly remedy: string | undefined;
}

/** What every thread of the store says of itself; everything else is its own. */
export type ThreadReply =
  | { readonly type: 'ready' }
  | { readonly type: 'cannot start'; readonly failure: Failure }
  | {
      readonly type: 'log';
      readonly level: 'info' | 'warn' | 'error';
      readonly what: string;
      readonly facts: Facts;
    }
  /** Requests that were refused. */
  | { readonly type: 'failed'; readonly ids: readonly number[]; readonly failure: Failure };

/** The one request that every thread obeys: finish, answer, end. */
export interface CloseRequest {
  readonly type: 'close';
  readonly id: number;
}

/** A log whose lines are written by the gateway's thread. */
export function threadLog(tell: (reply: ThreadReply) => void): Log {
  const logAs =
    (level: 'info' | 'warn' | 'error') =>
    (what: string, facts: Facts = {}): void =>
      tell({ type: 'log', level, what, facts });
  return { info: logAs('info'), warn: logAs('warn'), error: logAs('error') };
}

export function failureOf(error: unknown, what: string): Failure {
  if (error instanceof SluiceError) return { code: error.code, message: error.message, remedy: error.remedy };
  return { code: 'STORE_FAILED', message: `${what}: ${errorText(error)}`, remedy: undefined };
}

export function errorFrom({ code, message, remedy }: Failure): SluiceError {
  return new SluiceError(code, message, remedy === undefined ? {} : { remedy });
}
