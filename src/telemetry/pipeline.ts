import { type Batch, BatchBuilder } from '../core/batch.ts';
import type { Clock } from '../core/clock.ts';
import { errorText } from '../core/errors.ts';
import type { Facts, Log } from '../core/log.ts';
import type { Task } from '../core/task.ts';
import { type Duration, milliseconds } from '../core/units.ts';
import type { PointConfig } from '../config/config.ts';
import { createFilter, due, report } from './filter.ts';
import { createPresence, noticed, type PresenceChange } from './presence.ts';
import { createStaleness, heard, stale } from './staleness.ts';
import { createStatistics, observe, observeReported, type Statistics } from './statistics.ts';

/** Ten batches a second: a share of the commit interval that nobody notices, and few enough to cost nothing. */
const TAKE_EVERY: Duration = milliseconds(100);

const SILENT_REMEDY = 'check that it is powered, and that its way to and from the gateway is open';

export interface PipelineDeps {
  readonly points: readonly PointConfig[];
  /** What drivers append to. */
  readonly intake: BatchBuilder;
  /** Takes a batch over and resolves when it is on disk; bounds what waits, and counts and tells what it gave up. */
  readonly append: (batch: Batch) => Promise<void>;
  /** The same of everything that drivers delivered, before the filter, for the history. */
  readonly record: (batch: Batch) => Promise<void>;
  /** A device that is observed or pushes fell silent, or is heard again; the runner tells it of those that are polled. */
  readonly onDevice?: (device: string, state: PresenceChange['state'], facts: Facts) => void;
  readonly clock: Clock;
  readonly log: Log;
}

/** Samples that drivers delivered, and of these what the filter let through. */
export interface PipelineCounters {
  read: number;
  reported: number;
}

export interface Pipeline extends Task {
  readonly statistics: Statistics;
  readonly counters: Readonly<PipelineCounters>;
}

/**
 * From what drivers delivered to what the store keeps: staleness, statistics, record, report by exception, append. The
 * one place where a batch passes; it never waits for the store. Close the store after it has returned.
 */
export function createPipeline(deps: PipelineDeps): Pipeline {
  const { points, intake, append, record, clock, log } = deps;
  const filter = createFilter(points);
  const staleness = createStaleness(points, clock.elapsed());
  const presence = createPresence(points);
  const statistics = createStatistics(points.length, clock.now());
  const kept = new BatchBuilder();
  const counters: PipelineCounters = { read: 0, reported: 0 };
  const appending = answers({
    refused: (why) => log.error('samples are lost: the store does not take them', { why }),
    taken: () => log.info('the store takes samples again'),
  });
  const recording = answers({
    refused: (why) => log.error('samples are missing in the history: the store does not take them', { why }),
    taken: () => log.info('samples reach the history again'),
  });

  function step(): void {
    const now = clock.now();
    stale(staleness, clock.elapsed(), now, intake);
    const batch = intake.take();
    if (batch !== undefined) {
      counters.read += batch.count;
      heard(staleness, batch);
      for (const change of noticed(presence, batch, clock.elapsed())) announce(change);
      observe(statistics, batch);
      report(filter, batch, kept);
      // The last to see it: its columns go to the store's thread. What `due` repeats no device has sent.
      recording(record(batch));
    }
    due(filter, now, kept);
    send();
  }

  function send(): void {
    const batch = kept.take();
    if (batch === undefined) return;
    // Counted before the columns are transferred.
    counters.reported += batch.count;
    observeReported(statistics, batch);
    appending(append(batch));
  }

  function announce({ device, state, reason, silentFor }: PresenceChange): void {
    const facts = state === 'silent' ? { reason, remedy: SILENT_REMEDY } : { silentFor };
    if (state === 'silent') log.warn('device silent', { device, ...facts });
    else log.info('device back', { device, ...facts });
    deps.onDevice?.(device, state, facts);
  }

  return {
    name: 'pipeline',
    statistics,
    counters,
    run: async (signal) => {
      while (!signal.aborted) {
        await clock.sleep(TAKE_EVERY, signal).catch(() => {});
        step();
      }
      // What was appended is not waited for: on a full disk it settles only when the store is closed.
    },
  };
}

/** Says what became of batches on change only: a full disk would otherwise fill the log. Nobody waits for them. */
function answers(tell: {
  readonly refused: (why: string) => void;
  readonly taken: () => void;
}): (answer: Promise<void>) => void {
  let refusing = false;
  const taken = (): void => {
    if (refusing) tell.taken();
    refusing = false;
  };
  const refused = (error: unknown): void => {
    if (!refusing) tell.refused(errorText(error));
    refusing = true;
  };
  return (answer) => {
    answer.then(taken, refused);
  };
}
