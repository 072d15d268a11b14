import { setTimeout as pause } from 'node:timers/promises';
import { type Duration, milliseconds, seconds } from '../core/units.ts';
import { holds } from './bring.ts';
import type { InForce } from './in-force.ts';
import type { Found } from './inspect.ts';
import { current } from './measures.ts';
import { sinceBoot } from './monotonic.ts';
import type { Nft } from './nft.ts';
import type { State } from './state.ts';

// A start of the machine that closed, and what ends it.

/** What a start of the unit loaded is closed again later than that where nobody says that it was one. */
const SAID_WITHIN: Duration = seconds(1);
const GLANCE: Duration = milliseconds(20);

export interface Facts {
  readonly state: State;
  readonly force: InForce;
}

/** Does the kernel hold what is confirmed, or waits to be? A start that closed left something else there. */
export async function isOpen({ state, force }: Facts, nft: Nft): Promise<boolean> {
  const rules = current(state);
  if (rules === undefined || state.isShut || state.isClosed(rules)) return false;
  const listing = await nft.list();
  return listing !== undefined && holds(listing, force.lenient(rules, listing));
}

/** Could it be a start of the unit that loaded what was confirmed, where one before had closed? */
export function mayBeReopened({ state, force }: Facts, { listing }: Found): boolean {
  const opened = state.isShut ? state.opened() : undefined;
  return opened !== undefined && holds(listing, force.lenient(opened.rules, listing));
}

/** The script says what it did a moment after it did it. */
export async function saidSoon(isSaid: () => boolean): Promise<boolean> {
  const last = sinceBoot() + SAID_WITHIN;
  while (!isSaid()) {
    if (sinceBoot() > last) return false;
    await pause(GLANCE);
  }
  return true;
}
