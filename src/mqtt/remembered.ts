import type { Clock } from '../core/clock.ts';
import { errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Outbox } from '../core/outbox.ts';
import { days, type Duration, hours } from '../core/units.ts';
import { cleanPlace, type GrantedQos, persistentPlace } from './session.ts';

/** Each keeps a place in the outbox, which holds back what is given up last. */
export const MAX_PERSISTENT_SESSIONS = 32;
/**
 * Who stays away longer, while the gateway runs, has been taken out of service. Not by the wall clock: a box without a
 * battery starts in another year, and when its clock is set every absent client would have been away for that long.
 */
export const FORGET_AFTER: Duration = days(7);
/** How much of an absence a restart may forget; each note on disk is a write to flash. */
const NOTE_ABSENCE_EVERY: Duration = hours(1);

interface Absence {
  /** Milliseconds of running up to `countedAt`. */
  total: number;
  /** `Clock.elapsed`. */
  countedAt: number;
  /** `total` on disk. */
  noted: number;
}

interface Remembered {
  readonly filters: Map<string, GrantedQos>;
  /** Undefined while the client is connected. */
  absence: Absence | undefined;
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
      const { filters, absentFor } = parseNote(note);
      const absence = { total: absentFor, countedAt: this.#clock.elapsed(), noted: absentFor };
      this.#sessions.set(name.slice(prefix.length), { filters, absence });
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
    return JSON.stringify({ filters: [...(session?.filters ?? [])], absentFor: session?.absence?.total });
  }

  /** False where there are too many sessions already. */
  subscribe(client: string, filter: string, qos: GrantedQos): boolean {
    let session = this.#sessions.get(client);
    if (session === undefined) {
      if (this.#sessions.size >= MAX_PERSISTENT_SESSIONS) return false;
      session = { filters: new Map(), absence: undefined };
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
    if (session !== undefined) session.absence = undefined;
  }

  async disconnected(client: string): Promise<void> {
    const session = this.#sessions.get(client);
    if (session === undefined) return;
    if (session.filters.size === 0) {
      await this.forget(client);
      return;
    }
    session.absence = { total: 0, countedAt: this.#clock.elapsed(), noted: 0 };
    await this.#outbox.consumer(persistentPlace(client), this.note(client));
  }

  async forget(client: string): Promise<void> {
    if (this.#sessions.delete(client)) await this.#outbox.forget(persistentPlace(client));
  }

  /** Gives up sessions whose client stayed away. Never throws: an outbox in trouble is asked again the next time. */
  async expire(): Promise<void> {
    const now = this.#clock.elapsed();
    for (const [client, { absence }] of this.#sessions) {
      if (absence === undefined) continue;
      absence.total += now - absence.countedAt;
      absence.countedAt = now;
      try {
        await this.#settleAbsence(client, absence);
      } catch (error) {
        this.#log.warn('absence of a client not noted', { client, because: errorText(error) });
      }
    }
  }

  async #settleAbsence(client: string, absence: Absence): Promise<void> {
    if (absence.total > FORGET_AFTER) {
      const because = 'its client stayed away for more than 7 days';
      this.#log.warn('persistent session forgotten', { client, because });
      await this.forget(client);
    } else if (absence.total >= absence.noted + NOTE_ABSENCE_EVERY) {
      await this.#outbox.consumer(persistentPlace(client), this.note(client));
      absence.noted = absence.total;
    }
  }
}

/** A note that cannot be read is a session without subscriptions; its place in the outbox is kept all the same. */
function parseNote(note: string): {
  readonly filters: Map<string, GrantedQos>;
  readonly absentFor: number;
} {
  const filters = new Map<string, GrantedQos>();
  let absentFor = 0;
  try {
    const parsed: unknown = JSON.parse(note);
    if (typeof parsed === 'object' && parsed !== null) {
      if ('absentFor' in parsed && typeof parsed.absentFor === 'number') absentFor = parsed.absentFor;
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
  return { filters, absentFor };
}
