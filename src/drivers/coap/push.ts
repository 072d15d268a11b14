import type { BatchBuilder } from '../../core/batch.ts';
import type { DeviceConfig, PointConfig } from '../../config/config.ts';
import { Bucket } from './bucket.ts';
import {
  ACK,
  code,
  type CoapOption,
  codeText,
  CON,
  decode,
  EMPTY,
  emptyMessage,
  encode,
  GET,
  isRequest,
  type Message,
  NON,
  POST,
  PUT,
  RST,
} from './message.ts';
import { MessageIds } from './message-ids.ts';
import {
  CONTENT_FORMAT,
  KNOWN_IN_REQUEST,
  MAX_AGE,
  pathOf,
  PROXY_SCHEME,
  PROXY_URI,
  uintOf,
  uintOption,
  understood,
  valueOf,
} from './options.ts';
import { PushPoints } from './push-points.ts';
import { EXCHANGE_LIFETIME, NON_LIFETIME, Recent } from './recent.ts';
import type { Peer } from './transport.ts';
import { Uploads } from './upload.ts';

const RECENT_LIMIT = 256 * 1024; // bytes per device address, ours: 1,600 messages, or 6 a second for 247 s
const MAX_WAITING_ROWS = 100_000; // ours: samples that nobody has fetched yet; after that 5.03
const DEVICE_RATE = 100; // messages a second and address, ours; 265 is the most that message IDs allow (RFC 7252, 4.4)
const BYTES_PER_MESSAGE = 1024; // ours: a longer datagram counts as several messages; decoding 16 KiB costs up to 50 ms
const STRANGER_RATE = 20; // answers a second to all others together, ours
const BUSY_FOR = 1; // s, Max-Age of 4.29 and 5.03 (RFC 8516, 3; RFC 7252, 5.9.3.4)

interface Sender {
  /** Of all its ports: the port is part of the key. */
  readonly recent: Recent;
  readonly rate: Bucket;
  readonly ids: MessageIds;
  readonly devices: Set<string>;
}

export interface PushCounters {
  /** Samples taken into the builder. */
  samples: number;
  duplicates: number;
  /** Dropped without an answer: no CoAP, or above the rate. */
  dropped: number;
  /** By code, as in `4.03`. */
  readonly refused: Map<string, number>;
}

export interface PushDeps {
  readonly devices: readonly DeviceConfig[];
  readonly points: readonly PointConfig[];
  readonly into: BatchBuilder;
  /** 0 to 1. */
  readonly random: () => number;
}

interface Answer {
  readonly code: number;
  readonly options: readonly CoapOption[];
}

const say = (text: string, ...options: CoapOption[]): Answer => ({ code: code(text), options });

/**
 * The server that devices push to: RFC 7252, 4.2, 4.5, 5.8, 5.9. A state machine without clock or socket: a datagram
 * and its sender go in, the datagram to send back comes out. No answer carries text, and none is larger than its cause.
 */
export class PushServer {
  readonly counters: PushCounters = { samples: 0, duplicates: 0, dropped: 0, refused: new Map() };
  readonly uploads = new Uploads();
  readonly #points: PushPoints;
  readonly #senders = new Map<string, Sender>();
  readonly #strangers = new Bucket(STRANGER_RATE);
  readonly #random: () => number;
  readonly #strangersIds: MessageIds;

  constructor({ devices, points, into, random }: PushDeps) {
    this.#points = new PushPoints(devices, points, into);
    this.#random = random;
    this.#strangersIds = this.#newIds();
  }

  /** From which address each device pushes. An address keeps what it is remembered for. */
  setAddresses(addresses: ReadonlyMap<string, string>): void {
    for (const sender of this.#senders.values()) sender.devices.clear();
    for (const [device, address] of addresses) {
      if (this.#points.of(device) === undefined) continue;
      const sender = this.#senders.get(address);
      if (sender !== undefined) sender.devices.add(device);
      else {
        this.#senders.set(address, {
          recent: new Recent(RECENT_LIMIT),
          rate: new Bucket(DEVICE_RATE),
          ids: this.#newIds(),
          devices: new Set([device]),
        });
      }
    }
    for (const [address, { devices }] of this.#senders) if (devices.size === 0) this.#senders.delete(address);
  }

  /** Messages and unfinished bodies that are remembered: for tests that nothing leaks. */
  get remembered(): number {
    let sum = this.uploads.size;
    for (const { recent } of this.#senders.values()) sum += recent.size;
    return sum;
  }

  expire(now: number): void {
    this.uploads.expire(now);
    for (const { recent } of this.#senders.values()) recent.expire(now);
  }

  /** `now` in ms that never step, `wall` in ms since 1970: the time of samples without one of their own. */
  receive(datagram: Uint8Array, from: Peer, now: number, wall: number): Uint8Array | undefined {
    const sender = this.#senders.get(plainAddress(from.address));
    const cost = Math.max(1, datagram.length / BYTES_PER_MESSAGE);
    const withinRate = (sender?.rate ?? this.#strangers).take(now, cost);
    const decoded = decode(datagram);
    if (decoded.kind === 'ignore') return this.#drop();
    if (sender === undefined && !withinRate) return this.#drop();
    if (decoded.kind === 'reject') return withinRate ? emptyMessage(RST, decoded.id) : this.#drop();
    const { message } = decoded;
    if (message.type !== CON && message.type !== NON) return this.#drop(); // we send nothing that is acknowledged
    if (message.code === EMPTY || !isRequest(message.code)) {
      // a ping, or an answer to nobody (4.2, 4.3)
      return message.type === CON && withinRate ? emptyMessage(RST, message.id) : this.#drop();
    }
    // no state for strangers: an answer to them is the same each time
    if (sender === undefined) return this.#answer(message, say('4.03'), now);

    const { recent } = sender;
    const key = Recent.key(message.id, datagram, from.port);
    const before = recent.find(key, now);
    if (before !== undefined) {
      this.counters.duplicates += 1;
      return before.answer;
    }
    if (!withinRate) {
      return message.type === CON
        ? this.#answer(message, say('4.29', uintOption(MAX_AGE, BUSY_FOR)), now, sender)
        : this.#drop();
    }
    const confirmable = message.type === CON;
    const checked = understood(message, KNOWN_IN_REQUEST);
    if (!checked.ok && !confirmable) return this.#drop(); // 5.4.1
    const handled = checked.ok ? this.#handle(checked.message, sender, from, now, wall) : say('4.02');
    const answer = this.#answer(message, handled, now, sender);
    // a copy of a non-confirmable message is ignored (4.5)
    recent.remember(
      key,
      now + (confirmable ? EXCHANGE_LIFETIME : NON_LIFETIME),
      confirmable ? answer : undefined,
    );
    return answer;
  }

  #newIds(): MessageIds {
    return new MessageIds(this.#random() * 65_536);
  }

  #drop(): undefined {
    this.counters.dropped += 1;
    return undefined;
  }

  #answer(
    message: Message,
    { code: answered, options }: Answer,
    now: number,
    sender?: Sender,
  ): Uint8Array | undefined {
    if (answered >> 5 !== 2) {
      const text = codeText(answered);
      this.counters.refused.set(text, (this.counters.refused.get(text) ?? 0) + 1);
    }
    const confirmable = message.type === CON;
    const id = confirmable ? message.id : (sender?.ids ?? this.#strangersIds).take(now);
    if (id === undefined) return this.#drop();
    const { token } = message;
    return encode({ type: confirmable ? ACK : NON, code: answered, id, token, options, payload: NOTHING });
  }

  #handle(message: Message, sender: Sender, from: Peer, now: number, wall: number): Answer {
    if (valueOf(message, PROXY_URI) !== undefined || valueOf(message, PROXY_SCHEME) !== undefined)
      return say('5.05');
    const path = pathOf(message);
    if (path === undefined) return say('4.00');
    const [device = '', point, ...more] = path;
    const targets = this.#points.of(device);
    const target = point === undefined ? undefined : targets?.get(point);
    if (targets === undefined || more.length > 0 || (point !== undefined && target === undefined))
      return say('4.04');
    if (!sender.devices.has(device)) return say('4.03');
    if (message.code !== POST && message.code !== PUT) return say(message.code >= GET ? '4.05' : '4.00');
    if (this.#points.waiting >= MAX_WAITING_ROWS) return say('5.03', uintOption(MAX_AGE, BUSY_FOR));

    const upload = this.uploads.accept(message, { ...from, address: plainAddress(from.address) }, now);
    if (upload.kind === 'answer') return upload;
    const format = uintOf(message, CONTENT_FORMAT);
    const answer =
      target === undefined
        ? this.#points.takePack(targets, format, upload.payload, wall)
        : this.#points.takePoint(target, format, upload.payload, wall);
    this.counters.samples = this.#points.samples;
    return say(answer, ...upload.options);
  }
}

const NOTHING = new Uint8Array(0);

/** A socket for both families shows IPv4 senders as `::ffff:10.0.0.1`. */
export const plainAddress = (address: string): string => address.replace(/^::ffff:(?=\d+\.)/, '');
