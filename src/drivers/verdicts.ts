import type { Clock } from '../core/clock.ts';
import { errorText } from '../core/errors.ts';
import { reasonCode } from '../core/quality.ts';
import { type AnnounceDeps, tellBack, tellSilent } from './announcements.ts';
import type { BadSamples } from './bad-samples.ts';
import { failureKind, isLoss, reasonOf } from './failures.ts';
import { RoundTrips } from './round-trips.ts';
import type { Schedule } from './schedule.ts';
import type { Unit, Units } from './units.ts';

/** One request on its way. */
export interface Attempt {
  /** Undefined for a command. */
  readonly poll: number | undefined;
  readonly what: string;
  /** `Clock.elapsed`. */
  readonly started: number;
  /** Of the breaker, when it went out. */
  readonly epoch: number;
}

export interface VerdictDeps {
  readonly units: Units;
  readonly schedule: Schedule;
  readonly bad: BadSamples;
  readonly clock: Clock;
  /** Who is told, and of which endpoint. */
  readonly people: AnnounceDeps;
  /** A unit answered: the endpoint is really there. */
  readonly proven: () => void;
  readonly lost: (error: unknown) => void;
}

/** A driver that throws what it should not has said nothing about the device. */
export const DRIVER_FAULT = reasonCode('driver fault');

/** A device that is busy is asked again after this, where its next tick is further away (Modbus V1.1b3, 7, code 06). */
const BUSY_PAUSE = 5_000;

const BUSY = reasonCode('server device busy');

/** What the end of a request says about its unit: breaker, bad samples, counters, and whoever has to be told. */
export class Verdicts {
  /** Of all units of the line. */
  readonly roundTrips = new RoundTrips();
  readonly #deps: VerdictDeps;

  constructor(deps: VerdictDeps) {
    this.#deps = deps;
  }

  /** `thrown` is undefined where the request was answered. */
  settle(unit: Unit, attempt: Attempt, thrown: unknown): void {
    if (thrown === undefined) {
      this.#answered(unit, attempt);
    } else if (isLoss(thrown)) {
      // The points of a poll that lost the connection turn bad with all others.
      unit.counters.errors.lost += 1;
      this.#deps.lost(thrown);
    } else {
      this.#failed(unit, attempt, thrown);
    }
  }

  #answered(unit: Unit, { poll, what, started }: Attempt): void {
    const { clock, units, schedule, bad, people, proven } = this.#deps;
    const now = clock.elapsed();
    unit.roundTrips.add(now - started);
    this.roundTrips.add(now - started);
    proven();
    if (poll !== undefined) bad.read(poll);
    if (poll !== undefined && units.isSwallowed(poll)) {
      people.log.info('request answered again', { endpoint: people.endpoint, unit: unit.name, what });
    }
    if (units.answered(unit, poll, now)) {
      // What was held back meanwhile is read at once, not at its next tick, which may be an hour away.
      const heldBack = unit.polls.filter((other) => bad.isTold(other));
      schedule.soon(heldBack, now);
    }
    if (unit.breaker.silentSince !== undefined) tellBack(people, unit, now);
  }

  #failed(unit: Unit, attempt: Attempt, error: unknown): void {
    const { clock, units, schedule, bad, people } = this.#deps;
    const { endpoint, log } = people;
    const { poll, what, started, epoch } = attempt;
    const { breaker } = unit;
    const now = clock.elapsed();
    const kind = failureKind(error);
    unit.counters.errors[kind] += 1;
    const reason = reasonOf(error, DRIVER_FAULT);
    if (poll !== undefined) bad.tell(poll, reason);
    if (kind === 'refused') {
      // A driver may refuse a command by itself; a poll is refused by the device, which is an answer.
      if (poll !== undefined) this.#answered(unit, { ...attempt, poll: undefined });
      if (poll !== undefined && reason === BUSY) schedule.soon([poll], now + BUSY_PAUSE);
      return;
    }
    if (kind === 'other' && breaker.inARow === 0) {
      const stack = error instanceof Error ? error.stack : undefined;
      log.error('driver failed', { endpoint, unit: unit.name, what, error: errorText(error), stack });
    }
    units.inVain(unit, poll, now, now - started, epoch);
    if (poll !== undefined && units.isNewlySwallowed(poll)) {
      log.warn('request not answered', {
        endpoint,
        unit: unit.name,
        what,
        error: errorText(error),
        remedy: 'the device answers other requests; are these addresses right?',
      });
    }
    tellSilent(people, unit, { what, error, now, nextTry: units.tryAt(unit) });
  }
}
