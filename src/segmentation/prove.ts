import { type Box, inState, onHook } from './boxes.ts';
import { type EpochMs, epochMs } from '../core/units.ts';
import {
  boxesOf,
  exemptBoxes,
  filteredBoxes,
  flowBoxes,
  guardedBoxes,
  knockBoxes,
  ledBoxes,
  observedBoxes,
  quarantineBoxes,
} from './declared.ts';
import { baseChainsOf, evaluate, type Filtered, type Outcome } from './evaluate.ts';
import { type Clock, ValueReader } from './field-value.ts';
import { Follower } from './follow.ts';
import { type FrameDifference, proveFrames } from './frame-prove.ts';
import { type Gap, type Listing, parseListing, type Rule } from './listing.ts';
import { HOOKS, type Packet } from './packet.ts';
import type { PacketSet } from './packet-set.ts';
import { PacketSpace } from './packet-space.ts';
import type { Flow, Policy } from './policy.ts';
import { momentsOf, policyAt } from './policy-at.ts';
import { possible } from './possible.ts';

/** A packet that the declaration and the kernel do not agree about. */
export interface Difference {
  readonly packet: Packet;
  readonly declared: boolean;
  readonly accepted: boolean;
  readonly outcome: Outcome;
  /** The rule that decided, with the ones that led to it. */
  readonly rule: string;
}

/** One packet of a flow, followed through the rules by itself. */
export interface Witness {
  readonly flow: string;
  readonly packet: Packet;
  readonly rule: string;
}

export type Proof =
  | {
      readonly proven: true;
      /** In how many boxes without overlap the accepted packets fall. */
      readonly boxes: number;
      /** At least one for each flow: nothing is proven by being empty. */
      readonly witnesses: readonly Witness[];
      /** Conduits of which also what each segment carries decides: that was compared with the rules, not evaluated. */
      readonly filtered: readonly string[];
    }
  | { readonly proven: false; readonly differences: readonly Difference[] }
  /** Packets agree; frames at the access ports do not. */
  | { readonly proven: false; readonly frames: readonly FrameDifference[] }
  | { readonly proven: false; readonly notUnderstood: readonly Gap[] };

/** Counters of what mode observe lets pass begin so; an accept behind one is a denial that was held back. */
const WOULD_DENY = 'n_would_deny_';
/** One for each way (hook, interfaces, family); more help nobody. */
const MOST_DIFFERENCES = 20;

/**
 * Does the table that `nft -j list table inet sluice` printed accept exactly what is declared? In mode enforce: the
 * accepted packets are the declared ones, and without its rules the table would accept none. In mode observe: those that pass without an objection are the declared ones,
 * those in quarantine are dropped, and all others pass with an objection; so it is for pairs of zones that are observed
 * in mode enforce. In mode off: everything passes; an empty listing will do. `now` is what the clock shows: without it
 * no rule is understood that depends on it. What is true now has to be true before and after each moment that the policy
 * declares, too.
 */
export function prove(declared: Policy, listing: string, now?: EpochMs): Proof {
  const moments = momentsOf(declared);
  const at = (time: EpochMs): Proof =>
    provePackets(policyAt(declared, time), listing, { now: time, moments });
  const proof = now === undefined ? provePackets(declared, listing) : at(now);
  if (!proof.proven) return proof;
  for (const time of now === undefined ? [] : otherTimes(moments, now)) {
    const other = at(time);
    if (!other.proven) return toldOf(other, time);
  }
  const ports = proveFrames(now === undefined ? declared : policyAt(declared, now), listing);
  if (!('boxes' in ports)) return { proven: false, ...ports };
  return { ...proof, boxes: proof.boxes + ports.boxes };
}

/** One time before the first moment, and each of them: between two of them nothing changes. */
function otherTimes(moments: ReadonlySet<EpochMs>, now: EpochMs): EpochMs[] {
  const sorted = [...moments].toSorted((a, b) => a - b);
  const [first] = sorted;
  if (first === undefined) return [];
  const current = sorted.findLast((moment) => moment <= now);
  return [epochMs(first - 1), ...sorted].filter((time) => time !== (current ?? first - 1));
}

/** The same, of rules that will be in force, or were. */
function toldOf(proof: Extract<Proof, { proven: false }>, time: EpochMs): Proof {
  const when = `when the clock shows ${new Date(time).toISOString()}`;
  if (!('differences' in proof)) return proof;
  const differences = proof.differences.map((one) => ({ ...one, rule: `${one.rule}, ${when}` }));
  return { proven: false, differences };
}

function provePackets(policy: Policy, listing: string, clock?: Clock): Proof {
  const space = new PacketSpace();
  const values = new ValueReader((name) => space.interfaceNumber(name), clock);
  const parsed = parseListing(listing, values);
  const some = policy.mode === 'observe' || (policy.observed ?? []).length > 0;
  const observes = some ? wouldDeny : () => false;
  const expected = expectationOf(policy, space);
  const { accepted, observed, led, filtered, gaps } = evaluate(space, parsed, observes);
  if (gaps.length > 0) return { proven: false, notUnderstood: gaps };
  const follower = new Follower(space, parsed, observes);
  // What passes as it should not comes first, what is lacking next; objections last.
  const wrong = [
    space.minus(accepted, expected.accepted),
    space.minus(expected.accepted, accepted),
    space.minus(observed, expected.observed),
    space.minus(expected.observed, observed),
  ].filter((set) => set !== space.nothing);
  const tools = { space, follower };
  if (wrong.length > 0) {
    const differences = wrong.flatMap((set) => differencesOf(set, expected.accepted, tools));
    return { proven: false, differences: differences.slice(0, MOST_DIFFERENCES) };
  }
  const astray = ledAstray(led, policy, space);
  if (astray.length > 0) return { proven: false, differences: astray.slice(0, MOST_DIFFERENCES) };
  const unseen = unfiltered(filtered, policy, space);
  if (unseen.length > 0) return { proven: false, differences: unseen.slice(0, MOST_DIFFERENCES) };
  const open = policy.mode === 'enforce' ? openWays(parsed, expected.accepted, space) : [];
  if (open.length > 0) return { proven: false, differences: open };
  const witnesses = witnessesOf(policy, tools);
  if ('differences' in witnesses) return { proven: false, ...witnesses };
  const names = policy.flows.filter(({ guard }) => guard?.grade === 'filtered').map(({ name }) => name);
  return { proven: true, boxes: space.count(accepted), ...witnesses, filtered: [...new Set(names)] };
}

/** Connections have to be led to the ports that are declared for them, and no others: those of each port are compared. */
function ledAstray(led: ReadonlyMap<number, PacketSet>, policy: Policy, space: PacketSpace): Difference[] {
  const declared = ledBoxes(policy, space);
  return [...new Set([...led.keys(), ...declared.keys()])].flatMap((port) => {
    const [is, shall] = [led.get(port) ?? space.nothing, setOf(space, declared.get(port) ?? [])];
    const told = (set: PacketSet, isDeclared: boolean): Difference[] => {
      const packet = space.witness(space.and(set, space.set(ARRIVING)));
      if (packet === undefined) return [];
      const rule = `the redirects, which ${isDeclared ? 'do not lead' : 'lead'} it to port ${port} of the gateway`;
      return [
        {
          packet,
          declared: isDeclared,
          accepted: !isDeclared,
          outcome: isDeclared ? 'drop' : 'accept',
          rule,
        },
      ];
    };
    return [...told(space.minus(is, shall), false), ...told(space.minus(shall, is), true)];
  });
}

/** Segments of filtered conduits, no others, have to come by the filter; and what it refuses must not pass behind it. */
function unfiltered({ seen, observed, passed }: Filtered, policy: Policy, space: PacketSpace): Difference[] {
  const shall = space.and(possible(space, 'forward'), setOf(space, filteredBoxes(policy, space)));
  const objected = policy.mode === 'observe' ? shall : space.nothing;
  const told = (set: PacketSet, outcome: Outcome, rule: string): Difference[] => {
    const packet = space.witness(set);
    if (packet === undefined) return [];
    return [{ packet, declared: outcome === 'drop', outcome, accepted: outcome !== 'drop', rule }];
  };
  return [
    ...told(space.minus(shall, seen), 'accept', 'no filter, whatever it carries'),
    ...told(space.minus(seen, shall), 'drop', 'a filter, where it is no read'),
    ...told(passed, 'accept', 'what comes behind the filter, where it is no read'),
    ...told(
      space.minus(observed, objected),
      'would deny',
      'what comes behind the filter, where it is no read',
    ),
    ...told(space.minus(objected, observed), 'drop', 'what comes behind the filter, where it is no read'),
  ];
}

/** A first packet on its way in, before anything became of it. */
const ARRIVING: Box = { hook: onHook('input'), state: inState('new') };

/** Behind rules that drop the rest a policy of accept changes nothing, until somebody flushes them. */
function openWays(listing: Listing, declared: PacketSet, space: PacketSpace): Difference[] {
  return HOOKS.flatMap((hook) => {
    const chains = baseChainsOf(listing, hook);
    const packet = space.witness(space.minus(possible(space, hook), declared));
    if (packet === undefined || chains.some(({ base }) => base.policy === 'drop')) return [];
    const rule = `${chains.at(-1)?.name}, policy accept, as soon as its rules are flushed`;
    return [{ packet, declared: false, accepted: true, outcome: 'accept', rule }];
  });
}

interface Tools {
  readonly space: PacketSpace;
  readonly follower: Follower;
}

/** Is what this rule accepts let pass only because it observes? */
export function wouldDeny({ statements }: Rule): boolean {
  return statements.some(
    (statement) => statement.kind === 'note' && statement.counter.startsWith(WOULD_DENY),
  );
}

function expectationOf(policy: Policy, space: PacketSpace): { accepted: PacketSet; observed: PacketSet } {
  const declared = setOf(space, boxesOf(policy, space));
  const all = space.union(HOOKS.map((hook) => possible(space, hook)));
  if (policy.mode === 'off') return { accepted: all, observed: space.nothing };
  const guarded = setOf(space, guardedBoxes(policy, space));
  const knocks = knockBoxes(policy, space);
  const strange = space.minus(setOf(space, knocks.at), setOf(space, knocks.gateway));
  const accepted = space.minus(space.minus(space.and(all, declared), guarded), strange);
  if (policy.mode === 'enforce') {
    const pairs = space.minus(setOf(space, observedBoxes(policy, space)), guarded);
    return { accepted, observed: space.minus(space.and(all, pairs), accepted) };
  }
  // Quarantine is in force here too; what it does not reach, it does not reach by any interface.
  const exempt = setOf(space, exemptBoxes(policy, space, [space.interfaces]));
  const dropped = space.or(space.minus(setOf(space, quarantineBoxes()), exempt), strange);
  return { accepted, observed: space.minus(space.minus(all, accepted), dropped) };
}

function setOf(space: PacketSpace, boxes: readonly Box[]): PacketSet {
  return space.union(boxes.map((box) => space.set(box)));
}

/** A packet of each way that is not as it should be. */
function differencesOf(wrong: PacketSet, declared: PacketSet, { space, follower }: Tools): Difference[] {
  const differences: Difference[] = [];
  let left = wrong;
  while (differences.length < MOST_DIFFERENCES) {
    const packet = space.witness(left);
    if (packet === undefined) break;
    differences.push({ packet, declared: space.contains(declared, packet), ...fateOf(packet, follower) });
    left = space.minus(left, space.sameWay(packet));
  }
  return differences;
}

function fateOf(packet: Packet, follower: Follower): Omit<Difference, 'packet' | 'declared'> {
  const { outcome, rule } = follower.follow(packet);
  return { outcome, accepted: outcome !== 'drop', rule };
}

/** Equal sets could be equally empty: a packet of every flow and family is led through the rules one by one. */
function witnessesOf(policy: Policy, tools: Tools): { witnesses: Witness[] } | { differences: Difference[] } {
  const witnesses: Witness[] = [];
  for (const flow of policy.mode === 'off' ? [] : policy.flows) {
    const packets = packetsOf(flow, tools.space);
    for (const packet of packets) {
      const { outcome, accepted, rule } = fateOf(packet, tools.follower);
      if (outcome !== 'accept') return { differences: [{ packet, declared: true, outcome, accepted, rule }] };
      witnesses.push({ flow: flow.name, packet, rule });
    }
  }
  return { witnesses };
}

function packetsOf(flow: Flow, space: PacketSpace): Packet[] {
  return flowBoxes(flow, space).flatMap((box) => space.witness(space.set(box)) ?? []);
}
