import { Readable } from 'node:stream';
import type { Client, Subscription } from 'aedes';

/** What the broker library would like to keep, as far as it matters here. */
export interface SessionHooks {
  /** Filters of a persistent session that reconnects. */
  filters(client: string): Iterable<readonly [filter: string, qos: 0 | 1]>;
  /** The client connected clean: nothing of an earlier session is left afterwards. */
  dropSession(client: string): Promise<void>;
  /** On disk when it resolves; UNSUBACK follows. */
  unsubscribe(client: Client, filters: readonly string[]): Promise<void>;
  acknowledged(client: Client, messageId: number): void;
}

interface Packet {
  readonly cmd?: string;
  readonly messageId?: number;
}

/**
 * The storage interface of aedes 1.2 with nothing behind it that could fill up or be lost: subscriptions live in the
 * notes of the outbox, messages in the outbox itself. There is no retained store (the only retained message is
 * `status`, which the broker sends itself), no outgoing queue and no will. What remains are the identifiers of inbound
 * QoS 2 messages, which `maxInflightInbound` bounds.
 */
export class OutboxPersistence {
  readonly #hooks: SessionHooks;
  readonly #inboundQos2 = new Map<string, Map<number, Packet>>();

  constructor(hooks: SessionHooks) {
    this.#hooks = hooks;
  }

  async setup(): Promise<void> {}
  async destroy(): Promise<void> {}

  async subscriptionsByClient({ id }: { readonly id: string }): Promise<{ topic: string; qos: number }[]> {
    return Array.from(this.#hooks.filters(id), ([topic, qos]) => ({ topic, qos }));
  }

  async cleanSubscriptions({ id }: Client): Promise<void> {
    await this.#hooks.dropSession(id);
  }

  /** Stored where the right to subscribe is checked, filter by filter. */
  async addSubscriptions(_client: Client, _subscriptions: readonly Subscription[]): Promise<void> {}

  async removeSubscriptions(client: Client, filters: readonly string[]): Promise<void> {
    await this.#hooks.unsubscribe(client, filters);
  }

  async subscriptionsByTopic(): Promise<never[]> {
    return [];
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    return { subsCount: 0, clientsCount: 0 };
  }

  /** aedes calls this for each PUBACK; it is how directed messages learn of theirs. */
  async outgoingClearMessageId(client: Client, packet: Packet): Promise<Packet> {
    if (packet.cmd === 'puback' && packet.messageId !== undefined) {
      this.#hooks.acknowledged(client, packet.messageId);
    }
    return packet;
  }

  async outgoingEnqueue(): Promise<void> {}
  async outgoingEnqueueCombi(): Promise<void> {}
  async outgoingUpdate(): Promise<void> {}
  outgoingStream(): Readable {
    return Readable.from([]);
  }

  async storeRetained(): Promise<void> {}
  createRetainedStream(): Readable {
    return Readable.from([]);
  }
  createRetainedStreamCombi(): Readable {
    return Readable.from([]);
  }

  async putWill(): Promise<void> {}
  async getWill(): Promise<undefined> {}
  async delWill(): Promise<undefined> {}
  streamWill(): Readable {
    return Readable.from([]);
  }

  async incomingStorePacket({ id }: Client, packet: Packet): Promise<void> {
    let packets = this.#inboundQos2.get(id);
    if (packets === undefined) this.#inboundQos2.set(id, (packets = new Map()));
    packets.set(packet.messageId ?? 0, packet);
  }

  async incomingGetPacket({ id }: Client, { messageId = 0 }: Packet): Promise<Packet> {
    const packet = this.#inboundQos2.get(id)?.get(messageId);
    if (packet === undefined) throw new Error('no such packet');
    return packet;
  }

  async incomingDelPacket({ id }: Client, { messageId = 0 }: Packet): Promise<void> {
    this.#inboundQos2.get(id)?.delete(messageId);
  }

  async cleanIncoming({ id }: Client): Promise<void> {
    this.#inboundQos2.delete(id);
  }
}

interface Emitted {
  (): void;
}

/** aedes fans out through this; with nobody on the other side a client hears only what the gateway sends it. */
export const noFanOut = {
  on: (_topic: string, _listener: unknown, done?: Emitted): void => done?.(),
  removeListener: (_topic: string, _listener: unknown, done?: Emitted): void => done?.(),
  emit: (_packet: unknown, done?: Emitted): void => done?.(),
  close: (done?: Emitted): void => done?.(),
};
