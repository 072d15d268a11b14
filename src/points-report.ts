import type { PointConfig } from './config/config.ts';
import type { Clock } from './core/clock.ts';
import type { Facts, Log } from './core/log.ts';
import { QUALITIES, REASONS } from './core/quality.ts';
import type { Task } from './core/task.ts';
import { latest, mean, type Statistics, startWindow } from './telemetry/statistics.ts';

/** Free for applications; Node keeps SIGUSR1 for its debugger. */
const ON_REQUEST = 'SIGUSR2';

/** Without a listener the signal ends a process: whoever asks while everything stops must not cut that short. */
const TOO_LATE = (): void => {};

/**
 * Tells, on SIGUSR2, what each point did since it was asked last: before any filter, so that somebody on site sees what
 * the devices say and what of it goes up.
 */
export function pointsReport(
  points: readonly PointConfig[],
  statistics: Statistics,
  deps: { readonly clock: Clock; readonly log: Log },
): Task {
  const tell = (): void => {
    const since = new Date(statistics.since).toISOString();
    for (const point of points) deps.log.info('point', { ...pointFacts(statistics, point), since });
    startWindow(statistics, deps.clock.now());
  };
  return {
    name: 'points on request',
    run: async (signal) => {
      if (!process.listeners(ON_REQUEST).includes(TOO_LATE)) process.on(ON_REQUEST, TOO_LATE);
      process.on(ON_REQUEST, tell);
      await new Promise<void>((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      });
      process.off(ON_REQUEST, tell);
    },
  };
}

/** What there is to say of one point; numbers only where there were any. */
export function pointFacts(statistics: Statistics, { index, device, name, unit }: PointConfig): Facts {
  const heard = !Number.isNaN(statistics.times[index] ?? Number.NaN);
  const reason = REASONS[statistics.reasons[index] ?? 0];
  const numbers = (statistics.numbers[index] ?? 0) > 0;
  return {
    device,
    point: name,
    value: heard ? latest(statistics, index) : undefined,
    unit,
    quality: heard ? QUALITIES[statistics.qualities[index] ?? 0] : undefined,
    reason: reason === '' ? undefined : reason,
    min: numbers ? statistics.mins[index] : undefined,
    mean: numbers ? mean(statistics, index) : undefined,
    max: numbers ? statistics.maxes[index] : undefined,
    read: statistics.counts[index],
    bad: statistics.bads[index],
    reported: statistics.reported[index],
  };
}
