import { NotUnderstood } from './frame-condition.ts';
import { declaredFrames, heldFrames } from './frame-declared.ts';
import { evaluateFrames, type FrameFates } from './frame-evaluate.ts';
import { frameListing } from './frame-listing.ts';
import { FrameSpace } from './frame-space.ts';
import type { PacketSet } from './packet-set.ts';
import type { Policy } from './policy.ts';

/** A frame that the declaration and the kernel do not agree about. */
export interface FrameDifference {
  /** What of it matters, in words. */
  readonly frame: string;
  readonly declared: boolean;
  readonly rule: string;
}

export type FrameProof =
  | { readonly boxes: number }
  | { readonly frames: readonly FrameDifference[] }
  | { readonly notUnderstood: readonly { readonly place: string; readonly what: string }[] };

const TABLE = 'table bridge sluice';

/** Does the table of the bridge let exactly those frames pass that the file allows at its access ports? */
export function proveFrames({ mode, guard }: Policy, text: string): FrameProof {
  let listing: ReturnType<typeof frameListing>;
  try {
    listing = frameListing(text);
  } catch {
    return gap('the listing', 'is not what nft -j prints');
  }
  if (guard === undefined || mode === 'off') {
    return listing === undefined ? { boxes: 0 } : { frames: [TOO_MUCH] };
  }
  if (listing === undefined) return { frames: [TOO_LITTLE] };
  if (listing.gaps.length > 0) return { notUnderstood: listing.gaps.map((what) => ({ place: TABLE, what })) };
  const space = new FrameSpace(guard.hosts);
  const { sets } = space;
  const declared = declaredFrames(guard, space);
  let fates: FrameFates;
  try {
    fates = evaluateFrames(listing, space);
  } catch (error) {
    if (error instanceof NotUnderstood) return gap(error.place, error.what);
    throw error;
  }
  const { accepted, observed } = fates;
  const objected =
    mode === 'observe' ? sets.minus(sets.minus(sets.everything, declared), heldFrames(space)) : sets.nothing;
  const differences = [
    differenceOf(sets.minus(accepted, declared), false, fates, space),
    differenceOf(sets.minus(declared, accepted), true, fates, space),
    differenceOf(sets.minus(observed, objected), mode !== 'enforce', fates, space),
    differenceOf(sets.minus(objected, observed), false, fates, space),
  ].flat();
  return differences.length > 0 ? { frames: differences } : { boxes: sets.count(accepted) };
}

const TOO_MUCH: FrameDifference = {
  frame: 'a frame at a port that the file does not name',
  declared: true,
  rule: `${TABLE}, which the file does not ask for`,
};
const TOO_LITTLE: FrameDifference = {
  frame: 'any frame at an access port',
  declared: false,
  rule: `nothing: there is no ${TABLE}`,
};

const gap = (place: string, what: string): FrameProof => ({ notUnderstood: [{ place, what }] });

function differenceOf(
  wrong: PacketSet,
  declared: boolean,
  { deciding }: FrameFates,
  space: FrameSpace,
): FrameDifference[] {
  const { sets } = space;
  if (wrong === sets.nothing) return [];
  for (const { place, frames } of deciding) {
    const here = sets.and(wrong, frames);
    if (here !== sets.nothing) return [{ frame: space.example(here), declared, rule: place }];
  }
  return [{ frame: space.example(wrong), declared, rule: 'no rule' }];
}
