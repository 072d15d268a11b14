import { visible } from '../core/visible.ts';
import type { Severity, Shadow } from '../segmentation/shadow-path.ts';
import type { DriftTold } from './drift-book.ts';

// The part of status that tells of what undermines the rules, and of who changed them last.

export interface Undermining {
  readonly shadows: readonly Shadow[];
  readonly drift: DriftTold;
}

export const underminingFor = ({ shadows, drift }: Undermining): object => ({
  shadows,
  drift: {
    last: drift.events.at(-1) ?? null,
    'given-up': drift.givenUp ?? null,
    stopped: drift.stopped ?? null,
  },
});

const HEADS: Readonly<Record<Severity, string>> = {
  danger: 'a way around the rules',
  warning: 'undermines the rules',
  note: 'beside the rules',
};

export function underminingLines({ shadows, drift }: Undermining): string[] {
  return [...driftLines(drift), ...shadows.map(shadowText)].map(visible);
}

const shadowText = ({ severity, place, does, remedy }: Shadow): string =>
  `${HEADS[severity]}: ${place}: ${does}; ${remedy}`;

function driftLines({ events, givenUp, stopped }: DriftTold): string[] {
  const last = events.at(-1);
  if (last === undefined) return [];
  const { time, by, what, outcome } = last;
  const who = by.at(-1) ?? 'a process that was not seen';
  const end = outcome === 'healed' ? 'put right' : outcome === 'left' ? 'left as it is' : outcome;
  const closed = (stopped ?? []).length > 0 ? 'forwarding between interfaces is switched off' : undefined;
  const lines = [`changed by another program at ${time}: ${who}: ${what.join(', ')}; ${end}`];
  if (givenUp === undefined)
    return closed === undefined
      ? lines
      : [...lines, `${closed}: netd switches it on as soon as the rules hold`];
  return [
    ...lines,
    `given up since ${givenUp.since}${closed === undefined ? '' : `, and ${closed}`}: stop that program, then ./sluice firewall rollback`,
  ];
}

/** With a way around them, rules that hold are not the whole truth. */
export const isUndermined = ({ shadows, drift }: Undermining): boolean =>
  drift.givenUp !== undefined ||
  drift.stopped !== undefined ||
  shadows.some(({ severity }) => severity === 'danger');
