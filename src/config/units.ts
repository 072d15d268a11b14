import { type Bytes, bytes, type Duration, milliseconds } from '../core/units.ts';
import { formatDuration, LONGEST, parseDuration } from './duration.ts';
import { describe, type Path, type Report } from './problem.ts';
import { formatSize, parseSize } from './size.ts';

/** Shortest and longest period or time-out that is not a slip of the pen. */
const SHORTEST_PERIOD = milliseconds(10);
const LONGEST_PERIOD = milliseconds(31 * 86_400_000);

// Undefined comes back where something was wrong with the text, or before with what should have been the text.

export function readDuration(
  text: string | undefined,
  path: Path,
  report: Report,
  [low, high]: readonly [Duration, Duration] | readonly [] = [],
): Duration | undefined {
  if (text === undefined) return undefined;
  const duration = parseDuration(text);
  if (duration === undefined) {
    report(path, describe(text), `use at most ${formatDuration(LONGEST)}`);
  } else if (low !== undefined && high !== undefined && (duration < low || duration > high)) {
    report(path, describe(text), `use ${formatDuration(low)} to ${formatDuration(high)}`);
    return undefined;
  }
  return duration;
}

export function readPeriod(text: string | undefined, path: Path, report: Report): Duration | undefined {
  return readDuration(text, path, report, [SHORTEST_PERIOD, LONGEST_PERIOD]);
}

/** Below this a journal cannot even be opened. */
const SMALLEST_SIZE = bytes(1_000_000);

export function readSize(
  text: string | undefined,
  path: Path,
  report: Report,
  smallest = SMALLEST_SIZE,
): Bytes | undefined {
  if (text === undefined) return undefined;
  const size = parseSize(text);
  if (size === undefined) {
    report(path, describe(text), 'use at most 1000TB');
  } else if (size < smallest) {
    report(path, describe(text), `use ${formatSize(smallest)} or more`);
    return undefined;
  }
  return size;
}
