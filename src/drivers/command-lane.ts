import { SluiceError } from '../core/errors.ts';

/** More than this many writes waiting at one endpoint is a flow gone wild, not a person. */
export const MOST_WAITING_COMMANDS = 32;

/** One write or read-back on its way through a line. */
export interface LineCommand {
  readonly unit: number;
  /** Does the work on the line; `signal` also stops with the runner. */
  readonly start: (signal: AbortSignal) => Promise<void>;
  readonly refuse: (error: unknown) => void;
  readonly signal: AbortSignal;
}

/** Writes and read-backs of one line, in order, bounded. They go before polls. */
export class CommandLane {
  readonly #endpoint: string;
  #waiting: LineCommand[] = [];

  constructor(endpoint: string) {
    this.#endpoint = endpoint;
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Throws DEVICE_REFUSED with 'busy' where too many wait already. */
  add(command: LineCommand): void {
    if (this.#waiting.length >= MOST_WAITING_COMMANDS) {
      throw new SluiceError(
        'DEVICE_REFUSED',
        `busy: ${this.#waiting.length} commands wait for ${this.#endpoint} already`,
        {
          reason: 'server device busy',
          remedy: 'write less often, or wait for the result before the next write',
        },
      );
    }
    this.#waiting.push(command);
  }

  /** The next one that is still wanted. */
  take(): LineCommand | undefined {
    return this.#waiting.shift();
  }

  /** Takes a command out whose asker does not wait any more. */
  forget(command: LineCommand): void {
    this.#waiting = this.#waiting.filter((other) => other !== command);
  }

  refuseAll(error: () => unknown): void {
    const refused = this.#waiting;
    this.#waiting = [];
    for (const command of refused) command.refuse(error());
  }
}
