import type { PointName } from '../core/point.ts';
import { QUALITIES, REASONS } from '../core/quality.ts';
import type { Encoder, Write } from './encoder.ts';
import { IsoTime } from './iso-time.ts';
import { lineEncoder, valueWriter } from './lines.ts';

const HEAD = 'device,point,time,value,unit,quality,reason\r\n';
const QUOTED = /[",\r\n]/;
/** What a spreadsheet takes for a formula (OWASP, CSV injection); and the mark itself, so that it can be taken off again. */
const FORMULA = /^[=+\-@\t\r']/;
/** Integers beyond 2^53 are texts; with a sign they are still no formula. */
const PLAIN_NUMBER = /^[+-]?\d+(?:\.\d+)?$/;
const value = valueWriter(text, '');

/**
 * RFC 4180 with a head line: comma, CRLF, UTF-8, quotes where needed. A text of a device that a spreadsheet would
 * run as a formula has a leading apostrophe, and so has one that begins with an apostrophe: a reader that takes one
 * off has the text as it was.
 */
export function csvEncoder(names: readonly PointName[], write: Write): Encoder {
  const times = new IsoTime();
  const heads = names.map(({ device, point }) => `${text(device)},${text(point)},`);
  const units = names.map(({ unit = '' }) => text(unit));
  const goods = units.map((unit) => `,${unit},good,\r\n`);
  return lineEncoder(write, HEAD, (batch, row) => {
    const point = batch.points[row] ?? 0;
    const start = (heads[point] ?? ',,') + times.of(batch.times[row] ?? 0);
    const quality = batch.qualities[row] ?? 0;
    if (quality === 0) return `${start},${value(batch, row)}${goods[point] ?? ',,,\r\n'}`;
    const why = `${QUALITIES[quality] ?? ''},${REASONS[batch.reasons[row] ?? 0] ?? ''}`;
    return `${start},${value(batch, row)},${units[point] ?? ''},${why}\r\n`;
  });
}

function text(raw: string): string {
  const safe = FORMULA.test(raw) && !PLAIN_NUMBER.test(raw) ? `'${raw}` : raw;
  return QUOTED.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
