import { errorText, SluiceError } from '../core/errors.ts';
import type { Facts, Log } from '../core/log.ts';
import type { Unit } from './units.ts';

export type OnDevice = (device: string, state: 'silent' | 'back', facts: Facts) => void;

export interface AnnounceDeps {
  readonly endpoint: string;
  /** Behind the endpoint, those that are only observed included. */
  readonly devices: number;
  readonly log: Log;
  readonly onDevice: OnDevice;
}

/** One lost reply is not a silent device; two attempts in vain in a row, seconds apart, are. */
const ATTEMPTS_UNTIL_SILENT = 2;

/** What a unit did not answer, at `now` of `Clock.elapsed`. */
export interface InVain {
  readonly what: string;
  readonly error: unknown;
  readonly now: number;
  /** When it is tried again. */
  readonly nextTry: number;
}

/** Tells people that a unit is silent, once per silence. */
export function tellSilent(deps: AnnounceDeps, unit: Unit, { what, error, now, nextTry }: InVain): void {
  const { breaker, name, devices } = unit;
  if (breaker.announced || breaker.inARow < ATTEMPTS_UNTIL_SILENT) return;
  breaker.announced = true;
  const facts = {
    endpoint: deps.endpoint,
    unit: name,
    error: errorText(error),
    what,
    silentFor: Math.round(now - (breaker.silentSince ?? now)),
    nextTry: Math.round(nextTry - now),
    remedy: breaker.everHeard ? remedyOf(error) : `it never answered since the start; is unit ${name} right?`,
  };
  for (const device of devices) {
    deps.log.warn('device silent', { device, ...facts });
    deps.onDevice(device, 'silent', facts);
  }
}

/** Tells people that a unit answers again, where they were told that it did not. */
export function tellBack(deps: AnnounceDeps, { breaker, name, devices }: Unit, now: number): void {
  const since = breaker.silentSince ?? now;
  breaker.silentSince = undefined;
  if (!breaker.announced) return;
  breaker.announced = false;
  const facts = { endpoint: deps.endpoint, unit: name, silentFor: Math.round(now - since) };
  for (const device of devices) {
    deps.log.info('device back', { device, ...facts });
    deps.onDevice(device, 'back', facts);
  }
}

/** Tells people, in one line, that an endpoint is gone, and whoever follows devices that they are silent. */
export function tellLost(deps: AnnounceDeps, units: readonly Unit[], now: number, error: unknown): void {
  const facts = { endpoint: deps.endpoint, error: errorText(error), remedy: remedyOf(error) };
  deps.log.warn('connection lost', { ...facts, devices: deps.devices });
  for (const unit of units) {
    unit.breaker.silentSince ??= now;
    if (unit.breaker.announced) continue;
    unit.breaker.announced = true;
    for (const device of unit.devices) deps.onDevice(device, 'silent', { ...facts, unit: unit.name });
  }
}

function remedyOf(error: unknown): string | undefined {
  return error instanceof SluiceError ? error.remedy : undefined;
}
