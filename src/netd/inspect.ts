import { errorText } from '../core/errors.ts';
import type { Policy } from '../segmentation/policy.ts';
import { policyOfText } from '../segmentation/policy-file.ts';
import { bring, holds } from './bring.ts';
import { type Nft, wasKilled } from './nft.ts';
import { digest, remaining, type State } from './state.ts';

/** What the kernel holds, beside what it should hold now. */
export interface Found {
  readonly holds: boolean;
  /** Undefined where there is no table, or nft died of it. */
  readonly listing: string | undefined;
  readonly unreadable: string | undefined;
  /** What should hold, as nft takes it. */
  readonly document: string;
  /** What that was made of; undefined where it is not known. */
  readonly policy: Policy | undefined;
  /** The change that waits and whose rules should hold; undefined where the confirmed ones should. */
  readonly change: string | undefined;
}

export interface Inspected extends Found {
  readonly healed: 'not asked' | 'done' | { readonly failed: string };
}

/**
 * Compares, and puts right what differs where `heal` says so. To be called under the lock: then nothing of ours is half
 * done. Undefined where nothing is known to hold, or somebody is about to take a change back.
 */
export async function inspect(
  state: State,
  nft: Nft,
  heal: (found: Found) => Promise<boolean>,
): Promise<Inspected | undefined> {
  const should = shouldHold(state);
  if (should === undefined) return undefined;
  const { listing, unreadable } = await listed(nft);
  const isSame = unreadable === undefined && holds(listing, should.document);
  const found = { ...should, listing, unreadable, holds: isSame };
  if (isSame || !(await heal(found))) return { ...found, healed: 'not asked' };
  try {
    await bring(nft, should.document);
    return { ...found, healed: 'done' };
  } catch (error) {
    return { ...found, healed: { failed: errorText(error) } };
  }
}

function shouldHold(state: State): Pick<Found, 'document' | 'policy' | 'change'> | undefined {
  const pending = state.pending();
  const confirmed = state.confirmed();
  // Confirmed by someone who was killed at it: it waits no longer.
  const waits = pending !== undefined && (confirmed === undefined || digest(confirmed) !== pending.rules);
  if (waits && remaining(pending) <= 0) return undefined;
  const document = waits ? state.candidate() : confirmed;
  // Damaged on the disk: the guards take it back.
  if (document === undefined || (waits && digest(document) !== pending.rules)) return undefined;
  const text = state.policyTextOf(document);
  return {
    document,
    policy: text === undefined ? undefined : policyOfText(text, digest(document)),
    change: waits ? pending.id : undefined,
  };
}

async function listed(nft: Nft): Promise<Pick<Found, 'listing' | 'unreadable'>> {
  try {
    return { listing: await nft.list(), unreadable: undefined };
  } catch (error) {
    // What kills nft was put there by a newer one, and is as foreign as anything else.
    if (wasKilled(error)) return { listing: undefined, unreadable: errorText(error) };
    throw error;
  }
}
