import { join } from 'node:path';
import { type EpochMs, days, epochMs, hours } from '../../core/units.ts';
import { asideOf } from '../damage.ts';
import { EARLIEST, type HistoryFile, fileOf, filesIn, namesIn } from './files.ts';
import { RollupFile } from './rollup-file.ts';
import { to } from './trouble.ts';

const HOUR = hours(1);
/** A device may be ahead by up to a day. */
const AHEAD = days(1);

/**
 * Where raw begins, as the files say that are there: a crash may come after a raw file is gone and before the book could
 * be told. What was written under a clock that ran ahead of `horizon` says nothing.
 */
export function rawFloorInFiles(folder: string, horizon: EpochMs): EpochMs {
  const until = epochMs(horizon + AHEAD);
  const given = filesIn(folder, 'hour').map((at) => to(at.path, () => floorIn(at, until)) ?? EARLIEST);
  const damaged = asideIn(join(folder, 'raw')).map(({ at, since }) =>
    at.from <= horizon ? endOfDamaged(at, since) : EARLIEST,
  );
  return [...given, ...damaged].reduce((a, b) => (a > b ? a : b), EARLIEST);
}

/** What was in a damaged file nobody can ask any more: at most everything up to when it was found. */
export function endOfDamaged(at: HistoryFile, found: EpochMs): EpochMs {
  const hour = (Math.floor(found / HOUR) + 1) * HOUR;
  return epochMs(Math.max(at.from, Math.min(at.to, hour)));
}

function floorIn(at: HistoryFile, until: EpochMs): EpochMs | undefined {
  const file = RollupFile.openForReading(at.path, 'hour');
  try {
    return file.rawFloor(until);
  } finally {
    file.close();
  }
}

function asideIn(folder: string): { readonly at: HistoryFile; readonly since: EpochMs }[] {
  return namesIn(folder).flatMap((name) => {
    const aside = asideOf(join(folder, name));
    const at = aside === undefined ? undefined : fileOf(aside.file);
    return aside === undefined || at === undefined ? [] : [{ at, since: epochMs(aside.time) }];
  });
}
