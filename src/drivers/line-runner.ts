import type { BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { reasonCode } from '../core/quality.ts';
import { milliseconds } from '../core/units.ts';
import { type AnnounceDeps, type OnDevice, tellBack, tellLost, tellSilent } from './announcements.ts';
import { type Random, reconnectWait } from './backoff.ts';
import { CommandLane, type LineCommand } from './command-lane.ts';
import type { Line } from './driver.ts';
import type { Limiter } from './limiter.ts';
import { type Connection, type Counters, type LineState, newCounters, sum } from './line-state.ts';
import { pause } from './pause.ts';
import { placeInPeriod, Schedule } from './schedule.ts';
import { type Unit, Units } from './units.ts';
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

/** A poll that begins this share of its period after its tick is late. */
const LATE_SHARE = 0.1;

/** After this many commands in a row a due poll has its turn, so that a flow gone wild cannot stop acquisition. */
const COMMANDS_IN_A_ROW = 8;

/** A connection that stood this long was a good one: the back-off starts over. */
const STABLE_AFTER = 60_000;

const TIMEOUT = reasonCode('timeout');
const CONNECTION_LOST = reasonCode('connection lost');
/** A driver that throws what it should not has said nothing about the device. */
const DRIVER_FAULT = reasonCode('bad encoding');

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
  /** Per poll: its points were told to be bad since it was read last. */
  readonly #told: Uint8Array;

  #signal = AbortSignal.abort();
  #connection: Connection = 'idle';
  #connectFailures = 0;
  #nextConnect = 0;
  /** Set from when people were told that the endpoint is lost until a unit answers. */
  #lostSince: number | undefined;
  /** Ends `#serve`. */
  #lost: (error: unknown) => void = () => {};
  #active = 0;
  #whenIdle: () => void = () => {};
  #inARow = 0;
  /** Moments of the wake-ups under way, the earliest last. */
  readonly #armed: number[] = [];

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
    this.#commands = new CommandLane(endpoint);
    this.#told = new Uint8Array(polls.length);
  }

  /** Rejects only for a bug of its own; broken connections and devices are what it is for. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, random } = this.#deps;
    this.#signal = signal;
    try {
      while (!signal.aborted) {
        const error = (await this.#connect()) ?? (await this.#serve());
        if (signal.aborted) break;
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
    const result = Promise.withResolvers<T>();
    const command: LineCommand = {
      unit: this.#units.all.findIndex(({ name }) => name === unitName),
      signal,
      start: async (both) => result.resolve(await work(both)),
      refuse: (error) => result.reject(error),
    };
    this.#admit(command);
    const leave = (): void => {
      this.#commands.forget(command);
      result.reject(signal.reason);
    };
    signal.addEventListener('abort', leave, { once: true });
    try {
      this.#pump();
      return await result.promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
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
      counters: this.counters(),
      units: this.#units.all.map((unit) => ({
        unit: unit.name,
        devices: unit.devices,
        breaker: unit.breaker.state,
        silent: unit.breaker.announced,
        nextTryIn: unit.breaker.state === 'closed' ? undefined : until(this.#units.tryAt(unit)),
        lastRtt: unit.roundTrips.last,
        p99Rtt: unit.roundTrips.percentile(0.99),
        counters: sum([unit.counters]),
      })),
    };
  }

  // Connection

  /** Returns what went wrong, or undefined once the line is connected. */
  async #connect(): Promise<unknown> {
    const { connects } = this.#deps;
    this.#connection = 'connecting';
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
    const aborted = (): void => ended.resolve(this.#signal.reason);
    this.#signal.addEventListener('abort', aborted, { once: true });
    this.#lost = ended.resolve;
    this.#schedule.begin(since);
    this.#connection = 'connected';
    if (this.line.polls.length === 0) this.#tellConnected();
    const watching = keepWatching(
      this.line,
      {
        into,
        clock,
        random,
        lost: ended.resolve,
        ended: (error, first) => this.#watchEnded(error, first),
      },
      stop.signal,
    );
    this.#pump();

    const error = await ended.promise;

    this.#connection = 'waiting';
    this.#signal.removeEventListener('abort', aborted);
    this.#commands.refuseAll(() => this.#notConnected());
    stop.abort();
    await watching;
    // What is under way may still append; only then are all points bad.
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    if (clock.elapsed() - since >= STABLE_AFTER) this.#connectFailures = 0;
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
    const reason = reasonOf(error, 'CONNECTION_LOST', CONNECTION_LOST);
    for (let poll = 0; poll < this.#told.length; poll++) this.#addBad(poll, reason);
    this.#addBadPoints(this.line.watched ?? [], reason);
    tellLost(this.#people, this.#units.all, this.#lostSince, error);
  }

  /** A unit answered, so the endpoint is really there: many accept a connection only to close it. */
  #tellConnected(): void {
    if (this.#lostSince === undefined) return;
    const lostFor = Math.round(this.#deps.clock.elapsed() - this.#lostSince);
    this.#lostSince = undefined;
    // Who does not answer now has another reason to be bad than the connection.
    this.#told.fill(0);
    this.#deps.log.info('connection back', { endpoint: this.line.endpoint, lostFor });
  }

  #watchEnded(error: unknown, first: boolean): void {
    this.#counters.watchRestarts += 1;
    if (!first) return;
    this.#deps.log.warn('watch ended', { endpoint: this.line.endpoint, error: errorText(error) });
    this.#addBadPoints(this.line.watched ?? [], reasonOf(error, undefined, DRIVER_FAULT));
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
      const silent = units.nextProbe();
      if (silent !== undefined && units.tryAt(silent) <= now)
        void this.#read(units.probe(silent), silent, now);
      else if (isDue) this.#tick(now);
      else break;
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
      if (this.#told[poll] === 0) this.#addBad(poll, TIMEOUT);
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
    const silent = this.#units.nextProbe();
    const at = Math.min(
      this.#schedule.nextDue,
      silent ? this.#units.tryAt(silent) : Number.POSITIVE_INFINITY,
    );
    const earliest = this.#armed.at(-1);
    if (at === Number.POSITIVE_INFINITY || (earliest !== undefined && earliest <= at)) return;
    this.#armed.push(at);
    void this.#wakeAt(at);
  }

  /** A wake-up is never taken back: one that comes too early finds nothing to do. */
  async #wakeAt(at: number): Promise<void> {
    const { clock } = this.#deps;
    await pause(clock, at - clock.elapsed(), this.#signal);
    this.#armed.pop();
    this.#pump();
  }

  // Requests

  async #read(poll: number, unit: Unit, started: number): Promise<void> {
    const request = this.line.polls[poll];
    if (request === undefined) return;
    const { clock, into } = this.#deps;
    const { epoch } = unit.breaker;
    const isProbe = unit.breaker.state === 'probing';
    this.#active += 1;
    this.#units.began(poll, unit);
    try {
      await this.line.poll(request, into, this.#signal);
      this.#answered(unit, poll, started);
    } catch (error) {
      if (!this.#signal.aborted) {
        const cost = clock.elapsed() - started;
        if (isLoss(error)) this.#lose(unit, error);
        else this.#failed(unit, poll, request.what, error, cost, epoch);
      }
    }
    this.#units.ended(poll, unit, isProbe);
    this.#ended();
  }

  async #execute(command: LineCommand, started: number): Promise<void> {
    const unit = this.#units.all[command.unit];
    const epoch = unit?.breaker.epoch ?? 0;
    this.#active += 1;
    this.#counters.commands += 1;
    try {
      await command.start(AbortSignal.any([command.signal, this.#signal]));
      if (unit) this.#answered(unit, undefined, started);
    } catch (error) {
      command.refuse(error);
      if (unit && !this.#signal.aborted && !command.signal.aborted) {
        const cost = this.#deps.clock.elapsed() - started;
        if (isLoss(error)) this.#lose(unit, error);
        else this.#failed(unit, undefined, 'command', error, cost, epoch);
      }
    }
    this.#ended();
  }

  #ended(): void {
    this.#active -= 1;
    if (this.#active === 0) this.#whenIdle();
    this.#pump();
  }

  #answered(unit: Unit, poll: number | undefined, started: number): void {
    const now = this.#deps.clock.elapsed();
    unit.roundTrips.add(now - started);
    this.#connectFailures = 0;
    if (this.#lostSince !== undefined) this.#tellConnected();
    if (poll !== undefined) this.#told[poll] = 0;
    if (this.#units.answered(unit, poll, now)) {
      // What was held back meanwhile is read at once, not at its next tick, which may be an hour away.
      const heldBack = unit.polls.filter((other) => this.#told[other] === 1);
      this.#schedule.soon(heldBack, now);
    }
    if (unit.breaker.silentSince !== undefined) tellBack(this.#people, unit, now);
  }

  #lose(unit: Unit, error: SluiceError): void {
    unit.counters.errors.lost += 1;
    this.#lost(error);
  }

  #failed(
    unit: Unit,
    poll: number | undefined,
    what: string,
    error: unknown,
    cost: number,
    epoch: number,
  ): void {
    const { clock, log } = this.#deps;
    const { errors } = unit.counters;
    const now = clock.elapsed();
    if (poll !== undefined) this.#addBad(poll, reasonOf(error, undefined, DRIVER_FAULT));
    switch (error instanceof SluiceError ? error.code : undefined) {
      case 'DEVICE_REFUSED':
        // Said by the device, or by its driver on behalf of it: it says nothing about silence.
        errors.refused += 1;
        if (poll !== undefined) this.#units.answered(unit, poll, now);
        return;
      case 'DEVICE_TIMEOUT':
        errors.timeout += 1;
        break;
      case 'REPLY_MISMATCH':
        errors.mismatch += 1;
        break;
      default:
        errors.other += 1;
        // A bug; the first of a row is told with its stack, and the unit treated as one that does not answer.
        if (unit.breaker.inARow === 0) {
          const stack = error instanceof Error ? error.stack : undefined;
          log.error('driver failed', {
            endpoint: this.line.endpoint,
            unit: unit.name,
            what,
            stack,
            error: errorText(error),
          });
        }
    }
    this.#units.inVain(unit, poll, now, cost, epoch);
    tellSilent(this.#people, unit, now, what, error);
  }

  #admit(command: LineCommand): void {
    const unit = this.#units.all[command.unit];
    try {
      if (this.#connection !== 'connected') throw this.#notConnected();
      // Every command to a unit that is known to be silent would cost its neighbours a time-out.
      if (unit?.breaker.announced && unit.breaker.state !== 'closed') throw this.#silent(unit);
      this.#commands.add(command);
    } catch (error) {
      this.#counters.commandsRefused += 1;
      throw error;
    }
  }

  #notConnected(): SluiceError {
    return new SluiceError(
      'CONNECTION_LOST',
      `${this.line.endpoint} is not connected; the command was not sent`,
      { remedy: 'try again when the device is back' },
    );
  }

  #silent(unit: Unit): SluiceError {
    const wait = Math.ceil(Math.max(0, this.#units.tryAt(unit) - this.#deps.clock.elapsed()) / 1_000);
    return new SluiceError(
      'DEVICE_TIMEOUT',
      `${unit.devices.join(', ')} at ${this.line.endpoint} does not answer; the command was not sent`,
      { remedy: `the device is tried again in ${wait} s` },
    );
  }

  #addBad(poll: number, reason: number): void {
    this.#told[poll] = 1;
    this.#addBadPoints(this.line.polls[poll]?.points ?? [], reason);
  }

  #addBadPoints(points: readonly number[], reason: number): void {
    const { into, clock } = this.#deps;
    const now = clock.now();
    for (const point of points) into.addBad(point, now, reason);
  }
}

function isLoss(error: unknown): error is SluiceError {
  return error instanceof SluiceError && error.code === 'CONNECTION_LOST';
}

/** The reason an error carries, where it is a SluiceError (of `code`, if given). */
function reasonOf(error: unknown, code: SluiceError['code'] | undefined, otherwise: number): number {
  if (!(error instanceof SluiceError)) return otherwise;
  return code === undefined || error.code === code ? error.reason : otherwise;
}
