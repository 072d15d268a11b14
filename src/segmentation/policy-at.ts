import { type EpochMs, epochMs } from '../core/units.ts';
import type { Policy } from './policy.ts';

/**
 * No clock that goes right shows an earlier time. One that lost its battery begins in 1970, and observes nothing then:
 * it denies.
 */
export const EARLIEST = Date.UTC(2026, 0, 1);

/** Does something that is observed until then pass now? */
export function isObserved(until: EpochMs, now: EpochMs): boolean {
  return EARLIEST <= now && now < until;
}

/** The moments at which a policy begins to mean something else. */
export function momentsOf({ observeUntil, observed = [] }: Policy): ReadonlySet<EpochMs> {
  const ends = [...(observeUntil === undefined ? [] : [observeUntil]), ...observed.map(({ until }) => until)];
  return new Set(ends.length === 0 ? [] : [epochMs(EARLIEST), ...ends]);
}

/** What a policy means at a moment: what is observed is either observed, or denied. */
export function policyAt(policy: Policy, now: EpochMs): Policy {
  const { mode, observeUntil, observed = [] } = policy;
  if (mode === 'observe' && observeUntil !== undefined && !isObserved(observeUntil, now))
    return { ...policy, mode: 'enforce', observeUntil: undefined };
  return { ...policy, observed: observed.filter(({ until }) => isObserved(until, now)) };
}
