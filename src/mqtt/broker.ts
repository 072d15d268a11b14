import type { EventEmitter } from 'node:events';
import { type AedesOptions, Aedes, type Client, type Subscription } from 'aedes';
import type { Listen } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { CommandResult } from '../core/command.ts';
import { errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Message, Outbox } from '../core/outbox.ts';
import type { Task } from '../core/task.ts';
import { type Duration, type EpochMs, minutes, seconds } from '../core/units.ts';
import { MAX_CLIENT_PACKET } from './guard.ts';
import { type Arrival, TlsListener } from './listener.ts';
import { type InboundCommand, offlineStatus, onlineStatus, resultPayload } from './messages.ts';
import { noFanOut, OutboxPersistence } from './persistence.ts';
import { MAX_PERSISTENT_SESSIONS, RememberedSessions } from './remembered.ts';
import { publishProblem } from './rights.ts';
import { type GrantedQos, Session } from './session.ts';
import type { TlsIdentity } from './tls.ts';
import { filterProblem, parseCommandTopic, resultTopic, STATUS, topicMatcher, topicRoot } from './topics.ts';

const CONNECT_WITHIN: Duration = seconds(10);
/** Sessions whose client stays away, and connections whose certificate has expired. */
const LOOK_AFTER_EVERY: Duration = minutes(1);
const MAX_FILTERS_PER_CLIENT = 32;
const MAX_INBOUND_QOS2 = 16;
/** Names in certificates; MQTT 3.1 alone had a limit of 23. */
const LONGEST_CLIENT_ID = 64;
/** Complaints that were logged; the same one is only counted afterwards. */
const MAX_COMPLAINTS = 1_000;
/** What SUBACK says of a filter that was not refused (MQTT 3.1.1, 3.9.3). */
const GRANTED: ReadonlySet<number> = new Set([0, 1, 2]);
// Return codes of MQTT 3.1.1, 3.2.2.3
const IDENTIFIER_REJECTED = 2;
const SERVER_UNAVAILABLE = 3;
const NOT_AUTHORIZED = 5;

export interface BrokerOptions {
  readonly listen: Listen;
  readonly gateway: string;
  readonly version: string;
  /** `ca` is the local CA: whoever has a certificate of it may subscribe. */
  readonly identity: TlsIdentity;
  readonly outbox: Outbox;
  readonly onCommand: (command: InboundCommand) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface BrokerState {
  readonly clients: number;
  readonly persistentSessions: number;
  readonly commands: number;
  /** Handshakes, connections, subscriptions and publishes that were refused. */
  readonly refused: number;
}

export interface BrokerTask extends Task {
  /** Undefined until it listens. */
  readonly port: number | undefined;
  readonly state: BrokerState;
  /** QoS 1, to whoever is connected and subscribed; not kept for others. */
  publishResult(device: string, point: string, result: CommandResult): void;
  /** New connections see this certificate. */
  renewIdentity(identity: TlsIdentity): void;
}

/**
 * The embedded broker. aedes speaks the protocol (MQTT 3.1.1); what a client receives comes from the outbox through a
 * session of its own, because aedes acknowledges before it delivers and keeps what waits in memory.
 */
export function broker(options: BrokerOptions): BrokerTask {
  return new EmbeddedBroker(options);
}

interface Peer {
  readonly arrival: Arrival;
  readonly hasWill: boolean;
}

class Refused extends Error {
  readonly returnCode: number;
  constructor(message: string, returnCode: number) {
    super(message);
    this.returnCode = returnCode;
  }
}

class EmbeddedBroker implements BrokerTask {
  readonly name = 'broker';
  port: number | undefined;
  readonly #options: BrokerOptions;
  readonly #root: string;
  readonly #remembered: RememberedSessions;
  readonly #listener: TlsListener;
  readonly #arrivals = new WeakMap<object, Arrival>();
  readonly #peers = new WeakMap<Client, Peer>();
  readonly #sessions = new Map<Client, Session>();
  /** The latest session of each client id, connected or ending. */
  readonly #latest = new Map<string, Session>();
  readonly #ending = new Set<Promise<void>>();
  readonly #complaints = new Set<string>();
  #aedes = new Aedes();
  #since: EpochMs | undefined;
  #commands = 0;
  #refused = 0;

  constructor(options: BrokerOptions) {
    const { clock, gateway, identity, log, outbox } = options;
    this.#options = options;
    this.#root = topicRoot(gateway);
    this.#remembered = new RememberedSessions(outbox, clock, log);
    this.#listener = new TlsListener({
      identity,
      clock,
      onArrival: (arrival) => this.#arrived(arrival),
      onRefusal: (kind, why, remedy) => this.#complain(kind, 'connection refused', { because: why, remedy }),
    });
  }

  get state(): BrokerState {
    return {
      clients: this.#sessions.size,
      persistentSessions: this.#remembered.size,
      commands: this.#commands,
      refused: this.#refused,
    };
  }

  publishResult(device: string, point: string, result: CommandResult): void {
    const message = { topic: resultTopic(device, point), payload: resultPayload(result) };
    for (const session of this.#sessions.values()) session.urgent(message);
  }

  renewIdentity(identity: TlsIdentity): void {
    this.#listener.renewIdentity(identity);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, listen, log } = this.#options;
    await this.#remembered.load();
    await this.#remembered.expire();
    this.#aedes = await this.#openAedes();
    try {
      this.port = await this.#listener.listen(listen);
      this.#since = clock.now();
      log.info('broker listens', { host: listen.host, port: this.port });
      while (!signal.aborted) {
        await clock.sleep(LOOK_AFTER_EVERY, signal).catch(() => {});
        this.#endExpired();
        await this.#remembered.expire();
      }
    } finally {
      await this.#stop();
    }
  }

  /** A handshake looks at a certificate once; a connection could outlive it by years. */
  #endExpired(): void {
    const now = this.#options.clock.now();
    for (const client of this.#sessions.keys()) {
      const notAfter = this.#peers.get(client)?.arrival.notAfter;
      if (notAfter !== undefined && notAfter >= now) continue;
      this.#complain(`expired ${client.id}`, 'client disconnected', {
        client: client.id,
        because: 'its certificate has expired',
        remedy: 'issue a new one with ./sluice credentials issue NAME --out DIR --force',
      });
      client.close();
    }
  }

  async #stop(): Promise<void> {
    const goodbye = this.#status(offlineStatus(this.#options.clock.now()));
    await Promise.all(
      [...this.#sessions.values()].map(async (session) => {
        session.urgent(goodbye);
        await session.stop();
      }),
    );
    this.port = undefined;
    await new Promise<void>((resolve) => this.#aedes.close(resolve));
    await this.#listener.close();
    // The sockets are closed, but some may say so only in a later turn, when the outbox is closed as well.
    await Promise.all([...this.#sessions].map(async ([client, session]) => this.#end(client, session)));
    while (this.#ending.size > 0) await Promise.all(this.#ending);
  }

  async #openAedes(): Promise<Aedes> {
    const aedes = await Aedes.createBroker({
      mq: noFanOut,
      persistence: new OutboxPersistence({
        filters: (client) => this.#remembered.filters(client),
        dropSession: (client) => this.#dropSession(client),
        unsubscribe: (client, filters) => this.#unsubscribe(client, filters),
        acknowledged: (client, messageId) => this.#sessions.get(client)?.acknowledged(messageId),
      }),
      connectTimeout: CONNECT_WITHIN,
      maxClientsIdLength: LONGEST_CLIENT_ID,
      maxInflightInbound: MAX_INBOUND_QOS2,
      preConnect: this.#preConnect,
      authenticate: this.#authenticate,
      authorizeSubscribe: this.#authorizeSubscribe,
      authorizePublish: this.#authorizePublish,
      authorizeForward: () => null,
      published: this.#published,
    });
    aedes.on('clientReady', (client) => {
      this.#resume(client).catch((error: unknown) => this.#failed(client, error));
    });
    aedes.on('subscribe', (subscriptions, client) => this.#sendStatus(client, subscriptions));
    aedes.on('unsubscribe', (filters, client) => this.#sessions.get(client)?.unsubscribe(filters));
    const emitter: EventEmitter = aedes; // the type of aedes does not know its own 'error'
    emitter.on('error', (error: unknown) =>
      this.#options.log.error('broker library', { error: errorText(error) }),
    );
    return aedes;
  }

  #arrived(arrival: Arrival): void {
    this.#arrivals.set(arrival.socket, arrival);
    this.#aedes.handle(arrival.socket);
  }

  readonly #preConnect: NonNullable<AedesOptions['preConnect']> = (client, packet, callback) => {
    const arrival = this.#arrivals.get(client.conn);
    if (arrival === undefined) {
      callback(new Error('no certificate'), false);
      return;
    }
    this.#peers.set(client, { arrival, hasWill: packet.will !== undefined });
    if (packet.protocolVersion === 5) {
      this.#complain(`v5 ${arrival.identity.name}`, 'client refused', {
        client: arrival.identity.name,
        because: 'it speaks MQTT 5, the embedded broker 3.1.1',
        remedy: 'let the client use MQTT 3.1.1 (mosquitto_sub: -V mqttv311)',
      });
    }
    // An empty identifier asks the server for one (MQTT 3.1.1, 3.1.3.1); only a clean session may.
    if (packet.clientId === '' && packet.clean === true) packet.clientId = arrival.identity.name;
    callback(null, true);
  };

  readonly #authenticate: NonNullable<AedesOptions['authenticate']> = (client, _user, _password, done) => {
    const peer = this.#peers.get(client);
    const refused =
      peer === undefined ? new Refused('no certificate', NOT_AUTHORIZED) : this.#refusal(client, peer);
    if (peer === undefined || refused !== undefined) {
      const name = peer?.arrival.identity.name ?? 'nobody';
      this.#complain(`connect ${name} ${refused?.returnCode}`, 'client refused', {
        client: name,
        because: refused?.message,
      });
      done(refused ?? null, false);
      return;
    }
    peer.arrival.limitPackets(MAX_CLIENT_PACKET);
    done(null, true);
  };

  #refusal(client: Client, { arrival, hasWill }: Peer): Refused | undefined {
    const { name } = arrival.identity;
    if (client.id !== name) {
      const sent = JSON.stringify(client.id.slice(0, 80));
      return new Refused(
        `it calls itself ${sent}; the client id must be the certificate's name`,
        IDENTIFIER_REJECTED,
      );
    }
    if (hasWill)
      return new Refused('it brings a last will, which is a publish; leave it out', NOT_AUTHORIZED);
    const full = this.#remembered.size >= MAX_PERSISTENT_SESSIONS;
    if (!client.clean && full && !this.#remembered.has(name)) {
      const says = `there are ${MAX_PERSISTENT_SESSIONS} persistent sessions already; connect once with a clean session where one is not needed`;
      return new Refused(says, SERVER_UNAVAILABLE);
    }
    return undefined;
  }

  readonly #authorizeSubscribe: NonNullable<AedesOptions['authorizeSubscribe']> = (
    client,
    subscription,
    done,
  ) => {
    const { qos, topic } = subscription;
    const granted: GrantedQos = qos === 0 ? 0 : 1;
    const session = this.#session(client);
    let problem = filterProblem(this.#root, topic);
    if (session.filterCount >= MAX_FILTERS_PER_CLIENT)
      problem ??= `is beyond ${MAX_FILTERS_PER_CLIENT} subscriptions`;
    if (!client.clean && problem === undefined && !this.#remembered.subscribe(client.id, topic, granted)) {
      problem = `is beyond ${MAX_PERSISTENT_SESSIONS} persistent sessions`;
    }
    if (problem !== undefined) {
      this.#complain(`subscribe ${client.id}`, 'subscription refused', {
        client: client.id,
        filter: topic.slice(0, 80),
        because: problem,
      });
      done(null, null);
      return;
    }
    const subscribe = async (): Promise<void> => {
      try {
        await session.subscribe(topic, granted);
      } catch (error) {
        this.#failed(client, error);
      }
    };
    void subscribe().finally(() => done(null, subscription));
  };

  /** MQTT 3.1.1 cannot answer a publish with no; the connection is closed, as 3.3.5 allows. */
  readonly #authorizePublish: NonNullable<AedesOptions['authorizePublish']> = (client, packet, done) => {
    const peer = client === null ? undefined : this.#peers.get(client);
    const { retain, topic } = packet;
    const problem =
      peer === undefined
        ? 'nobody is known'
        : publishProblem(this.#root, peer.arrival.identity, { topic, retain, size: packet.payload.length });
    if (problem === undefined) {
      done();
      return;
    }
    this.#complain(`publish ${client?.id}`, 'publish refused, client disconnected', {
      client: client?.id,
      topic: topic.slice(0, 80),
      because: problem,
    });
    done(new Error(problem));
  };

  readonly #published: NonNullable<AedesOptions['published']> = (packet, client, done) => {
    done();
    const command = parseCommandTopic(this.#root, packet.topic);
    // The library's own messages have no client.
    if (client === null || command === undefined) return;
    this.#commands++;
    const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload;
    this.#options.onCommand({ by: client.id, ...command, payload, retained: false });
  };

  async #resume(client: Client): Promise<void> {
    const session = this.#session(client);
    if (!client.clean) this.#remembered.connected(client.id);
    if (!session.resumed) return;
    await session.start();
    // What changed while it was away; a retained message comes only with a new subscription (3.1.1, 3.1.2.4).
    session.urgent(this.#online());
  }

  #session(client: Client): Session {
    const existing = this.#sessions.get(client);
    if (existing !== undefined) return existing;
    const { clock, log, outbox } = this.#options;
    const { id, clean } = client;
    const socket = this.#peers.get(client)?.arrival.socket;
    if (socket === undefined) throw new Error(`${id} came by no listener`);
    const session = new Session({
      client: id,
      clean,
      filters: clean ? new Map() : this.#remembered.filters(id),
      socket,
      root: this.#root,
      outbox,
      note: () => this.#remembered.note(id),
      earlier: this.#latest.get(id)?.close() ?? Promise.resolve(),
      disconnect: () => client.close(),
      clock,
      log,
    });
    this.#sessions.set(client, session);
    this.#latest.set(id, session);
    const end = (): void => {
      const ending = this.#end(client, session).catch((error: unknown) => this.#failed(client, error));
      this.#ending.add(ending);
      void ending.finally(() => this.#ending.delete(ending));
    };
    if (socket.destroyed) end();
    else socket.once('close', end);
    return session;
  }

  async #end(client: Client, session: Session): Promise<void> {
    this.#sessions.delete(client);
    await session.close();
    if (this.#latest.get(client.id) !== session) return;
    this.#latest.delete(client.id);
    if (!client.clean) await this.#remembered.disconnected(client.id);
  }

  async #dropSession(client: string): Promise<void> {
    await this.#latest.get(client)?.close();
    await this.#remembered.forget(client);
  }

  async #unsubscribe(client: Client, filters: readonly string[]): Promise<void> {
    this.#remembered.unsubscribe(client.id, filters);
    const session = this.#sessions.get(client);
    session?.unsubscribe(filters);
    await session?.saveNote();
  }

  #sendStatus(client: Client, subscriptions: readonly Subscription[]): void {
    const wanted = subscriptions.some(
      ({ qos, topic }) => GRANTED.has(qos) && topicMatcher(topic)(this.#root + STATUS),
    );
    if (wanted) this.#sessions.get(client)?.urgent(this.#online(), true);
  }

  #online(): Message {
    const { clock, version } = this.#options;
    return this.#status(onlineStatus(this.#since ?? clock.now(), version));
  }

  #status(payload: string): Message {
    return { topic: STATUS, payload: Buffer.from(payload) };
  }

  #failed(client: Client, error: unknown): void {
    const { log } = this.#options;
    log.error('session failed', { client: client.id, because: errorText(error) });
    client.close();
  }

  /** Everything refused is counted; each kind of it is told once. */
  #complain(kind: string, what: string, facts: Readonly<Record<string, string | undefined>>): void {
    this.#refused++;
    if (this.#complaints.has(kind) || this.#complaints.size >= MAX_COMPLAINTS) return;
    this.#complaints.add(kind);
    this.#options.log.warn(what, facts);
  }
}
