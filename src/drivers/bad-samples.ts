import type { BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import type { EpochMs } from '../core/units.ts';
import type { Line } from './driver.ts';
import type { ScanTimes } from './scan-times.ts';

export interface BadSamplesDeps {
  readonly line: Line;
  readonly into: BatchBuilder;
  readonly times: ScanTimes;
  readonly clock: Clock;
}

/** The samples of what was not heard; remembers which polls were told, so that a held-back one is told once. */
export class BadSamples {
  readonly #line: Line;
  readonly #into: BatchBuilder;
  readonly #times: ScanTimes;
  readonly #clock: Clock;
  /** Per poll: its points were told to be bad since it was read last. */
  readonly #told: Uint8Array;

  constructor({ line, into, times, clock }: BadSamplesDeps) {
    this.#line = line;
    this.#into = into;
    this.#times = times;
    this.#clock = clock;
    this.#told = new Uint8Array(line.polls.length);
  }

  isTold(poll: number): boolean {
    return this.#told[poll] === 1;
  }

  tell(poll: number, reason: number): void {
    this.#told[poll] = 1;
    this.#add(this.#line.polls[poll]?.points ?? [], this.#times.now(poll), reason);
  }

  tellWatched(reason: number): void {
    this.#add(this.#line.watched ?? [], this.#clock.now(), reason);
  }

  tellAll(reason: number): void {
    for (let poll = 0; poll < this.#told.length; poll++) this.tell(poll, reason);
    this.tellWatched(reason);
  }

  read(poll: number): void {
    this.#told[poll] = 0;
  }

  /** What was told has another reason from now on. */
  forget(): void {
    this.#told.fill(0);
  }

  #add(points: readonly number[], time: EpochMs, reason: number): void {
    for (const point of points) this.#into.addBad(point, time, reason);
  }
}
