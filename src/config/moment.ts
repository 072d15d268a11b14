import { type EpochMs, epochMs } from '../core/units.ts';

/** A day, which begins at midnight, or a minute of it; always UTC, so that no summer time moves it. */
export const MOMENT = /^(\d{4}-\d{2}-\d{2})(?:T(\d{2}:\d{2})Z)?$/;
export const MOMENT_EXAMPLES = 'a day or a minute in UTC, such as 2026-12-31 or 2026-12-31T06:00Z';

/** The kernel compares nanoseconds in 63 bits, until 2262; whoever writes more than this did not mean a day. */
export const LAST_MOMENT = epochMs(Date.UTC(2100, 0, 1));

/** Undefined where there is no such day. */
export function parseMoment(text: string): EpochMs | undefined {
  const [, day, time = '00:00'] = MOMENT.exec(text) ?? [];
  const moment = Date.parse(`${day}T${time}:00Z`);
  // 2026-02-30 is taken for the second of March by some.
  if (Number.isNaN(moment) || !new Date(moment).toISOString().startsWith(`${day}T${time}`)) return undefined;
  return epochMs(moment);
}
