import type { Upstream } from '../config/config.ts';
import type { Clock } from '../core/clock.ts';
import type { CommandResult } from '../core/command.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Consumer, Message, Outbox } from '../core/outbox.ts';
import type { Task } from '../core/task.ts';
import { type Duration, type EpochMs, hours, milliseconds, seconds } from '../core/units.ts';
import {
  type Connection,
  connect,
  type InboundMessage,
  OldProtocol,
  TooLarge,
  Unanswered,
} from './client.ts';
import {
  type InboundCommand,
  MAX_COMMAND_BYTES,
  offlineStatus,
  onlineStatus,
  resultPayload,
} from './messages.ts';
import { QuotaExceeded } from './reasons.ts';
import { Pump } from './sender.ts';
import type { TlsIdentity } from './tls.ts';
import { COMMANDS, parseCommandTopic, resultTopic, STATUS, topicRoot } from './topics.ts';

/** Place of the upstream in the outbox. */
export const UPSTREAM_CONSUMER = 'upstream';
const FIRST_WAIT: Duration = milliseconds(250);
/** What waits should go up soon after the broker is back; one attempt in so long costs nobody anything. */
const LONGEST_WAIT: Duration = seconds(15);
/** A connection that lasted so long was a good one: the next attempt comes soon. */
const STABLE_AFTER: Duration = seconds(10);
/** Connections that end with a used-up quota before its messages are set aside: nothing is retried for ever. */
const MAX_QUOTA_CONNECTIONS = 8;
/** After a packet that is too large for a command: a retained one would come again with every subscription. */
const NO_COMMANDS_FOR: Duration = hours(1);
/** A broker that spoke 3.1.1 only may have been updated. */
const TRY_MQTT5_AGAIN_AFTER: Duration = hours(1);

export interface UpstreamOptions {
  readonly config: Pick<Upstream, 'host' | 'port'>;
  readonly gateway: string;
  readonly version: string;
  readonly identity: TlsIdentity;
  readonly outbox: Outbox;
  /** Left out where no point is writable: then nothing is subscribed to. */
  readonly onCommand?: (command: InboundCommand) => void;
  readonly clock: Clock;
  readonly log: Log;
}

export interface UpstreamState {
  readonly connected: boolean;
  readonly protocol: 4 | 5 | undefined;
  readonly since: EpochMs | undefined;
  readonly attempts: number;
  readonly connections: number;
  /** Messages acknowledged by the broker, since the start. */
  readonly acknowledged: number;
  readonly setAside: number;
  readonly inFlight: number;
  readonly commands: number;
  /** Messages on command topics that are no commands. */
  readonly commandsRefused: number;
  readonly resultsLost: number;
  /** Why there is no connection, with the remedy. */
  readonly problem: string | undefined;
}

export interface UpstreamTask extends Task {
  readonly state: UpstreamState;
  /** QoS 1, ahead of telemetry; false where it cannot be sent now (the asker's own time-out tells). */
  publishResult(device: string, point: string, result: CommandResult): boolean;
  /** The next connection shows this certificate; the open one is replaced. */
  renewIdentity(identity: TlsIdentity): void;
}

/** Keeps a connection to the platform's broker and moves the outbox into it. */
export function upstream(options: UpstreamOptions): UpstreamTask {
  return new UpstreamLink(options);
}

class UpstreamLink implements UpstreamTask {
  readonly name = 'upstream';
  readonly #options: UpstreamOptions;
  readonly #root: string;
  readonly #broker: string;
  #identity: TlsIdentity;
  #pump: Pump | undefined;
  #connection: Connection | undefined;
  #renewed: (() => void) | undefined;
  #since: EpochMs | undefined;
  #attempts = 0;
  #connections = 0;
  #acknowledged = 0;
  #setAside = 0;
  #commands = 0;
  #commandsRefused = 0;
  #resultsLost = 0;
  #problem: string | undefined;
  readonly #refusedTopics = new Set<string>();
  readonly #said = new Set<string>();
  #protocol: 4 | 5 = 5;
  /** When MQTT 5 is tried again at a broker that took 3.1.1. */
  #mqtt5At: number | undefined;
  /** When commands are subscribed to again. */
  #commandsAgainAt = 0;
  /** Connections in a row that ended with a used-up quota, and the number of the latest. */
  #quotaConnections = 0;
  #quotaConnection = 0;

  constructor(options: UpstreamOptions) {
    this.#options = options;
    this.#identity = options.identity;
    this.#root = topicRoot(options.gateway);
    this.#broker = `${options.config.host}:${options.config.port}`;
  }

  get state(): UpstreamState {
    return {
      connected: this.#since !== undefined,
      protocol: this.#connection?.protocol,
      since: this.#since,
      attempts: this.#attempts,
      connections: this.#connections,
      acknowledged: this.#acknowledged + (this.#pump?.acknowledged ?? 0),
      setAside: this.#setAside + (this.#pump?.setAside ?? 0),
      inFlight: this.#pump?.inFlight ?? 0,
      commands: this.#commands,
      commandsRefused: this.#commandsRefused,
      resultsLost: this.#resultsLost,
      problem: this.#problem,
    };
  }

  publishResult(device: string, point: string, result: CommandResult): boolean {
    const message = { topic: resultTopic(device, point), payload: resultPayload(result) };
    const taken = this.#pump?.urgent(message) ?? false;
    if (!taken) this.#resultsLost++;
    return taken;
  }

  renewIdentity(identity: TlsIdentity): void {
    this.#identity = identity;
    this.#renewed?.();
  }

  async run(signal: AbortSignal): Promise<void> {
    const { clock, outbox } = this.#options;
    const consumer = await outbox.consumer(UPSTREAM_CONSUMER);
    let wait: number = FIRST_WAIT;
    while (!signal.aborted) {
      const started = clock.elapsed();
      this.#attempts++;
      const before = this.#acknowledged;
      try {
        await this.#connectOnce(consumer, signal);
        wait = FIRST_WAIT;
      } catch (error) {
        if (signal.aborted) break;
        if (this.#acknowledged > before || clock.elapsed() - started > STABLE_AFTER) {
          wait = FIRST_WAIT;
          this.#said.clear();
        }
        if (error instanceof OldProtocol) {
          this.#protocol = 4;
          continue;
        }
        if (error instanceof TooLarge) {
          this.#commandsRefused++;
          this.#commandsAgainAt = clock.elapsed() + NO_COMMANDS_FOR;
        }
        if (error instanceof Unanswered) this.#protocol = this.#protocol === 5 ? 4 : 5;
        if (!(error instanceof SluiceError)) throw error;
        this.#tell(error);
      }
      // Half to one and a half of the wait, so that a site full of gateways does not come back at once.
      await clock.sleep(milliseconds(wait * (0.5 + Math.random())), signal).catch(() => {});
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }
  }

  /** Returns at an orderly end; throws why the connection was not made or was lost. */
  async #connectOnce(consumer: Consumer, signal: AbortSignal): Promise<void> {
    const { clock, config, gateway, log } = this.#options;
    if (this.#mqtt5At !== undefined && clock.elapsed() > this.#mqtt5At) {
      this.#protocol = 5;
      this.#mqtt5At = undefined;
    }
    const connection = await connect(
      {
        host: config.host,
        port: config.port,
        identity: this.#identity,
        clientId: gateway,
        protocol: this.#protocol,
        will: { topic: this.#root + STATUS, payload: offlineStatus() },
        onMessage: (message) => this.#received(message),
      },
      signal,
    );
    const renewed = new AbortController();
    this.#renewed = () => renewed.abort();
    this.#connection = connection;
    this.#connections++;
    if (connection.protocol === 4) this.#mqtt5At ??= clock.elapsed() + TRY_MQTT5_AGAIN_AFTER;
    this.#since = clock.now();
    this.#problem = undefined;
    const { protocol, window } = connection;
    if (this.#news('connected')) {
      log.info('upstream connected', { broker: this.#broker, mqtt: protocol === 5 ? '5' : '3.1.1', window });
    }
    try {
      await this.#serve(connection, consumer, AbortSignal.any([signal, renewed.signal]));
      await this.#sayGoodbye(connection);
    } finally {
      this.#since = undefined;
      this.#connection = undefined;
      this.#renewed = undefined;
      await connection.end(false);
    }
  }

  async #serve(connection: Connection, consumer: Consumer, signal: AbortSignal): Promise<void> {
    const { clock, log, onCommand, version } = this.#options;
    const pump = new Pump({
      consumer,
      window: connection.window,
      publish: async (message, retain) => this.#publish(connection, message, retain),
      clock,
      log,
      to: this.#broker,
      refusedTopics: this.#refusedTopics,
    });
    pump.urgent(text(STATUS, onlineStatus(clock.now(), version)), true);
    this.#pump = pump;
    if (onCommand !== undefined && clock.elapsed() >= this.#commandsAgainAt) {
      connection.subscribe(this.#root + COMMANDS).catch((error: unknown) => {
        if (error instanceof SluiceError && error.code === 'MESSAGE_REFUSED') {
          log.warn('no commands from upstream', { because: errorText(error), remedy: 'allow it in the ACL' });
        }
      });
    }
    const stop = new AbortController();
    try {
      await Promise.race([
        pump.run(AbortSignal.any([signal, stop.signal])),
        // With nothing on its way the pump would not notice that the link is gone.
        lost(connection, signal),
      ]);
    } finally {
      stop.abort();
      this.#pump = undefined;
      this.#acknowledged += pump.acknowledged;
      this.#setAside += pump.setAside;
    }
  }

  async #publish(connection: Connection, { topic, payload }: Message, retain: boolean): Promise<void> {
    try {
      await connection.publish(this.#root + topic, payload, retain);
      if (!retain) this.#quotaConnections = 0;
    } catch (error) {
      if (!(error instanceof QuotaExceeded)) throw error;
      if (this.#quotaConnection !== this.#connections) this.#quotaConnections++;
      this.#quotaConnection = this.#connections;
      if (this.#quotaConnections <= MAX_QUOTA_CONNECTIONS) throw error;
      throw new SluiceError('MESSAGE_REFUSED', error.message, {
        cause: error,
        ...(error.remedy === undefined ? {} : { remedy: error.remedy }),
      });
    }
  }

  async #sayGoodbye(connection: Connection): Promise<void> {
    const status = Buffer.from(offlineStatus(this.#options.clock.now()));
    try {
      await Promise.race([connection.publish(this.#root + STATUS, status, true), connection.gone]);
    } catch {
      // The broker sends the last will instead.
    }
    await connection.end(true);
  }

  #received({ topic, payload, retained }: InboundMessage): void {
    const command = parseCommandTopic(this.#root, topic);
    if (command === undefined || payload.length > MAX_COMMAND_BYTES) {
      this.#commandsRefused++;
      return;
    }
    this.#commands++;
    this.#options.onCommand?.({ by: 'upstream', ...command, payload, retained });
  }

  #tell(error: SluiceError): void {
    this.#problem = error.remedy === undefined ? error.message : `${error.message}; ${error.remedy}`;
    if (this.#news(this.#problem)) this.#options.log.warn(error.message, { remedy: error.remedy });
  }

  /** Each thing is told once until a connection lasts: the same trouble for a weekend is one line. */
  #news(what: string): boolean {
    if (this.#said.has(what)) return false;
    this.#said.add(what);
    return true;
  }
}

async function lost(connection: Connection, signal: AbortSignal): Promise<void> {
  const why = await connection.gone;
  if (!signal.aborted) throw why;
}

function text(topic: string, payload: string): Message {
  return { topic, payload: Buffer.from(payload) };
}
