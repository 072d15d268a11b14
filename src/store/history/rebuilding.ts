import { days, epochMs, hours } from '../../core/units.ts';
import { type HistoryFile, filesIn } from './files.ts';
import { type RollingOptions, rollUpAgain } from './rolling.ts';
import { RollupFile } from './rollup-file.ts';
import { dayOf } from './shelf.ts';
import { to } from './trouble.ts';
import { widenDay } from './wider.ts';

const HOUR = hours(1);
const DAY = days(1);

/** The minutes of a day again, as far as raw is complete. False where it was left half done. Throws FileTrouble. */
export async function rebuildMinutes(lost: HistoryFile, options: RollingOptions): Promise<boolean> {
  const { shelf, floors } = options;
  const day = dayOf(lost.from);
  if (!shelf.days().includes(day)) return true;
  for (let hour = day; hour < day + DAY; hour = epochMs(hour + HOUR))
    if (hour >= floors.raw && !(await rollUpAgain({ day, hour }, options))) return false;
  return true;
}

/** The hours of a month again, from the minutes that are left of it. */
export async function rebuildHours(lost: HistoryFile, options: RollingOptions): Promise<boolean> {
  const { folder, between } = options;
  const minutes = filesIn(folder, 'minute').filter(({ from }) => from >= lost.from && from < lost.to);
  for (const at of minutes) {
    await rebuildDay(at, options);
    if (!(await between())) return false;
  }
  return true;
}

async function rebuildDay(at: HistoryFile, { shelf, floors, pace }: RollingOptions): Promise<void> {
  const day = dayOf(at.from);
  const target = shelf.rollup('hour', day);
  const source = to(at.path, () => RollupFile.openForReading(at.path, 'minute'));
  try {
    to(target.path, () => target.begin());
    const files = { minutes: source, hours: target, floor: floors.hour };
    for (const name of to(at.path, () => source.names())) {
      widenDay(name, day, files);
      if (pace.due) await pace.rest();
    }
    to(target.path, () => target.commit());
  } catch (error) {
    target.rollback();
    throw error;
  } finally {
    source.close();
  }
}
