import { TELEMETRY_PATTERN } from '../config/pattern.ts';
import type { HistoryQuery } from '../core/history.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { usage } from './options.ts';
import { parseWhen } from './when.ts';

export interface HistoryOptions {
  readonly from: string;
  readonly to: string;
  readonly points: readonly string[];
}

/** What `--from`, `--to` and `--points` of a command ask for. Throws USAGE. */
export function historyQuery(
  command: string,
  { from, to, points }: HistoryOptions,
  now: EpochMs = epochMs(Date.now()),
): HistoryQuery {
  const query = {
    points,
    from: parseWhen(command, 'from', from, now),
    to: parseWhen(command, 'to', to, now),
  };
  if (query.from >= query.to) throw usage(command, `--from ${from} is not before --to ${to}`);
  const wrong = points.find((pattern) => !TELEMETRY_PATTERN.test(pattern));
  if (wrong === undefined) return query;
  throw usage(
    command,
    `--points ${visible(wrong)} is no pattern; write device/point, with * for any letters`,
  );
}
