import type { Seen } from '../netd/twin.ts';
import type { Policy } from '../segmentation/policy.ts';
import type { Cell } from '../segmentation/twin-cells.ts';
import type { Cells } from '../segmentation/twin-choice.ts';
import type { TwinPlant } from '../segmentation/twin-hosts.ts';

// What was sent through a twin, what should have become of it, and what did.

export interface Probed {
  readonly plant: TwinPlant;
  readonly cells: Cells;
  readonly seen: readonly Seen[];
  readonly mode: Policy['mode'];
  /** What the gateway counted that it would deny. */
  readonly wouldDeny: number;
}

export interface Outcome {
  readonly cell: Cell;
  readonly expected: Seen;
  readonly seen: Seen;
}

export function outcomes({ cells, seen, mode }: Probed): Outcome[] {
  return cells.cells.map((cell, i) => ({ cell, expected: expected(cell, mode), seen: seen[i] ?? 'nothing' }));
}

export const differences = (probed: Probed): Outcome[] =>
  outcomes(probed).filter((one) => one.seen !== one.expected);

/** A foreign source is never answered: the answer goes to whom the address belongs. */
function expected(cell: Cell, mode: Policy['mode']): Seen {
  const { kind, declared, claim, request } = cell;
  if (declared || passesUndeclared(cell, mode))
    return kind === 'foreign source' || claim !== undefined ? 'arrived' : 'answered';
  return request?.refusal === 'exception' ? 'refused' : 'nothing';
}

/** In mode observe everything passes; and between zones that are observed. */
export const passesUndeclared = ({ declared, observed }: Cell, mode: Policy['mode']): boolean =>
  !declared && (mode === 'observe' || observed === true);

/** What passes without a declaration has to be counted. */
export function wasCounted({ cells, mode, wouldDeny }: Probed): boolean {
  return wouldDeny > 0 || !cells.cells.some((cell) => passesUndeclared(cell, mode));
}
