import type { BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { errorText, SluiceError } from '../core/errors.ts';
import type { Facts, Log } from '../core/log.ts';
import { reasonCode } from '../core/quality.ts';
import { milliseconds } from '../core/units.ts';
import { type Random, reconnectWait, unitWait } from './backoff.ts';
import { closed, newBreaker, opened } from './breaker.ts';
import { CommandLane, type LineCommand } from './command-lane.ts';
import type { Line } from './driver.ts';
import type { Limiter } from './limiter.ts';
import { type Connection, type Counters, type LineState, newCounters, sum, type Unit } from './line-state.ts';
import { RoundTrips } from './round-trips.ts';
import { placeInPeriod, Schedule } from './schedule.ts';

export type OnDevice = (device: string, state: 'silent' | 'back', facts: Facts) => void;

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

/** All units of a line that do not answer may together take a tenth of its time: 9 parts for the others. */
const OTHERS_SHARE = 9;

/** After this many commands in a row a due poll has its turn, so that a flow gone wild cannot stop acquisition. */
const COMMANDS_IN_A_ROW = 8;

/** A connection or a watch that stood this long was a good one: the back-off starts over. */
const STABLE_AFTER = 60_000;

/** Longest sleep; timers of Node take no more than 24 days. */
const LONGEST_SLEEP = 86_400_000;

const TIMEOUT = reasonCode('timeout');

/** Owns everything in time of one line: connection, schedule, back-off, commands. `run` never rejects. */
export class LineRunner {
  readonly line: Line;
  readonly #deps: LineDeps;
  readonly #units: Unit[];
  /** Unit of a poll. */
  readonly #unitOf: Int32Array;
  readonly #schedule: Schedule;
  readonly #commands: CommandLane;
  /** Counters of what concerns no unit. */
  readonly #counters: Counters = newCounters();

  // Per poll.
  readonly #running: Uint8Array;
  /** Its points were told to be bad since it was read last. */
  readonly #told: Uint8Array;
  readonly #everGood: Uint8Array;
  /** Failures in a row while the unit answers other polls, and when it is tried again. */
  readonly #pollFailures: Uint8Array;
  readonly #notBefore: Float64Array;

  #signal = AbortSignal.abort();
  #connection: Connection = 'idle';
  #nextConnect = 0;
  #connectFailures = 0;
  /** Set when people were told that the endpoint is lost, until a unit answers. */
  #lostSince: number | undefined;
  #lost: ((error: unknown) => void) | undefined;
  #active = 0;
  #whenIdle: (() => void) | undefined;
  #openUnits = 0;
  #probing = false;
  #probeNotBefore = Number.NEGATIVE_INFINITY;
  #inARow = 0;
  /** Wake-ups under way, the earliest last. */
  readonly #armed: number[] = [];
  #watchTold = false;

  constructor(line: Line, deps: LineDeps) {
    this.line = line;
    this.#deps = deps;
    this.#units = unitsOf(line);
    this.#unitOf = new Int32Array(line.polls.length);
    this.#units.forEach(({ polls }, unit) => {
      for (const poll of polls) this.#unitOf[poll] = unit;
    });
    this.#schedule = new Schedule(
      line.polls.map(({ every }) => every),
      line.polls.map((_, i) =>
        placeInPeriod(deps.index, deps.lines, this.#unitOf[i] ?? 0, this.#units.length),
      ),
    );
    this.#commands = new CommandLane(line.endpoint);
    this.#running = new Uint8Array(line.polls.length);
    this.#told = new Uint8Array(line.polls.length);
    this.#everGood = new Uint8Array(line.polls.length);
    this.#pollFailures = new Uint8Array(line.polls.length);
    this.#notBefore = new Float64Array(line.polls.length).fill(Number.NEGATIVE_INFINITY);
  }

  async run(signal: AbortSignal): Promise<void> {
    this.#signal = signal;
    this.#schedule.start(this.#deps.clock.elapsed());
    try {
      while (!signal.aborted) {
        const error = (await this.#connect()) ?? (await this.#serve());
        if (signal.aborted) break;
        this.#tellLoss(error);
        this.#connectFailures += 1;
        const wait = reconnectWait(this.#connectFailures, this.#deps.random);
        this.#nextConnect = this.#deps.clock.elapsed() + wait;
        await this.#sleep(wait, signal);
      }
    } finally {
      this.#connection = 'closed';
      this.#commands.refuseAll(() => this.#notConnected());
      await this.#close();
    }
  }

  /** Runs `work` before the polls that are due. Rejects without sending anything where that makes no sense. */
  async command<T>(
    unitName: string,
    signal: AbortSignal,
    work: (signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    signal.throwIfAborted();
    const unit = this.#units.findIndex(({ name }) => name === unitName);
    const result = Promise.withResolvers<T>();
    const command: LineCommand = {
      unit,
      signal,
      start: async (both) => result.resolve(await work(both)),
      refuse: (error) => result.reject(error),
    };
    const leave = (): void => {
      this.#commands.forget(command);
      result.reject(signal.reason);
    };
    try {
      this.#admit(command);
      signal.addEventListener('abort', leave, { once: true });
      this.#pump();
      return await result.promise;
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  state(): LineState {
    const now = this.#deps.clock.elapsed();
    return {
      endpoint: this.line.endpoint,
      connection: this.#connection,
      nextTryIn:
        this.#connection === 'waiting' ? milliseconds(Math.max(0, this.#nextConnect - now)) : undefined,
      waitingCommands: this.#commands.waiting,
      counters: this.counters(),
      units: this.#units.map((unit) => ({
        unit: unit.name,
        devices: unit.devices,
        breaker: unit.breaker.state,
        silent: unit.breaker.announced,
        nextTryIn:
          unit.breaker.state === 'closed' ? undefined : milliseconds(Math.max(0, this.#tryAt(unit) - now)),
        lastRtt: unit.roundTrips.last,
        p99Rtt: unit.roundTrips.percentile(0.99),
        counters: sum([unit.counters]),
      })),
    };
  }

  counters(): Counters {
    return sum([this.#counters, ...this.#units.map(({ counters }) => counters)]);
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
      return error ?? new Error('unknown');
    } finally {
      connects.release();
    }
  }

  /** Reads and writes until the connection is lost or the runner stops; returns what went wrong. */
  async #serve(): Promise<unknown> {
    const { clock } = this.#deps;
    const since = clock.elapsed();
    const ended = Promise.withResolvers<unknown>();
    const stop = new AbortController();
    const aborted = (): void => ended.resolve(this.#signal.reason);
    this.#signal.addEventListener('abort', aborted, { once: true });
    this.#lost = ended.resolve;
    this.#connection = 'connected';
    if (this.#connectFailures > 0) this.#schedule.resume(since);
    if (this.line.polls.length === 0) this.#tellConnected();
    const watching = this.#watch(stop.signal);
    this.#pump();

    const error = await ended.promise;

    this.#connection = 'waiting';
    this.#lost = undefined;
    this.#signal.removeEventListener('abort', aborted);
    this.#commands.refuseAll(() => this.#notConnected());
    stop.abort();
    await watching;
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
    this.#whenIdle = undefined;
    if (clock.elapsed() - since >= STABLE_AFTER) this.#connectFailures = 0;
    return error;
  }

  async #close(): Promise<void> {
    try {
      await this.line.close();
    } catch (error) {
      this.#deps.log.warn('closing a line failed', { endpoint: this.line.endpoint, error: errorText(error) });
    }
  }

  #tellLoss(error: unknown): void {
    this.#connection = 'waiting';
    if (this.#lostSince !== undefined) return;
    const { clock, log, onDevice } = this.#deps;
    this.#lostSince = clock.elapsed();
    const facts = { endpoint: this.line.endpoint, error: errorText(error), remedy: remedyOf(error) };
    log.warn('connection lost', {
      ...facts,
      devices: this.#units.reduce((n, { devices }) => n + devices.length, 0),
    });
    const reason = error instanceof SluiceError ? error.reason : LOST;
    this.line.polls.forEach((_, i) => this.#addBad(i, reason));
    this.#addBadPoints(this.line.watched ?? [], reason);
    for (const unit of this.#units) {
      unit.breaker.silentSince ??= this.#lostSince;
      if (unit.breaker.announced) continue;
      unit.breaker.announced = true;
      for (const device of unit.devices) onDevice(device, 'silent', { ...facts, reason: 'connection lost' });
    }
  }

  /** A unit answered, so the endpoint is really there: many accept a connection only to close it. */
  #tellConnected(): void {
    this.#connectFailures = 0;
    if (this.#lostSince === undefined) return;
    const lostFor = this.#deps.clock.elapsed() - this.#lostSince;
    this.#lostSince = undefined;
    // What does not answer now has another reason to be bad than the connection.
    this.#told.fill(0);
    this.#deps.log.info('connection back', { endpoint: this.line.endpoint, lostFor });
  }

  #notConnected(): SluiceError {
    return new SluiceError(
      'CONNECTION_LOST',
      `${this.line.endpoint} is not connected; the command was not sent`,
      {
        remedy: 'try again when the device is back',
      },
    );
  }

  // Schedule

  /** Starts whatever may start now, and sees to being called again when the next is due. */
  #pump(): void {
    const { clock } = this.#deps;
    while (this.#connection === 'connected' && this.#active < this.line.inFlight && !this.#signal.aborted) {
      const now = clock.elapsed();
      const due = this.#schedule.nextDue <= now;
      if (this.#commands.waiting > 0 && (!due || this.#inARow < COMMANDS_IN_A_ROW)) {
        this.#inARow += 1;
        const command = this.#commands.take();
        if (command) void this.#run(command, now);
        continue;
      }
      this.#inARow = 0;
      if (this.#probe(now)) continue;
      if (!due) break;
      this.#tick(now);
    }
    this.#arm();
  }

  #tick(now: number): void {
    const schedule = this.#schedule;
    const poll = schedule.first;
    const unit = this.#units[this.#unitOf[poll] ?? 0];
    if (unit === undefined) return;
    const late = now - schedule.dueOf(poll) > LATE_SHARE * schedule.periodOf(poll);
    const { counters } = unit;
    const missed = schedule.advance(now);
    if (unit.breaker.state !== 'closed') {
      counters.heldBack += missed + 1;
      if (this.#told[poll] === 0) this.#addBad(poll, TIMEOUT);
      return;
    }
    if (now < (this.#notBefore[poll] ?? 0)) {
      counters.heldBack += missed + 1;
      return;
    }
    counters.missed += missed;
    if (this.#running[poll] === 1) {
      counters.missed += 1;
      return;
    }
    if (late) counters.late += 1;
    void this.#read(poll, unit, now);
  }

  /** Tries one unit that does not answer, where its time has come and the line has time for it. */
  #probe(now: number): boolean {
    if (this.#openUnits === 0 || this.#probing) return false;
    let next: Unit | undefined;
    for (const unit of this.#units) {
      if (unit.breaker.state !== 'open') continue;
      if (next === undefined || unit.breaker.nextTry < next.breaker.nextTry) next = unit;
    }
    if (next === undefined || this.#tryAt(next) > now) return false;
    const poll = this.#cheapestPoll(next);
    if (poll === undefined) return false;
    next.breaker.state = 'probing';
    next.counters.probes += 1;
    this.#probing = true;
    void this.#read(poll, next, now);
    return true;
  }

  #tryAt(unit: Unit): number {
    const othersAnswer = this.#openUnits < this.#units.length;
    return othersAnswer ? Math.max(unit.breaker.nextTry, this.#probeNotBefore) : unit.breaker.nextTry;
  }

  /** The smallest read that is known to be good; one after the other where none is. */
  #cheapestPoll(unit: Unit): number | undefined {
    let cheapest: number | undefined;
    for (const poll of unit.polls) {
      if (this.#running[poll] === 1 || this.#everGood[poll] === 0 || (this.#pollFailures[poll] ?? 0) > 1)
        continue;
      if (cheapest === undefined || this.#size(poll) < this.#size(cheapest)) cheapest = poll;
    }
    if (cheapest !== undefined) return cheapest;
    for (let i = 0; i < unit.polls.length; i++) {
      unit.turn = (unit.turn + 1) % unit.polls.length;
      const poll = unit.polls[unit.turn];
      if (poll !== undefined && this.#running[poll] === 0) return poll;
    }
    return undefined;
  }

  #size(poll: number): number {
    return this.line.polls[poll]?.points.length ?? 0;
  }

  #arm(): void {
    if (this.#connection !== 'connected' || this.#active >= this.line.inFlight) return;
    let at = this.#schedule.nextDue;
    if (this.#openUnits > 0 && !this.#probing) {
      for (const unit of this.#units) {
        if (unit.breaker.state === 'open') at = Math.min(at, this.#tryAt(unit));
      }
    }
    const earliest = this.#armed.at(-1);
    if (at === Number.POSITIVE_INFINITY || (earliest !== undefined && earliest <= at)) return;
    this.#armed.push(at);
    void this.#wakeAt(at);
  }

  /** A wake-up is never taken back: one that comes too early finds nothing to do. */
  async #wakeAt(at: number): Promise<void> {
    const wait = Math.ceil(Math.max(0, at - this.#deps.clock.elapsed()));
    await this.#sleep(Math.min(wait, LONGEST_SLEEP), this.#signal);
    this.#armed.pop();
    this.#pump();
  }

  async #sleep(wait: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#deps.clock.sleep(milliseconds(wait), signal);
    } catch (error) {
      if (!signal.aborted) throw error;
    }
  }

  // Requests

  async #read(poll: number, unit: Unit, started: number): Promise<void> {
    const request = this.line.polls[poll];
    if (request === undefined) return;
    const { breaker, counters } = unit;
    const { epoch } = breaker;
    const isProbe = breaker.state === 'probing';
    this.#running[poll] = 1;
    this.#active += 1;
    counters.polls += 1;
    try {
      await this.line.poll(request, this.#deps.into, this.#signal);
      this.#told[poll] = 0;
      this.#everGood[poll] = 1;
      this.#pollFailures[poll] = 0;
      this.#notBefore[poll] = Number.NEGATIVE_INFINITY;
      this.#answered(unit, this.#deps.clock.elapsed() - started);
    } catch (error) {
      if (!this.#signal.aborted) this.#failed(unit, error, { started, epoch, poll, what: request.what });
    }
    this.#running[poll] = 0;
    if (isProbe) this.#probing = false;
    this.#settled();
  }

  async #run(command: LineCommand, started: number): Promise<void> {
    const unit = this.#units[command.unit];
    this.#active += 1;
    this.#counters.commands += 1;
    const epoch = unit?.breaker.epoch ?? 0;
    try {
      await command.start(AbortSignal.any([command.signal, this.#signal]));
      if (unit) this.#answered(unit, this.#deps.clock.elapsed() - started);
    } catch (error) {
      command.refuse(error);
      if (unit && !this.#signal.aborted && !command.signal.aborted) {
        this.#failed(unit, error, { started, epoch, poll: undefined, what: 'a command' });
      }
    }
    this.#settled();
  }

  #settled(): void {
    this.#active -= 1;
    if (this.#active === 0) this.#whenIdle?.();
    this.#pump();
  }

  #admit(command: LineCommand): void {
    const unit = this.#units[command.unit];
    try {
      if (this.#connection !== 'connected') throw this.#notConnected();
      // A unit that people know to be silent costs its neighbours a time-out for every command.
      if (unit && unit.breaker.announced && unit.breaker.state !== 'closed') throw this.#silent(unit);
      this.#commands.add(command);
    } catch (error) {
      this.#counters.commandsRefused += 1;
      throw error;
    }
  }

  #silent(unit: Unit): SluiceError {
    const nextTry = Math.ceil(Math.max(0, this.#tryAt(unit) - this.#deps.clock.elapsed()) / 1_000);
    return new SluiceError(
      'DEVICE_TIMEOUT',
      `${unit.devices.join(', ')} does not answer (unit ${unit.name} at ${this.line.endpoint}); the command was not sent`,
      { remedy: `it is tried again in ${nextTry} s` },
    );
  }

  #answered(unit: Unit, took: number): void {
    const { breaker } = unit;
    const { clock, log, onDevice } = this.#deps;
    unit.roundTrips.add(took);
    if (this.#lostSince !== undefined || this.#connectFailures > 0) this.#tellConnected();
    const wasOpen = breaker.state !== 'closed';
    const now = clock.elapsed();
    const attempts = breaker.inARow;
    closed(breaker, now);
    if (wasOpen) {
      this.#openUnits -= 1;
      // What was held back meanwhile is read at once, not at its next tick, which may be an hour away.
      this.#schedule.soon(
        unit.polls.filter((poll) => this.#told[poll] === 1 && (this.#pollFailures[poll] ?? 0) <= 1),
        now,
      );
    }
    if (breaker.announced) {
      breaker.announced = false;
      const facts = {
        endpoint: this.line.endpoint,
        unit: unit.name,
        silentFor: Math.round(now - (breaker.silentSince ?? now)),
        attempts,
      };
      for (const device of unit.devices) {
        log.info('device back', { device, ...facts });
        onDevice(device, 'back', facts);
      }
    }
    breaker.silentSince = undefined;
  }

  #failed(
    unit: Unit,
    error: unknown,
    attempt: { started: number; epoch: number; poll: number | undefined; what: string },
  ): void {
    const { poll } = attempt;
    const { errors } = unit.counters;
    const code = error instanceof SluiceError ? error.code : undefined;
    if (code === 'CONNECTION_LOST') {
      errors.lost += 1;
      // Its points turn bad with all others of the line.
      this.#backToOpen(unit);
      this.#lost?.(error);
      return;
    }
    if (poll !== undefined) {
      this.#addBad(poll, error instanceof SluiceError ? error.reason : DRIVER_FAULT);
    }
    if (code === 'DEVICE_REFUSED') {
      errors.refused += 1;
      this.#answered(unit, this.#deps.clock.elapsed() - attempt.started);
      return;
    }
    if (code === 'DEVICE_TIMEOUT') errors.timeout += 1;
    else if (code === 'REPLY_MISMATCH') errors.mismatch += 1;
    else errors.other += 1;
    this.#silence(unit, error, attempt);
  }

  /** One more attempt in vain: of the poll alone, where the unit answers others, or of the unit. */
  #silence(
    unit: Unit,
    error: unknown,
    {
      started,
      epoch,
      poll,
      what,
    }: { started: number; epoch: number; poll: number | undefined; what: string },
  ): void {
    const { breaker } = unit;
    const { clock, log, onDevice, random } = this.#deps;
    const now = clock.elapsed();
    const cost = now - started;
    let alone = false;
    if (poll !== undefined) {
      // Failed before, and the unit answered something else since: a block that the device does not serve.
      alone = (this.#pollFailures[poll] ?? 0) > 0 && breaker.state === 'closed' && unit.polls.length > 1;
      const failures = Math.min((this.#pollFailures[poll] ?? 0) + 1, 255);
      if (breaker.state === 'closed') {
        this.#pollFailures[poll] = failures;
        this.#notBefore[poll] = now + unitWait(failures, cost, random);
      }
    }
    if (breaker.state === 'probing') {
      this.#probeNotBefore = now + (OTHERS_SHARE * cost) / this.line.inFlight;
    }
    // An attempt from before the last change of state says nothing new.
    if (alone || epoch !== breaker.epoch) return;
    if (breaker.state === 'closed') this.#openUnits += 1;
    opened(breaker, now, cost, random);
    if (breaker.announced || breaker.inARow < 2) return;
    breaker.announced = true;
    const facts = {
      endpoint: this.line.endpoint,
      unit: unit.name,
      reason: error instanceof SluiceError ? error.code : 'fault of the driver',
      error: errorText(error),
      what,
      silentFor: Math.round(now - (breaker.silentSince ?? now)),
      nextTry: Math.round(breaker.lastWait),
      hint: breaker.everHeard ? undefined : `nothing was ever received; is unit ${unit.name} right?`,
    };
    for (const device of unit.devices) {
      log.warn('device silent', { device, ...facts });
      onDevice(device, 'silent', facts);
    }
  }

  #backToOpen(unit: Unit): void {
    if (unit.breaker.state === 'probing') unit.breaker.state = 'open';
  }

  // Watch

  async #watch(signal: AbortSignal): Promise<void> {
    const { clock, log, random, into } = this.#deps;
    if (this.line.watch === undefined) return;
    let failures = 0;
    while (!signal.aborted) {
      const since = clock.elapsed();
      let error: unknown = new SluiceError('DEVICE_TIMEOUT', `${this.line.endpoint} ended its watch`);
      try {
        await this.line.watch(into, signal);
      } catch (thrown) {
        error = thrown;
      }
      if (signal.aborted) return;
      if (error instanceof SluiceError && error.code === 'CONNECTION_LOST') {
        this.#lost?.(error);
        return;
      }
      if (clock.elapsed() - since >= STABLE_AFTER) {
        failures = 0;
        this.#watchTold = false;
      }
      failures += 1;
      this.#counters.watchRestarts += 1;
      if (!this.#watchTold) {
        this.#watchTold = true;
        log.warn('watch ended', { endpoint: this.line.endpoint, error: errorText(error) });
        this.#addBadPoints(
          this.line.watched ?? [],
          error instanceof SluiceError ? error.reason : DRIVER_FAULT,
        );
      }
      await this.#sleep(reconnectWait(failures, random), signal);
    }
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

const LOST = reasonCode('connection lost');
/** A driver that throws what it should not has said nothing about the device. */
const DRIVER_FAULT = reasonCode('bad encoding');

function remedyOf(error: unknown): string | undefined {
  return error instanceof SluiceError ? error.remedy : undefined;
}

function unitsOf(line: Line): Unit[] {
  const found = new Map<string, { devices: Set<string>; polls: number[] }>();
  line.polls.forEach(({ unit, device }, poll) => {
    const entry = found.get(unit) ?? { devices: new Set(), polls: [] };
    entry.devices.add(device);
    entry.polls.push(poll);
    found.set(unit, entry);
  });
  return [...found].map(([name, { devices, polls }]) => ({
    name,
    devices: [...devices],
    polls,
    breaker: newBreaker(),
    roundTrips: new RoundTrips(),
    counters: newCounters(),
    turn: -1,
  }));
}
