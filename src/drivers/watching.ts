import type { BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { SluiceError } from '../core/errors.ts';
import { type Random, reconnectWait } from './backoff.ts';
import type { Line } from './driver.ts';
import { pause } from './pause.ts';

export interface WatchDeps {
  readonly into: BatchBuilder;
  readonly clock: Clock;
  readonly random: Random;
  /** The watch ended although nobody stopped it; `first` where it had been running well until now. */
  readonly ended: (error: unknown, first: boolean) => void;
  readonly lost: (error: SluiceError) => void;
}

/** A watch that ran this long was a good one: its back-off starts over. */
const STABLE_AFTER = 60_000;

/** Runs the watch of a line, where it has one, until aborted or until the connection is lost; restarts it with back-off. */
export async function keepWatching(line: Line, deps: WatchDeps, signal: AbortSignal): Promise<void> {
  if (line.watch === undefined) return;
  const { clock, random, into } = deps;
  let failures = 0;
  while (!signal.aborted) {
    const since = clock.elapsed();
    let error: unknown = new SluiceError('DEVICE_TIMEOUT', `${line.endpoint} ended its watch`);
    try {
      await line.watch(into, signal);
    } catch (thrown) {
      error = thrown;
    }
    if (signal.aborted) return;
    if (error instanceof SluiceError && error.code === 'CONNECTION_LOST') {
      deps.lost(error);
      return;
    }
    if (clock.elapsed() - since >= STABLE_AFTER) failures = 0;
    failures += 1;
    deps.ended(error, failures === 1);
    await pause(clock, reconnectWait(failures, random), signal);
  }
}
