import { parseDuration } from '../config/duration.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import { usage } from './options.ts';

/** `2026-11-26`, `2026-11-26T10:00`, with seconds and fraction, with `Z` or an offset such as `+01:00`. */
const INSTANT = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?)?(?:Z|[+-]\d{2}:\d{2})?$/;
const ZONED = /(?:Z|[+-]\d{2}:\d{2})$/;
const DATE_ONLY = /^\d{4}-\d{2}-\d{2}$/;

/**
 * A moment on the command line: ISO 8601, UTC where it names no zone, or a duration back from `now` such as `6h` or
 * `7d`. Throws USAGE.
 */
export function parseWhen(command: string, option: string, text: string, now: EpochMs): EpochMs {
  const back = parseDuration(text);
  if (back !== undefined) return epochMs(now - back);
  if (text === 'now') return now;
  if (INSTANT.test(text)) {
    const time = Date.parse(zoned(text));
    if (!Number.isNaN(time) && sameDay(text, time)) return epochMs(time);
  }
  throw usage(
    command,
    `--${option} ${text} is no time; write it as 2026-11-26T10:00Z, 2026-11-26, or as 6h or 7d back from now`,
  );
}

function zoned(text: string): string {
  const iso = text.replace(' ', 'T');
  if (DATE_ONLY.test(iso)) return `${iso}T00:00Z`;
  return ZONED.test(iso) ? iso : `${iso}Z`;
}

/** V8 takes the 31st of a month that has 30 days for the first of the next. */
function sameDay(text: string, time: number): boolean {
  const [, zone = 'Z'] = /([+-]\d{2}:\d{2})$/.exec(text.slice(10)) ?? [];
  const local = time + (zone === 'Z' ? 0 : offsetOf(zone));
  return new Date(local).toISOString().slice(0, 10) === text.slice(0, 10);
}

function offsetOf(zone: string): number {
  const minutes = Number(zone.slice(1, 3)) * 60 + Number(zone.slice(4));
  return (zone.startsWith('-') ? -1 : 1) * minutes * 60_000;
}
