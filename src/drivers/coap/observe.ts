import type { Message } from './message.ts';
import { DEFAULT_MAX_AGE, MAX_AGE, OBSERVE, uintOf } from './options.ts';

/** A notification this much younger than the last is fresh whatever its number, RFC 7641, 3.4. */
const REORDER_WINDOW = 128_000; // ms
const HALF_RANGE = 2 ** 23; // of the 24-bit sequence numbers, RFC 7641, 3.4
/** Random wait before registering again when Max-Age has passed, RFC 7641, 3.3.1. */
const REREGISTER_MIN = 5_000; // ms
const REREGISTER_MAX = 15_000; // ms
const PATIENCE_PERIODS = 2; // ours
/**
 * Ours: a registration of 30 bytes that is sent four times in 30 s, and then this pause, keep below PROBING_RATE, a byte a
 * second (RFC 7252, 4.7); and a tank that has its power back is heard within two minutes.
 */
const MAX_BACK_OFF = 120_000; // ms

/** RFC 7641, 3.4: is the notification (v2, t2) newer than (v1, t1)? */
export function isNewer(v1: number, t1: number, v2: number, t2: number): boolean {
  return (v1 < v2 && v2 - v1 < HALF_RANGE) || (v1 > v2 && v1 - v2 > HALF_RANGE) || t2 > t1 + REORDER_WINDOW;
}

export type Heard =
  | { readonly kind: 'fresh' }
  | { readonly kind: 'old' } // overtaken by a newer one; acknowledged and dropped
  | { readonly kind: 'ended'; readonly code: number }; // an error: the relation is over

/**
 * One relation with one resource: RFC 7641, 3. Says when to register (again); whoever owns it does so. Times are
 * `Clock.elapsed` milliseconds.
 */
export class Observation {
  /** When the next GET with Observe 0 is due. */
  due = 0;
  /** `observing`, or why not. */
  state: 'new' | 'observing' | 'declined' | 'failing' | 'ended' = 'new';
  registrations = 0;
  #failures = 0;
  #number = 0;
  #heardAt = Number.NEGATIVE_INFINITY;
  #newsSinceRegistration = true;
  readonly #every: number;
  readonly #random: () => number;

  /**
   * `every`: the longest silence that is normal, and how often to ask where the device does not let itself be
   * observed, ms.
   */
  constructor(every: number, random: () => number) {
    this.#every = every;
    this.#random = random;
  }

  /** A registration leaves now. Nothing else is due until it is answered. */
  registering(): void {
    this.registrations += 1;
    this.#newsSinceRegistration = false;
    this.due = Number.POSITIVE_INFINITY;
  }

  /**
   * The answer to a registration, or a notification. The first answer is newer than all that was heard before the
   * question, whatever its number: a device that restarted counts anew.
   */
  heard(message: Message, now: number, isAnswer: boolean): Heard {
    const inOrder = !isAnswer || this.#newsSinceRegistration;
    this.#newsSinceRegistration = true;
    if (message.code >> 5 !== 2) {
      this.state = 'ended'; // 3.2, 4.2
      this.#later(now);
      return { kind: 'ended', code: message.code };
    }
    const number = uintOf(message, OBSERVE);
    if (number === undefined) {
      // declined, or no longer observed: a plain response. Ask at the pace of a poll; each time is a new chance
      this.state = 'declined';
      this.#failures = 0;
      this.due = now + this.#every;
      this.#heardAt = Number.NEGATIVE_INFINITY;
      return { kind: 'fresh' };
    }
    if (
      inOrder &&
      this.#heardAt > Number.NEGATIVE_INFINITY &&
      !isNewer(this.#number, this.#heardAt, number, now)
    ) {
      if (this.due === Number.POSITIVE_INFINITY) this.#watch(message, now);
      return { kind: 'old' };
    }
    this.state = 'observing';
    this.#failures = 0;
    this.#number = number;
    this.#heardAt = now;
    this.#watch(message, now);
    return { kind: 'fresh' };
  }

  /** Has anything been heard since the last registration left? */
  get hasNews(): boolean {
    return this.#newsSinceRegistration;
  }

  /** No answer, a reset or no socket. */
  failed(now: number): void {
    this.state = 'failing';
    this.#later(now);
  }

  /** The device knows nothing of us any more (a new socket): numbers start again. */
  forgotten(now: number): void {
    this.state = 'new';
    this.#heardAt = Number.NEGATIVE_INFINITY;
    this.due = now;
  }

  /**
   * News has to come before Max-Age is over; after that, and a random wait, we ask again with the same token. A device
   * that promises less, by a longer Max-Age, is asked after two of the periods that its points may be silent: they would
   * be stale after the third, and a device that was restarted meanwhile knows nothing of us (3.3.1 allows to ask).
   */
  #watch(message: Message, now: number): void {
    const maxAge = (uintOf(message, MAX_AGE) ?? DEFAULT_MAX_AGE) * 1_000;
    const patience = Math.max(PATIENCE_PERIODS * this.#every, REREGISTER_MIN);
    this.due = now + Math.min(maxAge + this.#pause(), patience);
  }

  #pause(): number {
    return REREGISTER_MIN + this.#random() * (REREGISTER_MAX - REREGISTER_MIN);
  }

  #later(now: number): void {
    this.due = now + Math.min(MAX_BACK_OFF, this.#pause() * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    this.#heardAt = Number.NEGATIVE_INFINITY; // whatever comes next starts a new order
  }
}
