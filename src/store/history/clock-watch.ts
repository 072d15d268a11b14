import type { Clock } from '../../core/clock.ts';
import type { Facts, Log } from '../../core/log.ts';
import { hours } from '../../core/units.ts';
import type { Floors } from './filing.ts';

/** Where samples of today have to go, raw begins again with the next full hour: that is no wrong clock. */
const SOON = hours(1);

export interface ClockWatchOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly floors: () => Floors;
  readonly onEvent: (kind: string, subject: string, facts: Facts) => void;
}

/**
 * Tells once that the clock is in a time whose raw samples were given up, as after a start without a battery and
 * without a time server: what is recorded then is kept in less detail, or not at all. And once that this is over.
 */
export class ClockWatch {
  readonly #options: ClockWatchOptions;
  #isBehind = false;

  constructor(options: ClockWatchOptions) {
    this.#options = options;
  }

  look(): void {
    const { clock, log, floors, onEvent } = this.#options;
    const now = clock.now();
    const { raw, hour } = floors();
    const isBehind = now + SOON < raw;
    if (isBehind === this.#isBehind) return;
    this.#isBehind = isBehind;
    const facts = { clock: isoOf(now), rawFrom: isoOf(raw) };
    if (!isBehind) {
      log.info('the clock is right again: raw samples are kept', facts);
      return onEvent('clock-caught-up', 'clock', facts);
    }
    const kept = now < hour ? 'nothing' : 'minutes and hours only';
    const remedy = 'set the clock of the gateway, and give it a time server';
    log.error('the clock is behind the history: raw samples are not kept', { ...facts, kept, remedy });
    return onEvent('clock-behind', 'clock', { ...facts, kept, remedy });
  }
}

function isoOf(time: number): string {
  return new Date(time).toISOString();
}
