import { readFileSync } from 'node:fs';
import { type Duration, milliseconds } from '../core/units.ts';

// Processes that have to agree about a time-out do so by the clock of the kernel that nobody can set, and that begins
// with its boot; so a moment is only worth something together with the boot it belongs to.

/** CLOCK_MONOTONIC: the same for all processes of this machine. */
export function sinceBoot(): Duration {
  return milliseconds(Number(process.hrtime.bigint() / 1_000_000n));
}

/** Another one after each start of the machine. */
export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}
