import type { Duration, EpochMs } from '../../src/core/units.ts';
import { type FilledRollup, fillRollups } from '../../src/telemetry/rollup-text.ts';
import type { Rollup } from '../../src/telemetry/rollup.ts';

/** What `encodeRollups` made of rollups. */
export function decodeRollups(start: EpochMs, width: Duration, text: Uint8Array): Rollup[] {
  const rollups: FilledRollup[] = [];
  rollups.length = fillRollups(start, width, text, rollups);
  return rollups;
}

/** Of the population, as the views show it; NaN where there are no numbers. */
export function deviationOf({ numbers, m2 }: Rollup): number {
  return numbers === 0 ? Number.NaN : Math.sqrt(m2 / numbers);
}
