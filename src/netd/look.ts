import { SluiceError } from '../core/errors.ts';
import { epochMs } from '../core/units.ts';
import { hasTable } from '../segmentation/listing.ts';
import type { Policy } from '../segmentation/policy.ts';
import { prove } from '../segmentation/prove.ts';
import { quarantinedIn } from '../segmentation/quarantine.ts';
import { GUARDS, guardPid } from './arm.ts';
import { holds } from './bring.ts';
import { conntrackLack } from './conntrack.ts';
import { DriftBook } from './drift-book.ts';
import type { InForce } from './in-force.ts';
import { notKeptOf } from './measures.ts';
import { isTrouble, Nft } from './nft.ts';
import { EMPTY_LISTING } from './objections.ts';
import type { Known, Listing, Proven, Status } from './outcome.ts';
import { probe } from './probe.ts';
import { findShadows } from './shadow.ts';
import { digest, remaining, type State } from './state.ts';

// What is asked of the firewall without changing anything, and without the lock.

export interface Looking {
  readonly state: State;
  readonly force: InForce;
  /** Does this process go on, and hold what the disk does not take? */
  readonly stays: boolean;
}

/** What is confirmed, and what the kernel holds where it may be asked. Changes nothing. */
export async function known(looking: Looking): Promise<Known> {
  const { state } = looking;
  const rules = state.confirmed();
  const policy = state.confirmedPolicy();
  const confirmed = rules === undefined ? undefined : { rules, digest: digest(rules), policy };
  const pending = state.pending();
  // One that was confirmed by somebody who was killed at it waits no more.
  const waiting = pending?.rules === confirmed?.digest ? undefined : pending?.id;
  try {
    const listing = await new Nft().list();
    const isNone = confirmed === undefined && listing === undefined;
    return {
      confirmed,
      waiting,
      kernel: { listing, holds: isNone ? 'confirmed' : kernelHolds(looking, listing) },
    };
  } catch {
    return { confirmed, waiting, kernel: 'not permitted' };
  }
}

/** What the kernel holds, beside what the policy declares while an island or a quarantine is in force. Changes nothing. */
export async function proven({ force }: Looking, policy: Policy): Promise<Proven> {
  return provenBy(force, policy, await new Nft().list());
}

function provenBy(force: InForce, policy: Policy, listing: string | undefined): Proven {
  const proof = prove(force.policy(policy), listing ?? EMPTY_LISTING, epochMs(Date.now()));
  return { proof, loaded: hasTable(listing), island: force.island };
}

/** Changes nothing. */
export async function status(looking: Looking, policy: Policy | undefined): Promise<Status> {
  const { state, force, stays } = looking;
  const { isSeen, listing, ...seen } = await look();
  const confirmed = state.confirmed();
  const pending = state.pending();
  const book = new DriftBook(state.folder);
  return {
    ...seen,
    kernel: isSeen ? kernelHolds(looking, listing) : 'unknown',
    proof: isSeen && policy !== undefined ? provenBy(force, policy, listing).proof : undefined,
    island: force.island,
    pending: pending && {
      id: pending.id,
      left: remaining(pending),
      tried: pending.tried,
      guards: GUARDS.filter((guard) => guardPid(state.folder, guard, pending.id) !== undefined).length,
    },
    everConfirmed: confirmed !== undefined,
    quarantined: force.isReadable ? force.held(listing) : [],
    damaged: force.damaged(),
    isEnforced: isSeen ? isEnforced(listing) : undefined,
    notKept: notKeptOf({ force: force, stays: stays }),
    shadows: policy === undefined ? [] : await findShadows(policy, () => book.read().stopped !== undefined),
    drift: book.read(),
  };
}

/** What nft tells. Where it tells nothing, what is known without it is told all the same. */
async function look(): Promise<Seen> {
  const [nft, lacks] = [new Nft(), await conntrackLack()];
  let seen: Seen = { nft: undefined, isSeen: false, listing: undefined, lacks, trouble: undefined };
  try {
    seen = { ...seen, nft: await nft.version() };
    seen = { ...seen, listing: await nft.list(), isSeen: true };
    return { ...seen, lacks: [...(await probe(nft)), ...lacks] };
  } catch (error) {
    if (!(error instanceof SluiceError) || isTrouble(error, 'not permitted')) throw error;
    const { message, remedy } = error;
    return { ...seen, trouble: remedy === undefined ? message : `${message}; ${remedy}` };
  }
}

function kernelHolds({ state, force }: Looking, listing: string | undefined): Status['kernel'] {
  const kept = state.kept();
  const isHeld = (rules: string | undefined): boolean =>
    rules !== undefined && holds(listing, force.lenient(rules, listing));
  if (isHeld(kept?.rules)) return kept?.from === 'closed.json' ? 'closed' : 'confirmed';
  if (isHeld(state.pending() && state.candidate())) return 'waiting';
  return listing === undefined ? 'nothing' : 'something else';
}

/** Changes nothing. Whom the kernel holds longer than it should is told where it may be asked. */
export async function quarantined({ force }: Looking): Promise<Listing> {
  try {
    const listing = await new Nft().list();
    return { entries: force.held(listing), isEnforced: isEnforced(listing) };
  } catch {
    return { entries: force.held(undefined), isEnforced: undefined };
  }
}

interface Seen extends Pick<Status, 'nft' | 'lacks' | 'trouble'> {
  readonly isSeen: boolean;
  readonly listing: string | undefined;
}

/** Could the kernel hold anybody back? */
const isEnforced = (listing: string | undefined): boolean => quarantinedIn(listing).size > 0;
