import type { BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { reasonCode } from '../core/quality.ts';
import { Alarm } from './alarm.ts';
import type { BadSamples } from './bad-samples.ts';
import { busy, CommandLane, type LineCommand, notConnected, silent } from './command-lane.ts';
import type { Line } from './driver.ts';
import { isLoss } from './failures.ts';
import type { Counters } from './line-state.ts';
import type { ScanTimes } from './scan-times.ts';
import type { Schedule } from './schedule.ts';
import type { Unit, Units } from './units.ts';
import type { Verdicts } from './verdicts.ts';

export interface PumpDeps {
  readonly line: Line;
  readonly into: BatchBuilder;
  readonly clock: Clock;
  readonly units: Units;
  readonly schedule: Schedule;
  readonly times: ScanTimes;
  readonly bad: BadSamples;
  readonly verdicts: Verdicts;
  /** What concerns no unit. */
  readonly counters: Counters;
  readonly lost: (error: unknown) => void;
  /** Whoever was told something threw: a bug of the house. */
  readonly crash: (bug: unknown) => void;
}

/** A poll that begins this share of its period after its tick is late. */
const LATE_SHARE = 0.1;

/** After this many commands in a row a due poll has its turn, so that a flow gone wild cannot stop acquisition. */
const COMMANDS_IN_A_ROW = 8;

const TIMEOUT = reasonCode('timeout');

/**
 * Sends the requests of one line while its connection is open: commands, probes of silent units, polls that are due.
 * Nothing waits in a loop per poll: `pump` starts what may start and is called again whenever a request has ended, a
 * command came or a tick is due.
 */
export class LinePump {
  readonly #deps: PumpDeps;
  readonly #commands = new CommandLane();
  readonly #alarm: Alarm;
  #signal = AbortSignal.abort();
  #isOpen = false;
  #active = 0;
  #whenIdle: () => void = () => {};
  #inARow = 0;

  constructor(deps: PumpDeps) {
    this.#deps = deps;
    this.#alarm = new Alarm(deps.clock, () => this.pump());
  }

  get waitingCommands(): number {
    return this.#commands.waiting;
  }

  /** The line is connected; `signal` ends everything. Nothing goes out before `pump`. */
  open(now: number, signal: AbortSignal): void {
    this.#signal = signal;
    this.#deps.schedule.begin(now);
    this.#isOpen = true;
  }

  /** Nothing more goes out, from now on. */
  shut(): void {
    this.#isOpen = false;
  }

  /** Refuses the commands that wait. */
  refuse(): void {
    this.#commands.refuseAll(() => notConnected(this.#deps.line.endpoint));
  }

  /** Resolves when no request is under way; what is may still append. */
  async idle(): Promise<void> {
    if (this.#active > 0) await new Promise<void>((resolve) => (this.#whenIdle = resolve));
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
    const { all } = this.#deps.units;
    const unit = all.findIndex(({ name }) => name === unitName);
    this.#admit(all[unit]);
    const result = this.#commands.ask(unit, signal, work);
    this.pump();
    return result;
  }

  #admit(unit: Unit | undefined): void {
    const { line, units, clock, counters } = this.#deps;
    try {
      if (!this.#isOpen) throw notConnected(line.endpoint);
      if (this.#commands.isFull) throw busy(line.endpoint);
      // Every command to a unit that is known to be silent would cost its neighbours a time-out.
      if (unit?.breaker.announced && unit.breaker.state !== 'closed') {
        throw silent(line.endpoint, unit.devices, units.tryAt(unit) - clock.elapsed());
      }
    } catch (error) {
      counters.commandsRefused += 1;
      throw error;
    }
  }

  /** Starts whatever may start now, and sees to being called again when the next is due. */
  pump(): void {
    const { units, schedule, clock } = this.#deps;
    while (this.#mayStart()) {
      const now = clock.elapsed();
      const isDue = schedule.nextDue <= now;
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
    return this.#isOpen && this.#active < this.#deps.line.inFlight && !this.#signal.aborted;
  }

  #arm(): void {
    if (!this.#mayStart()) return;
    const { units, schedule } = this.#deps;
    const unit = units.nextProbe();
    const probeAt = unit ? units.tryAt(unit) : Number.POSITIVE_INFINITY;
    this.#alarm.at(Math.min(schedule.nextDue, probeAt), this.#signal);
  }

  #tick(now: number): void {
    const { units, schedule, bad } = this.#deps;
    const poll = schedule.first;
    const unit = units.of(poll);
    if (unit === undefined) return;
    const { counters } = unit;
    const isLate = now - schedule.dueOf(poll) > LATE_SHARE * schedule.periodOf(poll);
    const passed = schedule.advance(now);
    if (!units.mayRead(poll, now)) {
      counters.heldBack += passed + 1;
      // Not heard, like the read that failed.
      if (!bad.isTold(poll)) bad.tell(poll, TIMEOUT);
      return;
    }
    counters.missed += passed;
    if (units.isRunning(poll)) {
      counters.missed += 1;
      return;
    }
    if (isLate) counters.late += 1;
    void this.#read(poll, unit, now);
  }

  async #read(poll: number, unit: Unit, started: number): Promise<void> {
    const { line, into, units, times } = this.#deps;
    const request = line.polls[poll];
    if (request === undefined) return;
    const { epoch } = unit.breaker;
    const isProbe = unit.breaker.state === 'probing';
    let thrown: unknown;
    this.#active += 1;
    units.began(poll, unit);
    try {
      await line.poll(request, into, { signal: this.#signal, stamp: times.stamp(poll, started) });
    } catch (error) {
      thrown = error ?? new Error('a poll threw nothing');
    }
    this.#settle(unit, { poll, what: request.what, started, epoch }, thrown);
    units.ended(poll, unit, isProbe);
    this.#ended();
  }

  async #execute(command: LineCommand, started: number): Promise<void> {
    const { units, counters } = this.#deps;
    const unit = units.all[command.unit];
    const epoch = unit?.breaker.epoch ?? 0;
    let thrown: unknown;
    this.#active += 1;
    counters.commands += 1;
    try {
      await command.start(AbortSignal.any([command.signal, this.#signal]));
    } catch (error) {
      thrown = error ?? new Error('a command threw nothing');
      command.refuse(thrown);
    }
    // Who asked may have left meanwhile; that says nothing about the device.
    const isOver = command.signal.aborted && thrown !== undefined && !isLoss(thrown);
    if (isLoss(thrown)) this.#deps.lost(thrown);
    if (unit && !isOver) this.#settle(unit, { poll: undefined, what: 'command', started, epoch }, thrown);
    this.#ended();
  }

  #settle(...[unit, attempt, thrown]: Parameters<Verdicts['settle']>): void {
    // What fails because everything stops says nothing.
    if (thrown !== undefined && this.#signal.aborted) return;
    try {
      this.#deps.verdicts.settle(unit, attempt, thrown);
    } catch (bug) {
      this.#deps.crash(bug);
    }
  }

  #ended(): void {
    this.#active -= 1;
    if (this.#active === 0) this.#whenIdle();
    this.pump();
  }
}
