import { isRecord } from './field.ts';

export type Severity = 'danger' | 'warning' | 'note';

/** danger: packets pass by our rules. warning: they are judged as something else, or all of them are lost. note: good to know. */
export interface Shadow {
  readonly kind: string;
  readonly severity: Severity;
  /** What of this machine. */
  readonly place: string;
  /** What that does to the policy. */
  readonly does: string;
  readonly remedy: string;
}

export const recordsOf = (json: unknown): Readonly<Record<string, unknown>>[] => {
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  return list.filter(isRecord);
};
