import type { Duration } from '../core/units.ts';
import type { Breaker } from './breaker.ts';

/** Failures by kind; they only grow. */
export interface ErrorCounts {
  timeout: number;
  mismatch: number;
  refused: number;
  lost: number;
  /** Faults of a driver: anything thrown that is no SluiceError. */
  other: number;
}

/** What the runner did; they only grow. */
export interface Counters {
  /** Polls sent, probes included. */
  polls: number;
  probes: number;
  /** Polls that began more than a tenth of their period after their tick. */
  late: number;
  /** Ticks that passed because the poll, the line or the process was busy. */
  missed: number;
  /** Ticks that were left out on purpose, because the unit does not answer. */
  heldBack: number;
  commands: number;
  /** Commands that were not sent: too many, not connected, unit silent, not writable. */
  commandsRefused: number;
  connects: number;
  watchRestarts: number;
  readonly errors: ErrorCounts;
}

export function newCounters(): Counters {
  return {
    polls: 0,
    probes: 0,
    late: 0,
    missed: 0,
    heldBack: 0,
    commands: 0,
    commandsRefused: 0,
    connects: 0,
    watchRestarts: 0,
    errors: { timeout: 0, mismatch: 0, refused: 0, lost: 0, other: 0 },
  };
}

/** A line as people and metrics see it; a copy. */
export interface LineState {
  readonly endpoint: string;
  readonly connection: Connection;
  /** Until the next connect; undefined unless `connection` is `waiting`. */
  readonly nextTryIn: Duration | undefined;
  readonly waitingCommands: number;
  /** Milliseconds; NaN before the first answer. */
  readonly lastRtt: number;
  readonly p99Rtt: number;
  readonly counters: Counters;
  readonly units: readonly UnitState[];
}

/** `waiting`: between a loss and the next connect. */
export type Connection = 'idle' | 'connecting' | 'connected' | 'waiting' | 'closed';

export interface UnitState {
  readonly unit: string;
  readonly devices: readonly string[];
  readonly breaker: Breaker['state'];
  /** Were people told that it is silent? */
  readonly silent: boolean;
  /** Until the next attempt; undefined where the breaker is closed. */
  readonly nextTryIn: Duration | undefined;
  /** Milliseconds; NaN before the first answer. */
  readonly lastRtt: number;
  readonly p99Rtt: number;
  readonly counters: Counters;
}

/** The sum of counters, for a whole gateway. */
export function sum(all: readonly Counters[]): Counters {
  const total = newCounters();
  for (const counters of all) {
    total.polls += counters.polls;
    total.probes += counters.probes;
    total.late += counters.late;
    total.missed += counters.missed;
    total.heldBack += counters.heldBack;
    total.commands += counters.commands;
    total.commandsRefused += counters.commandsRefused;
    total.connects += counters.connects;
    total.watchRestarts += counters.watchRestarts;
    total.errors.timeout += counters.errors.timeout;
    total.errors.mismatch += counters.errors.mismatch;
    total.errors.refused += counters.errors.refused;
    total.errors.lost += counters.errors.lost;
    total.errors.other += counters.errors.other;
  }
  return total;
}
