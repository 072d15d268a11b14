import { createSocket, type Socket } from 'node:dgram';
import { generate, type ParsedPacket, type Packet, parse } from 'coap-packet';

export interface Asked extends ParsedPacket {
  readonly path: string;
  readonly observe: number | undefined;
  readonly block2: number | undefined;
  readonly port: number;
}

/**
 * A CoAP endpoint of bare datagrams, written with another codec: it says what the test wants it to say, with message
 * IDs of its own. `answer` sees every request.
 */
export class RawPeer {
  readonly asked: Asked[] = [];
  readonly heard: ParsedPacket[] = [];
  answer: (asked: Asked, peer: RawPeer) => void = () => {};
  readonly #socket: Socket = createSocket('udp4');
  #id = 0;

  async open(port = 0): Promise<number> {
    this.#socket.on('message', (datagram, { port: from }) => {
      const packet = parse(datagram);
      if (packet.code === '0.00') {
        this.heard.push(packet);
        return;
      }
      const asked = {
        ...packet,
        port: from,
        path: pathOf(packet),
        observe: uintOf(packet, 'Observe'),
        block2: uintOf(packet, 'Block2'),
      };
      this.asked.push(asked);
      this.answer(asked, this);
    });
    await new Promise<void>((resolve) => this.#socket.bind(port, '127.0.0.1', resolve));
    return this.#socket.address().port;
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => this.#socket.close(() => resolve()));
  }

  nextId(): number {
    this.#id = (this.#id + 1) % 65_536;
    return this.#id;
  }

  send(to: { readonly port: number }, datagram: Buffer, socket = this.#socket): void {
    socket.send(datagram, to.port, '127.0.0.1');
  }

  /** A response piggybacked on the ACK. */
  reply(asked: Asked, wish: Packet): void {
    this.send(
      asked,
      generate({ code: '2.05', ack: true, messageId: asked.messageId, token: asked.token, ...wish }),
    );
  }

  /** A notification, or a response by itself. */
  notify(asked: Asked, wish: Packet): number {
    const messageId = wish.messageId ?? this.nextId();
    this.send(asked, generate({ code: '2.05', confirmable: true, token: asked.token, ...wish, messageId }));
    return messageId;
  }
}

const pathOf = (packet: ParsedPacket): string =>
  packet.options
    .filter(({ name }) => name === 'Uri-Path')
    .map(({ value }) => `/${value.toString()}`)
    .join('');

function uintOf(packet: ParsedPacket, name: string): number | undefined {
  const value = packet.options.find((option) => option.name === name)?.value;
  return value === undefined ? undefined : [...value].reduce((sum, byte) => sum * 256 + byte, 0);
}

export const observeOption = (number: number) => ({
  name: 'Observe' as const,
  value: Buffer.from(
    number === 0 ? [] : number < 256 ? [number] : [(number >> 16) & 255, (number >> 8) & 255, number & 255],
  ),
});
export const maxAge = (seconds: number) => ({ name: 'Max-Age' as const, value: Buffer.from([seconds]) });
export const etag = (text: string) => ({ name: 'ETag' as const, value: Buffer.from(text) });
export const block2 = (num: number, more: boolean, szx: number) => ({
  name: 'Block2' as const,
  value: Buffer.from([(num << 4) | (more ? 8 : 0) | szx]),
});
