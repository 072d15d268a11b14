import type { BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { reasonCode } from '../core/quality.ts';
import { milliseconds } from '../core/units.ts';
import { Alarm } from './alarm.ts';
import { type AnnounceDeps, type OnDevice, tellBack, tellLost, tellSilent } from './announcements.ts';
import { type Random, reconnectWait } from './backoff.ts';
import { BadSamples } from './bad-samples.ts';
import { busy, CommandLane, type LineCommand, notConnected, silent } from './command-lane.ts';
import type { Line } from './driver.ts';
import { failureKind, isLoss, reasonOf } from './failures.ts';
import type { Limiter } from './limiter.ts';
import { type Connection, type Counters, type LineState, newCounters, sum } from './line-state.ts';
import { pause } from './pause.ts';
import { RoundTrips } from './round-trips.ts';
import { placeInPeriod, Schedule } from './schedule.ts';
import { type Unit, Units, unitState } from './units.ts';
import { keepWatching } from './watching.ts';

export interface LineDeps {
  readonly into: BatchBuilder;
  readonly clock: Clock;
  readonly log: Log;
  readonly random: Random;
  readonly onDevice: OnDevice;
  /** Connects of all lines that are under way. */
  readonly connects: Limiter;
  /** Place of the line among all lines. */
  readonly index: number;
  readonly lines: number;
}

/** One request on its way. */
interface Attempt {
  /** Undefined for a command. */
  readonly poll: number | undefined;
  readonly what: string;
  /** `Clock.elapsed`. */
  readonly started: number;
  /** Of the breaker, when it went out. */
  readonly epoch: number;
}

/** A poll that begins this share of its period after its tick is late. */
const LATE_SHARE = 0.1;

/** After this many commands in a row a due poll has its turn, so that a flow gone wild cannot stop acquisition. */
const COMMANDS_IN_A_ROW = 8;

/**
 * A connection that answered and stood this long may be replaced at once, before anybody is told: many devices close
 * what was idle for a minute. Short ones have to wait, or two masters that throw each other out would never rest.
 */
const GOOD_CONNECTION = 10_000;

const TIMEOUT = reasonCode('timeout');
const CONNECTION_LOST = reasonCode('connection lost');
/** A driver that throws what it should not has said nothing about the device. */
const DRIVER_FAULT = reasonCode('driver fault');

/**
 * Owns everything in time of one line: connection, schedule, back-off, commands. Nothing waits in a loop per poll:
 * `#pump` starts what may start and is called again whenever a request has ended, a command came or a tick is due.
 */
export class LineRunner {
  readonly line: Line;
  readonly #deps: LineDeps;
  readonly #people: AnnounceDeps;
  readonly #units: Units;
  readonly #schedule: Schedule;
  readonly #commands: CommandLane;
  /** What concerns no unit. */
  readonly #counters: Counters = newCounters();
  readonly #bad: BadSamples;
  readonly #alarm: Alarm;

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
  #active = 0;
  #whenIdle: () => void = () => {};
  #inARow = 0;
  readonly #roundTrips = new RoundTrips();
  #bug: Error | undefined;

  constructor(line: Line, deps: LineDeps) {
    const { polls, endpoint, inFlight } = line;
    const units = new Units(polls, inFlight, deps.random);
    const places = new Map(
      units.all.map((unit, i) => [unit.name, placeInPeriod(deps.index, deps.lines, i, units.all.length)]),
    );
    this.line = line;
    this.#deps = deps;
    this.#people = { endpoint, log: deps.log, onDevice: deps.onDevice };
    this.#units = units;
    this.#schedule = new Schedule(
      polls.map(({ every }) => every),
      polls.map(({ unit }) => places.get(unit) ?? 0),
    );
    this.#commands = new CommandLane();
    this.#bad = new BadSamples(line, deps.into, deps.clock);
    this.#alarm = new Alarm(deps.clock, () => this.#pump());
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
        const wait = reconnectWait(this.#connectFailures, random);
        this.#nextConnect = clock.elapsed() + wait;
        await pause(clock, wait, signal);
      }
    } finally {
      this.#connection = 'closed';
      await this.#close();
    }
  }

  /**
   * Runs `work` before the polls that are due. Rejects without having sent anything where the line is not connected,
   * too much waits already, or people know that the unit is silent.
   */
  async command<T>(
    unitName: string,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    const unit = this.#units.all.findIndex(({ name }) => name === unitName);
    this.#admit(this.#units.all[unit]);
    const result = this.#commands.ask(unit, signal, work);
    this.#pump();
    return result;
  }

  counters(): Counters {
    return sum([this.#counters, ...this.#units.all.map(({ counters }) => counters)]);
  }

  state(): LineState {
    const now = this.#deps.clock.elapsed();
    const until = (at: number) => milliseconds(Math.max(0, at - now));
    return {
      endpoint: this.line.endpoint,
      connection: this.#connection,
      nextTryIn: this.#connection === 'waiting' ? until(this.#nextConnect) : undefined,
      waitingCommands: this.#commands.waiting,
      lastRtt: this.#roundTrips.last,
      p99Rtt: this.#roundTrips.percentile(0.99),
      counters: this.counters(),
      units: this.#units.all.map((unit) =>
        unitState(unit, unit.breaker.state === 'closed' ? undefined : until(this.#units.tryAt(unit))),
      ),
    };
  }

  // Connection

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
      ended.resolve(error);
    };
    const aborted = (): void => lost(this.#signal.reason);
    this.#signal.addEventListener('abort', aborted, { once: true });
    this.#lost = lost;
    this.#schedule.begin(since);
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
    this.#pump();

    const error = await ended.promise;

    this.#signal.removeEventListener('abort', aborted);
    this.#commands.refuseAll(() => notConnected(this.line.endpoint));
    stop.abort();
    await watching;
    // What is under way may still append; only then are all points bad.
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
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

  // Schedule

  /** Starts whatever may start now, and sees to being called again when the next is due. */
  #pump(): void {
    const units = this.#units;
    while (this.#mayStart()) {
      const now = this.#deps.clock.elapsed();
      const isDue = this.#schedule.nextDue <= now;
      if (this.#commands.waiting > 0 && (!isDue || this.#inARow < COMMANDS_IN_A_ROW)) {
        this.#inARow += 1;
        const command = this.#commands.take();
        if (command) void this.#execute(command, now);
        continue;
      }
      this.#inARow = 0;
      const unit = units.nextProbe();
      if (unit && units.tryAt(unit) <= now) {
        void this.#read(units.probe(unit), unit, now);
      } else if (isDue) {
        this.#tick(now);
      } else {
        break;
      }
    }
    this.#arm();
  }

  #mayStart(): boolean {
    return this.#connection === 'connected' && this.#active < this.line.inFlight && !this.#signal.aborted;
  }

  #tick(now: number): void {
    const schedule = this.#schedule;
    const poll = schedule.first;
    const unit = this.#units.of(poll);
    if (unit === undefined) return;
    const { counters } = unit;
    const isLate = now - schedule.dueOf(poll) > LATE_SHARE * schedule.periodOf(poll);
    const passed = schedule.advance(now);
    if (!this.#units.mayRead(poll, now)) {
      counters.heldBack += passed + 1;
      // Not heard, like the read that failed.
      if (!this.#bad.isTold(poll)) this.#bad.tell(poll, TIMEOUT);
      return;
    }
    counters.missed += passed;
    if (this.#units.isRunning(poll)) {
      counters.missed += 1;
      return;
    }
    if (isLate) counters.late += 1;
    void this.#read(poll, unit, now);
  }

  #arm(): void {
    if (!this.#mayStart()) return;
    const unit = this.#units.nextProbe();
    const probeAt = unit ? this.#units.tryAt(unit) : Number.POSITIVE_INFINITY;
    this.#alarm.at(Math.min(this.#schedule.nextDue, probeAt), this.#signal);
  }

  // Requests

  async #read(poll: number, unit: Unit, started: number): Promise<void> {
    const request = this.line.polls[poll];
    if (request === undefined) return;
    const { epoch } = unit.breaker;
    const isProbe = unit.breaker.state === 'probing';
    let thrown: unknown;
    this.#active += 1;
    this.#units.began(poll, unit);
    try {
      await this.line.poll(request, this.#deps.into, this.#signal);
    } catch (error) {
      thrown = error ?? new Error('a poll threw nothing');
    }
    try {
      this.#settle(unit, { poll, what: request.what, started, epoch }, thrown);
    } catch (bug) {
      this.#crash(bug);
    }
    this.#units.ended(poll, unit, isProbe);
    this.#ended();
  }

  async #execute(command: LineCommand, started: number): Promise<void> {
    const unit = this.#units.all[command.unit];
    const epoch = unit?.breaker.epoch ?? 0;
    let thrown: unknown;
    this.#active += 1;
    this.#counters.commands += 1;
    try {
      await command.start(AbortSignal.any([command.signal, this.#signal]));
    } catch (error) {
      thrown = error ?? new Error('a command threw nothing');
      command.refuse(thrown);
    }
    try {
      // Who asked may have left meanwhile; that says nothing about the device.
      const isOver = command.signal.aborted && thrown !== undefined && !isLoss(thrown);
      if (isLoss(thrown)) this.#lost(thrown);
      if (unit && !isOver) this.#settle(unit, { poll: undefined, what: 'command', started, epoch }, thrown);
    } catch (bug) {
      this.#crash(bug);
    }
    this.#ended();
  }

  #ended(): void {
    this.#active -= 1;
    if (this.#active === 0) this.#whenIdle();
    this.#pump();
  }

  /** Whoever was told something threw. That is a bug of the house, not of a device: the runner stops with it. */
  #crash(bug: unknown): void {
    this.#bug ??= bug instanceof Error ? bug : new Error(String(bug));
    this.#lost(bug);
  }

  #settle(unit: Unit, attempt: Attempt, thrown: unknown): void {
    if (thrown === undefined) {
      this.#answered(unit, attempt);
    } else if (!this.#signal.aborted) {
      // The points of a poll that lost the connection turn bad with all others.
      if (isLoss(thrown)) unit.counters.errors.lost += 1;
      if (isLoss(thrown)) this.#lost(thrown);
      else this.#failed(unit, attempt, thrown);
    }
  }

  #answered(unit: Unit, { poll, what, started }: Attempt): void {
    const { clock, log } = this.#deps;
    const units = this.#units;
    const now = clock.elapsed();
    unit.roundTrips.add(now - started);
    this.#roundTrips.add(now - started);
    if (!this.#isProven) this.#prove();
    if (poll !== undefined) this.#bad.read(poll);
    if (poll !== undefined && units.isSwallowed(poll)) {
      log.info('request answered again', { endpoint: this.line.endpoint, unit: unit.name, what });
    }
    if (units.answered(unit, poll, now)) {
      // What was held back meanwhile is read at once, not at its next tick, which may be an hour away.
      const heldBack = unit.polls.filter((other) => this.#bad.isTold(other));
      this.#schedule.soon(heldBack, now);
    }
    if (unit.breaker.silentSince !== undefined) tellBack(this.#people, unit, now);
  }

  #failed(unit: Unit, attempt: Attempt, error: unknown): void {
    const { clock, log } = this.#deps;
    const { poll, what, started, epoch } = attempt;
    const { breaker } = unit;
    const { endpoint } = this.line;
    const now = clock.elapsed();
    const kind = failureKind(error);
    unit.counters.errors[kind] += 1;
    if (poll !== undefined) this.#bad.tell(poll, reasonOf(error, DRIVER_FAULT));
    if (kind === 'refused') {
      // A driver may refuse a command by itself; a poll is refused by the device, which is an answer.
      if (poll !== undefined) this.#answered(unit, { ...attempt, poll: undefined });
      return;
    }
    if (kind === 'other' && breaker.inARow === 0) {
      const stack = error instanceof Error ? error.stack : undefined;
      log.error('driver failed', { endpoint, unit: unit.name, what, error: errorText(error), stack });
    }
    this.#units.inVain(unit, poll, now, now - started, epoch);
    if (poll !== undefined && this.#units.isNewlySwallowed(poll)) {
      log.warn('request not answered', {
        endpoint,
        unit: unit.name,
        what,
        error: errorText(error),
        remedy: 'the device answers other requests; are these addresses right?',
      });
    }
    tellSilent(this.#people, unit, { what, error, now, nextTry: this.#units.tryAt(unit) });
  }

  #admit(unit: Unit | undefined): void {
    const { endpoint } = this.line;
    try {
      if (this.#connection !== 'connected') throw notConnected(endpoint);
      if (this.#commands.isFull) throw busy(endpoint);
      // Every command to a unit that is known to be silent would cost its neighbours a time-out.
      if (unit?.breaker.announced && unit.breaker.state !== 'closed') {
        throw silent(endpoint, unit.devices, this.#units.tryAt(unit) - this.#deps.clock.elapsed());
      }
    } catch (error) {
      this.#counters.commandsRefused += 1;
      throw error;
    }
  }
}
