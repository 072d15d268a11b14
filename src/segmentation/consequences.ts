import type { EpochMs } from '../core/units.ts';
import { accessText } from './access-text.ts';
import { canonical, type CanonicalTable, type TableFamily } from './canonical.ts';
import { kernelAccess } from './kernel-access.ts';
import { packetText } from './packet.ts';
import type { Policy } from './policy.ts';
import { type Proof, prove } from './prove.ts';

// What it means that a kernel holds something else than it should: for people, who have to know whether anybody came in.

export interface Consequences {
  /** Who may reach whom by mistake, and who can no longer; one sentence each. */
  readonly gained: readonly string[];
  readonly lost: readonly string[];
  /** Packets that are judged otherwise than declared, with the rule that does it. */
  readonly packets: readonly string[];
  /** Why this is not, or not all, known. */
  readonly unclear: string | undefined;
  /** Nothing passes that should not: what differs only takes away, or changes nothing for packets. */
  readonly closed: boolean;
}

/** More of them nobody reads. */
const MOST = 20;
const EMPTY = '{"nftables":[]}';
const FAMILIES: readonly TableFamily[] = ['inet', 'bridge'];

/** A policy of undefined is not known; a listing of undefined is no table. */
export function consequences(
  policy: Policy | undefined,
  listing: string | undefined,
  now: EpochMs,
): Consequences {
  if (policy === undefined) return unknown('what the rules were made of is not known');
  const proof = prove(policy, listing ?? EMPTY, now);
  const packets = packetsOf(proof);
  if (proof.proven)
    return { gained: [], lost: [], packets, unclear: undefined, closed: policy.mode === 'enforce' };
  const closed = isClosed(proof, policy);
  if (listing === undefined) {
    const gained =
      policy.mode === 'off' ? [] : ['everybody may reach everybody by any protocol: there is no table'];
    return { gained, lost: [], packets, unclear: undefined, closed };
  }
  const access = kernelAccess(listing, policy);
  if ('unclear' in access) return { ...unknown(access.unclear), packets };
  // What the policy would take away from the kernel is what the kernel gives too much.
  const told = (all: typeof access.access.gained, verb: string): string[] =>
    all.slice(0, MOST).map((one) => accessText(one, verb));
  return {
    gained: told(access.access.lost, 'may reach'),
    lost: told(access.access.gained, 'can no longer reach'),
    packets,
    unclear: undefined,
    closed,
  };
}

/** Nobody can tell, which may mean anything. */
export const unknown = (unclear: string): Consequences => ({
  gained: [],
  lost: [],
  packets: [],
  unclear,
  closed: false,
});

function packetsOf(proof: Proof): string[] {
  if (proof.proven) return [];
  if ('notUnderstood' in proof)
    return proof.notUnderstood.slice(0, MOST).map(({ place, what }) => `not understood: ${place} ${what}`);
  if ('frames' in proof)
    return proof.frames
      .slice(0, MOST)
      .map(({ frame, declared, rule }) => `${frame} ${fate(declared, !declared)}, by ${rule}`);
  return proof.differences
    .slice(0, MOST)
    .map(
      ({ packet, declared, accepted, rule }) =>
        `${packetText(packet)} ${fate(declared, accepted)}, by ${rule}`,
    );
}

function fate(declared: boolean, accepted: boolean): string {
  if (accepted) return declared ? 'passes, as an exception that was not declared' : 'passes by mistake';
  return declared ? 'is dropped by mistake' : 'is dropped, and should only have been told of';
}

function isClosed(proof: Exclude<Proof, { readonly proven: true }>, { mode }: Policy): boolean {
  if (mode !== 'enforce' || !('differences' in proof)) return false;
  return proof.differences.every(({ accepted }) => !accepted);
}

/** Names of what differs: `chain g_forward`, `map m_pairs`; `no table inet sluice`. */
export function differing(listing: string | undefined, document: string): string[] {
  return FAMILIES.flatMap((family) => {
    const wanted = canonical(document, family);
    const live = listing === undefined ? undefined : canonical(listing, family);
    if (wanted === undefined) return live === undefined ? [] : [`a table ${family} sluice`];
    if (live === undefined) return [`no table ${family} sluice`];
    return between(live, wanted);
  });
}

function between(live: CanonicalTable, wanted: CanonicalTable): string[] {
  return [
    ...live.foreign,
    ...unlike('chain', chainsOf(live), chainsOf(wanted)),
    ...unlike('set', setsOf(live), setsOf(wanted)),
    ...unlike('counter', countersOf(live), countersOf(wanted)),
  ];
}

type Texts = ReadonlyMap<string, string>;

const chainsOf = ({ chains }: CanonicalTable): Texts =>
  new Map([...chains].map(([name, chain]) => [name, JSON.stringify(chain)]));
const countersOf = ({ counters }: CanonicalTable): Texts => new Map([...counters].map((name) => [name, '']));

function setsOf({ sets }: CanonicalTable): Texts {
  return new Map(
    [...sets].map(([name, { type, dynamic, elements }]) => {
      const all = dynamic ? [] : [...elements].map(([key, { verdict }]) => `${key} : ${verdict}`).toSorted();
      return [name, JSON.stringify([type, all])];
    }),
  );
}

function unlike(kind: string, live: Texts, wanted: Texts): string[] {
  return [...new Set([...live.keys(), ...wanted.keys()])].toSorted().flatMap((name) => {
    if (!wanted.has(name)) return [`${kind} ${name} is new`];
    if (!live.has(name)) return [`${kind} ${name} is gone`];
    return live.get(name) === wanted.get(name) ? [] : [`${kind} ${name} differs`];
  });
}
