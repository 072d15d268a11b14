import { type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { generate, parse } from 'coap-packet';
import type { Listen } from '../config/config.ts';
import type { EpochMs } from '../core/units.ts';
import type { CoapDevice } from './coap-device.ts';
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
        const datagram = generate({
          code: '0.02',
          confirmable: true,
          messageId,
          token: Buffer.of(messageId >> 8, messageId & 0xff),
          options: [
            ...pathOptions(path),
            { name: 'Content-Format', value: Buffer.from(payload.format === 0 ? [] : [payload.format]) },
          ],
          payload: payload.bytes,
        });
        socket.send(datagram, gateway.port, gateway.host);
      }
    },
    stop: async () => new Promise((resolve) => socket.close(() => resolve())),
  };
}

function pathOptions(path: string): { name: 'Uri-Path'; value: Buffer }[] {
  return path
    .slice(1)
    .split('/')
    .map((segment) => ({ name: 'Uri-Path', value: Buffer.from(segment) }));
}

function codeOf(datagram: Buffer): string | undefined {
  try {
    return parse(datagram).code;
  } catch {
    return undefined;
  }
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
