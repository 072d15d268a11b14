import { type Random, unitWait } from './backoff.ts';
import { type Breaker, closed, newBreaker, opened } from './breaker.ts';
import type { Poll } from './driver.ts';
import { type Counters, newCounters, sum, type UnitState } from './line-state.ts';
import type { Duration } from '../core/units.ts';
import { RoundTrips } from './round-trips.ts';

/** What fails together on a line: a Modbus unit, a CoAP device. */
export interface Unit {
  readonly name: string;
  readonly devices: readonly string[];
  /** Indices into `Line.polls`, in their order. */
  readonly polls: readonly number[];
  readonly breaker: Breaker;
  readonly roundTrips: RoundTrips;
  readonly counters: Counters;
  /** Polls under way. */
  active: number;
  /** Place in `polls` of the next probe, while none of them is known to be good. */
  turn: number;
}

/** All attempts in vain of a line may together take a tenth of its time: 9 parts are for those that answer. */
const OTHERS_SHARE = 9;

/**
 * Who answers on one line, and when those are tried that do not. A unit that does not answer costs the others one
 * attempt per back-off interval; a block that a unit swallows while it answers other reads costs the unit the same.
 */
export class Units {
  readonly all: readonly Unit[];
  readonly #random: Random;
  readonly #inFlight: number;
  readonly #unitOf: readonly Unit[];
  /** Points of a poll: what it costs to try it. */
  readonly #sizes: readonly number[];

  // Per poll.
  readonly #running: Uint8Array;
  readonly #everGood: Uint8Array;
  /** Attempts in vain in a row, made while the unit answered. */
  readonly #failures: Uint8Array;
  readonly #notBefore: Float64Array;

  #open = 0;
  #probing = false;
  /** The line has paid for the last attempt in vain when this moment has come. */
  #paidAt = Number.NEGATIVE_INFINITY;

  constructor(polls: readonly Poll[], inFlight: number, random: Random) {
    this.all = unitsOf(polls);
    this.#random = random;
    this.#inFlight = inFlight;
    this.#sizes = polls.map(({ points }) => points.length);
    const unitOf: Unit[] = [];
    for (const unit of this.all) for (const poll of unit.polls) unitOf[poll] = unit;
    this.#unitOf = unitOf;
    this.#running = new Uint8Array(polls.length);
    this.#everGood = new Uint8Array(polls.length);
    this.#failures = new Uint8Array(polls.length);
    this.#notBefore = new Float64Array(polls.length).fill(Number.NEGATIVE_INFINITY);
  }

  of(poll: number): Unit | undefined {
    return this.#unitOf[poll];
  }

  isRunning(poll: number): boolean {
    return this.#running[poll] === 1;
  }

  /** A read of this poll did not fail when its unit answered last. */
  isSound(poll: number): boolean {
    return (this.#failures[poll] ?? 0) === 0;
  }

  /** The unit answers others but not this one: it failed at least twice, the unit answering in between. */
  isSwallowed(poll: number): boolean {
    return (this.#failures[poll] ?? 0) >= 2;
  }

  /** As `isSwallowed`, since the last attempt. */
  isNewlySwallowed(poll: number): boolean {
    return this.#failures[poll] === 2 && this.#unitOf[poll]?.breaker.state === 'closed';
  }

  /** May the poll go out at its tick? Its unit answers; a poll that failed alone has waited its time. */
  mayRead(poll: number, now: number): boolean {
    if (this.#unitOf[poll]?.breaker.state !== 'closed') return false;
    if (this.isSound(poll)) return true;
    return now >= (this.#notBefore[poll] ?? 0) && now >= this.#paidAt;
  }

  /** The unit that is to be tried next, whether or not its time has come. */
  nextProbe(): Unit | undefined {
    if (this.#open === 0 || this.#probing) return undefined;
    let next: Unit | undefined;
    for (const unit of this.all) {
      if (unit.breaker.state !== 'open' || unit.active === unit.polls.length) continue;
      if (next === undefined || unit.breaker.nextTry < next.breaker.nextTry) next = unit;
    }
    return next;
  }

  /** When the unit is tried again. Where nobody on the line answers, nobody is held up. */
  tryAt({ breaker }: Unit): number {
    return this.#open < this.all.length ? Math.max(breaker.nextTry, this.#paidAt) : breaker.nextTry;
  }

  /** Begins a probe; returns the smallest read that is known to be good, or one after the other where none is. */
  probe(unit: Unit): number {
    unit.breaker.state = 'probing';
    unit.counters.probes += 1;
    this.#probing = true;
    let cheapest = -1;
    for (const poll of unit.polls) {
      if (this.#running[poll] === 1 || this.#everGood[poll] === 0 || (this.#failures[poll] ?? 0) > 1)
        continue;
      if (cheapest < 0 || this.#size(poll) < this.#size(cheapest)) cheapest = poll;
    }
    while (cheapest < 0) {
      unit.turn = (unit.turn + 1) % unit.polls.length;
      const poll = unit.polls[unit.turn] ?? 0;
      if (this.#running[poll] === 0) cheapest = poll;
    }
    return cheapest;
  }

  began(poll: number, unit: Unit): void {
    this.#running[poll] = 1;
    unit.active += 1;
    unit.counters.polls += 1;
  }

  ended(poll: number, unit: Unit, isProbe: boolean): void {
    this.#running[poll] = 0;
    unit.active -= 1;
    if (!isProbe) return;
    this.#probing = false;
    // Neither answered nor in vain: the connection went first.
    if (unit.breaker.state === 'probing') unit.breaker.state = 'open';
  }

  /** Any answer closes the breaker. Returns true where it was not closed. */
  answered(unit: Unit, poll: number | undefined, now: number): boolean {
    if (poll !== undefined) {
      this.#everGood[poll] = 1;
      this.#failures[poll] = 0;
    }
    const wasClosed = unit.breaker.state === 'closed';
    if (!wasClosed) this.#open -= 1;
    closed(unit.breaker, now);
    return !wasClosed;
  }

  /** An attempt that began in `epoch`, took `cost` ms and was not answered. */
  inVain(unit: Unit, poll: number | undefined, now: number, cost: number, epoch: number): void {
    const { breaker } = unit;
    const retry = poll !== undefined && breaker.state === 'closed' && !this.isSound(poll);
    if (poll !== undefined && breaker.state === 'closed') {
      const failures = Math.min((this.#failures[poll] ?? 0) + 1, 255);
      this.#failures[poll] = failures;
      this.#notBefore[poll] = now + unitWait(failures, cost, this.#random);
    }
    if (retry || breaker.state === 'probing') this.#paidAt = now + (OTHERS_SHARE * cost) / this.#inFlight;
    // It failed before, and the unit has answered another read since: a block that the device swallows.
    if (retry && unit.polls.length > 1) return;
    // An attempt from before the last change of state says nothing new.
    if (epoch !== breaker.epoch) return;
    if (breaker.state === 'closed') this.#open += 1;
    opened(breaker, now, cost, this.#random);
  }

  #size(poll: number): number {
    return this.#sizes[poll] ?? 0;
  }
}

/** A unit as people and metrics see it; `nextTryIn` is undefined while it answers. */
export function unitState(unit: Unit, nextTryIn: Duration | undefined): UnitState {
  return {
    unit: unit.name,
    devices: unit.devices,
    breaker: unit.breaker.state,
    silent: unit.breaker.announced,
    nextTryIn,
    lastRtt: unit.roundTrips.last,
    p99Rtt: unit.roundTrips.percentile(0.99),
    counters: sum([unit.counters]),
  };
}

function unitsOf(polls: readonly Poll[]): Unit[] {
  const found = new Map<string, { devices: Set<string>; polls: number[] }>();
  polls.forEach(({ unit, device }, poll) => {
    const entry = found.get(unit) ?? { devices: new Set(), polls: [] };
    entry.devices.add(device);
    entry.polls.push(poll);
    found.set(unit, entry);
  });
  return [...found].map(([name, { devices, polls: own }]) => ({
    name,
    devices: [...devices],
    polls: own,
    breaker: newBreaker(),
    roundTrips: new RoundTrips(),
    counters: newCounters(),
    active: 0,
    turn: -1,
  }));
}
