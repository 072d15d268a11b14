import { connect as connectTls, type TLSSocket } from 'node:tls';
import { MqttClient } from 'mqtt';
import { SluiceError } from '../core/errors.ts';
import { type Bytes, type Duration, kibibytes, seconds } from '../core/units.ts';
import { guardPacketSize } from './guard.ts';
import { QUOTA_EXCEEDED, QuotaExceeded, refusal } from './reasons.ts';
import { DEFAULT_WINDOW, MAX_WINDOW } from './sender.ts';
import { connectProblem, serverName, TLS_OPTIONS, type TlsIdentity } from './tls.ts';

/** TCP and TLS together; then once more for the CONNACK. */
const CONNECT_WITHIN: Duration = seconds(10);
const END_WITHIN: Duration = seconds(2);
const KEEP_ALIVE_SECONDS = 30;
/** What a broker may have under way to us: commands, few and small. */
const RECEIVE_MAXIMUM = 16;
export const MAX_INBOUND_PACKET: Bytes = kibibytes(64);
const DEFAULT_RECEIVE_MAXIMUM = 65_535; // MQTT 5, 3.2.2.3.3: absent means this

export interface ConnectOptions {
  readonly host: string;
  readonly port: number;
  readonly identity: TlsIdentity;
  readonly clientId: string;
  readonly protocol: 4 | 5;
  /** Left out by a client that only looks on. */
  readonly will?: { readonly topic: string; readonly payload: string };
  readonly onMessage: (message: InboundMessage) => void;
}

export interface InboundMessage {
  readonly topic: string;
  readonly payload: Uint8Array;
  readonly retained: boolean;
}

/** The broker wants MQTT 3.1.1. */
export class OldProtocol extends Error {}

/** No CONNACK came, and no reason: a broker of before MQTT 5, or one that checks the last will (Mosquitto). */
export class Unanswered extends SluiceError {
  constructor(broker: string) {
    super('CONNECTION_LOST', `no connection to ${broker}: it closed the connection without an answer`, {
      remedy:
        "look into its log; the gateway's certificate name needs the right to publish sluice/<gateway>/status, the last will",
    });
  }
}

/** The broker announced a packet that is longer than any command; the parser would keep its bytes until it is whole. */
export class TooLarge extends SluiceError {
  constructor(broker: string) {
    super('CONNECTION_LOST', `${broker} sends a packet of more than ${MAX_INBOUND_PACKET} bytes`, {
      remedy: 'look for who publishes to sluice/<gateway>/command/#, perhaps a retained message',
    });
  }
}

/** One connection to a broker, from CONNACK to its end; never used again afterwards. */
export interface Connection {
  readonly protocol: 4 | 5;
  /** Messages that may be unacknowledged at a time. */
  readonly window: number;
  /** QoS 1. Resolves on PUBACK; rejects with MESSAGE_REFUSED, or with the reason why the connection ended. */
  publish(topic: string, payload: Uint8Array, retain: boolean): Promise<void>;
  /** QoS 1; retained messages are not wanted where the broker can tell them apart. */
  subscribe(filter: string): Promise<void>;
  /** Resolves with the reason when the connection is gone; never rejects. */
  readonly gone: Promise<SluiceError>;
  /** DISCONNECT, then close. Without `orderly` the broker sends the last will. */
  end(orderly: boolean): Promise<void>;
}

/**
 * Opens TLS, then MQTT. The stream is ours, so that what is wrong with a certificate is known exactly; mqtt.js gets a
 * new object for each connection and neither queues, reconnects nor resubscribes.
 */
export async function connect(options: ConnectOptions, signal: AbortSignal): Promise<Connection> {
  const broker = `${options.host}:${options.port}`;
  const socket = await openTls(options, broker, signal);
  const client = new MqttClient(() => socket, {
    clientId: options.clientId,
    protocolId: 'MQTT',
    protocolVersion: options.protocol,
    clean: true,
    keepalive: KEEP_ALIVE_SECONDS,
    reconnectPeriod: 0,
    connectTimeout: CONNECT_WITHIN,
    queueQoSZero: false,
    resubscribe: false,
    timerVariant: 'native',
    ...(options.will === undefined
      ? {}
      : {
          will: {
            topic: options.will.topic,
            payload: Buffer.from(options.will.payload),
            qos: 1 as const,
            retain: true,
          },
        }),
    ...(options.protocol === 5
      ? { properties: { receiveMaximum: RECEIVE_MAXIMUM, maximumPacketSize: MAX_INBOUND_PACKET } }
      : {}),
  });
  return new Link(client, socket, broker, options).open(signal);
}

class Link implements Connection {
  readonly protocol: 4 | 5;
  readonly gone: Promise<SluiceError>;
  window = DEFAULT_WINDOW;
  readonly #client: MqttClient;
  readonly #socket: TLSSocket;
  readonly #broker: string;
  readonly #pending = new Set<(error: SluiceError) => void>();
  #maximumPacketSize = Number.POSITIVE_INFINITY;
  #retainAvailable = true;
  #problem: unknown;
  #ended: SluiceError | undefined;

  constructor(client: MqttClient, socket: TLSSocket, broker: string, options: ConnectOptions) {
    this.protocol = options.protocol;
    this.#client = client;
    this.#socket = socket;
    this.#broker = broker;
    client.on('error', (error) => {
      this.#problem ??= error;
      socket.destroy();
    });
    client.on('disconnect', ({ reasonCode = 0 }) => {
      this.#problem ??= refusal(reasonCode, `${broker} ended the connection`);
    });
    client.on('message', (topic, payload, { retain }) =>
      options.onMessage({ topic, payload, retained: retain }),
    );
    client.on('packetreceive', (packet) => {
      if (packet.cmd !== 'publish' || packet.qos !== 2) return;
      // Nobody asked for that, and the library keeps each until it is released.
      const says = `${broker} sends messages with QoS 2 to a subscription with QoS 1`;
      this.#problem ??= new SluiceError('CONNECTION_LOST', says, { remedy: 'look into its log' });
      socket.destroy();
    });
    socket.on('error', (error) => {
      this.#problem ??= error;
    });
    this.gone = new Promise((resolve) => {
      socket.once('close', () => {
        this.#ended = connectProblem(this.#problem ?? new Error('it closed the connection'), broker);
        for (const reject of this.#pending) reject(this.#ended);
        this.#pending.clear();
        resolve(this.#ended);
      });
    });
  }

  async open(signal: AbortSignal): Promise<this> {
    const stop = (): void => void this.#socket.destroy();
    signal.addEventListener('abort', stop, { once: true });
    try {
      const accepted = new Promise<true>((resolve) => {
        this.#client.once('connect', ({ properties }) => {
          this.#limits(properties ?? {});
          resolve(true);
        });
      });
      const outcome = await Promise.race([accepted, this.gone]);
      signal.throwIfAborted();
      if (outcome !== true) throw this.#refused(outcome);
      return this;
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  publish(topic: string, payload: Uint8Array, retain: boolean): Promise<void> {
    const size = this.#packetSize(topic, payload.length);
    if (size > this.#maximumPacketSize) {
      const says = `a packet of ${size} bytes is above the ${this.#maximumPacketSize} bytes that ${this.#broker} takes`;
      return Promise.reject(
        new SluiceError('MESSAGE_REFUSED', says, {
          remedy: 'raise the maximum packet size of the broker, or use fewer points per device',
        }),
      );
    }
    return this.#pendingUntil((settle, fail) => {
      const packet = { qos: 1, retain: retain && this.#retainAvailable } as const;
      this.#client.publish(topic, asBuffer(payload), packet, (error) => {
        if (!error) settle();
        else
          fail(publishProblem(error, this.#broker) ?? connectProblem(this.#problem ?? error, this.#broker));
      });
    });
  }

  subscribe(filter: string): Promise<void> {
    return this.#pendingUntil((settle, fail) => {
      this.#client.subscribe(filter, { qos: 1, rh: 2 }, (error) => {
        if (error)
          fail(new SluiceError('MESSAGE_REFUSED', `${this.#broker} refused to subscribe to ${filter}`));
        else settle();
      });
    });
  }

  async end(orderly: boolean): Promise<void> {
    if (this.#ended === undefined) {
      if (orderly) this.#client.end(false);
      else this.#client.end(true);
      const timer = setTimeout(() => this.#socket.destroy(), orderly ? END_WITHIN : 0);
      await this.gone;
      clearTimeout(timer);
    }
    // mqtt.js keeps a timer for the CONNACK unless it is told that this object is done.
    this.#client.end(true);
  }

  #pendingUntil(start: (settle: () => void, fail: (error: SluiceError) => void) => void): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#ended !== undefined) {
        reject(this.#ended);
        return;
      }
      this.#pending.add(reject);
      start(
        () => {
          this.#pending.delete(reject);
          resolve();
        },
        (error) => {
          this.#pending.delete(reject);
          reject(error);
        },
      );
    });
  }

  #limits(properties: {
    readonly receiveMaximum?: number;
    readonly maximumPacketSize?: number;
    readonly retainAvailable?: boolean;
    readonly maximumQoS?: number;
  }): void {
    if (this.protocol === 4) return;
    this.window = Math.min(properties.receiveMaximum ?? DEFAULT_RECEIVE_MAXIMUM, MAX_WINDOW);
    this.#maximumPacketSize = properties.maximumPacketSize ?? Number.POSITIVE_INFINITY;
    this.#retainAvailable = properties.retainAvailable ?? true;
    if (properties.maximumQoS === 0) {
      this.#problem = new SluiceError('SETUP', `${this.#broker} offers QoS 0 only`, {
        remedy: 'use a broker that acknowledges messages (QoS 1)',
      });
      this.#socket.destroy();
    }
  }

  #refused(ended: SluiceError): Error {
    const code = reasonOf(this.#problem);
    if (this.protocol === 5 && (code === 1 || code === 0x84 || isParserError(this.#problem))) {
      return new OldProtocol(ended.message);
    }
    if (this.#problem === undefined) return new Unanswered(this.#broker);
    if (code !== undefined) return refusal(code, `${this.#broker} refused the connection`);
    return ended;
  }

  /** MQTT 5, 3.3: header, remaining length, topic, packet identifier, no properties, payload. */
  #packetSize(topic: string, payload: number): number {
    const rest = 2 + Buffer.byteLength(topic) + 2 + (this.protocol === 5 ? 1 : 0) + payload;
    return 1 + (rest < 128 ? 1 : rest < 16_384 ? 2 : rest < 2_097_152 ? 3 : 4) + rest;
  }
}

function openTls(options: ConnectOptions, broker: string, signal: AbortSignal): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const { host, port, identity } = options;
    const socket = connectTls({ host, port, ...identity, ...TLS_OPTIONS, ...serverName(host) });
    const limitPackets = guardPacketSize(socket, () => socket.destroy(new TooLarge(broker)));
    limitPackets(MAX_INBOUND_PACKET);
    let problem: unknown;
    const stop = (): void => void socket.destroy(new Error('stopped'));
    const late = setTimeout(() => {
      problem = new SluiceError(
        'CONNECTION_LOST',
        `no connection to ${broker} within ${CONNECT_WITHIN / 1000} s`,
        {
          remedy: 'look at the uplink, its routes and the firewall in between',
        },
      );
      socket.destroy();
    }, CONNECT_WITHIN);
    const failed = (error: Error): void => {
      problem ??= error;
    };
    const closed = (): void => {
      clearTimeout(late);
      signal.removeEventListener('abort', stop);
      reject(
        signal.aborted
          ? signal.reason
          : connectProblem(problem ?? new Error('it closed the connection during the handshake'), broker),
      );
    };
    signal.addEventListener('abort', stop, { once: true });
    socket.on('error', failed);
    socket.once('close', closed);
    socket.once('secureConnect', () => {
      clearTimeout(late);
      signal.removeEventListener('abort', stop);
      socket.off('close', closed);
      socket.off('error', failed);
      socket.setNoDelay(true);
      resolve(socket);
    });
  });
}

/** A PUBACK of 0x80 or above; undefined where the error is about the connection. */
function publishProblem(error: Error, broker: string): SluiceError | undefined {
  const code = reasonOf(error);
  if (code === undefined || code < 0x80) return undefined;
  if (code === QUOTA_EXCEEDED) return new QuotaExceeded(broker);
  return refusal(code, `${broker} refused a message`, 'MESSAGE_REFUSED');
}

/** mqtt.js puts the reason code of CONNACK and PUBACK into `code`; system errors have text there. */
function reasonOf(error: unknown): number | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'number' ? error.code : undefined;
}

/** A CONNACK of MQTT 3.1.1 is too short for a parser of MQTT 5. */
function isParserError(error: unknown): boolean {
  return (
    error instanceof Error && /parse|Invalid|properties|Cannot/i.test(error.message) && !('code' in error)
  );
}

function asBuffer(payload: Uint8Array): Buffer {
  return Buffer.isBuffer(payload)
    ? payload
    : Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength);
}
