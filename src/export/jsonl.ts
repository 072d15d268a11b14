import { BOOLEAN, type Batch, NUMBER, TEXT } from '../core/batch.ts';
import type { PointName } from '../core/point.ts';
import { QUALITIES, REASONS } from '../core/quality.ts';
import type { Encoder, Write } from './encoder.ts';
import { IsoTime } from './iso-time.ts';
import { lineEncoder } from './lines.ts';

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

function value(batch: Batch, row: number): string {
  const held = batch.values[row] ?? 0;
  switch (batch.forms[row]) {
    case NUMBER:
      return String(held);
    case BOOLEAN:
      return held === 0 ? 'false' : 'true';
    case TEXT:
      return JSON.stringify(batch.texts[held] ?? '');
    default:
      return 'null';
  }
}
