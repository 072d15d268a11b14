import { SluiceError } from '../core/errors.ts';
import { epochMs } from '../core/units.ts';
import { visible } from '../core/visible.ts';
import { packetText } from '../segmentation/packet.ts';
import type { Policy } from '../segmentation/policy.ts';
import { type Proof, prove } from '../segmentation/prove.ts';
import type { Actor } from './actor.ts';
import { type Brought, holds } from './bring.ts';
import type { InForce } from './in-force.ts';
import { Nft } from './nft.ts';
import { probe } from './probe.ts';
import { refusalOf } from './refusal.ts';
import { digest, type Pending, remaining } from './state.ts';

export const EMPTY_LISTING = '{"nftables":[]}';

// What stands against a change: before it is loaded, after it, and when it is confirmed.

/** Throws unless nft is there, new enough and allowed, and the kernel would take the rules; then says what it lacks. */
export async function mayLoad(document: string, policy: Policy): Promise<void> {
  const nft = new Nft();
  await nft.version();
  try {
    await nft.check(document);
  } catch (error) {
    const guards = policy.guard !== undefined && policy.mode !== 'off';
    const lacks = (await probe(nft)).filter(({ needed, forPorts }) => needed || (guards && forPorts));
    if (lacks.length === 0) {
      const refusal =
        error instanceof SluiceError ? await refusalOf(nft, document, policy, error) : undefined;
      throw refusal ?? error;
    }
    throw new SluiceError('SETUP', `this kernel lacks ${lacks.map(({ name }) => name).join(', ')}`, {
      cause: error,
      remedy: `${lacks[0]?.follows}; use the kernel of Debian 12 or newer`,
    });
  }
}

/** That the connection which applied still lives says nothing about whether anybody can still come in. */
export function mustBeNew({ id, until, within, session }: Pending, by: Actor): void {
  const isOld = by.opened !== undefined && by.opened <= until - within;
  const isSame = session !== undefined && session === by.session;
  if (!isOld && !isSame) return;
  throw new SluiceError(
    'SETUP',
    `change ${id} is not confirmed by a connection that is older than it: that one would work in any case`,
    { remedy: `open a new connection to this gateway, and say there: ./sluice firewall confirm ${id}` },
  );
}

/** The change that is to be confirmed. */
export function mustWait(pending: Pending | undefined, id: string): Pending {
  if (pending === undefined) {
    throw new SluiceError('SETUP', 'no change waits to be confirmed', {
      remedy:
        './sluice firewall status tells what the kernel holds; a change that nobody confirms is rolled back',
    });
  }
  if (pending.id === id) return pending;
  throw new SluiceError('SETUP', `it is not change ${id} that waits, but ${pending.id}`, {
    remedy: `./sluice firewall confirm ${pending.id}`,
  });
}

/** Before another one is applied. */
export function mustBeOver(pending: Pending): void {
  if (remaining(pending) <= 0) return;
  const { id, tried } = pending;
  const says = tried ? 'waits to be confirmed' : 'is being tried: what must work has not worked yet';
  const first = tried ? `./sluice firewall confirm ${id}` : 'wait for apply to end';
  throw new SluiceError('SETUP', `change ${id} ${says}`, {
    remedy: `${first}, or ./sluice firewall rollback`,
  });
}

/** What nobody saw work is confirmed by nobody: who tries it is at it, or was killed. */
export function mustBeTried({ id, tried }: Pending): void {
  if (tried) return;
  throw new SluiceError(
    'SETUP',
    `change ${id} cannot be confirmed yet: it is being tried whether what must work does`,
    {
      remedy: 'wait for apply to end; where that was killed: ./sluice firewall rollback, then apply again',
    },
  );
}

/** The kernel holds these rules and what is in force beside them, and that is proven. */
export async function loadProven(force: InForce, nft: Nft, rules: string, policy: Policy): Promise<Brought> {
  const brought = await force.load(nft, rules);
  mustBeProven(prove(force.policy(policy), brought.listing ?? EMPTY_LISTING, epochMs(Date.now())));
  return brought;
}

function mustBeProven(proof: Proof): void {
  if (proof.proven) return;
  throw new SluiceError(
    'SETUP',
    `what the kernel holds is not proven to be what is declared: ${visible(firstDoubt(proof))}`,
    { remedy: 'this is a fault of Sluice: report it with the output of ./sluice firewall render' },
  );
}

function firstDoubt(proof: Exclude<Proof, { readonly proven: true }>): string {
  if ('notUnderstood' in proof) {
    const [gap] = proof.notUnderstood;
    return gap === undefined ? 'the listing is not understood' : `${gap.place} ${gap.what}`;
  }
  if ('frames' in proof) {
    const [frame] = proof.frames;
    return `at the ports, ${frame?.frame} ${frame?.declared === true ? 'is' : 'is not'} declared, by ${frame?.rule}`;
  }
  const [first] = proof.differences;
  if (first === undefined) return 'no packet of a flow passes';
  const { packet, declared, accepted, rule } = first;
  const is = declared ? 'is declared' : 'is not declared';
  return `${packetText(packet)} ${is} and ${accepted ? 'passes' : 'is dropped'}, by ${rule}`;
}

/** Why a change may not be confirmed. */
export async function objection(
  nft: Nft,
  pending: Pending,
  document: string | undefined,
  force: InForce,
): Promise<string | undefined> {
  if (remaining(pending) <= 0) return 'it is too late';
  if (document === undefined || digest(document) !== pending.rules)
    return 'its rules on the disk are damaged';
  const listing = await nft.list();
  if (holds(listing, force.document(document))) return undefined;
  return `somebody ${listing === undefined ? 'took the table away' : 'changed the table'} since it was applied`;
}
