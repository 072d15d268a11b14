import { createServer, type Server, type Socket } from 'node:net';

/** A request as it came over the wire (Messaging Guide V1.0b, 3.1.3). */
export interface WireRequest {
  readonly id: number;
  readonly unit: number;
  /** Function code first. */
  readonly pdu: Buffer;
  readonly socket: Socket;
  /** 0 for the first request of this server. */
  readonly index: number;
  /** Address of a read or write. */
  readonly address: number;
  readonly quantity: number;
}

/** An ADU with whatever header the test wants; the bytes are laid out from the specification, not by our encoder. */
export function adu(
  { id, unit }: { readonly id: number; readonly unit: number },
  pdu: readonly number[],
  { protocol = 0, length = pdu.length + 1 } = {},
): Buffer {
  const header = [id >> 8, id & 255, protocol >> 8, protocol & 255, length >> 8, length & 255, unit];
  return Buffer.from([...header, ...pdu]);
}

/** The reply to a read of registers (Application Protocol V1.1b3, 6.3) whose registers all hold `value`. */
export function registersReply(request: WireRequest, value: number): Buffer {
  const data = Array.from({ length: request.quantity }, () => [value >> 8, value & 255]).flat();
  return adu(request, [request.pdu[0] ?? 0, data.length, ...data]);
}

/** An exception reply (section 7). */
export function exceptionReply(request: WireRequest, code: number): Buffer {
  return adu(request, [(request.pdu[0] ?? 0) | 0x80, code]);
}

/** A Modbus TCP server on 127.0.0.1 that answers each request with whatever the test writes to its socket. */
export class HostileModbus {
  readonly requests: WireRequest[] = [];
  readonly sockets = new Set<Socket>();
  connections = 0;
  #answer: (request: WireRequest) => void;
  readonly #server: Server;

  private constructor(answer: (request: WireRequest) => void) {
    this.#answer = answer;
    this.#server = createServer((socket) => this.#serve(socket));
  }

  static async listen(answer: (request: WireRequest) => void): Promise<HostileModbus> {
    const peer = new HostileModbus(answer);
    await new Promise<void>((resolve) => peer.#server.listen(0, '127.0.0.1', resolve));
    return peer;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the server is closed');
    return address.port;
  }

  answer(answer: (request: WireRequest) => void): void {
    this.#answer = answer;
  }

  async close(): Promise<void> {
    for (const socket of this.sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #serve(socket: Socket): void {
    this.connections++;
    this.sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => {});
    socket.on('close', () => this.sockets.delete(socket));
    let held = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      held = Buffer.concat([held, chunk]);
      while (held.length >= 6 && held.length >= 6 + held.readUInt16BE(4)) {
        const end = 6 + held.readUInt16BE(4);
        const pdu = Buffer.from(held.subarray(7, end));
        const request: WireRequest = {
          id: held.readUInt16BE(0),
          unit: held[6] ?? 0,
          pdu,
          socket,
          index: this.requests.length,
          address: pdu.readUInt16BE(1),
          quantity: pdu.readUInt16BE(3),
        };
        held = held.subarray(end);
        this.requests.push(request);
        this.#answer(request);
      }
    });
  }
}
