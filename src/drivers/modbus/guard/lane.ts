import type { Clock } from '../../../core/clock.ts';
import { SluiceError } from '../../../core/errors.ts';
import { type Duration, milliseconds, seconds } from '../../../core/units.ts';
import { zeroCounters } from '../counters.ts';
import { ACCEPTED, checkEcho, checkRead, MISMATCH } from '../pdu.ts';
import { type Connection, openConnection } from '../transport.ts';
import { MbapWire } from '../wire.ts';
import { BROADCAST } from './decide.ts';
import { READ_WRITE_REGISTERS, type Request } from './request.ts';
import { type Asker, Turns } from './turns.ts';

/** A write that waited longer is not the one that somebody still means. */
export const LONGEST_WAIT = seconds(5);
/** A device that cannot be reached is not asked again for each request: they wait, and have one answer. */
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
  /** The earliest time at which it may have been asked. */
  readonly since: number;
  /**
   * The PDU of the answer; `silent` where the device gave none, `busy` where it was answering others all the while.
   * Called once, or never where the asker has left.
   */
  readonly answer: (reply: Uint8Array | 'silent' | 'busy') => void;
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
  readonly #waiting = new Turns<Errand>();
  readonly #stop = new AbortController();
  #connection: Connection | undefined;
  #isOpening = false;
  #running = 0;
  #failedAt = -Infinity;
  #answeredAt = -Infinity;
  #usedAt = 0;

  constructor(options: LaneOptions) {
    this.#options = options;
  }

  ask(asker: Asker, errand: Errand): void {
    if (this.#stop.signal.aborted) {
      errand.answer('silent');
      return;
    }
    this.#waiting.add(asker, errand);
    this.#next();
  }

  leave(asker: Asker): void {
    this.#waiting.leave(asker);
  }

  /** Gives up what has waited too long, and a connection that nobody uses. */
  sweep(): void {
    this.#giveBack();
    const now = this.#options.clock.elapsed();
    // A broadcast that nobody answered has to be as good as sent, or nobody means it any more.
    const longest = this.#connection?.isSilent === true ? LONGEST_WAIT : IDLE;
    if (this.#running === 0 && this.#waiting.isEmpty && now - this.#usedAt > longest)
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

  #giveBack(): void {
    const late = this.#waiting.takeOlderThan(this.#options.clock.elapsed() - LONGEST_WAIT);
    for (const { since, answer } of late) answer(this.#answeredAt >= since ? 'busy' : 'silent');
  }

  #next(): void {
    this.#giveBack();
    while (this.#running < this.#options.inFlight) {
      const connection = this.#connection;
      if (connection === undefined || connection.lost !== undefined) {
        if (!this.#waiting.isEmpty && !this.#isOpening) void this.#open();
        return;
      }
      const errand = this.#waiting.take();
      if (errand === undefined) return;
      void this.#run(errand, connection);
    }
  }

  async #open(): Promise<void> {
    const { clock, endpoint, host, port } = this.#options;
    // Units do not matter here: silence of any of them is silence of the connection.
    const options = { endpoint, host, port, units: 1, wire: new MbapWire(), clock, counters: this.counters };
    this.#isOpening = true;
    try {
      const pause = PAUSE_AFTER_FAILURE - (clock.elapsed() - this.#failedAt);
      if (pause > 0) await clock.sleep(milliseconds(pause), this.#stop.signal);
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
    for (const errand of this.#waiting.takeOlderThan(Infinity)) errand.answer('silent');
  }

  async #run(errand: Errand, connection: Connection): Promise<void> {
    const mayBeSilent = isBroadcast(errand);
    this.#running += 1;
    let reply: Uint8Array | undefined;
    try {
      await connection.exchange({
        unit: errand.unit,
        pdu: errand.pdu,
        timeout: this.#options.timeout,
        // Its client is told that nothing answered: hours later it would be a surprise.
        inTimeOnly: !mayBeSilent && (errand.request === undefined || errand.request.write !== undefined),
        mayBeSilent,
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
    if (reply !== undefined) this.#answeredAt = this.#usedAt;
    errand.answer(reply ?? 'silent');
    this.#next();
  }
}

/**
 * Written to every unit of a serial line, none of which answers (Modbus over Serial Line V1.02, 2.1); a device without
 * such a line answers for itself (Messaging Guide V1.0b, 4.4.1.2).
 */
export const isBroadcast = ({ unit, request }: Pick<Errand, 'unit' | 'request'>): boolean =>
  unit === BROADCAST && request?.write !== undefined;

/** Is it the answer to this very request, an exception among them? */
function answers({ pdu, request }: Errand, view: DataView, start: number, end: number): boolean {
  const code = pdu[0] ?? 0;
  if (request === undefined) return (view.getUint8(start) & ~EXCEPTION_FLAG) === code;
  const { read } = request;
  const isRead = read !== undefined && (request.write === undefined || code === READ_WRITE_REGISTERS);
  const result = isRead ? checkRead(view, start, end, code, read.quantity) : checkEcho(view, start, end, pdu);
  return result !== MISMATCH && (result === ACCEPTED || result > 0);
}
