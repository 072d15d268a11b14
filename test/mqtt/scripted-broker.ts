import { createServer, type Server, type TLSSocket } from 'node:tls';
import mqtt, { type IPublishPacket, type Packet } from 'mqtt-packet';
import type { Certificate } from '../support/certificates.ts';

/** What the script answers to; it owns the connection. */
export interface Visit {
  readonly number: number;
  /** From CONNECT. */
  readonly version: 3 | 4 | 5;
  send(packet: Packet): void;
  /** Bytes as they are, for packets that an encoder would refuse. */
  sendBytes(bytes: Uint8Array): void;
  drop(): void;
  readonly publishes: IPublishPacket[];
}

export type Script = (packet: Packet, visit: Visit) => void;

/** A broker over TLS that does exactly what a test says, for what no real one does on demand. */
export class ScriptedBroker {
  readonly visits: Visit[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<TLSSocket>();
  script: Script;

  constructor(server: Certificate, script: Script) {
    this.script = script;
    this.#server = createServer(
      { ca: server.ca, cert: server.cert, key: server.key, requestCert: true, rejectUnauthorized: true },
      (socket) => this.#visit(socket),
    );
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('no port');
    return address.port;
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  /** Every message that arrived, over all connections. */
  get publishes(): IPublishPacket[] {
    return this.visits.flatMap(({ publishes }) => publishes);
  }

  #visit(socket: TLSSocket): void {
    this.#sockets.add(socket);
    socket.on('error', () => {});
    socket.once('close', () => this.#sockets.delete(socket));
    const parser = mqtt.parser();
    let version: 3 | 4 | 5 = 4;
    const publishes: IPublishPacket[] = [];
    const visit: Visit = {
      number: this.visits.length,
      get version() {
        return version;
      },
      publishes,
      send: (packet) => void socket.write(mqtt.generate(packet, { protocolVersion: version })),
      sendBytes: (bytes) => void socket.write(bytes),
      drop: () => void socket.destroy(),
    };
    this.visits.push(visit);
    parser.on('packet', (packet: Packet) => {
      if (packet.cmd === 'connect') version = packet.protocolVersion ?? 4;
      if (packet.cmd === 'publish') publishes.push(packet);
      if (packet.cmd === 'pingreq') visit.send({ cmd: 'pingresp' });
      else this.script(packet, visit);
    });
    parser.on('error', () => socket.destroy());
    socket.on('data', (chunk) => parser.parse(chunk));
  }
}

/** CONNACK that takes everybody, PUBACK and SUBACK for everything; tests replace single answers. */
export function obliging(packet: Packet, visit: Visit): void {
  if (packet.cmd === 'connect')
    visit.send({ cmd: 'connack', sessionPresent: false, returnCode: 0, reasonCode: 0 });
  if (packet.cmd === 'publish') visit.send({ cmd: 'puback', messageId: packet.messageId ?? 0 });
  if (packet.cmd === 'subscribe')
    visit.send({ cmd: 'suback', messageId: packet.messageId ?? 0, granted: [1] });
}

/** The status message is not part of the stream that a test counts. */
export function telemetry(publishes: readonly IPublishPacket[]): IPublishPacket[] {
  return publishes.filter(({ topic }) => !topic.endsWith('/status'));
}

export function seqOf({ payload }: IPublishPacket): number {
  return Number(/"seq":(\d+)/.exec(payload.toString())?.[1]);
}
