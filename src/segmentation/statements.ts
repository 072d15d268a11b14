import type { Field, Operand, Rule, Statement, Verdict } from './ruleset.ts';

// A rule as it reads: rule(is('iifname', 'lo'), accept).

export const rule = (...statements: readonly Statement[]): Rule => ({ statements });

type Of<Kind extends Statement['kind']> = Extract<Statement, { readonly kind: Kind }>;

export const accept: Of<'verdict'> = { kind: 'verdict', verdict: 'accept' };
export const drop: Of<'verdict'> = { kind: 'verdict', verdict: 'drop' };
export const goTo = (chain: string): Of<'verdict'> => ({ kind: 'verdict', verdict: { goto: chain } });
export const count = (counter: string): Of<'count'> => ({ kind: 'count', counter });
export const lookUp = (key: readonly Field[], map: string): Statement => ({ kind: 'look up', key, map });
export const redirect = (key: readonly Field[], map: string): Statement => ({ kind: 'redirect', key, map });
export const reset: Statement = { kind: 'reset' };
export const limit = (set: string, by: Field): Statement => ({ kind: 'limit', set, by });
export const choose = (key: Field, cases: readonly (readonly [string, Verdict])[]): Statement => ({
  kind: 'choose',
  key,
  cases,
});

export const chooseBy = (key: Field, cases: readonly (readonly [number, Verdict])[]): Statement => ({
  kind: 'choose',
  key,
  cases,
});

export const is = (field: Field, value: string | number): Statement => compared(field, '==', { value });
export const isIn = (field: Field, set: string): Statement => compared(field, '==', { set });
export const isNotIn = (field: Field, set: string): Statement => compared(field, '!=', { set });
export const isOneOf = (field: Field, ...oneOf: readonly number[]): Statement =>
  compared(field, '==', { oneOf });
export const isWithin = (field: Field, prefix: string, length: number): Statement =>
  compared(field, '==', { prefix, length });

const compared = (field: Field, op: '==' | '!=', to: Operand): Statement => ({
  kind: 'match',
  field,
  op,
  to,
});
