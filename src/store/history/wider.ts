import type { PointName } from '../../core/point.ts';
import { type EpochMs, days, epochMs, hours } from '../../core/units.ts';
import { type Rollup, merge } from '../../telemetry/rollup.ts';
import type { RollupFile } from './rollup-file.ts';
import { to } from './trouble.ts';

const HOUR = hours(1);
const DAY = days(1);

export interface Widening {
  readonly minutes: RollupFile;
  /** In a transaction. */
  readonly hours: RollupFile;
  /** Hours before it are not kept. */
  readonly floor: EpochMs;
}

/** The hours of a day of one series again, as its minutes have them. What minutes know nothing of stays as it is. */
export function widenDay(name: PointName, day: EpochMs, files: Widening): void {
  const { minutes, hours: target, floor } = files;
  const found = to(minutes.path, () => minutes.read(name, day, epochMs(day + DAY)));
  for (const rollup of hoursOf(found, floor))
    to(target.path, () => target.replace(name, rollup.start, [rollup]));
}

function hoursOf(minutes: readonly Rollup[], floor: EpochMs): Rollup[] {
  const found: Rollup[] = [];
  for (const minute of minutes) {
    const start = epochMs(Math.floor(minute.start / HOUR) * HOUR);
    if (start < floor) continue;
    const last = found.at(-1);
    const part = { ...minute, start };
    if (last?.start === start) found[found.length - 1] = merge(last, part);
    else found.push(part);
  }
  return found;
}
