import type { PointConfig } from '../config/config.ts';
import type { PointValue } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import type { Command, CommandResult } from '../core/command.ts';
import { SluiceError, errorText } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import { type Duration, type EpochMs, milliseconds, minutes } from '../core/units.ts';
import { decide, decideTime } from './decide.ts';
import { parseCommand } from './parse.ts';
import { oneLine, quoted } from './quote.ts';
import { type Rate, WriteRate } from './rate.ts';
import { Recent } from './recent.ts';
import { FAILURES, type FailureKey, REFUSALS, type Refusal, type RefusalKey, refusal } from './refusal.ts';
import { sameOnWire } from './same.ts';

/** Commands that wait or are being carried out, over all devices. Each line has a shorter queue of its own. */
export const MOST_COMMANDS = 64;
/** Refusals of a kind are told at most this often, however fast somebody asks; the counters have them all. */
const TELL_EVERY = minutes(1);

export interface CommanderParts {
  /** `Config.points`. */
  readonly points: readonly PointConfig[];
  /** Index into `points`. Settles within the time-out of the line. */
  readonly write: (point: number, value: PointValue, signal: AbortSignal) => Promise<void>;
  readonly readBack: (point: number, signal: AbortSignal) => Promise<PointValue>;
  readonly clock: Clock;
  readonly log: Log;
  /** Aborted when the gateway ends; what waits is refused then. */
  readonly signal: AbortSignal;
  readonly rate?: Rate;
}

export interface Request {
  /** Certificate name of the asker, or `upstream`. */
  readonly by: string;
  readonly device: string;
  readonly point: string;
  readonly payload: Uint8Array;
  readonly retained: boolean;
}

export interface CommandCounts {
  /** Decided to be carried out; each ends in `done`, in one of `failed`, or refused because it waited too long. */
  readonly accepted: number;
  readonly done: number;
  /** Answered with the result of the first one of the same id. */
  readonly repeated: number;
  readonly refused: Readonly<Record<RefusalKey, number>>;
  readonly failed: Readonly<Record<FailureKey, number>>;
}

export interface Commander {
  /** Never rejects, except for a bug. The `id` of the result is empty where the payload had none. */
  handle(request: Request): Promise<CommandResult>;
  /** A copy. */
  counts(): CommandCounts;
}

export function createCommander(parts: CommanderParts): Commander {
  return new WriteCommander(parts);
}

interface Asked {
  /** What the id was used for. */
  readonly what: string;
  readonly result: Promise<CommandResult>;
}

class WriteCommander implements Commander {
  readonly #parts: CommanderParts;
  readonly #points: ReadonlyMap<string, ReadonlyMap<string, PointConfig>>;
  readonly #rate: WriteRate;
  readonly #recent = new Recent<Asked>();
  /** The last command of each device; the next one begins after it, so that a read-back meets its own write. */
  readonly #lanes = new Map<string, Promise<unknown>>();
  readonly #refused = zeros(REFUSALS);
  readonly #failed = zeros(FAILURES);
  readonly #told = new Map<RefusalKey, Duration>();
  #accepted = 0;
  #done = 0;
  #repeated = 0;
  #pending = 0;

  constructor(parts: CommanderParts) {
    this.#parts = parts;
    this.#points = byDevice(parts.points);
    this.#rate = new WriteRate(parts.rate);
  }

  counts(): CommandCounts {
    return {
      accepted: this.#accepted,
      done: this.#done,
      repeated: this.#repeated,
      refused: { ...this.#refused },
      failed: { ...this.#failed },
    };
  }

  async handle(request: Request): Promise<CommandResult> {
    const parsed = parseCommand(request.payload);
    if (!parsed.ok) return this.#refuse(request, parsed.id, parsed.refusal);
    const { id, value, expires } = parsed.wish;
    const { by, device, point } = request;

    const what = JSON.stringify([device, point, value, expires]);
    const before = request.retained ? undefined : this.#recent.find(by, id);
    if (before !== undefined) {
      if (before.what !== what) {
        return this.#refuse(
          request,
          id,
          refusal('id reused', `the id ${quoted(id)} was used for another command`),
        );
      }
      this.#repeated += 1;
      return before.result;
    }
    const result = this.#answer(request, { id, device, point, value, by }, expires);
    // A retained one is never carried out, so its id is free for one that is.
    if (!request.retained) this.#recent.remember(by, id, { what, result });
    return result;
  }

  async #answer(request: Request, command: Command, expires: EpochMs | undefined): Promise<CommandResult> {
    const { clock, signal } = this.#parts;
    const ofDevice = this.#points.get(command.device);
    const point = ofDevice?.get(command.point);
    const decision = decide({
      command,
      point,
      deviceKnown: ofDevice !== undefined,
      retained: request.retained,
      expires,
      now: clock.now(),
    });
    if (!decision.allowed) return this.#refuse(request, command.id, decision);
    if (point === undefined) throw new Error('a write without a point was allowed');
    if (signal.aborted) return this.#refuse(request, command.id, stopping());
    if (this.#pending >= MOST_COMMANDS) {
      return this.#refuse(
        request,
        command.id,
        refusal('busy', `${this.#pending} commands are waiting already; ask again later`),
      );
    }
    if (!this.#rate.take(command.device, clock.elapsed())) {
      return this.#refuse(
        request,
        command.id,
        refusal('too often', `${command.device} is written to too often; write less often`),
      );
    }

    this.#accepted += 1;
    this.#pending += 1;
    try {
      return await this.#inTurn(command.device, async () => {
        if (signal.aborted) return this.#refuse(request, command.id, stopping());
        const inTime = decideTime(expires, clock.now());
        if (!inTime.allowed) return this.#refuse(request, command.id, inTime);
        return this.#carryOut(command, point);
      });
    } finally {
      this.#pending -= 1;
    }
  }

  async #inTurn(device: string, work: () => Promise<CommandResult>): Promise<CommandResult> {
    const turn = (this.#lanes.get(device) ?? Promise.resolve()).then(work);
    const end = turn.catch(() => {});
    this.#lanes.set(device, end);
    try {
      return await turn;
    } finally {
      if (this.#lanes.get(device) === end) this.#lanes.delete(device);
    }
  }

  async #carryOut(command: Command, point: PointConfig): Promise<CommandResult> {
    const { write, readBack, signal } = this.#parts;
    try {
      await write(point.index, command.value, signal);
    } catch (error) {
      return this.#fail(command, 'not written', `it was not written: ${said(error, signal)}`);
    }
    let value: PointValue;
    try {
      value = await readBack(point.index, signal);
    } catch (error) {
      return this.#fail(
        command,
        'not read back',
        `it was written, but could not be read back: ${said(error, signal)}`,
      );
    }
    if (!sameOnWire(point, command.value, value)) {
      const held = typeof value === 'string' ? quoted(value) : String(value);
      return this.#fail(command, 'differs', `it was written, but the device holds ${held}`);
    }
    this.#done += 1;
    this.#parts.log.info('command carried out', factsOf(command));
    return { id: command.id, ok: true, value };
  }

  #fail(command: Command, key: FailureKey, error: string): CommandResult {
    this.#failed[key] += 1;
    this.#parts.log.warn('command failed', { ...factsOf(command), error });
    return { id: command.id, ok: false, error };
  }

  #refuse({ by, device, point }: Request, id: string, { key, because }: Refusal): CommandResult {
    this.#refused[key] += 1;
    const elapsed = this.#parts.clock.elapsed();
    const told = this.#told.get(key);
    if (told === undefined || elapsed - told >= TELL_EVERY) {
      this.#told.set(key, milliseconds(elapsed));
      this.#parts.log.warn('command refused', {
        by,
        device: oneLine(device),
        point: oneLine(point),
        because,
        refusedSoFar: this.#refused[key],
      });
    }
    return { id, ok: false, error: because };
  }
}

function byDevice(points: readonly PointConfig[]): ReadonlyMap<string, ReadonlyMap<string, PointConfig>> {
  const devices = new Map<string, Map<string, PointConfig>>();
  for (const point of points) {
    const own = devices.get(point.device) ?? new Map<string, PointConfig>();
    devices.set(point.device, own.set(point.name, point));
  }
  return devices;
}

function zeros<Key extends string>(keys: readonly Key[]): Record<Key, number> {
  const counters = Object.fromEntries(keys.map((key) => [key, 0]));
  return counters as Record<Key, number>; // eslint-disable-line -- fromEntries forgets the keys
}

function stopping(): Refusal {
  return refusal('stopping', 'the gateway is stopping; nothing was written');
}

/** A SluiceError is written for people; anything else is a bug and must be seen as one. */
function said(error: unknown, signal: AbortSignal): string {
  if (error instanceof SluiceError) return errorText(error);
  if (signal.aborted) return 'the gateway is stopping';
  throw error;
}

function factsOf({ by, device, point, id, value }: Command): Record<string, string | number | boolean> {
  return { by, device, point, id: oneLine(id), value: typeof value === 'string' ? oneLine(value) : value };
}
