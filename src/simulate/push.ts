import { type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import type { Listen } from '../config/config.ts';
import type { EpochMs } from '../core/units.ts';
import type { CoapDevice } from './coap-device.ts';
import type { Payload } from './coap-payload.ts';
import type { Faults } from './fault.ts';
import { cannotListen } from './listen.ts';
import { TICK } from './signal.ts';
import { hashOf } from './random.ts';

/** Answers of the gateway to what a device pushed, by code, such as `2.04`. */
export type Answers = ReadonlyMap<string, number>;

export interface Pusher {
  /** Sends what is due. Nothing is repeated: the next value follows anyway. */
  push(time: EpochMs): void;
  readonly answers: Answers;
  stop(): Promise<void>;
}

/** A device that sends by itself, from its own address, to the gateway. */
export async function startPusher(
  device: CoapDevice,
  host: string,
  gateway: Listen,
  faults: Faults,
): Promise<Pusher> {
  const socket = await pushSocket(device.name, host);
  const answers = new Map<string, number>();
  const due = new Map(device.pushes.map(({ path }) => [path, 0]));
  let messageId = hashOf(device.name) & 0xffff;
  socket.on('message', (datagram) => {
    const code = codeOf(datagram);
    if (code !== undefined) answers.set(code, (answers.get(code) ?? 0) + 1);
  });
  return {
    answers,
    push: (time) => {
      const fault = faults.of(device.name);
      if (fault === 'silence' || fault === 'exception' || fault === 'close') return;
      for (const { path, every } of device.pushes) {
        if (time < (due.get(path) ?? 0)) continue;
        // Twice a period, so that one lost datagram is no silence.
        due.set(path, time + Math.max(TICK, every / 2));
        const payload = device.read(path, time);
        if (payload === undefined) continue;
        messageId = (messageId + 1) & 0xffff;
        const datagram = confirmablePost(messageId, path, payload);
        socket.send(datagram, gateway.port, gateway.host);
      }
    },
    stop: async () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

// RFC 7252, sections 3 and 5.10.
const CONFIRMABLE_WITH_TOKEN_OF_2 = 0x42;
const POST = 0x02;
const URI_PATH = 11;
const CONTENT_FORMAT = 12;
const PAYLOAD_MARKER = 0xff;

function confirmablePost(messageId: number, path: string, { format, bytes }: Payload): Buffer {
  const id = [messageId >> 8, messageId & 0xff];
  const segments = path
    .slice(1)
    .split('/')
    .map((segment) => Buffer.from(segment));
  return Buffer.concat([
    Buffer.of(CONFIRMABLE_WITH_TOKEN_OF_2, POST, ...id, ...id),
    ...segments.flatMap((segment, i) => [optionHead(i === 0 ? URI_PATH : 0, segment.length), segment]),
    optionHead(CONTENT_FORMAT - URI_PATH, format === 0 ? 0 : 1), // 0 is the empty option
    Buffer.from(format === 0 ? [] : [format]),
    Buffer.of(PAYLOAD_MARKER),
    bytes,
  ]);
}

/** RFC 7252, 3.1: lengths from 13 on take one more byte, which counts from there; no name is longer than 268 bytes. */
function optionHead(delta: number, length: number): Buffer {
  return length < 13 ? Buffer.of((delta << 4) | length) : Buffer.of((delta << 4) | 13, length - 13);
}

/** As in `2.04`; undefined for what is too short to have one. */
function codeOf(datagram: Buffer): string | undefined {
  const code = datagram[1];
  return code === undefined ? undefined : `${code >> 5}.${String(code & 0x1f).padStart(2, '0')}`;
}

async function pushSocket(device: string, host: string): Promise<Socket> {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ address: host, port: 0 }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    socket.close();
    throw cannotListen([device], 'coap', host, 0, error);
  }
  // The gateway may not be there yet.
  socket.on('error', () => {});
  return socket;
}
