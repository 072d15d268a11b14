import type { Clock } from '../../../core/clock.ts';
import type { Facts, Log } from '../../../core/log.ts';
import { seconds } from '../../../core/units.ts';

/** What passed the guards and what did not, since the start of the process. */
export interface GuardCounters {
  connections: number;
  /** Connections of somebody who is no client of the conduit, or one too many. */
  refused: number;
  requests: number;
  forwarded: number;
  /** Answered with an exception by the guard itself; in mode observe: let pass all the same. */
  forbidden: number;
  /** Streams that are no Modbus TCP: they end there. */
  broken: number;
  /** Requests that the device did not answer. */
  unanswered: number;
  /** Requests that waited too long for their turn while the device was answering others. */
  busy: number;
}

export const zeroGuardCounters = (): GuardCounters => ({
  connections: 0,
  refused: 0,
  requests: 0,
  forwarded: 0,
  forbidden: 0,
  broken: 0,
  unanswered: 0,
  busy: 0,
});

/** Of one client at one guard; everything is counted, and more lines tell a person nothing new. */
const LINES_AT_ONCE = 5;
const A_LINE_EVERY = seconds(10);
/** Clients whose lines are held back. */
const CLIENTS_REMEMBERED = 1_024;

interface Allowance {
  lines: number;
  at: number;
  untold: number;
}

interface Dependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly onEvent: (kind: string, subject: string, facts: Facts) => void;
}

/** Tells what was forbidden: a line and an event each, so many for one client and no more. */
export class Book {
  readonly counters = zeroGuardCounters();
  readonly #deps: Dependencies;
  readonly #allowances = new Map<string, Allowance>();

  constructor(deps: Dependencies) {
    this.#deps = deps;
  }

  tell(
    kind: string,
    what: string,
    facts: Facts & { readonly conduit: string; readonly client: string },
  ): void {
    const allowance = this.#allowance(`${facts.conduit} ${facts.client}`);
    if (allowance.lines < 1) {
      allowance.untold += 1;
      return;
    }
    allowance.lines -= 1;
    const all = allowance.untold > 0 ? { ...facts, untold: allowance.untold } : facts;
    allowance.untold = 0;
    this.#deps.log.warn(what, all);
    this.#deps.onEvent(kind, facts.conduit, all);
  }

  #allowance(key: string): Allowance {
    const now = this.#deps.clock.elapsed();
    const known = this.#allowances.get(key) ?? { lines: LINES_AT_ONCE, at: now, untold: 0 };
    const more = Math.floor((now - known.at) / A_LINE_EVERY);
    known.lines = Math.min(LINES_AT_ONCE, known.lines + more);
    known.at += more * A_LINE_EVERY;
    // Last used, last forgotten.
    this.#allowances.delete(key);
    this.#allowances.set(key, known);
    for (const oldest of this.#allowances.keys()) {
      if (this.#allowances.size <= CLIENTS_REMEMBERED) break;
      this.#allowances.delete(oldest);
    }
    return known;
  }
}
