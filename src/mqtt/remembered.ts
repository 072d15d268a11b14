import type { Clock } from '../core/clock.ts';
import type { Log } from '../core/log.ts';
import type { Outbox } from '../core/outbox.ts';
import { days, type Duration } from '../core/units.ts';
import { cleanPlace, type GrantedQos, persistentPlace } from './session.ts';

/** Each keeps a place in the outbox, which holds back what is given up last. */
export const MAX_PERSISTENT_SESSIONS = 32;
/** Who stays away longer has been taken out of service. */
export const FORGET_AFTER: Duration = days(7);

interface Remembered {
  readonly filters: Map<string, GrantedQos>;
  /** Milliseconds since 1970; undefined while the client is connected. */
  absentSince: number | undefined;
}

/**
 * Persistent sessions as they are on disk: the subscriptions travel as the note of the session's place in the outbox,
 * so that they survive kill -9 together with what is waiting.
 */
export class RememberedSessions {
  readonly #outbox: Outbox;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #sessions = new Map<string, Remembered>();

  constructor(outbox: Outbox, clock: Clock, log: Log) {
    this.#outbox = outbox;
    this.#clock = clock;
    this.#log = log;
  }

  /** Reads them back, and forgets what clean sessions of a killed gateway left behind. */
  async load(): Promise<void> {
    for (const { name, note } of await this.#outbox.consumers()) {
      if (name.startsWith(cleanPlace(''))) await this.#outbox.forget(name);
      const prefix = persistentPlace('');
      if (!name.startsWith(prefix)) continue;
      const { filters, absentSince } = parseNote(note);
      this.#sessions.set(name.slice(prefix.length), {
        filters,
        absentSince: absentSince ?? this.#clock.now(),
      });
    }
  }

  get size(): number {
    return this.#sessions.size;
  }

  has(client: string): boolean {
    return this.#sessions.has(client);
  }

  filters(client: string): ReadonlyMap<string, GrantedQos> {
    return this.#sessions.get(client)?.filters ?? new Map<string, GrantedQos>();
  }

  note(client: string): string {
    const session = this.#sessions.get(client);
    return JSON.stringify({ filters: [...(session?.filters ?? [])], absentSince: session?.absentSince });
  }

  /** False where there are too many sessions already. */
  subscribe(client: string, filter: string, qos: GrantedQos): boolean {
    let session = this.#sessions.get(client);
    if (session === undefined) {
      if (this.#sessions.size >= MAX_PERSISTENT_SESSIONS) return false;
      session = { filters: new Map(), absentSince: undefined };
      this.#sessions.set(client, session);
      this.#log.info('persistent session begun', { client, sessions: this.#sessions.size });
    }
    session.filters.set(filter, qos);
    return true;
  }

  unsubscribe(client: string, filters: readonly string[]): void {
    const session = this.#sessions.get(client);
    for (const filter of filters) session?.filters.delete(filter);
  }

  connected(client: string): void {
    const session = this.#sessions.get(client);
    if (session !== undefined) session.absentSince = undefined;
  }

  async disconnected(client: string): Promise<void> {
    const session = this.#sessions.get(client);
    if (session === undefined) return;
    if (session.filters.size === 0) {
      await this.forget(client);
      return;
    }
    session.absentSince = this.#clock.now();
    await this.#outbox.consumer(persistentPlace(client), this.note(client));
  }

  async forget(client: string): Promise<void> {
    if (this.#sessions.delete(client)) await this.#outbox.forget(persistentPlace(client));
  }

  /** Gives up sessions whose client stayed away. */
  async expire(): Promise<void> {
    for (const [client, { absentSince }] of this.#sessions) {
      if (absentSince === undefined || this.#clock.now() - absentSince <= FORGET_AFTER) continue;
      this.#log.warn('persistent session forgotten', {
        client,
        absentSince: new Date(absentSince).toISOString(),
        because: 'its client stayed away for more than 7 days',
      });
      await this.forget(client);
    }
  }
}

/** A note that cannot be read is a session without subscriptions; its place in the outbox is kept all the same. */
function parseNote(note: string): {
  readonly filters: Map<string, GrantedQos>;
  readonly absentSince: number | undefined;
} {
  const filters = new Map<string, GrantedQos>();
  let absentSince: number | undefined;
  try {
    const parsed: unknown = JSON.parse(note);
    if (typeof parsed === 'object' && parsed !== null) {
      if ('absentSince' in parsed && typeof parsed.absentSince === 'number') absentSince = parsed.absentSince;
      if ('filters' in parsed && Array.isArray(parsed.filters)) {
        for (const entry of parsed.filters as unknown[]) {
          if (!Array.isArray(entry)) continue;
          const [filter, qos] = entry as unknown[];
          if (typeof filter === 'string') filters.set(filter, qos === 1 ? 1 : 0);
        }
      }
    }
  } catch {
    // Written by nobody but us; a damaged note costs the subscriptions, not the gateway.
  }
  return { filters, absentSince };
}
