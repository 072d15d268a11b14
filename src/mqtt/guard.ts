import type { TLSSocket } from 'node:tls';
import { type Bytes, bytes, kibibytes } from '../core/units.ts';

/** A CONNECT carries an id, a user and no will; nothing else may come before it is answered. */
export const MAX_CONNECT_PACKET: Bytes = kibibytes(4);
/** Commands, acknowledgements and lists of filters. */
export const MAX_CLIENT_PACKET: Bytes = kibibytes(64);
const MAX_LENGTH_BYTES = 4; // MQTT 3.1.1, 2.2.3

/**
 * Ends a connection whose next packet is longer than allowed, before its bytes are kept anywhere: the parser behind it
 * collects a packet until it is whole. Reads the fixed headers only (MQTT 3.1.1, 2.2). Returns how to set the limit.
 */
export function guardPacketSize(
  socket: TLSSocket,
  onTooLarge: (limit: Bytes) => void,
): (limit: Bytes) => void {
  let limit: number = MAX_CONNECT_PACKET;
  let body = 0;
  let length = 0;
  let lengthBytes = -1; // -1: the packet type comes next
  const push = socket.push.bind(socket);

  /** False where a packet is too long. */
  const fits = (chunk: Uint8Array): boolean => {
    for (let i = 0; i < chunk.length; ) {
      if (body > 0) {
        const step = Math.min(body, chunk.length - i);
        body -= step;
        i += step;
        continue;
      }
      const byte = chunk[i++] ?? 0;
      if (lengthBytes < 0) {
        lengthBytes = 0;
        length = 0;
        continue;
      }
      length += (byte & 0x7f) * 128 ** lengthBytes++;
      if (lengthBytes > MAX_LENGTH_BYTES || length > limit) return false;
      if ((byte & 0x80) === 0) {
        body = length;
        lengthBytes = -1;
      }
    }
    return true;
  };

  // The stream calls `push` with what was decrypted; this is the one place in front of its own buffer.
  socket.push = (chunk: unknown, encoding?: BufferEncoding): boolean => {
    if (chunk instanceof Uint8Array && !fits(chunk)) {
      onTooLarge(bytes(limit));
      socket.destroy();
      return false;
    }
    return push(chunk, encoding);
  };
  return (next) => {
    limit = next;
  };
}
