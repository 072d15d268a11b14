import { type Duration, milliseconds } from '../core/units.ts';

const STEP_MILLISECONDS = 30_000;
const ADDED_STEPS = 20; // about ten minutes: a batch of a slow device does not move it, an hour of night does
const DRAIN_STEP_MILLISECONDS = 5_000;
const DRAIN_STEPS = 12; // about a minute of draining

/**
 * Bytes per second over about `steps` × `step` milliseconds. Time is cut into steps from `start` on; counted are the
 * step that `now` is in and the `steps` - 1 before it. The rate is their bytes divided by the time from the start of
 * the oldest of them to `now`; 0 where that is no time at all.
 */
export class MovingRate {
  readonly #step: number;
  readonly #start: number;
  readonly #bytes: Float64Array;
  #newest = 0;

  constructor(start: number, step: number, steps: number) {
    this.#start = start;
    this.#step = step;
    this.#bytes = new Float64Array(steps);
  }

  add(bytes: number, now: number): void {
    this.#advance(now);
    const at = this.#newest % this.#bytes.length;
    this.#bytes[at] = (this.#bytes[at] ?? 0) + bytes;
  }

  perSecond(now: number): number {
    this.#advance(now);
    const oldest = Math.max(0, this.#newest - this.#bytes.length + 1);
    const covered = now - this.#start - oldest * this.#step;
    return covered > 0 ? (this.#bytes.reduce((sum, bytes) => sum + bytes, 0) / covered) * 1_000 : 0;
  }

  #advance(now: number): void {
    const step = Math.max(this.#newest, Math.floor((now - this.#start) / this.#step));
    for (let passed = Math.max(this.#newest, step - this.#bytes.length); passed < step; )
      this.#bytes[++passed % this.#bytes.length] = 0;
    this.#newest = step;
  }
}

/** What one commit did to the outbox, in bytes of the file. */
export interface Change {
  readonly added: number;
  /** Of rows that everybody had acknowledged. */
  readonly delivered: number;
  /** Before it, somebody had not been handed all that waited for a connection. */
  readonly backlog: boolean;
}

/** How full the outbox is and how fast it moves. `elapsed` is a clock that never steps, in milliseconds. */
export class Gauge {
  readonly #elapsed: () => number;
  readonly #added: MovingRate;
  /** Over the time that was spent draining, which is put end to end. */
  readonly #drained = new MovingRate(0, DRAIN_STEP_MILLISECONDS, DRAIN_STEPS);
  #drainedFor = 0;
  #lastCommit: number;

  constructor(elapsed: () => number) {
    this.#elapsed = elapsed;
    this.#lastCommit = elapsed();
    this.#added = new MovingRate(this.#lastCommit, STEP_MILLISECONDS, ADDED_STEPS);
  }

  /** A commit that delivered something of a backlog makes the time since the commit before it a time of draining. */
  committed({ added, delivered, backlog }: Change): void {
    const now = this.#elapsed();
    this.#added.add(added, now);
    if (backlog && delivered > 0) {
      this.#drainedFor += now - this.#lastCommit;
      this.#drained.add(delivered, this.#drainedFor);
    }
    this.#lastCommit = now;
  }

  /** What is added to the outbox, on average over about ten minutes, whether it drains or not. */
  get bytesPerSecond(): number {
    return this.#added.perSecond(this.#elapsed());
  }

  /** `room` divided by what is added; undefined where nothing is added. */
  holdsFor(room: number): Duration | undefined {
    const rate = this.bytesPerSecond;
    return rate > 0 ? milliseconds((Math.max(0, room) / rate) * 1_000) : undefined;
  }

  /**
   * `waiting` divided by the rate of delivery over the last minute that was spent draining, less what is added. 0 where
   * there is no backlog; undefined where nothing was drained yet, or no faster than it grows.
   */
  drainsIn(waiting: number, backlog: boolean): Duration | undefined {
    if (!backlog) return milliseconds(0);
    const net = this.#drained.perSecond(this.#drainedFor) - this.bytesPerSecond;
    return net > 0 ? milliseconds((waiting / net) * 1_000) : undefined;
  }
}
