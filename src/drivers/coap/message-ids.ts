import { EXCHANGE_LIFETIME } from './recent.ts';

const ALL = 65_536;
const GROUP = 256;

/**
 * Message IDs toward one endpoint, each used once in 247 s (RFC 7252, 4.4): at most 265 messages a second. The time
 * of use is kept for groups of 256, so that a line costs 2 kB instead of 512.
 */
export class MessageIds {
  #next: number;
  readonly #lastUse = new Float64Array(ALL / GROUP).fill(Number.NEGATIVE_INFINITY);

  constructor(start: number) {
    this.#next = Math.floor(start) % ALL;
  }

  /** When the next one may be used; `now` or earlier means at once. */
  get freeAt(): number {
    if (this.#next % GROUP !== 0) return Number.NEGATIVE_INFINITY; // the group was free when it was entered
    return (this.#lastUse[this.#next / GROUP] ?? 0) + EXCHANGE_LIFETIME;
  }

  /** The next one, or undefined where all are in use. */
  take(now: number): number | undefined {
    if (this.freeAt > now) return undefined;
    const id = this.#next;
    this.#lastUse[Math.floor(id / GROUP)] = now;
    this.#next = (id + 1) % ALL;
    return id;
  }
}
