import type { BatchBuilder } from '../../core/batch.ts';
import { GOOD, reasonCode, UNCERTAIN } from '../../core/quality.ts';
import { days } from '../../core/units.ts';
import type { Reading } from './payload.ts';

/** A device whose clock is set knows the day; the history takes nothing that lies further ahead. */
const MOST_AHEAD = days(1);
/** A device may bring what it measured while it was cut off for a month. */
const MOST_BEHIND = days(31);

const IMPLAUSIBLE_TIME = reasonCode('implausible time');

/**
 * A reading as a sample. The arrival stands where the device gives no time, and where the time that it gives cannot be:
 * a clock that lost its battery makes no value wrong, so the value is kept, but uncertain, and nobody can fill years
 * that are over, or yet to come, with samples.
 */
export function addReading(into: BatchBuilder, point: number, reading: Reading, arrival: number): void {
  const { time = arrival } = reading;
  const isPlausible = time <= arrival + MOST_AHEAD && time >= arrival - MOST_BEHIND;
  const at = isPlausible ? time : arrival;
  if (!reading.ok) into.addBad(point, at, reading.reason);
  else if (isPlausible) into.add(point, at, reading.value, GOOD);
  else into.add(point, at, reading.value, UNCERTAIN, IMPLAUSIBLE_TIME);
}
