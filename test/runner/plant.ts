import type { Batch } from '../../src/core/batch.ts';
import { BatchBuilder } from '../../src/core/batch.ts';
import type { Facts, Log } from '../../src/core/log.ts';
import { REASONS } from '../../src/core/quality.ts';
import type { Line } from '../../src/drivers/driver.ts';
import { createRunner, type Runner } from '../../src/drivers/runner.ts';
import { HandClock, settle } from '../support/clock.ts';
import { fakePoint } from '../support/fake-line.ts';

export interface Told {
  readonly device: string;
  readonly state: 'silent' | 'back';
  readonly at: number;
  readonly facts: Facts;
}

/** A runner under a hand-wound clock, with everything it says written down. */
export class Plant {
  readonly clock: HandClock;
  readonly into = new BatchBuilder();
  readonly told: Told[] = [];
  readonly logged: { readonly what: string; readonly facts: Facts | undefined }[] = [];
  readonly stop = new AbortController();
  readonly start: number;
  #runner: Runner | undefined;
  #running: Promise<void> | undefined;

  constructor(clock = new HandClock()) {
    this.clock = clock;
    this.start = clock.elapsed();
  }

  /** The middle of the jitter, so that waits are exact. */
  run(lines: readonly Line[], random = () => 0.5): Runner {
    const note = (what: string, facts?: Facts): void => void this.logged.push({ what, facts });
    const log: Log = { info: note, warn: note, error: note };
    const points = lines
      .flatMap((line) =>
        line.polls.flatMap((poll) => poll.points.map((index) => fakePoint(index, { device: poll.device }))),
      )
      .sort((a, b) => a.index - b.index);
    const runner = createRunner({
      lines,
      points,
      into: this.into,
      clock: this.clock,
      log,
      random,
      onDevice: (device, state, facts) =>
        this.told.push({ device, state, at: this.clock.elapsed() - this.start, facts }),
    });
    this.#runner = runner;
    this.#running = runner.run(this.stop.signal);
    return runner;
  }

  get runner(): Runner {
    if (this.#runner === undefined) throw new Error('not started');
    return this.#runner;
  }

  /** Everything that was appended since the last call. */
  take(): Row[] {
    const batch = this.into.take();
    return batch ? rowsOf(batch) : [];
  }

  async end(): Promise<void> {
    this.stop.abort();
    await this.#running;
    await settle();
  }

  says(what: string): number {
    return this.logged.filter((line) => line.what === what).length;
  }
}

export interface Row {
  readonly point: number;
  readonly time: number;
  readonly value: number;
  readonly quality: number;
  readonly reason: string;
}

export function rowsOf(batch: Batch): Row[] {
  return Array.from({ length: batch.count }, (_, i) => ({
    point: batch.points[i] ?? -1,
    time: batch.times[i] ?? Number.NaN,
    value: batch.values[i] ?? Number.NaN,
    quality: batch.qualities[i] ?? -1,
    reason: REASONS[batch.reasons[i] ?? 0] ?? '?',
  }));
}
