import { join } from 'node:path';
import type { Test } from 'tap';
import { silentLog } from '../../src/core/log.ts';
import { milliseconds } from '../../src/core/units.ts';
import { namesIn } from '../../src/store/history/files.ts';
import { type HistoryOptions, openHistory } from '../../src/store/history/history.ts';
import { openForReading } from '../../src/store/open.ts';
import { type OutboxOptions, openOutbox } from '../../src/store/outbox.ts';
import { recordedIn } from '../store/recorded.ts';
import { until } from '../support/wait.ts';
import { lineOf } from './fixture.ts';

// What a data folder holds after its gateway was killed.

/** Databases of a tier. */
export function databasesIn(folder: string, tier: string): string[] {
  const path = join(folder, tier);
  return namesIn(path)
    .filter((name) => name.endsWith('.db'))
    .map((name) => join(path, name));
}

type Points = OutboxOptions['points'];
type Recorded = ReturnType<typeof recordedIn>['samples'][number];

/** Samples of the log in the words of `linesOf`. */
export function linesOfLog(samples: readonly Recorded[], points: Points): string[] {
  const names = new Map(
    points.map((name) => [`${name.device}/${name.point} ${name.unit ?? ''}`.trim(), name]),
  );
  return samples.map(({ name, time, value, quality }) =>
    lineOf(names.get(name) ?? { device: '?', point: name }, time, value, quality),
  );
}

/** Hours that wait to be rolled up. */
function unrolledIn(folder: string): number {
  return databasesIn(folder, 'raw').reduce((sum, file) => {
    const db = openForReading(file);
    try {
      return sum + (db.prepare<[], number>('SELECT count(*) FROM unrolled').pluck().get() ?? 0);
    } finally {
      db.close();
    }
  }, 0);
}

export interface Settling {
  readonly folder: string;
  readonly outbox: Pick<OutboxOptions, 'points' | 'limit' | 'sampleLog'>;
  readonly history: Pick<HistoryOptions, 'retention' | 'thresholds'>;
}

/** Opens it once more, and lets everything be filed and rolled up. */
export async function settle(t: Test, { folder, outbox: options, history: rest }: Settling): Promise<void> {
  const file = join(folder, 'telemetry.db');
  const outbox = await openOutbox({ ...options, file, log: silentLog, commitEvery: milliseconds(4) });
  const history = await openHistory({
    ...rest,
    folder,
    outbox: options.limit,
    sampleLog: outbox,
    log: silentLog,
    thresholds: { ...rest.thresholds, headSamples: 1 },
  });
  await until('the log is filed', () => recordedIn(file).samples.length === 0);
  await until('every hour is rolled up', () => unrolledIn(folder) === 0);
  t.match(await history.state(), { samplesWaiting: 0, samplesRefused: 0, failing: null });
  await history.close();
  await outbox.close();
}
