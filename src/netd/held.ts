import type { RolledBack } from './outcome.ts';
import { type Kept, NO_RULES } from './state.ts';

/** What a return ended in, for people. */
export const HELD = {
  confirmed: 'the confirmed rules hold',
  closed: 'all but management is closed',
  nothing: 'no rules are loaded',
} as const satisfies Record<RolledBack['to'], string>;

export const heldBy = (before: string, kept: Kept | undefined): RolledBack['to'] =>
  before === NO_RULES
    ? 'nothing'
    : kept === undefined || kept.from === 'closed.json'
      ? 'closed'
      : 'confirmed';
