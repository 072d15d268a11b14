import { errorText, SluiceError } from '../core/errors.ts';
import { canonical, fingerprint, type TableFamily } from '../segmentation/canonical.ts';
import { type Changes, type Delta, delta } from '../segmentation/delta.ts';
import type { Nft } from './nft.ts';

export interface Brought {
  /** What it listed first; undefined where it could not be listed. */
  readonly found: { readonly listing: string | undefined } | undefined;
  /** What the kernel listed in the end. */
  readonly listing: string | undefined;
  readonly changes: Changes;
  /** Why the whole table was replaced; empty where only what differed was touched. */
  readonly replaces: readonly string[];
  /** What nft complained about although the kernel holds the rules now. */
  readonly complaints: readonly string[];
}

/** Somebody else changed the table between listing and loading; more often than that it is no accident. */
const ATTEMPTS = 3;

/**
 * The kernel holds these rules and no others when this returns: it was read back, whatever nft said. Throws where it
 * does not hold them; what it holds then is for the caller to make good.
 */
export async function bring(nft: Nft, document: string): Promise<Brought> {
  const complaints: string[] = [];
  const { listing, known } = await listedOr(nft, complaints);
  let planned = known ? delta(listing, document) : delta('', document);
  const { changes, replaces } = planned;
  const reasons = [...replaces];
  const found = known ? { listing } : undefined;
  let isPrepared = false;
  for (let attempts = 0; attempts < ATTEMPTS; ) {
    // Once, where it is done: whoever takes it away again shall not keep us at it.
    const first = isPrepared ? undefined : planned.first;
    const now = await attemptOf(nft, first ?? planned.document, document, complaints);
    if (now.holds) return { found, listing: now.listing, changes, replaces: reasons, complaints };
    if (first !== undefined && now.isLoaded) isPrepared = true;
    else attempts += 1;
    // The last attempt takes nothing for granted.
    planned = attempts + 1 < ATTEMPTS && now.known ? delta(now.listing, document) : whole(document);
    reasons.push(...planned.replaces);
  }
  throw new SluiceError(
    'SETUP',
    `the kernel does not hold the rules: ${complaints.at(-1) ?? 'nft said nothing'}`,
    {
      remedy: 'dmesg and nft list table inet sluice tell more',
    },
  );
}

function whole(document: string): Delta {
  return delta('', document);
}

interface Now {
  readonly holds: boolean;
  /** nft had nothing to complain about. */
  readonly isLoaded: boolean;
  readonly known: boolean;
  readonly listing: string | undefined;
}

async function attemptOf(
  nft: Nft,
  step: string | undefined,
  document: string,
  complaints: string[],
): Promise<Now> {
  const failed = step === undefined ? undefined : await nft.load(step);
  if (failed !== undefined) complaints.push(failed.message);
  const { listing, known } = await listedOr(nft, complaints);
  return { listing, known, isLoaded: failed === undefined, holds: known && holds(listing, document) };
}

/** nft dies of what some newer one wrote: that is no reason to leave it there. */
async function listedOr(
  nft: Nft,
  complaints: string[],
): Promise<{ readonly listing: string | undefined; readonly known: boolean }> {
  try {
    return { listing: await nft.list(), known: true };
  } catch (error) {
    complaints.push(errorText(error));
    return { listing: undefined, known: false };
  }
}

const FAMILIES: readonly TableFamily[] = ['inet', 'bridge'];

/** The same for the same content, in whatever order nft lists it. */
export const stateOf = (listing: string | undefined): string =>
  listing === undefined
    ? 'none'
    : FAMILIES.map((family) => fingerprint(canonical(listing, family))).join(' ');

/** Is what the kernel lists canonically what was generated? */
export function holds(listing: string | undefined, document: string): boolean {
  try {
    const live = (family: TableFamily) => (listing === undefined ? undefined : canonical(listing, family));
    return FAMILIES.every((family) => fingerprint(live(family)) === fingerprint(canonical(document, family)));
  } catch {
    return false;
  }
}
