import type { FlowKind, Policy } from './policy.ts';

/** What goes on while the gateway is an island: the work within zones, and whoever has to end it. */
const KEPT: readonly FlowKind[] = ['poll', 'push', 'management', 'within'];

/**
 * Every conduit cut, those of the gateway to other zones and to the platform with them (IEC 62443-3-3, SR 5.2 RE 2).
 * Also where the policy only observes: whoever calls for an island wants nothing to pass.
 */
export function islanded(policy: Policy): Policy {
  if (policy.mode === 'off') return policy;
  const flows = policy.flows.filter(({ kind }) => KEPT.includes(kind));
  return { ...policy, mode: 'enforce', flows, observeUntil: undefined, observed: undefined };
}
