import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Test } from 'tap';
import { until } from '../support/wait.ts';
import { Bed } from './bed.ts';
import { AFTER, BEFORE } from './plants.ts';

/** One that holds BEFORE, confirmed, and has AFTER in gateway.yaml. */
export async function confirmed(t: Test): Promise<Bed> {
  const bed = await Bed.make(t);
  await bed.confirmed(BEFORE);
  t.ok(await bed.holds(BEFORE), 'what was confirmed holds');
  bed.declare(AFTER);
  return bed;
}

export const waits = (bed: Bed): boolean => existsSync(join(bed.state, 'pending.json'));

export async function rolledBack(t: Test, bed: Bed): Promise<void> {
  if (waits(bed)) bed.expire();
  await until('the roll back', () => !waits(bed));
  t.ok(await bed.holds(BEFORE), 'the kernel holds what was confirmed');
  t.notOk(await bed.holds(AFTER));
}
