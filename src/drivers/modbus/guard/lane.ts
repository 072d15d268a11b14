import type { Clock } from '../../../core/clock.ts';
import { SluiceError } from '../../../core/errors.ts';
import { type Duration, seconds } from '../../../core/units.ts';
import { zeroCounters } from '../counters.ts';
import { ACCEPTED, checkEcho, checkRead, MISMATCH } from '../pdu.ts';
import { type Connection, openConnection } from '../transport.ts';
import { MbapWire } from '../wire.ts';
import { READ_WRITE_REGISTERS, type Request } from './request.ts';

/** Requests that wait for one device: what all clients of a listener may have in flight is more than it takes in time. */
const LONGEST_QUEUE = 64;
/** A write that waited longer is not the one that somebody still means. */
const LONGEST_WAIT = seconds(5);
/** A device that cannot be reached is not asked again for each request. */
const PAUSE_AFTER_FAILURE = seconds(1);
/** Old devices have room for few connections: one that nobody uses is given back. */
const IDLE = seconds(60);
const EXCEPTION_FLAG = 0x80;

/** A request on its way to the device. */
export interface Errand {
  readonly unit: number;
  /** As it came; every byte of it was read, except where the guard only observes. */
  readonly pdu: Uint8Array;
  /** Undefined where the guard only observes and let something pass that it does not understand. */
  readonly request: Request | undefined;
  /** Is somebody still there for the answer? */
  readonly isWanted: () => boolean;
  /** The PDU of the answer; undefined where the device gave none. Called once, or never where nobody wants it. */
  readonly answer: (pdu: Uint8Array | undefined) => void;
}

export interface LaneOptions {
  readonly endpoint: string;
  readonly host: string;
  readonly port: number;
  readonly inFlight: number;
  readonly timeout: Duration;
  readonly clock: Clock;
}

/** One connection to a device, for all clients of a listener: opened when it is needed, with ids of its own. */
export class Lane {
  readonly counters = zeroCounters();
  readonly #options: LaneOptions;
  readonly #queue: { readonly errand: Errand; readonly since: number }[] = [];
  readonly #stop = new AbortController();
  #connection: Connection | undefined;
  #isOpening = false;
  #running = 0;
  #failedAt = -Infinity;
  #usedAt = 0;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  ask(errand: Errand): void {
    const now = this.#options.clock.elapsed();
    const isDead = this.#connection === undefined || this.#connection.lost !== undefined;
    const pauses = isDead && now - this.#failedAt < PAUSE_AFTER_FAILURE;
    if (pauses || this.#queue.length >= LONGEST_QUEUE || this.#stop.signal.aborted) {
      errand.answer(undefined);
      return;
    }
    this.#queue.push({ errand, since: now });
    this.#next();
  }

  /** Gives up what has waited too long, and a connection that nobody uses. */
  sweep(): void {
    const now = this.#options.clock.elapsed();
    while ((this.#queue[0]?.since ?? now) < now - LONGEST_WAIT) this.#queue.shift()?.errand.answer(undefined);
    if (this.#running === 0 && this.#queue.length === 0 && now - this.#usedAt > IDLE)
      this.#close('not used any more');
  }

  close(): void {
    this.#stop.abort();
    this.#close('the gateway stops');
    this.#giveUp();
  }

  #close(why: string): void {
    this.#connection?.lose(`${this.#options.endpoint}: ${why}`);
    this.#connection = undefined;
  }

  #next(): void {
    while (this.#running < this.#options.inFlight) {
      const connection = this.#connection;
      if (connection === undefined || connection.lost !== undefined) {
        if (this.#queue.length > 0 && !this.#isOpening) void this.#open();
        return;
      }
      const first = this.#queue.shift();
      if (first === undefined) return;
      if (!first.errand.isWanted()) continue;
      if (this.#options.clock.elapsed() - first.since > LONGEST_WAIT) first.errand.answer(undefined);
      else void this.#run(first.errand, connection);
    }
  }

  async #open(): Promise<void> {
    const { clock, endpoint, host, port } = this.#options;
    // Units do not matter here: silence of any of them is silence of the connection.
    const options = { endpoint, host, port, units: 1, wire: new MbapWire(), clock, counters: this.counters };
    this.#isOpening = true;
    try {
      this.#connection = await openConnection(options, this.#stop.signal);
      this.#usedAt = clock.elapsed();
    } catch {
      // Whoever asked is answered so; the runner of the same device tells what is wrong with it.
      this.#failedAt = clock.elapsed();
      this.#giveUp();
    } finally {
      this.#isOpening = false;
    }
    this.#next();
  }

  #giveUp(): void {
    for (const { errand } of this.#queue.splice(0)) errand.answer(undefined);
  }

  async #run(errand: Errand, connection: Connection): Promise<void> {
    this.#running += 1;
    let reply: Uint8Array | undefined;
    try {
      await connection.exchange({
        unit: errand.unit,
        pdu: errand.pdu,
        timeout: this.#options.timeout,
        // Its client is told that nothing answered: hours later it would be a surprise.
        inTimeOnly: errand.request === undefined || errand.request.write !== undefined,
        what: `guarded request ${errand.pdu[0]} to unit ${errand.unit}`,
        accept: (view, start, end) => {
          if (!answers(errand, view, start, end))
            throw new SluiceError('REPLY_MISMATCH', `${this.#options.endpoint} answered something else`);
          reply = Uint8Array.prototype.slice.call(
            new Uint8Array(view.buffer, view.byteOffset + start, end - start),
          );
        },
      });
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error;
    } finally {
      this.#running -= 1;
      this.#usedAt = this.#options.clock.elapsed();
    }
    errand.answer(reply);
    this.#next();
  }
}

/** Is it the answer to this very request, an exception among them? */
function answers({ pdu, request }: Errand, view: DataView, start: number, end: number): boolean {
  const code = pdu[0] ?? 0;
  if (request === undefined) return (view.getUint8(start) & ~EXCEPTION_FLAG) === code;
  const { read } = request;
  const isRead = read !== undefined && (request.write === undefined || code === READ_WRITE_REGISTERS);
  const result = isRead ? checkRead(view, start, end, code, read.quantity) : checkEcho(view, start, end, pdu);
  return result !== MISMATCH && (result === ACCEPTED || result > 0);
}
