import { visible } from '../core/visible.ts';

/** The weaker grade of guard says so wherever it is in force; empty where it is not. A line by itself. */
export function filteredText(conduits: readonly string[]): string {
  if (conduits.length === 0) return '';
  const has = conduits.length === 1 ? '1 conduit has' : `${conduits.length} conduits have`;
  return visible(
    `${has} the weaker grade of guard, filtered at packet level, which is no enforcement (${conduits.join(', ')}): what a segment carries is compared with the rules, not evaluated`,
  );
}
