import type { Clock } from '../../core/clock.ts';
import type { Facts, Log } from '../../core/log.ts';
import { type Duration, type EpochMs, minutes } from '../../core/units.ts';
import { FREE_SPACE } from '../full-disk.ts';

/** A disk that was not met full for so long has room: what was refused is tried again more often than that. */
const QUIET = minutes(1);

export interface FullWatchOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly onEvent: (kind: string, subject: string, facts: Facts) => void;
}

/**
 * Tells once that the disk is full, also where there is nothing that could be given up, and once that it is not any
 * more.
 */
export class FullWatch {
  readonly #options: FullWatchOptions;
  #since: EpochMs | undefined;
  #met: Duration | undefined;

  constructor(options: FullWatchOptions) {
    this.#options = options;
  }

  /** Store or history met a full disk. */
  met(): void {
    const { clock, log, onEvent } = this.#options;
    this.#met = clock.elapsed();
    if (this.#since !== undefined) return;
    this.#since = clock.now();
    log.error('the disk is full', { remedy: FREE_SPACE });
    onEvent('disk-full', 'disk', { remedy: FREE_SPACE });
  }

  /** Nothing is failing now. */
  look(): void {
    const { clock, log, onEvent } = this.#options;
    if (this.#since === undefined || this.#met === undefined) return;
    if (clock.elapsed() - this.#met < QUIET) return;
    const facts = { since: new Date(this.#since).toISOString() };
    this.#since = undefined;
    log.info('the disk has room again', facts);
    onEvent('disk-has-room', 'disk', facts);
  }
}
