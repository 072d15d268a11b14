import { connect, type Socket } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { Clock } from '../../core/clock.ts';
import { errorText, SluiceError } from '../../core/errors.ts';
import type { Reason } from '../../core/quality.ts';
import { type Duration, milliseconds, seconds } from '../../core/units.ts';
import type { Counters } from './counters.ts';
import type { FrameSink } from './framing.ts';
import { viewOf } from './pdu.ts';
import type { Wire } from './wire.ts';

/** Longest wait for a connection: a lost SYN is sent again after 1 s and 3 s (RFC 6298, 2.1 and 5.5). */
const CONNECT_TIMEOUT = seconds(5);
/** Half-open connections are found by the kernel too (Messaging Guide V1.0b, 4.2.2). */
const KEEP_ALIVE_AFTER = seconds(30);
/**
 * Requests in a row that nothing answered, after which the connection is given up: as soon as every unit was among
 * them, or after this long where some are asked but rarely.
 */
const SILENT_REQUESTS = 3;
const LONG_SILENCE = seconds(30);
/** An id is not used again for this many time-outs after it timed out. */
const BLOCKED_FOR_TIMEOUTS = 2;
const IDS = 65_536;
/** 16 requests in flight are answered with 4,160 bytes at most. */
const RECEIVE_BUFFER = 8_192;
/** Timers may fire this much early. */
const TIMER_SLACK_MS = 1;

/** One request and what becomes of its reply. */
export interface Exchange {
  readonly unit: number;
  readonly pdu: Uint8Array;
  readonly timeout: Duration;
  /** For messages: `read of input 0..29 of unit 1`. */
  readonly what: string;
  /** It must not arrive after its time-out, as TCP would see to once the way is open again: the connection goes with it. */
  readonly inTimeOnly?: boolean;
  /** A broadcast, which a unit itself may answer and a serial line does not: then it is done when its time is over. */
  readonly mayBeSilent?: boolean;
  /**
   * The reply of the right transaction and unit: its PDU is in `view` from `start` up to `end`, during the call only.
   * Throws a SluiceError where it is no answer.
   */
  accept(view: DataView, start: number, end: number): void;
}

export interface ConnectionOptions {
  /** For messages: `modbus-tcp://10.20.20.11:502`. */
  readonly endpoint: string;
  readonly host: string;
  readonly port: number;
  /** Units that are polled on this connection. */
  readonly units: number;
  readonly wire: Wire;
  readonly clock: Clock;
  readonly counters: Counters;
}

interface Pending {
  readonly exchange: Exchange;
  readonly deadline: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Opens the connection or throws CONNECTION_LOST, within 5 s; a socket that comes later is destroyed. */
export async function openConnection(options: ConnectionOptions, signal: AbortSignal): Promise<Connection> {
  signal.throwIfAborted();
  const { endpoint, host, port, clock } = options;
  const opened = Promise.withResolvers<void>();
  const receive = Buffer.allocUnsafeSlow(RECEIVE_BUFFER);
  const socket = connect({
    host,
    port,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: KEEP_ALIVE_AFTER,
    onread: {
      buffer: receive,
      callback: (length) => {
        connection.received(length);
        return true;
      },
    },
  });
  const connection = new Connection(socket, receive, options);
  socket.once('connect', opened.resolve);
  connection.onLost(opened.reject);
  const stop = new AbortController();
  const waiting = clock.sleep(CONNECT_TIMEOUT, AbortSignal.any([signal, stop.signal])).then(
    () => connection.lose(`no connection to ${endpoint} within ${CONNECT_TIMEOUT / 1000} s`),
    () => {
      if (signal.aborted) connection.lose(`connecting to ${endpoint} was stopped`);
    },
  );
  try {
    await opened.promise;
  } finally {
    stop.abort();
    await waiting;
  }
  options.counters.connects++;
  return connection;
}

/**
 * One TCP connection, from open to lost. Replies are matched by transaction id, unit and whatever `Exchange.accept`
 * asks for. Nobody waits longer than the time-out of the request.
 */
export class Connection implements FrameSink {
  readonly #socket: Socket;
  readonly #options: ConnectionOptions;
  readonly #receive: DataView;
  readonly #pending = new Map<number, Pending>();
  /** Ids of requests that timed out, and until when they stay out of use; the oldest first. */
  readonly #blocked = new Map<number, number>();
  readonly #silent = new Set<number>();
  #silentRequests = 0;
  #silentSince = 0;
  #nextId = 0;
  #wakeAt = Infinity;
  #alarm = new AbortController();
  #lost: SluiceError | undefined;
  #told: ((error: SluiceError) => void) | undefined;

  constructor(socket: Socket, receive: Buffer, options: ConnectionOptions) {
    this.#socket = socket;
    this.#options = options;
    this.#receive = viewOf(receive);
    const { endpoint } = options;
    socket.on('error', (error) => this.lose(`${endpoint}: ${errorText(error)}`, error));
    socket.on('end', () => this.lose(`${endpoint} closed the connection`));
    socket.on('close', () => this.lose(`${endpoint}: the connection closed`));
  }

  /** Why nothing goes through this connection any more; undefined while it stands. */
  get lost(): SluiceError | undefined {
    return this.#lost;
  }

  /** Nothing came since a request that nothing answered: it may still lie in the kernel. */
  get isSilent(): boolean {
    return this.#silentRequests > 0;
  }

  onLost(tell: (error: SluiceError) => void): void {
    this.#told = tell;
  }

  /** Sends the request; settles with its reply, DEVICE_TIMEOUT, REPLY_MISMATCH or CONNECTION_LOST. */
  exchange(exchange: Exchange): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#lost !== undefined) {
        reject(this.#lost);
        return;
      }
      const { clock, counters, wire } = this.#options;
      if (wire.blocks(exchange.unit)) {
        reject(this.#timedOut(exchange, 'not asked while a late reply may still come'));
        return;
      }
      const now = clock.elapsed();
      const id = this.#freeId(now);
      const deadline = now + exchange.timeout;
      this.#pending.set(id, { exchange, deadline, resolve, reject });
      const frame = wire.frame(id, exchange.unit, exchange.pdu);
      counters.requests++;
      counters.bytesSent += frame.length;
      this.#socket.write(frame);
      if (deadline < this.#wakeAt) this.#wake(deadline);
    });
  }

  /** Bytes that were read into the buffer of the socket. */
  received(length: number): void {
    this.#options.counters.bytesReceived += length;
    if (!this.#options.wire.push(this.#receive, length, this)) {
      this.lose(`${this.#options.endpoint} sent something that is not Modbus TCP`);
    }
  }

  frame(transaction: number, view: DataView, start: number, end: number): void {
    const { counters } = this.#options;
    this.#silentRequests = 0;
    if (this.#silent.size > 0) this.#silent.clear();
    const pending = this.#pending.get(transaction);
    if (pending === undefined) {
      counters.discarded++;
      return;
    }
    this.#pending.delete(transaction);
    const { exchange } = pending;
    try {
      const unit = view.getUint8(start);
      if (unit !== exchange.unit) {
        throw new SluiceError('REPLY_MISMATCH', `unit ${unit} answered the ${exchange.what}`, {
          remedy: `check unit ${exchange.unit}`,
        });
      }
      exchange.accept(view, start + 1, end);
      counters.replies++;
    } catch (error) {
      if (error instanceof SluiceError && error.code === 'REPLY_MISMATCH') {
        counters.mismatches++;
        this.#options.wire.missed(exchange.unit, exchange.timeout);
      } else {
        counters.replies++;
      }
      pending.reject(error);
      return;
    }
    pending.resolve();
  }

  /** Ends the connection, once; whoever waits fails with CONNECTION_LOST. */
  lose(message: string, cause?: unknown, reason: Reason = 'connection lost'): void {
    if (this.#lost !== undefined) return;
    const error = new SluiceError('CONNECTION_LOST', message, {
      cause,
      reason,
      remedy: `check that ${this.#options.endpoint} is switched on, reachable and has a connection to spare`,
    });
    this.#lost = error;
    this.#alarm.abort();
    // What was sent and not answered may still lie in the kernel, which would go on sending it after a close.
    const isUnanswered = this.#pending.size > 0 || this.#silentRequests > 0;
    if (isUnanswered && !this.#socket.connecting) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
    const waiting = [...this.#pending.values()];
    this.#pending.clear();
    this.#blocked.clear();
    for (const { exchange, reject } of waiting) {
      this.#options.wire.missed(exchange.unit, exchange.timeout);
      reject(error);
    }
    this.#told?.(error);
  }

  /** Unique among pending requests, and no id whose late reply may still come (Messaging Guide, 4.4.1.2). */
  #freeId(now: number): number {
    for (;;) {
      const id = this.#nextId;
      this.#nextId = (id + 1) % IDS;
      if (this.#pending.has(id)) continue;
      const until = this.#blocked.get(id);
      if (until === undefined) return id;
      if (until > now) continue;
      this.#blocked.delete(id);
      return id;
    }
  }

  /** One alarm for all requests: it is only set anew when it rings, or for a deadline before it. */
  #wake(deadline: number): void {
    this.#alarm.abort();
    this.#alarm = new AbortController();
    this.#wakeAt = deadline;
    void this.#ring(deadline, this.#alarm.signal);
  }

  async #ring(deadline: number, signal: AbortSignal): Promise<void> {
    const { clock } = this.#options;
    try {
      await clock.sleep(milliseconds(Math.max(0, deadline - clock.elapsed())), signal);
      await turn(); // what has arrived meanwhile is read first: a busy event loop makes nobody late
    } catch (error) {
      if (signal.aborted) return;
      throw error;
    }
    if (signal.aborted) return;
    this.#wakeAt = Infinity;
    this.#expire(clock.elapsed());
    const next = this.#pending.values().reduce((first, each) => Math.min(first, each.deadline), Infinity);
    if (next < Infinity && this.#lost === undefined) this.#wake(next);
  }

  #expire(now: number): void {
    for (const [id, until] of this.#blocked) {
      if (until > now) break;
      this.#blocked.delete(id);
    }
    for (const [id, pending] of this.#pending) {
      if (pending.deadline - now >= TIMER_SLACK_MS) continue;
      const { exchange } = pending;
      this.#pending.delete(id);
      this.#blocked.set(id, now + BLOCKED_FOR_TIMEOUTS * exchange.timeout);
      this.#options.counters.timeouts++;
      this.#options.wire.missed(exchange.unit, exchange.timeout);
      if (this.#silentRequests++ === 0) this.#silentSince = now;
      this.#silent.add(exchange.unit);
      if (exchange.mayBeSilent === true) {
        pending.resolve();
        continue;
      }
      if (this.#isHalfDead(now) || exchange.inTimeOnly === true) {
        const error =
          exchange.inTimeOnly === true
            ? `${exchange.what} at ${this.#options.endpoint}: no answer within ${exchange.timeout} ms`
            : `${this.#options.endpoint} is connected but answered none of ${this.#silentRequests} requests`;
        this.lose(error, undefined, 'timeout');
        pending.reject(this.#lost);
        return;
      }
      pending.reject(this.#timedOut(exchange, `no answer within ${exchange.timeout} ms`));
    }
  }

  #isHalfDead(now: number): boolean {
    if (this.#silentRequests < SILENT_REQUESTS) return false;
    return this.#silent.size >= this.#options.units || now - this.#silentSince >= LONG_SILENCE;
  }

  #timedOut({ what, unit }: Exchange, how: string): SluiceError {
    return new SluiceError('DEVICE_TIMEOUT', `${what} at ${this.#options.endpoint}: ${how}`, {
      remedy: `check that unit ${unit} is on the line and its time-out is long enough`,
    });
  }
}
