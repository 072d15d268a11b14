import { type Socket, createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';
import { cannotListen } from './listen.ts';
import type { Faults } from './fault.ts';

/** RFC 7252, section 3: version and type, token length; code; message id; token. */
const TYPE_MASK = 0x30;
const ACKNOWLEDGEMENT = 0x20;
const RESET = 0x70; // version 1, type 3, no token
const TOKEN_LENGTH_MASK = 0x0f;
const TOKEN_AT = 4;

/** A UDP socket at the device's own address, whose datagrams go through the device's faults on their way out. */
export async function deviceSocket(
  device: string,
  host: string,
  port: number,
  faults: Faults,
): Promise<Socket> {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once('error', reject);
      socket.bind({ address: host, port, exclusive: true }, () => {
        socket.off('error', reject);
        resolve();
      });
    });
  } catch (error) {
    socket.close();
    throw cannotListen([device], 'coap', host, port, error);
  }
  // ECONNREFUSED of a client that is gone, and the like: no matter of the device.
  socket.on('error', () => {});
  misbehave(socket, device, faults);
  return socket;
}

function misbehave(socket: Socket, device: string, faults: Faults): void {
  const send = socket.send.bind(socket);
  let closed = false;
  let peer: { readonly address: string; readonly port: number } | undefined;
  socket.once('close', () => (closed = true));
  socket.prependListener('message', (_datagram, { address, port }) => (peer = { address, port }));

  const out = (message: Uint8Array, port: number, address: string): void => {
    if (!closed) send(message, port, address);
  };
  Object.defineProperty(socket, 'send', {
    value: (
      message: Buffer,
      offset: number,
      length: number,
      port: number,
      address?: string,
      sent?: () => void,
    ): void => {
      const datagram = Buffer.from(message.subarray(offset, offset + length));
      // The library forgets the address in its error replies, which would then go to this machine.
      const to = address ?? (peer?.port === port ? peer.address : undefined);
      sent?.();
      if (to === undefined) return;
      switch (faults.of(device)) {
        case 'silence':
          break;
        case 'slow':
          setTimeout(() => out(datagram, port, to), faults.slowBy).unref();
          break;
        case 'wrong-transaction':
          out(ofAnotherTransaction(datagram), port, to);
          break;
        case 'close':
          if (isAcknowledgement(datagram))
            out(Buffer.of(RESET, 0, ...datagram.subarray(2, TOKEN_AT)), port, to);
          break;
        default:
          out(datagram, port, to);
      }
    },
  });
}

function isAcknowledgement(datagram: Buffer): boolean {
  return ((datagram[0] ?? 0) & TYPE_MASK) === ACKNOWLEDGEMENT;
}

function ofAnotherTransaction(datagram: Buffer): Buffer {
  const other = Buffer.from(datagram);
  other.writeUInt16BE(other.readUInt16BE(2) ^ 0x5555, 2);
  if (((other[0] ?? 0) & TOKEN_LENGTH_MASK) > 0) other[TOKEN_AT] = (other[TOKEN_AT] ?? 0) ^ 0x55;
  return other;
}
