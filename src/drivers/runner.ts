import type { BatchBuilder, PointValue } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { SluiceError } from '../core/errors.ts';
import type { Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import type { PointConfig } from '../config/config.ts';
import type { OnDevice } from './announcements.ts';
import type { Random } from './backoff.ts';
import type { Line } from './driver.ts';
import { Limiter } from './limiter.ts';
import { LineRunner } from './line-runner.ts';
import { type Counters, type LineState, sum } from './line-state.ts';
import { WallTime } from './wall-time.ts';

export interface RunnerDeps {
  readonly lines: readonly Line[];
  readonly points: readonly PointConfig[];
  /** Where all samples go, those of failures too; whoever takes the batches owns the rhythm. */
  readonly into: BatchBuilder;
  readonly clock: Clock;
  readonly log: Log;
  readonly random?: Random;
  /** A device stopped answering, or answers again; on changes only. */
  readonly onDevice?: OnDevice;
}

/** Owns schedule, retry, back-off and jitter of all lines. `run` closes the lines at the end. */
export interface Runner extends Task {
  /** Rejects with what the line threw, or, unsent, with BUSY, DEVICE_REFUSED, DEVICE_TIMEOUT or CONNECTION_LOST. */
  write(point: number, value: PointValue, signal: AbortSignal): Promise<void>;
  readBack(point: number, signal: AbortSignal): Promise<PointValue>;
  /** Sums over all lines. */
  readonly counters: Counters;
  lineStates(): readonly LineState[];
}

/**
 * A connect to an address that swallows packets holds its place for seconds. So many may, before the others wait: few
 * enough for small routers and for a restart of a plant with 500 endpoints, enough that a dead subnet blocks nobody long.
 */
const CONNECTS_AT_A_TIME = 16;

export function createRunner(deps: RunnerDeps): Runner {
  const connects = new Limiter(CONNECTS_AT_A_TIME);
  const wall = new WallTime(deps.clock);
  const runners = deps.lines.map(
    (line, index) =>
      new LineRunner(line, {
        into: deps.into,
        clock: deps.clock,
        wall,
        log: deps.log,
        random: deps.random ?? Math.random,
        onDevice: deps.onDevice ?? (() => {}),
        devices: devicesOf(line, deps.points),
        connects,
        index,
        lines: deps.lines.length,
      }),
  );
  const places = placesOf(runners, deps.points);

  const placeOf = (point: number, verb: string, able: (line: Line) => boolean): Place => {
    const place = places.get(point);
    if (place !== undefined && able(place.runner.line)) return place;
    const config = deps.points[point];
    const name = config ? `${config.device}/${config.name}` : `point ${point}`;
    throw new SluiceError('DEVICE_REFUSED', `${name} cannot be ${verb}: its driver does not do that`, {
      reason: 'not implemented',
    });
  };

  return {
    name: 'acquisition',
    run: async (signal) => {
      await Promise.all(runners.map(async (runner) => runner.run(signal)));
    },
    write: async (point, value, signal) => {
      const { runner, unit } = placeOf(point, 'written', (line) => line.write !== undefined);
      await runner.command(unit, signal, async (both) => runner.line.write?.(point, value, both));
    },
    readBack: async (point, signal) => {
      const { runner, unit } = placeOf(point, 'read back', (line) => line.readBack !== undefined);
      return runner.command(unit, signal, async (both) => {
        const value = await runner.line.readBack?.(point, both);
        if (value === undefined) throw new SluiceError('DEVICE_REFUSED', 'nothing was read back');
        return value;
      });
    },
    get counters() {
      return sum(runners.map((runner) => runner.counters()));
    },
    lineStates: () => runners.map((runner) => runner.state()),
  };
}

function devicesOf({ polls, watched = [] }: Line, points: readonly PointConfig[]): number {
  return new Set([
    ...polls.map(({ device }) => device),
    ...watched.flatMap((point) => points[point]?.device ?? []),
  ]).size;
}

interface Place {
  readonly runner: LineRunner;
  readonly unit: string;
}

/** Line and unit of every point: by its poll, else by watch, else by another point of its device. */
function placesOf(runners: readonly LineRunner[], points: readonly PointConfig[]): Map<number, Place> {
  const places = new Map<number, Place>();
  const byDevice = new Map<string, Place>();
  for (const runner of runners) {
    const { polls, watched = [] } = runner.line;
    for (const { unit, device, points: polled } of polls) {
      const place = { runner, unit };
      byDevice.set(device, place);
      for (const point of polled) places.set(point, place);
    }
    for (const point of watched) {
      if (!places.has(point)) places.set(point, { runner, unit: polls[0]?.unit ?? '' });
    }
  }
  for (const [point, place] of places) {
    const device = points[point]?.device;
    if (device !== undefined && !byDevice.has(device)) byDevice.set(device, place);
  }
  for (const { index, device } of points) {
    const place = byDevice.get(device);
    if (place !== undefined && !places.has(index)) places.set(index, place);
  }
  return places;
}
