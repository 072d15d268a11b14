import type { PointConfig } from '../../src/config/config.ts';
import type { BatchBuilder, PointValue } from '../../src/core/batch.ts';
import type { Clock } from '../../src/core/clock.ts';
import { SluiceError } from '../../src/core/errors.ts';
import type { Line, Poll, Scan } from '../../src/drivers/driver.ts';
import { type Duration, milliseconds, seconds } from '../../src/core/units.ts';

/** What a unit does with one request. */
export type Behaviour = 'answers' | 'timeout' | 'mismatch' | 'refused' | 'busy' | 'lost' | 'mute' | 'bug';

/** One request as the device sees it. */
export interface Seen {
  readonly kind: 'poll' | 'write' | 'readBack';
  readonly unit: string;
  readonly what: string;
  readonly at: number;
}

export interface FakeOptions {
  readonly endpoint?: string;
  readonly inFlight?: number;
  /** Of one request, or how to find out. */
  readonly rtt?: Duration | (() => Duration);
  readonly timeout?: Duration;
  readonly behave?: (unit: string, what: string, at: number) => Behaviour;
  /** Throws where the endpoint cannot be reached at that time. */
  readonly reachable?: (at: number) => boolean;
  readonly connectTime?: Duration;
  readonly watched?: readonly number[];
  readonly watch?: (into: BatchBuilder, signal: AbortSignal) => Promise<void>;
}

/**
 * A line that does what a script says, in the time of a clock. It records every request, and every breach of the
 * protocol between runner and line in `breaches`, which has to stay empty.
 */
export class FakeLine implements Line {
  readonly endpoint: string;
  readonly inFlight: number;
  readonly polls: readonly Poll[];
  readonly watched: readonly number[];
  readonly watch?: (into: BatchBuilder, signal: AbortSignal) => Promise<void>;
  readonly breaches: string[] = [];
  readonly values = new Map<number, PointValue>();
  seen: Seen[] = [];
  connects: number[] = [];
  closed = 0;
  connected = false;
  mostInFlight = 0;
  readonly #clock: Clock;
  readonly #options: FakeOptions;
  readonly #running = new Set<Poll>();
  #inFlight = 0;

  constructor(clock: Clock, polls: readonly Poll[], options: FakeOptions = {}) {
    this.#clock = clock;
    this.#options = options;
    this.polls = polls;
    this.endpoint = options.endpoint ?? 'fake://line';
    this.inFlight = options.inFlight ?? 1;
    this.watched = options.watched ?? [];
    if (options.watch) this.watch = options.watch;
  }

  async connect(signal: AbortSignal): Promise<void> {
    const { connectTime, reachable } = this.#options;
    this.connects.push(this.#clock.elapsed());
    if (this.connected) this.breaches.push('connect while connected');
    if (connectTime !== undefined) await this.#clock.sleep(connectTime, signal);
    if (reachable?.(this.#clock.elapsed()) === false) {
      throw new SluiceError('CONNECTION_LOST', `${this.endpoint} refused the connection`);
    }
    this.connected = true;
  }

  async poll(poll: Poll, into: BatchBuilder, { signal, stamp }: Scan): Promise<void> {
    if (this.#running.has(poll)) this.breaches.push(`${poll.what} overlaps itself`);
    this.#running.add(poll);
    try {
      await this.#request('poll', poll.unit, poll.what, signal);
      const time = stamp();
      for (const point of poll.points) into.add(point, time, this.values.get(point) ?? point);
    } finally {
      this.#running.delete(poll);
    }
  }

  async write(point: number, value: PointValue, signal: AbortSignal): Promise<void> {
    await this.#request('write', this.#unitOf(point), `write of ${point}`, signal);
    this.values.set(point, value);
  }

  async readBack(point: number, signal: AbortSignal): Promise<PointValue> {
    await this.#request('readBack', this.#unitOf(point), `read back of ${point}`, signal);
    return this.values.get(point) ?? point;
  }

  async close(): Promise<void> {
    this.closed += 1;
    this.connected = false;
    if (this.#inFlight > 0) this.breaches.push('closed with requests under way');
  }

  count(unit: string): number {
    return this.seen.filter((request) => request.unit === unit).length;
  }

  async #request(kind: Seen['kind'], unit: string, what: string, signal: AbortSignal): Promise<void> {
    const at = this.#clock.elapsed();
    this.seen.push({ kind, unit, what, at });
    if (!this.connected) this.breaches.push(`${what} while not connected`);
    this.#inFlight += 1;
    this.mostInFlight = Math.max(this.mostInFlight, this.#inFlight);
    if (this.#inFlight > this.inFlight) this.breaches.push(`${this.#inFlight} requests at a time`);
    try {
      await this.#answer(this.#options.behave?.(unit, what, at) ?? 'answers', unit, what, signal);
    } finally {
      this.#inFlight -= 1;
    }
  }

  async #answer(behaviour: Behaviour, unit: string, what: string, signal: AbortSignal): Promise<void> {
    const { rtt = milliseconds(10), timeout = seconds(1) } = this.#options;
    if (behaviour === 'timeout') {
      await this.#clock.sleep(timeout, signal);
      throw new SluiceError('DEVICE_TIMEOUT', `unit ${unit} did not answer ${what} within ${timeout} ms`);
    }
    if (behaviour === 'mute') {
      await this.#clock.sleep(timeout, signal);
      this.connected = false;
      throw new SluiceError('CONNECTION_LOST', `${this.endpoint} answers nothing`, { reason: 'timeout' });
    }
    const wait = typeof rtt === 'number' ? rtt : rtt();
    if (wait > 0) await this.#clock.sleep(wait, signal);
    if (behaviour === 'answers') return;
    if (behaviour === 'bug') throw new TypeError('a bug in the driver');
    if (behaviour === 'mismatch') throw new SluiceError('REPLY_MISMATCH', `${what} got another answer`);
    if (behaviour === 'busy') {
      throw new SluiceError('DEVICE_REFUSED', `unit ${unit} is busy`, { reason: 'server device busy' });
    }
    if (behaviour === 'refused') throw new SluiceError('DEVICE_REFUSED', `unit ${unit} refused ${what}`);
    this.connected = false;
    throw new SluiceError('CONNECTION_LOST', `${this.endpoint} was reset`);
  }

  #unitOf(point: number): string {
    return this.polls.find(({ points }) => points.includes(point))?.unit ?? '?';
  }
}

/** Polls of `units` units with one point each for every entry of `periods`, points counted from `firstPoint`. */
export function fakePolls(units: number, periods: readonly Duration[], firstPoint = 0): Poll[] {
  const polls: Poll[] = [];
  for (let unit = 1; unit <= units; unit++) {
    for (const every of periods) {
      const point = firstPoint + polls.length;
      polls.push({
        unit: String(unit),
        device: `device-${unit}`,
        every,
        points: [point],
        what: `read ${polls.length} of unit ${unit}`,
      });
    }
  }
  return polls;
}

/** A point with the defaults of the configuration; what a test does not care about. */
export function fakePoint(index: number, changes: Partial<PointConfig> = {}): PointConfig {
  return {
    index,
    device: 'device-1',
    name: `point-${index}`,
    source: {
      kind: 'modbus',
      table: 'holding',
      address: index,
      bit: undefined,
      type: 'uint16',
      length: 1,
      characters: 0,
      order: 'ABCD',
    },
    every: seconds(1),
    unit: undefined,
    scale: 1,
    offset: 0,
    span: undefined,
    report: { deadband: undefined, minInterval: milliseconds(0), heartbeat: seconds(900) },
    writable: true,
    min: undefined,
    max: undefined,
    published: true,
    recorded: true,
    ...changes,
  };
}
