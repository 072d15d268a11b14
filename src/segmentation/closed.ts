import { canonical } from './canonical.ts';
import { compile } from './compile.ts';
import type { Policy } from './policy.ts';
import { render } from './render.ts';

/**
 * What holds where the rules that should hold cannot be had: nothing but management, from where it was declared. In
 * mode observe nothing was ever denied; there it goes on to be counted and logged, and passes.
 */
export function closed(policy: Policy): Policy {
  return { ...policy, flows: policy.flows.filter(({ kind }) => kind === 'management') };
}

export const closedRules = (policy: Policy): string => render(compile(closed(policy)));

/** Where not even those can be had: no interface has a zone. */
export const NOTHING_PASSES = closedRules({ mode: 'enforce', zones: [], flows: [] });

/** Rules that only observe deny nothing. */
export const encloses = (document: string): boolean =>
  [...(canonical(document)?.chains.values() ?? [])].some(({ policy }) => policy === 'drop');
