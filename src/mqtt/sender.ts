import type { Clock } from '../core/clock.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Consumer, Lane, Message, Row } from '../core/outbox.ts';
import {
  type Bytes,
  bytes,
  type Duration,
  kibibytes,
  mebibytes,
  milliseconds,
  seconds,
} from '../core/units.ts';

/** Unacknowledged messages at a time where the receiver does not say: Mosquitto's own limit for 3.1.1 peers. */
export const DEFAULT_WINDOW = 20;
/** More gains little (measured 56,000 messages/s at 20, 73,000 at 100) and is sent twice after a broken link. */
export const MAX_WINDOW = 64;
/** A receiver that took messages and acknowledged none of them for so long is taken for dead. */
export const ACKNOWLEDGE_WITHIN: Duration = seconds(30);
/** While history drains, live rows are looked for this often; otherwise the outbox tells. */
const LOOK_AGAIN_EVERY: Duration = milliseconds(50);
/** At an orderly stop the messages on their way may still be acknowledged, so that they are not sent twice. */
const STOP_WITHIN: Duration = seconds(2);
/** Bounds what a slow receiver costs, and how much lies in front of a live message in the socket. */
const MAX_BYTES_IN_FLIGHT: Bytes = mebibytes(2);
const MAX_URGENT = 64;
/** Topics of which a refusal was logged; later ones are only counted. */
const MAX_REFUSED_TOPICS = 256;
export const DEFAULT_PREFETCH: Bytes = kibibytes(512);

/**
 * Hands one message to the link. Resolves when the receiver has acknowledged it; undefined means that there is
 * nothing to wait for. Rejects with MESSAGE_REFUSED where the receiver will never take this message, with anything
 * else where the link is gone. Topics are below `sluice/<gateway>/`.
 */
export type Publish = (message: Message, retain: boolean) => Promise<void> | undefined;

export interface PumpOptions {
  /** Undefined: only urgent messages are sent. */
  readonly consumer: Consumer | undefined;
  readonly publish: Publish;
  /** Unacknowledged messages at a time, urgent ones included. */
  readonly window: number;
  readonly clock: Clock;
  readonly log: Log;
  /** Who receives, for log lines. */
  readonly to: string;
  /** Read ahead per lane. */
  readonly prefetch?: Bytes;
  /** The place in the outbox is new: what was committed since it was made is live, not history. */
  readonly fresh?: boolean;
  /** Topics whose refusal was logged; handed from connection to connection. */
  readonly refusedTopics?: Set<string>;
}

interface Source {
  readonly lane: Lane;
  rows: Row[];
  /** The next message is `rows[row].messages[message]`. */
  row: number;
  message: number;
  open: OpenRow | undefined;
  /** Bytes read ahead and not sent. */
  ahead: number;
  reading: boolean;
  /** The last read found nothing. */
  dry: boolean;
  inFlight: number;
}

interface OpenRow {
  readonly id: number;
  left: number;
}

interface Flight {
  readonly since: number;
  readonly size: number;
  readonly source: Source | undefined;
  readonly row: OpenRow | undefined;
  readonly topic: string;
}

/**
 * Moves messages from a place in the outbox to one receiver over one connection, for the upstream and for each session
 * of the embedded broker alike. The outbox is the only queue: what is read ahead is handed out again after `rewind`.
 *
 * Urgent messages (status, results) go first, then the live lane, in which the events of an outage come first; history
 * fills the window except for the quarter that is kept free for live ones. Within a lane the order of the outbox is the
 * order of publishing, so that order within a device and topic is kept. A row is acknowledged when each of its messages
 * was acknowledged or set aside.
 */
export class Pump {
  /** Messages of the outbox that the receiver has acknowledged. */
  acknowledged = 0;
  /** Messages that the receiver will never take. */
  setAside = 0;
  /** Urgent messages given up because too many waited. */
  urgentDropped = 0;
  readonly #options: PumpOptions;
  readonly #prefetch: number;
  readonly #historyWindow: number;
  readonly #live = source('live');
  readonly #history = source('history');
  readonly #flights = new Set<Flight>();
  readonly #urgent: { readonly message: Message; readonly retain: boolean }[] = [];
  readonly #refusedTopics: Set<string>;
  #bytesInFlight = 0;
  #running = false;
  #filling = false;
  #lookingForLive = false;
  #awaitingMore = false;
  #foundNothing = false;
  #fail: (error: unknown) => void = () => {};
  #landed: () => void = () => {};
  #signal: AbortSignal = AbortSignal.abort();

  constructor(options: PumpOptions) {
    this.#options = options;
    this.#refusedTopics = options.refusedTopics ?? new Set();
    this.#prefetch = options.prefetch ?? DEFAULT_PREFETCH;
    this.#historyWindow = Math.max(1, options.window - Math.max(1, Math.floor(options.window / 4)));
  }

  get inFlight(): number {
    return this.#flights.size;
  }

  /** Sends ahead of everything else; false where too many wait already. Not kept across connections. */
  urgent(message: Message, retain = false): boolean {
    if (this.#urgent.length >= MAX_URGENT) {
      this.urgentDropped++;
      return false;
    }
    this.#urgent.push({ message, retain });
    if (this.#running) this.#fill();
    return true;
  }

  /**
   * One connection. Returns when the signal is aborted, after a short wait for acknowledgements; throws
   * CONNECTION_LOST when the link is gone or acknowledges nothing for `ACKNOWLEDGE_WITHIN`.
   */
  async run(signal: AbortSignal): Promise<void> {
    const stop = new AbortController();
    const together = AbortSignal.any([signal, stop.signal]);
    const broken = Promise.withResolvers<never>();
    this.#fail = broken.reject;
    this.#signal = together;
    try {
      if (this.#options.fresh !== true) await this.#options.consumer?.rewind();
      this.#running = true;
      this.#fill();
      await Promise.race([broken.promise, this.#watchOldest(together)]);
    } catch (error) {
      if (!signal.aborted) throw error;
    } finally {
      this.#running = false;
      stop.abort();
    }
    broken.promise.catch(() => {});
    await this.#landAll();
  }

  async #watchOldest(signal: AbortSignal): Promise<never> {
    const { clock, to } = this.#options;
    for (;;) {
      const oldest = this.#flights.values().next().value;
      const left = ACKNOWLEDGE_WITHIN - (oldest === undefined ? 0 : clock.elapsed() - oldest.since);
      if (oldest !== undefined && left <= 0) {
        throw new SluiceError(
          'CONNECTION_LOST',
          `${to} has not acknowledged a message on ${oldest.topic} within ${ACKNOWLEDGE_WITHIN / 1000} s`,
          { remedy: 'it is sent again on a new connection; look at the load and the log of the receiver' },
        );
      }
      await clock.sleep(milliseconds(left), signal);
    }
  }

  /** Waits for what is on its way. */
  async #landAll(): Promise<void> {
    if (this.#flights.size === 0) return;
    const landed = new Promise<void>((resolve) => {
      this.#landed = resolve;
    });
    const enough = new AbortController();
    const timeUp = this.#options.clock.sleep(STOP_WITHIN, enough.signal).catch(() => {});
    await Promise.race([landed, timeUp]);
    enough.abort();
  }

  /** Once for all acknowledgements that were read in this turn of the loop: one write instead of one for each. */
  #fillSoon(): void {
    if (this.#filling) return;
    this.#filling = true;
    setImmediate(() => {
      this.#filling = false;
      this.#fill();
    });
  }

  #fill(): void {
    while (this.#running && this.#flights.size < this.#options.window) {
      if (this.#bytesInFlight >= MAX_BYTES_IN_FLIGHT) break;
      const urgent = this.#urgent.shift();
      if (urgent !== undefined) this.#send(urgent.message, urgent.retain, undefined, undefined);
      else if (!this.#sendFrom(this.#live)) {
        if (this.#history.inFlight >= this.#historyWindow || !this.#sendFrom(this.#history)) break;
      }
    }
    this.#readAhead(this.#live);
    this.#readAhead(this.#history);
  }

  /** Sends the next message of the lane; false where none is read ahead. */
  #sendFrom(from: Source): boolean {
    const row = from.rows[from.row];
    if (row === undefined) return false;
    from.open ??= { id: row.id, left: row.messages.length };
    const open = from.open;
    const message = row.messages[from.message++];
    if (from.message >= row.messages.length) {
      from.row++;
      from.message = 0;
      from.open = undefined;
      if (from.row === from.rows.length) {
        from.rows = [];
        from.row = 0;
      }
    }
    if (message === undefined) {
      this.#options.consumer?.acknowledge(from.lane, row.id);
    } else {
      from.ahead -= message.payload.length;
      this.#send(message, false, from, open);
    }
    return true;
  }

  #send(message: Message, retain: boolean, from: Source | undefined, row: OpenRow | undefined): void {
    const settled = this.#options.publish(message, retain);
    if (settled === undefined) {
      this.#messageDone(from, row);
      return;
    }
    const size = message.payload.length;
    const flight: Flight = {
      since: this.#options.clock.elapsed(),
      size,
      source: from,
      row,
      topic: message.topic,
    };
    this.#flights.add(flight);
    this.#bytesInFlight += size;
    if (from !== undefined) from.inFlight++;
    this.#land(flight, settled).catch(this.#fail);
  }

  async #land(flight: Flight, settled: Promise<void>): Promise<void> {
    try {
      await settled;
    } catch (error) {
      this.#failed(flight, error);
      return;
    }
    if (flight.source !== undefined) this.acknowledged++;
    this.#leave(flight);
    this.#messageDone(flight.source, flight.row);
    this.#fillSoon();
  }

  #failed(flight: Flight, error: unknown): void {
    this.#leave(flight);
    if (!(error instanceof SluiceError) || error.code !== 'MESSAGE_REFUSED') {
      this.#fail(error);
      return;
    }
    this.setAside++;
    if (this.#refusedTopics.size < MAX_REFUSED_TOPICS && !this.#refusedTopics.has(flight.topic)) {
      this.#refusedTopics.add(flight.topic);
      const { log, to } = this.#options;
      log.warn('message set aside; later ones of this topic are only counted', {
        to,
        topic: flight.topic,
        bytes: flight.size,
        because: errorText(error),
        remedy: error.remedy,
      });
    }
    this.#messageDone(flight.source, flight.row);
    this.#fillSoon();
  }

  #leave(flight: Flight): void {
    this.#flights.delete(flight);
    this.#bytesInFlight -= flight.size;
    if (flight.source !== undefined) flight.source.inFlight--;
    if (this.#flights.size === 0) this.#landed();
  }

  #messageDone(from: Source | undefined, row: OpenRow | undefined): void {
    if (from === undefined || row === undefined) return;
    row.left--;
    if (row.left === 0) this.#options.consumer?.acknowledge(from.lane, row.id);
  }

  #readAhead(from: Source): void {
    if (!this.#running || from.reading || from.dry) return;
    if (from.ahead >= this.#prefetch / 2 && from.rows.length > 0) return;
    this.#read(from).catch(this.#fail);
  }

  async #read(from: Source): Promise<void> {
    const { consumer } = this.#options;
    if (consumer === undefined) return;
    from.reading = true;
    const rows = await consumer.read(from.lane, bytes(this.#prefetch));
    from.reading = false;
    if (!this.#running) return;
    if (rows.length > 0) {
      this.#foundNothing = false;
      this.#take(from, rows);
      this.#fill();
      return;
    }
    from.dry = true;
    if (this.#live.dry && this.#history.dry) this.#awaitMore(consumer).catch(this.#fail);
    else if (this.#live.dry) this.#lookForLive().catch(this.#fail);
  }

  #take(from: Source, rows: readonly Row[]): void {
    // What was sent is dropped here, once per read, rather than by shifting the array once per row.
    from.rows = from.row === from.rows.length ? [...rows] : [...from.rows.slice(from.row), ...rows];
    from.row = 0;
    for (const { messages } of rows) for (const { payload } of messages) from.ahead += payload.length;
  }

  /** With both lanes dry the outbox says when to look again. */
  async #awaitMore(consumer: Consumer): Promise<void> {
    if (this.#awaitingMore) return;
    this.#awaitingMore = true;
    // An outbox in trouble may promise rows and have none to give.
    if (this.#foundNothing) await this.#options.clock.sleep(LOOK_AGAIN_EVERY, this.#signal);
    this.#foundNothing = true;
    await consumer.more(this.#signal);
    this.#awaitingMore = false;
    this.#history.dry = false;
    this.#live.dry = false;
    this.#fill();
  }

  /** While history drains, `more` would always say yes. */
  async #lookForLive(): Promise<void> {
    if (this.#lookingForLive) return;
    this.#lookingForLive = true;
    await this.#options.clock.sleep(LOOK_AGAIN_EVERY, this.#signal);
    this.#lookingForLive = false;
    this.#live.dry = false;
    this.#fill();
  }
}

function source(lane: Lane): Source {
  return {
    lane,
    rows: [],
    row: 0,
    message: 0,
    open: undefined,
    ahead: 0,
    reading: false,
    dry: false,
    inFlight: 0,
  };
}
