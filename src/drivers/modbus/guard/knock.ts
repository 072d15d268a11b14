import { connect, type Socket } from 'node:net';
import type { Clock } from '../../../core/clock.ts';
import { errorText } from '../../../core/errors.ts';
import { seconds } from '../../../core/units.ts';
import { addressText } from '../../../segmentation/addresses.ts';
import type { GuardTarget } from '../../../segmentation/guards.ts';

/** The kernel answers at once, from one address of the machine itself to another. */
const LONGEST_WAIT = seconds(2);

/**
 * Whose the connections are that rules lead to a port of ours: the kernel keeps where they wanted to go, and tells no
 * process without rights. So the gateway asks the rules: at a port that they lead somebody else's connections to, they
 * let nobody knock but the gateway that runs the same file as they are of.
 */
export class Knock {
  readonly #from: string;
  readonly #to: string;
  readonly #port: number;
  readonly #clock: Clock;
  #running: Promise<string | undefined> | undefined;
  #next: Promise<string | undefined> | undefined;

  constructor({ knock, listener }: GuardTarget, clock: Clock) {
    this.#from = addressText(Number(knock.from));
    this.#to = addressText(Number(knock.to));
    this.#port = listener;
    this.#clock = clock;
  }

  /** Is this connection one of our own? */
  isAt({ local, remote }: { readonly local: string; readonly remote: string }): boolean {
    return local === this.#to && remote === this.#from;
  }

  /**
   * Undefined where it got through, else why it did not. It sets out after it was asked to: rules of before, that led a
   * connection here, are not there any more then, and what comes over that connection is dropped by those that are.
   */
  async refusal(): Promise<string | undefined> {
    if (this.#running === undefined) return this.#knock();
    this.#next ??= this.#running.then(async () => this.#knock());
    return this.#next;
  }

  #knock(): Promise<string | undefined> {
    this.#next = undefined;
    const running = this.#tried().finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #tried(): Promise<string | undefined> {
    const stop = new AbortController();
    let socket: Socket | undefined;
    const knocking = new Promise<string | undefined>((resolve) => {
      socket = connect({ host: this.#to, port: this.#port, localAddress: this.#from });
      socket.once('connect', () => resolve(undefined));
      socket.on('error', (error) => resolve(errorText(error)));
    });
    const late = this.#clock.sleep(LONGEST_WAIT, stop.signal).then(
      () => `no answer within ${LONGEST_WAIT / 1000} s`,
      () => undefined,
    );
    try {
      return await Promise.race([knocking, late]);
    } finally {
      stop.abort();
      socket?.resetAndDestroy();
    }
  }
}
