import { join } from 'node:path';
import { type Facts, type Log, silentLog } from '../../src/core/log.ts';
import type { Outbox } from '../../src/core/outbox.ts';
import type { SampleLog } from '../../src/core/sample-log.ts';
import { type Duration, days, kibibytes, mebibytes, milliseconds } from '../../src/core/units.ts';
import { type GatewayHistory, openHistory } from '../../src/store/history/history.ts';
import { openOutbox } from '../../src/store/outbox.ts';
import { points } from './workload.ts';

const KEEP = days(3_650);

/** Opens the outbox as a gateway does after the power is back. */
export async function openAgain(
  folder: string,
  commitEvery = milliseconds(10),
  log: Log = silentLog,
  onFull: () => void = () => {},
): Promise<Outbox & SampleLog> {
  const file = join(folder, 'telemetry.db');
  return openOutbox({ file, points, limit: mebibytes(256), log, commitEvery, onFull });
}

export interface HistoryChoices {
  readonly headSamples?: number;
  readonly log?: Log;
  readonly onEvent?: (kind: string, subject: string, facts: Facts) => void;
}

/** The history of that outbox, in a hurry: it files every few thousand samples, in small parts, and looks all the time. */
export async function openHistoryAgain(
  folder: string,
  sampleLog: SampleLog,
  { headSamples = 4_000, log = silentLog, onEvent = () => {} }: HistoryChoices = {},
): Promise<GatewayHistory> {
  const soon: Duration = milliseconds(20);
  return openHistory({
    folder,
    sampleLog,
    log,
    onEvent,
    retention: { raw: KEEP, minute: KEEP, hour: KEEP, disk: mebibytes(100_000) },
    outbox: mebibytes(256),
    thresholds: {
      headSamples,
      logBytes: kibibytes(256),
      spareBytes: kibibytes(128), // as of a quota that fits such a small disk
      partBytes: kibibytes(64),
      tick: soon,
      grace: soon,
      look: soon,
    },
  });
}
