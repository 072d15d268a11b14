import { BatchBuilder, type PointValue, valueAt } from '../../src/core/batch.ts';
import type { Clock } from '../../src/core/clock.ts';
import { systemClock } from '../../src/core/clock.ts';
import { SluiceError } from '../../src/core/errors.ts';
import { type Log, silentLog } from '../../src/core/log.ts';
import { REASONS } from '../../src/core/quality.ts';
import { type ModbusLine, modbusLine } from '../../src/drivers/modbus/line.ts';
import { type DeviceSketch, modbusDevice, modbusPoint, type PointSketch } from './modbus-points.ts';
import { scan } from './scan.ts';

export const never = new AbortController().signal;

/** A connected line with one device that has these points. */
export async function lineTo(
  port: number,
  sketches: readonly PointSketch[],
  { clock = systemClock, log = silentLog, ...device }: DeviceSketch & { clock?: Clock; log?: Log } = {},
): Promise<ModbusLine> {
  const points = sketches.map((sketch, index) => modbusPoint(index, sketch));
  const indices = points.map(({ index }) => index);
  const line = modbusLine([modbusDevice(port, indices, device)], points, { clock, log });
  await line.connect(never);
  return line;
}

/** Values by point after all polls of the line, in its order; a bad one is its reason in angle brackets. */
export async function readAll(line: ModbusLine): Promise<readonly PointValue[]> {
  const into = new BatchBuilder();
  for (const poll of line.polls) await line.poll(poll, into, scan());
  return rows(into);
}

/** The rows that were collected, by point. */
export function rows(into: BatchBuilder): readonly PointValue[] {
  const batch = into.take();
  if (batch === undefined) return [];
  const found: PointValue[] = [];
  for (let i = 0; i < batch.count; i++) {
    found[batch.points[i] ?? 0] = valueAt(batch, i) ?? `<${REASONS[batch.reasons[i] ?? 0]}>`;
  }
  return found;
}

/** Polls one poll of the line; its values, or the code of the error and that nothing was appended. */
export async function pollOutcome(line: ModbusLine, which = 0): Promise<readonly PointValue[] | string> {
  const into = new BatchBuilder();
  const poll = line.polls[which];
  if (poll === undefined) throw new Error(`the line has no poll ${which}`);
  try {
    await line.poll(poll, into, scan());
  } catch (error) {
    if (!(error instanceof SluiceError)) throw error;
    return into.count === 0 ? error.code : `${error.code} and ${into.count} samples`;
  }
  return rows(into);
}
