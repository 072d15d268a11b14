import type { Clock } from '../../../core/clock.ts';
import type { Facts, Log } from '../../../core/log.ts';
import { type Duration, seconds } from '../../../core/units.ts';
import { WRITING } from './request.ts';

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

/**
 * Of one client at one guard, for writes and for the rest each: what changes nothing must not hide what would have.
 * Everything is counted, and more lines tell a person nothing new.
 */
const OF_A_CLIENT: Measure = { atOnce: 5, every: seconds(10) };
/** Of all clients of a guard: whoever has many addresses is many clients. */
const OF_A_CONDUIT: Measure = { atOnce: 50, every: seconds(1) };
/** Clients whose lines are held back; whoever is forgotten is bound by its conduit. */
const CLIENTS_REMEMBERED = 1_024;
/** How long what is left out waits for more of it. */
const LEFT_OUT_FOR = seconds(10);
/** Writes that are named among what was left out. */
const WRITES_NAMED = 5;

interface Measure {
  readonly atOnce: number;
  readonly every: Duration;
}

interface Allowance {
  lines: number;
  at: number;
}

/** What a conduit had no line for. */
interface LeftOut {
  readonly since: number;
  /** How often, by function or by what else it was. */
  readonly counts: Map<string, number>;
  readonly writes: Set<string>;
}

type Told = Facts & { readonly conduit: string; readonly client: string };

interface Dependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly onEvent: (kind: string, subject: string, facts: Facts) => void;
}

/** Tells what was forbidden: a line and an event each, so many and no more; then what was left out, in one. */
export class Book {
  readonly counters = zeroGuardCounters();
  readonly #deps: Dependencies;
  readonly #clients = new Map<string, Allowance>();
  readonly #conduits = new Map<string, Allowance>();
  readonly #leftOut = new Map<string, LeftOut>();

  constructor(deps: Dependencies) {
    this.#deps = deps;
  }

  tell(kind: string, what: string, facts: Told): void {
    const { conduit, client } = facts;
    const group = isWrite(facts) ? 'writes' : 'rest';
    const own = this.#allowance(this.#clients, `${conduit} ${client} ${group}`, OF_A_CLIENT);
    this.#forgetClients();
    const all = this.#allowance(this.#conduits, `${conduit} ${group}`, OF_A_CONDUIT);
    if (own.lines < 1 || all.lines < 1) return this.#leaveOut(kind, facts);
    own.lines -= 1;
    all.lines -= 1;
    this.#deps.log.warn(what, facts);
    this.#deps.onEvent(kind, conduit, facts);
  }

  /** Tells what was left out for a while. */
  sweep(): void {
    const before = this.#deps.clock.elapsed() - LEFT_OUT_FOR;
    for (const [conduit, leftOut] of this.#leftOut)
      if (leftOut.since <= before) this.#tellLeftOut(conduit, leftOut);
  }

  close(): void {
    for (const [conduit, leftOut] of this.#leftOut) this.#tellLeftOut(conduit, leftOut);
  }

  #leaveOut(kind: string, facts: Told): void {
    const { conduit, client, write, values } = facts;
    const leftOut = this.#leftOut.get(conduit) ?? {
      since: this.#deps.clock.elapsed(),
      counts: new Map<string, number>(),
      writes: new Set<string>(),
    };
    this.#leftOut.set(conduit, leftOut);
    const { counts, writes } = leftOut;
    const what = facts['function'] === undefined ? kind : `function ${facts['function']}`;
    counts.set(what, (counts.get(what) ?? 0) + 1);
    if (isWrite(facts) && writes.size < WRITES_NAMED)
      writes.add(write === undefined ? `${client}: ${what}` : `${client}: ${write} = ${values}`);
  }

  #tellLeftOut(conduit: string, { counts, writes }: LeftOut): void {
    this.#leftOut.delete(conduit);
    const facts = {
      conduit,
      requests: [...counts].map(([what, count]) => `${what}: ${count}`).join(', '),
      ...(writes.size > 0 && { writes: [...writes].join('; ') }),
    };
    this.#deps.log.warn('guard: more of it than is told one by one', facts);
    this.#deps.onEvent('guard-left-out', conduit, facts);
  }

  #allowance(of: Map<string, Allowance>, key: string, { atOnce, every }: Measure): Allowance {
    const now = this.#deps.clock.elapsed();
    const known = of.get(key) ?? { lines: atOnce, at: now };
    const more = Math.floor((now - known.at) / every);
    known.lines = Math.min(atOnce, known.lines + more);
    known.at += more * every;
    // Last used, last forgotten.
    of.delete(key);
    of.set(key, known);
    return known;
  }

  #forgetClients(): void {
    for (const oldest of this.#clients.keys()) {
      if (this.#clients.size <= CLIENTS_REMEMBERED) break;
      this.#clients.delete(oldest);
    }
  }
}

/** By what was asked for, also where it cannot be read as a request. */
const isWrite = (facts: Facts): boolean => WRITING.has(Number(facts['function']));
