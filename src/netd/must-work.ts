import { setTimeout as pause } from 'node:timers/promises';
import { SluiceError } from '../core/errors.ts';
import { type Duration, epochMs, milliseconds } from '../core/units.ts';
import { objectsOf } from '../segmentation/canonical.ts';
import { Judge } from '../segmentation/connections.ts';
import { flowCounter } from '../segmentation/names.ts';
import type { FlowKind, Policy } from '../segmentation/policy.ts';
import { policyAt } from '../segmentation/policy-at.ts';
import { ownAddresses } from './conntrack.ts';
import { cutAll } from './in-force.ts';
import { sinceBoot } from './monotonic.ts';
import type { Nft } from './nft.ts';

/** Flows that have to carry new connections after a change. */
export interface MustWork {
  /** Kinds as people write them, or names of flows. */
  readonly flows: readonly string[];
  readonly within: Duration;
}

const GLANCE: Duration = milliseconds(500);
const KINDS: ReadonlyMap<string, FlowKind> = new Map([
  ['polls', 'poll'],
  ['pushes', 'push'],
  ['upstream', 'upstream'],
  ['management', 'management'],
]);

/** Names of the flows of a policy that are meant. */
export function meant(policy: Policy, flows: readonly string[]): string[] {
  const kinds = flows.flatMap((name) => KINDS.get(name) ?? []);
  const names = policy.flows
    .filter(({ kind, name }) => kinds.includes(kind) || flows.includes(name))
    .map(({ name }) => name);
  return [...new Set(names)];
}

/**
 * Returns when each of the flows has opened connections that these rules allowed; throws with those that have not. What
 * is open already is forgotten by connection tracking, so that its next packet is judged anew; whoever had sent a packet
 * that was lost thereby sends it again.
 */
export async function mustWork(nft: Nft, policy: Policy, { flows, within }: MustWork): Promise<void> {
  const names = meant(policy, flows);
  if (names.length === 0) return;
  const before = await counts(nft);
  const judge = new Judge(policyAt(policy, epochMs(Date.now())), ownAddresses());
  await cutAll((connection) => names.includes(judge.flowOf(connection) ?? ''));
  const end = sinceBoot() + within;
  for (;;) {
    const now = await counts(nft);
    const silent = names.filter((name) => (now.get(name) ?? 0) <= (before.get(name) ?? 0));
    if (silent.length === 0) return;
    if (sinceBoot() > end) {
      throw new SluiceError(
        'SETUP',
        `${silent.join(', ')} carried no new connection within ${within / 1_000} s, and has to work`,
        {
          remedy:
            './sluice firewall plan tells who loses access; segmentation.must-work names what has to work',
        },
      );
    }
    await pause(GLANCE);
  }

  async function counts(from: Nft): Promise<ReadonlyMap<string, number>> {
    const listing = await from.list();
    const packets = new Map(
      (listing === undefined ? [] : (objectsOf(listing) ?? [])).flatMap(({ kind, inside }) =>
        kind === 'counter' ? [[String(inside['name']), Number(inside['packets'])] as const] : [],
      ),
    );
    return new Map(names.map((name) => [name, packets.get(flowCounter({ name })) ?? 0]));
  }
}
