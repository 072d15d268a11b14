import { BatchBuilder, type Batch, valueAt } from '../../core/batch.ts';
import type { Clock } from '../../core/clock.ts';
import type { Log } from '../../core/log.ts';
import { minutes } from '../../core/units.ts';
import { halves, joined, type Part, wholePart } from './holes.ts';
import { exceptionName, exceptionReason } from './pdu.ts';
import type { ModbusPoint } from './plan.ts';
import { type Reading, ReadExchange, readingOf, type Sink, type Unit } from './reading.ts';
import type { Counters } from './counters.ts';
import type { Connection } from './transport.ts';

/** Requests that one poll may spend on looking for holes; a search goes on with the next poll. */
const SEARCH_REQUESTS = 16;
/** A device that was starting up or was given another program has its registers back after this. */
const ASK_AGAIN_AFTER = minutes(10);
const NAMES_IN_LOG = 10;

export interface PartedDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly counters: Counters;
}

/**
 * A read of which the device has refused a part: `illegal data address` or `illegal data value` for one register
 * fails the whole request. It is halved until only the points that the device does not have are bad; what was found
 * is remembered for the life of the process, the rest is read in as few requests as the holes allow.
 */
export class PartedReading {
  readonly #of: Unit;
  readonly #points: readonly ModbusPoint[];
  readonly #deps: PartedDependencies;
  readonly #readings = new Map<Part, Reading>();
  #parts: readonly Part[];
  #settled = false;
  #told = false;

  /** `exception` is what the device answered when it was asked for everything. */
  constructor(of: Unit, points: readonly ModbusPoint[], exception: number, deps: PartedDependencies) {
    this.#of = of;
    this.#points = points;
    this.#deps = deps;
    this.#parts = halves(wholePart(points), exception);
  }

  /** One sample for every point, or none at all and the error of the part that failed. */
  async read(connection: Connection, { into, stamp }: Sink): Promise<void> {
    const collected = new BatchBuilder();
    const sink = { into: collected, stamp };
    const todo = [...this.#parts];
    const done: Part[] = [];
    let spare = SEARCH_REQUESTS;
    try {
      for (let part = todo[0]; part !== undefined; part = todo[0]) {
        const mayAsk = part.state === 'fine' || (this.#isDue(part) && spare-- > 0);
        const next = mayAsk ? await this.#ask(part, connection, sink) : this.#leave(part, sink);
        todo.shift();
        if (next.length > 1) todo.unshift(...next);
        else done.push(...next);
      }
    } finally {
      this.#parts = [...done, ...todo];
    }
    this.#settle();
    const batch = collected.take();
    if (batch !== undefined) append(batch, into);
  }

  #isDue(part: Part): boolean {
    return part.state !== 'illegal' || part.retryAt <= this.#deps.clock.elapsed();
  }

  /** What becomes of the part: itself with a new state, or its two halves, of which nothing was appended yet. */
  async #ask(part: Part, connection: Connection, sink: Sink): Promise<readonly Part[]> {
    const { clock, counters } = this.#deps;
    const exchange = new ReadExchange(this.#readingOf(part), sink, { counters, onHole: 'leave' });
    await connection.exchange(exchange);
    if (exchange.hole) {
      if (part.end - part.first > 1) return halves(part, exchange.exception);
      const retryAt = clock.elapsed() + ASK_AGAIN_AFTER;
      return this.#leave({ ...part, state: 'illegal', exception: exchange.exception, retryAt }, sink);
    }
    if (exchange.exception !== 0) return [part];
    if (part.state === 'illegal') this.#settled = false;
    return [part.state === 'fine' ? part : { ...part, state: 'fine' }];
  }

  #leave(part: Part, { into, stamp }: Sink): readonly Part[] {
    const time = stamp();
    const reason = exceptionReason(part.exception);
    for (const { config } of this.#points.slice(part.first, part.end))
      into.addBad(config.index, time, reason);
    return [part];
  }

  /** Joined once: a device that takes only short requests refuses the longer one, which is then halved for good. */
  #settle(): void {
    if (this.#settled || this.#parts.some(({ state }) => state === 'untried')) return;
    this.#settled = true;
    this.#readings.clear();
    const illegal = this.#parts.filter(({ state }) => state === 'illegal');
    if (illegal.length === 0 && !this.#told) return;
    this.#parts = joined(this.#parts);
    if (this.#told) return;
    this.#told = true;
    const names = illegal.slice(0, NAMES_IN_LOG).map(({ first }) => this.#points[first]?.config.name);
    this.#deps.log.warn('the device does not have these points', {
      endpoint: this.#of.endpoint,
      unit: this.#of.unit,
      points: `${names.join(', ')}${illegal.length > names.length ? ', …' : ''}`,
      count: illegal.length,
      says: exceptionName(illegal[0]?.exception ?? 0),
    });
  }

  #readingOf(part: Part): Reading {
    const known = this.#readings.get(part);
    if (known !== undefined) return known;
    const reading = readingOf(this.#of, this.#points.slice(part.first, part.end));
    if (part.state === 'fine') this.#readings.set(part, reading);
    return reading;
  }
}

function append(batch: Batch, into: BatchBuilder): void {
  for (let i = 0; i < batch.count; i++) {
    const point = batch.points[i] ?? 0;
    const time = batch.times[i] ?? 0;
    const value = valueAt(batch, i);
    if (value === null) into.addBad(point, time, batch.reasons[i] ?? 0);
    else into.add(point, time, value);
  }
}
