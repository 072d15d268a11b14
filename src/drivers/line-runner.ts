import type { BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { reasonCode } from '../core/quality.ts';
import { milliseconds } from '../core/units.ts';
import { type AnnounceDeps, type OnDevice, tellLost } from './announcements.ts';
import { type Random, reconnectWait } from './backoff.ts';
import { BadSamples } from './bad-samples.ts';
import type { Line } from './driver.ts';
import { isLoss, isMute, reasonOf } from './failures.ts';
import type { Limiter } from './limiter.ts';
import { LinePump } from './line-pump.ts';
import { type Connection, type Counters, type LineState, newCounters, sum } from './line-state.ts';
import { pause } from './pause.ts';
import { ScanTimes } from './scan-times.ts';
import { placeInPeriod, Schedule } from './schedule.ts';
import { Units, unitState } from './units.ts';
import { DRIVER_FAULT, Verdicts } from './verdicts.ts';
import type { WallTime } from './wall-time.ts';
import { keepWatching } from './watching.ts';

export interface LineDeps {
  readonly into: BatchBuilder;
  readonly clock: Clock;
  /** Of all lines: scans of several lines stay comparable. */
  readonly wall: WallTime;
  readonly log: Log;
  readonly random: Random;
  readonly onDevice: OnDevice;
  /** How many are behind the line. */
  readonly devices: number;
  /** Connects of all lines that are under way. */
  readonly connects: Limiter;
  /** Place of the line among all lines. */
  readonly index: number;
  readonly lines: number;
}

/**
 * A connection that answered and stood this long may be replaced at once, before anybody is told: many devices close
 * what was idle for a minute. Short ones have to wait, or two masters that throw each other out would never rest.
 */
const GOOD_CONNECTION = 10_000;

const CONNECTION_LOST = reasonCode('connection lost');

/** Owns the connection of one line, from the first connect to the close: the pump sends while there is one. */
export class LineRunner {
  readonly line: Line;
  readonly #deps: LineDeps;
  readonly #people: AnnounceDeps;
  readonly #units: Units;
  readonly #pump: LinePump;
  readonly #verdicts: Verdicts;
  /** What concerns no unit. */
  readonly #counters: Counters = newCounters();
  readonly #bad: BadSamples;

  #signal = AbortSignal.abort();
  #connection: Connection = 'idle';
  #connectFailures = 0;
  #nextConnect = 0;
  /** A unit answered on this connection. */
  #isProven = false;
  #mayReplace = false;
  /** Set from when people were told that the endpoint is lost until a unit answers. */
  #lostSince: number | undefined;
  /** Ends `#serve`. */
  #lost: (error: unknown) => void = () => {};
  #bug: Error | undefined;

  constructor(line: Line, deps: LineDeps) {
    const { clock, into, log, onDevice, devices, random } = deps;
    const lost = (error: unknown): void => this.#lost(error);
    const units = new Units(line.polls, line.inFlight, random);
    const schedule = scheduleOf(line, units, deps);
    const times = new ScanTimes(schedule, deps.wall, line.polls.length);
    const bad = new BadSamples({ line, into, times, clock });
    const people = { endpoint: line.endpoint, devices, log, onDevice };
    const proven = (): void => this.#prove();
    const verdicts = new Verdicts({ units, schedule, bad, clock, people, proven, lost });
    this.line = line;
    this.#deps = deps;
    this.#people = people;
    this.#units = units;
    this.#bad = bad;
    this.#verdicts = verdicts;
    this.#pump = new LinePump({
      line,
      into,
      clock,
      units,
      schedule,
      times,
      bad,
      verdicts,
      counters: this.#counters,
      lost,
      crash: (bug) => this.#crash(bug),
    });
  }

  /** Rejects only for a bug of its own; broken connections and devices are what it is for. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#deps;
    this.#signal = signal;
    try {
      while (!signal.aborted) {
        const error = (await this.#connect()) ?? (await this.#serve());
        if (this.#bug !== undefined) throw this.#bug;
        if (signal.aborted) break;
        if (this.#mayReplace) continue;
        this.#connection = 'waiting';
        this.#tellLoss(error);
        this.#connectFailures += 1;
        const wait = reconnectWait(this.#connectFailures, random, isMute(error));
        this.#nextConnect = clock.elapsed() + wait;
        await pause(clock, wait, signal);
      }
    } finally {
      this.#connection = 'closed';
      await this.#close();
    }
  }

  /** As `LinePump.command`. */
  async command<T>(unit: string, signal: AbortSignal, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return this.#pump.command(unit, signal, work);
  }

  counters(): Counters {
    return sum([this.#counters, ...this.#units.all.map(({ counters }) => counters)]);
  }

  state(): LineState {
    const now = this.#deps.clock.elapsed();
    const until = (at: number) => milliseconds(Math.max(0, at - now));
    const { roundTrips } = this.#verdicts;
    return {
      endpoint: this.line.endpoint,
      connection: this.#connection,
      nextTryIn: this.#connection === 'waiting' ? until(this.#nextConnect) : undefined,
      waitingCommands: this.#pump.waitingCommands,
      lastRtt: roundTrips.last,
      p99Rtt: roundTrips.percentile(0.99),
      counters: this.counters(),
      units: this.#units.all.map((unit) =>
        unitState(unit, unit.breaker.state === 'closed' ? undefined : until(this.#units.tryAt(unit))),
      ),
    };
  }

  /** Returns what went wrong, or undefined once the line is connected. */
  async #connect(): Promise<unknown> {
    const { connects } = this.#deps;
    this.#connection = 'connecting';
    this.#mayReplace = false;
    try {
      await connects.acquire(this.#signal);
    } catch (error) {
      return error;
    }
    try {
      this.#counters.connects += 1;
      await this.line.connect(this.#signal);
      return undefined;
    } catch (error) {
      this.#counters.errors[error instanceof SluiceError ? 'lost' : 'other'] += 1;
      return error ?? new Error('connect threw nothing');
    } finally {
      connects.release();
    }
  }

  /** Reads and writes until the connection is lost or the runner stops; returns why. */
  async #serve(): Promise<unknown> {
    if (this.#signal.aborted) return this.#signal.reason;
    const { clock, into, random } = this.#deps;
    const since = clock.elapsed();
    const ended = Promise.withResolvers<unknown>();
    const stop = new AbortController();
    const lost = (error: unknown): void => {
      // At once: nothing more may go out on this connection.
      this.#connection = 'waiting';
      this.#pump.shut();
      ended.resolve(error);
    };
    const aborted = (): void => lost(this.#signal.reason);
    this.#signal.addEventListener('abort', aborted, { once: true });
    this.#lost = lost;
    this.#pump.open(since, this.#signal);
    this.#connection = 'connected';
    this.#isProven = false;
    // Nothing but a watch: nobody will tell that it really is.
    if (this.line.polls.length === 0) this.#prove();
    const watched = keepWatching(
      this.line,
      {
        into,
        clock,
        random,
        lost,
        ended: (error, first) => this.#watchEnded(error, first),
      },
      stop.signal,
    );
    const watching = watched.catch((bug: unknown) => this.#crash(bug));
    this.#pump.pump();

    const error = await ended.promise;

    this.#signal.removeEventListener('abort', aborted);
    this.#pump.refuse();
    stop.abort();
    await watching;
    // What is under way may still append; only then are all points bad.
    await this.#pump.idle();
    this.#mayReplace = this.#isProven && clock.elapsed() - since >= GOOD_CONNECTION;
    if (this.#mayReplace) this.#connectFailures = 0;
    return error;
  }

  async #close(): Promise<void> {
    try {
      await this.line.close();
    } catch (error) {
      this.#deps.log.warn('closing failed', { endpoint: this.line.endpoint, error: errorText(error) });
    }
  }

  /** All points of the line turn bad, and people are told, once until a unit answers again. */
  #tellLoss(error: unknown): void {
    if (this.#lostSince !== undefined) return;
    this.#lostSince = this.#deps.clock.elapsed();
    const reason = isLoss(error) ? error.reason : CONNECTION_LOST;
    this.#bad.tellAll(reason);
    tellLost(this.#people, this.#units.all, this.#lostSince, error);
  }

  /** A unit answered, so the endpoint is really there: many accept a connection only to close it. */
  #prove(): void {
    this.#isProven = true;
    if (this.#lostSince === undefined) return;
    const lostFor = Math.round(this.#deps.clock.elapsed() - this.#lostSince);
    this.#lostSince = undefined;
    // Who does not answer now has another reason to be bad than the connection.
    this.#bad.forget();
    this.#deps.log.info('connection back', { endpoint: this.line.endpoint, lostFor });
  }

  #watchEnded(error: unknown, first: boolean): void {
    this.#counters.watchRestarts += 1;
    if (!first) return;
    this.#deps.log.warn('watch ended', { endpoint: this.line.endpoint, error: errorText(error) });
    this.#bad.tellWatched(reasonOf(error, DRIVER_FAULT));
  }

  /** Whoever was told something threw. That is a bug of the house, not of a device: the runner stops with it. */
  #crash(bug: unknown): void {
    this.#bug ??= bug instanceof Error ? bug : new Error(String(bug));
    this.#lost(bug);
  }
}

/** The polls of a unit follow one another; units and lines are spread over the period. */
function scheduleOf(line: Line, { all }: Units, { index, lines }: LineDeps): Schedule {
  const places = new Map(all.map((unit, i) => [unit.name, placeInPeriod(index, lines, i, all.length)]));
  return new Schedule(
    line.polls.map(({ every }) => every),
    line.polls.map(({ unit }) => places.get(unit) ?? 0),
  );
}
