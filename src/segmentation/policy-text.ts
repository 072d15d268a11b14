import type { Policy } from './policy.ts';

export const POLICY_VERSION = 1;

/**
 * A policy as text that is kept beside its rules, so that people can be told what another one changes. `rules` is the
 * digest of the rules that were made of it.
 */
export function policyText(policy: Policy, rules: string): string {
  return `${headOf(rules)}${JSON.stringify(policy, asText)}}\n`;
}

/** Addresses are the only values that JSON cannot hold. */
const asText = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);

/** Whoever only has to know what rules a text belongs to need not read the rest. */
export const belongsTo = (text: string, rules: string): boolean => text.startsWith(headOf(rules));

const headOf = (rules: string): string => `{"version":${POLICY_VERSION},"rules":"${rules}","policy":`;
