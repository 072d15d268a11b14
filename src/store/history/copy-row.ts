import { type Batch, type BatchBuilder, BOOLEAN, NUMBER, TEXT } from '../../core/batch.ts';
import { GOOD } from '../../core/quality.ts';

/** Appends row i of a batch as a sample of `point`. */
export function copyRow(batch: Batch, i: number, point: number, into: BatchBuilder): void {
  const time = batch.times[i] ?? 0;
  const value = batch.values[i] ?? 0;
  const quality = batch.qualities[i] ?? GOOD;
  const reason = batch.reasons[i] ?? 0;
  switch (batch.forms[i]) {
    case NUMBER:
      return into.addNumber(point, time, value, quality, reason);
    case BOOLEAN:
      return into.addBoolean(point, time, value !== 0, quality, reason);
    case TEXT:
      return into.addText(point, time, batch.texts[value] ?? '', quality, reason);
    default:
      return into.addBad(point, time, reason);
  }
}
