import { errorText } from '../core/errors.ts';
import type { Policy } from '../segmentation/policy.ts';
import { holds } from './bring.ts';
import type { Expected, InForce, Strange } from './in-force.ts';
import { isTrouble, type Nft } from './nft.ts';
import { isOver } from './quarantine-book.ts';
import { digest, remaining, type State } from './state.ts';

/** What the kernel holds, beside what it should hold now. */
export interface Found {
  readonly holds: boolean;
  /** Undefined where there is no table, or nft died of it. */
  readonly listing: string | undefined;
  readonly unreadable: string | undefined;
  /** Why rules of ours could not be loaded, where that, and nobody else, left the kernel as it is. */
  readonly ours: string | undefined;
  /** What should hold, as nft takes it. */
  readonly document: string;
  /** What that was made of; undefined where it is not known. */
  readonly policy: Policy | undefined;
  /** What on the disk cannot be read, for people. */
  readonly damaged: readonly string[];
  /** The change that waits and whose rules should hold; undefined where the confirmed ones should. */
  readonly change: string | undefined;
}

export interface Inspected extends Found {
  readonly healed: 'not asked' | 'done' | { readonly failed: string };
}

/** Nothing is known to have to hold; or somebody is about to change it, and it has to be looked again. */
export type Unclear = 'nothing' | 'busy';

interface Ground {
  readonly state: State;
  readonly force: InForce;
}

/** Compares, and puts right what differs where `heal` says so. To be called under the lock: nothing of ours is half done. */
export async function inspect(
  ground: Ground,
  nft: Nft,
  heal: (found: Found) => Promise<boolean>,
): Promise<Inspected | Unclear> {
  const should = shouldHold(ground);
  if (typeof should === 'string') return should;
  const { rules } = should;
  const { listing, unreadable } = await listed(nft);
  const document = ground.force.lenient(rules, listing);
  const isSame = unreadable === undefined && holds(listing, document);
  // Those whose time is over are about to be released.
  if (!isSame && unreadable === undefined && isAboutToRelease(ground, rules, listing)) return 'busy';
  const damaged = ground.force.damaged();
  const { unloaded } = ground.force;
  if (isSame) unloaded.clear();
  const ours =
    isSame || unreadable !== undefined
      ? undefined
      : (unloaded.why(listing) ?? whyByDisk(ground.force, rules, listing));
  const found = { ...should, document, listing, unreadable, damaged, ours, holds: isSame };
  if (isSame || !(await heal(found))) return { ...found, healed: 'not asked' };
  try {
    // Connections that came in by what was changed are cut as well.
    await ground.force.bring(nft, rules, { isAsked: ours !== undefined });
    return { ...found, healed: 'done' };
  } catch (error) {
    return { ...found, healed: { failed: errorText(error) } };
  }
}

/** What a change of ours shall find; undefined where that is not known, or is about to be put right. */
export function expected(ground: Ground): Expected | undefined {
  const { force } = ground;
  const should = shouldHold(ground);
  if (typeof should === 'string' || force.unloaded.text() !== undefined) return undefined;
  const { rules, ...what } = should;
  // Those whose time is over are about to be released.
  const over = force.isReadable && force.book.entries().some((entry) => isOver(entry));
  const before = over ? [force.document(rules, force.book.entries())] : [];
  const byDisk = force.byDisk(rules);
  const alike = byDisk === undefined ? before : [...before, byDisk];
  return { ...what, documents: [force.lenient(rules, undefined), ...alike] };
}

/** As any other change of somebody else, which a change of ours undid. */
export const undone = ({ documents: [document], ...strange }: Strange): Inspected => ({
  ...strange,
  document,
  unreadable: undefined,
  ours: undefined,
  damaged: [],
  holds: false,
  healed: 'done',
});

type Should = Pick<Found, 'policy' | 'change'> & { readonly rules: string };

function shouldHold({ state, force }: Ground): Should | Unclear {
  const pending = state.pending();
  const confirmed = state.confirmed();
  // Confirmed by someone who was killed at it: it waits no longer.
  const waits = pending !== undefined && (confirmed === undefined || digest(confirmed) !== pending.rules);
  if (waits && remaining(pending) <= 0) return 'busy';
  // Damaged on the disk: it is about to be taken back.
  if (waits && state.isLost(pending)) return 'busy';
  const rules = waits ? state.candidate() : confirmed;
  if (rules === undefined) return 'nothing';
  const policy = force.policyOf(rules);
  return {
    rules,
    policy: policy && force.policy(policy),
    change: waits ? pending.id : undefined,
  };
}

/** A full disk: whoever else of us loaded rules, such as the guards of a change, knew no more. */
function whyByDisk(force: InForce, rules: string, listing: string | undefined): string | undefined {
  const byDisk = force.byDisk(rules);
  return byDisk !== undefined && holds(listing, byDisk)
    ? `a guard or a command loaded only what is on the disk: ${force.owed}`
    : undefined;
}

function isAboutToRelease({ force }: Ground, rules: string, listing: string | undefined): boolean {
  const entries = force.isReadable ? force.book.entries() : [];
  return entries.some((entry) => isOver(entry)) && holds(listing, force.document(rules, entries));
}

async function listed(nft: Nft): Promise<Pick<Found, 'listing' | 'unreadable'>> {
  try {
    return { listing: await nft.list(), unreadable: undefined };
  } catch (error) {
    // What kills nft was put there by a newer one, and is as foreign as anything else.
    if (isTrouble(error, 'killed', 'held')) return { listing: undefined, unreadable: errorText(error) };
    throw error;
  }
}
