import type tap from 'tap';
import type { ModbusLine } from '../../src/drivers/modbus/line.ts';
import { HandClock } from './clock.ts';
import { HostileModbus, type WireRequest } from './hostile-modbus.ts';
import { lineTo } from './modbus-line.ts';
import type { DeviceSketch, PointSketch } from './modbus-points.ts';

/** A hostile device, a line that is connected to it, and the line's clock. */
export interface Scene {
  readonly peer: HostileModbus;
  readonly line: ModbusLine;
  readonly clock: HandClock;
}

/** One device with these points (one register at address 10 by default), answered by the test. */
export async function scene(
  test: Pick<typeof tap, 'teardown'>,
  answer: (request: WireRequest) => void,
  points: readonly PointSketch[] = [{ address: 10 }],
  device: DeviceSketch = {},
): Promise<Scene> {
  const peer = await HostileModbus.listen(answer);
  const clock = new HandClock();
  const line = await lineTo(peer.port, points, { clock, ...device });
  test.teardown(async () => {
    await line.close();
    await peer.close();
  });
  return { peer, line, clock };
}
