import type { Socket } from 'node:net';
import type { Clock } from '../core/clock.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Consumer, Message, Outbox } from '../core/outbox.ts';
import { type Bytes, type Duration, kibibytes, milliseconds } from '../core/units.ts';
import { DEFAULT_WINDOW, Pump } from './sender.ts';
import { topicMatcher } from './topics.ts';

const READ_AHEAD: Bytes = kibibytes(128); // per session and lane
/** A client that does not answer our goodbye is left without one. */
const GOODBYE_WITHIN: Duration = milliseconds(250);
const LAST_MESSAGE_ID = 65_535; // MQTT 3.1.1, 2.3.1

export type GrantedQos = 0 | 1;

interface Filter {
  readonly qos: GrantedQos;
  readonly matches: (topic: string) => boolean;
}

export interface SessionOptions {
  readonly client: string;
  /** A clean session ends with its connection (MQTT 3.1.1, 3.1.2.4). */
  readonly clean: boolean;
  /** Filters that are remembered from earlier connections. */
  readonly filters: ReadonlyMap<string, GrantedQos>;
  readonly socket: Socket;
  /** `sluice/<gateway>/`. */
  readonly root: string;
  readonly outbox: Outbox;
  /** What is kept with the place in the outbox. */
  readonly note: () => string;
  /** Resolves when an earlier session of the same client has let go of its place in the outbox. */
  readonly earlier: Promise<void>;
  /** Ends the connection. */
  readonly disconnect: () => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Places in the outbox: one on disk for each persistent session, one that is forgotten for each clean one. */
export const persistentPlace = (client: string): string => `session:${client}`;
export const cleanPlace = (client: string): string => `clean:${client}`;

/**
 * What one connected client receives: its own pump from the outbox, past the fan-out and the volatile queues of the
 * broker library. A message that no filter matches counts as acknowledged.
 */
export class Session {
  /** It has subscriptions from an earlier connection. */
  readonly resumed: boolean;
  readonly #options: SessionOptions;
  readonly #filters = new Map<string, Filter>();
  readonly #unacknowledged = new Map<
    number,
    { readonly resolve: () => void; readonly reject: (e: SluiceError) => void }
  >();
  readonly #stop = new AbortController();
  readonly #place: string;
  #pump: Pump | undefined;
  #started: Promise<void> | undefined;
  #finished: Promise<void> = Promise.resolve();
  #consumer: Consumer | undefined;
  #lastId = 0;
  #corked = false;
  #drained: Promise<void> | undefined;
  #closed = false;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#place = options.clean ? cleanPlace(options.client) : persistentPlace(options.client);
    this.resumed = options.filters.size > 0;
    for (const [filter, qos] of options.filters)
      this.#filters.set(filter, { qos, matches: topicMatcher(filter) });
  }

  /** Messages that this client has taken. */
  get delivered(): number {
    return this.#pump?.acknowledged ?? 0;
  }

  get filterCount(): number {
    return this.#filters.size;
  }

  /** Resumes a remembered session. */
  async start(): Promise<void> {
    if (this.#filters.size > 0) await this.#startOnce();
  }

  /** Resolves when the subscription is on disk, so that SUBACK may be sent. */
  async subscribe(filter: string, qos: GrantedQos): Promise<void> {
    this.#filters.set(filter, { qos, matches: topicMatcher(filter) });
    await this.#startOnce();
    await this.saveNote();
  }

  unsubscribe(filters: readonly string[]): void {
    for (const filter of filters) this.#filters.delete(filter);
  }

  async saveNote(): Promise<void> {
    if (this.#closed || this.#consumer === undefined || this.#options.clean) return;
    await this.#options.outbox.consumer(this.#place, this.#options.note());
  }

  /** The client has sent PUBACK. */
  acknowledged(messageId: number): void {
    const waiting = this.#unacknowledged.get(messageId);
    this.#unacknowledged.delete(messageId);
    waiting?.resolve();
  }

  /** Status or result, ahead of telemetry, where a filter matches. */
  urgent(message: Message, retain = false): void {
    if (this.#qosOf(message.topic) !== undefined) this.#pump?.urgent(message, retain);
  }

  /** Sends nothing new and waits shortly for acknowledgements. */
  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#started?.catch(() => {});
    await this.#finished;
    await this.close();
  }

  /** The client is gone. Lets go of the place in the outbox; resolves when that is done. */
  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      this.#stop.abort();
      const gone = new SluiceError('CONNECTION_LOST', `${this.#options.client} is gone`);
      for (const { reject } of this.#unacknowledged.values()) reject(gone);
      this.#unacknowledged.clear();
    }
    await this.#started?.catch(() => {});
    await this.#finished;
  }

  #startOnce(): Promise<void> {
    this.#started ??= this.#start();
    return this.#started;
  }

  async #start(): Promise<void> {
    const { clean, client, clock, earlier, log, note, outbox } = this.#options;
    await earlier;
    if (this.#closed) return;
    const consumer = await outbox.consumer(this.#place, clean ? '' : note());
    this.#consumer = consumer;
    this.#pump = new Pump({
      consumer,
      publish: (message, retain) => this.#publish(message, retain),
      window: DEFAULT_WINDOW,
      prefetch: READ_AHEAD,
      clock,
      log,
      to: client,
      fresh: !this.resumed,
    });
    this.#finished = this.#run(this.#pump);
  }

  async #run(pump: Pump): Promise<void> {
    const { clean, client, disconnect, log, outbox } = this.#options;
    try {
      await pump.run(this.#stop.signal);
    } catch (error) {
      if (!this.#closed) log.warn('client disconnected by the broker', { client, because: errorText(error) });
    }
    if (!this.#closed) await this.#sayGoodbye();
    disconnect();
    if (!clean) return;
    try {
      await outbox.forget(this.#place);
    } catch (error) {
      log.warn('place in the outbox not given back', { client, because: errorText(error) });
    }
  }

  /** TLS close_notify, so that the client knows an end from an accident (RFC 8446, 6.1). */
  async #sayGoodbye(): Promise<void> {
    const { clock, socket } = this.#options;
    const enough = new AbortController();
    const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.end();
    await Promise.race([gone, clock.sleep(GOODBYE_WITHIN, enough.signal).catch(() => {})]);
    enough.abort();
  }

  #qosOf(topic: string): GrantedQos | undefined {
    const full = this.#options.root + topic;
    let granted: GrantedQos | undefined;
    for (const { qos, matches } of this.#filters.values()) {
      if (!matches(full)) continue;
      if (qos === 1) return 1;
      granted = 0;
    }
    return granted;
  }

  #publish(message: Message, retain: boolean): Promise<void> | undefined {
    const qos = this.#qosOf(message.topic);
    if (qos === undefined) return undefined;
    const id = qos === 1 ? this.#freeId() : 0;
    const full = this.#write(
      publishHeader(this.#options.root + message.topic, message.payload.length, retain, id),
    );
    const room = this.#write(message.payload) && full;
    if (qos === 0) return room ? undefined : this.#drain();
    return new Promise((resolve, reject) => this.#unacknowledged.set(id, { resolve, reject }));
  }

  /** What is written in one turn of the loop leaves together. */
  #write(data: Uint8Array): boolean {
    const { socket } = this.#options;
    if (!this.#corked) {
      this.#corked = true;
      socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        socket.uncork();
      });
    }
    return socket.write(data);
  }

  #drain(): Promise<void> {
    const { client, socket } = this.#options;
    this.#drained ??= new Promise((resolve, reject) => {
      const settle = (): void => {
        this.#drained = undefined;
        socket.off('drain', settle);
        socket.off('close', settle);
        if (socket.destroyed) reject(new SluiceError('CONNECTION_LOST', `${client} is gone`));
        else resolve();
      };
      socket.on('drain', settle);
      socket.on('close', settle);
    });
    return this.#drained;
  }

  /** Not zero and not in use (MQTT 3.1.1, 2.3.1); the window is far smaller than the range. */
  #freeId(): number {
    do {
      this.#lastId = this.#lastId === LAST_MESSAGE_ID ? 1 : this.#lastId + 1;
    } while (this.#unacknowledged.has(this.#lastId));
    return this.#lastId;
  }
}

/** PUBLISH up to its payload (MQTT 3.1.1, 3.3); QoS 1 where there is a packet identifier, else QoS 0. */
export function publishHeader(topic: string, payload: number, retain: boolean, id: number): Buffer {
  const topicBytes = Buffer.byteLength(topic);
  const rest = 2 + topicBytes + (id > 0 ? 2 : 0) + payload;
  const lengthBytes = rest < 128 ? 1 : rest < 16_384 ? 2 : rest < 2_097_152 ? 3 : 4;
  const header = Buffer.allocUnsafe(1 + lengthBytes + rest - payload);
  header[0] = 0x30 | (id > 0 ? 0x02 : 0) | (retain ? 0x01 : 0);
  let at = 1;
  for (let left = rest, i = 0; i < lengthBytes; i++, left = Math.floor(left / 128)) {
    header[at++] = (left % 128) | (i < lengthBytes - 1 ? 0x80 : 0);
  }
  at = header.writeUInt16BE(topicBytes, at);
  at += header.write(topic, at);
  if (id > 0) header.writeUInt16BE(id, at);
  return header;
}
