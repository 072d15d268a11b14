import { connect, type TLSSocket } from 'node:tls';
import mqtt, { type IConnectPacket, type IPublishPacket, type Packet } from 'mqtt-packet';
import { until } from '../support/wait.ts';

interface Identity {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

/** A client without manners of its own, for what no well-behaved one would do. */
export class RawClient {
  readonly publishes: IPublishPacket[] = [];
  /** Every byte that arrived. */
  received = Buffer.alloc(0);
  acknowledging = true;
  closed = false;
  readonly #socket: TLSSocket;
  readonly #packets: Packet[] = [];
  #messageId = 0;

  private constructor(socket: TLSSocket) {
    this.#socket = socket;
    const parser = mqtt.parser();
    socket.on('error', () => {});
    socket.once('close', () => {
      this.closed = true;
    });
    socket.on('data', (chunk: Buffer) => {
      if (this.received.length < 1_000) this.received = Buffer.concat([this.received, chunk]);
      parser.parse(chunk);
    });
    parser.on('error', () => {});
    parser.on('packet', (packet: Packet) => {
      if (packet.cmd !== 'publish') {
        this.#packets.push(packet);
        return;
      }
      this.publishes.push(packet);
      if (packet.qos === 1 && this.acknowledging)
        this.send({ cmd: 'puback', messageId: packet.messageId ?? 0 });
    });
  }

  /** Sends CONNECT as soon as TLS stands, or is refused. */
  static async connect(port: number, who: Identity, packet: Omit<IConnectPacket, 'cmd'>): Promise<RawClient> {
    const { ca, cert, key } = who;
    const socket = connect({ ca, cert, key, port, host: '127.0.0.1' });
    const client = new RawClient(socket);
    await until('TLS', () => client.closed || socket.getProtocol() !== null);
    client.send({ cmd: 'connect', keepalive: 60, ...packet });
    return client;
  }

  send(packet: Packet): void {
    const protocolVersion = packet.cmd === 'connect' ? (packet.protocolVersion ?? 4) : 4;
    this.#socket.write(mqtt.generate(packet, { protocolVersion }));
  }

  /** The next packet of a kind that is not PUBLISH. */
  async next<C extends Packet['cmd']>(cmd: C): Promise<Extract<Packet, { cmd: C }>> {
    const is = (packet: Packet): packet is Extract<Packet, { cmd: C }> => packet.cmd === cmd;
    return until(cmd, () => {
      const found = this.#packets.find(is);
      if (found !== undefined) this.#packets.splice(this.#packets.indexOf(found), 1);
      return found;
    });
  }

  /** The code in SUBACK. */
  async subscribe(topic: string, qos: 0 | 1 = 1): Promise<unknown> {
    this.send({ cmd: 'subscribe', messageId: ++this.#messageId, subscriptions: [{ topic, qos }] });
    return (await this.next('suback')).granted[0];
  }

  async unsubscribe(topic: string): Promise<void> {
    this.send({ cmd: 'unsubscribe', messageId: ++this.#messageId, unsubscriptions: [topic] });
    await this.next('unsuback');
  }

  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  drop(): void {
    this.#socket.destroy();
  }
}
