import type { PointName } from '../core/point.ts';
import { QUALITIES, REASONS } from '../core/quality.ts';
import type { Encoder, Write } from './encoder.ts';
import { IsoTime } from './iso-time.ts';
import { lineEncoder, valueWriter } from './lines.ts';
const value = valueWriter((text) => JSON.stringify(text), 'null');

/** One object a line, always with the same keys in the same order; the value is a number, true, false, a string or null. */
export function jsonlEncoder(names: readonly PointName[], write: Write): Encoder {
  const times = new IsoTime();
  const heads = names.map(
    ({ device, point }) => `{"device":${JSON.stringify(device)},"point":${JSON.stringify(point)},"time":"`,
  );
  const units = names.map(({ unit = '' }) => `,"unit":${JSON.stringify(unit)},"quality":"`);
  return lineEncoder(write, '', (batch, row) => {
    const point = batch.points[row] ?? 0;
    const quality = QUALITIES[batch.qualities[row] ?? 0] ?? '';
    const reason = REASONS[batch.reasons[row] ?? 0] ?? '';
    const time = times.of(batch.times[row] ?? 0);
    return `${heads[point] ?? ''}${time}","value":${value(batch, row)}${units[point] ?? ''}${quality}","reason":"${reason}"}\n`;
  });
}
