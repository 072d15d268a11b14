import { SluiceError } from '../core/errors.ts';

/** More than this many writes waiting at one endpoint is a flow gone wild, not a person. */
export const MOST_WAITING_COMMANDS = 32;

/** One write or read-back on its way through a line. */
export interface LineCommand {
  /** Place of its unit on the line. */
  readonly unit: number;
  /** Does the work on the line and settles what the asker waits for; rejects as the line does. */
  readonly start: (signal: AbortSignal) => Promise<void>;
  readonly refuse: (error: unknown) => void;
  /** The asker's. */
  readonly signal: AbortSignal;
}

/** Writes and read-backs of one line, in order, bounded. They go before polls. */
export class CommandLane {
  #waiting: LineCommand[] = [];

  get waiting(): number {
    return this.#waiting.length;
  }

  get isFull(): boolean {
    return this.#waiting.length >= MOST_WAITING_COMMANDS;
  }

  /** Queues `work`; settles as it does, or rejects with the signal's reason as soon as the asker has gone. */
  async ask<T>(unit: number, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const result = Promise.withResolvers<T>();
    const command: LineCommand = {
      unit,
      signal,
      start: async (both) => result.resolve(await work(both)),
      refuse: result.reject,
    };
    const leave = (): void => {
      this.#waiting = this.#waiting.filter((other) => other !== command);
      result.reject(signal.reason);
    };
    this.#waiting.push(command);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await result.promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  take(): LineCommand | undefined {
    return this.#waiting.shift();
  }

  refuseAll(error: () => unknown): void {
    const refused = this.#waiting;
    this.#waiting = [];
    for (const command of refused) command.refuse(error());
  }
}

export function busy(endpoint: string): SluiceError {
  return new SluiceError('BUSY', `busy: ${MOST_WAITING_COMMANDS} commands wait for ${endpoint} already`, {
    reason: 'server device busy',
    remedy: 'write less often, or wait for the result before the next write',
  });
}

export function notConnected(endpoint: string): SluiceError {
  return new SluiceError('CONNECTION_LOST', `${endpoint} is not connected; the command was not sent`, {
    remedy: 'try again when the device is back',
  });
}

/** `wait`: ms until the devices are tried again. */
export function silent(endpoint: string, devices: readonly string[], wait: number): SluiceError {
  return new SluiceError(
    'DEVICE_TIMEOUT',
    `${devices.join(', ')} at ${endpoint} does not answer; the command was not sent`,
    { remedy: `it is tried again in ${Math.ceil(Math.max(0, wait) / 1_000)} s` },
  );
}
