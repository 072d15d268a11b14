import { setTimeout as pause } from 'node:timers/promises';
import { parseAddress } from '../config/network.ts';
import { GATEWAY } from '../config/zones.ts';
import { SluiceError } from '../core/errors.ts';
import { type Duration, epochMs, milliseconds } from '../core/units.ts';
import { objectsOf } from '../segmentation/canonical.ts';
import { Judge } from '../segmentation/connections.ts';
import { flowCounter } from '../segmentation/names.ts';
import type { AddressRange, FlowKind, Policy } from '../segmentation/policy.ts';
import { policyAt } from '../segmentation/policy-at.ts';
import { connectionsThat, ownAddresses } from './conntrack.ts';
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
export function flowsMeant(policy: Policy, flows: readonly string[]): string[] {
  const kinds = flows.flatMap((name) => KINDS.get(name) ?? []);
  const names = policy.flows
    .filter(({ kind, name }) => kinds.includes(kind) || flows.includes(name))
    .map(({ name }) => name);
  return [...new Set(names)];
}

export interface Trial {
  /** What holds now: an island may come meanwhile. */
  readonly policy: () => Policy;
  /** Is it still worth waiting for? */
  readonly goesOn: () => boolean;
}

/**
 * Returns when each of the flows has opened connections that these rules allowed, and that somebody answered, or when it
 * is not worth waiting for any more; throws with those that have not. What is open already is forgotten by connection
 * tracking, so that its next packet is judged anew; whoever had sent a packet that was lost thereby sends it again. What it
 * returns: devices of these flows that did not answer until then, which may well be off, or asked more rarely.
 *
 * Others act meanwhile. Where somebody took the table away and it was put back, or counters were set back, all of that
 * begins anew: what was opened in between nobody judged.
 */
export async function mustWork(nft: Nft, { flows, within }: MustWork, trial: Trial): Promise<string[]> {
  const { policy, goesOn } = trial;
  const end = sinceBoot() + within;
  let before = await begun();
  while (goesOn()) {
    const now = await counted(nft);
    const names = flowsMeant(policy(), flows);
    const isAnew = now.table !== before.table || names.some((name) => now.of(name) < before.of(name));
    if (isAnew) before = await begun();
    const silent = names.filter((name) => now.of(name) <= before.of(name));
    const isOver = sinceBoot() > end;
    // The table of connections may be long: it is read when every flow has had a packet, and to tell what is missing.
    if (silent.length === 0 || isOver) {
      const answers = await answered(policy(), names);
      const unanswered = names.filter((name) => !silent.includes(name) && answers.get(name)?.size === 0);
      if (silent.length === 0 && unanswered.length === 0) return withoutAnswer(policy(), answers);
      if (isOver) throw notWorking(silent, unanswered, within);
    }
    await pause(GLANCE);
  }
  return [];

  async function begun(): Promise<Counted> {
    const from = await counted(nft);
    const names = flowsMeant(policy(), flows);
    const judge = judgeOf(policy());
    if (names.length > 0)
      await cutAll((connection) => judge.flowsOf(connection).some((name) => names.includes(name)));
    return from;
  }
}

/** Packets of flows, as far as one table has counted them. */
interface Counted {
  /** A number that no other table has had since the machine was started; undefined where there is none. */
  readonly table: number | undefined;
  readonly of: (flow: string) => number;
}

async function counted(nft: Nft): Promise<Counted> {
  // What cannot be listed just now is put right, or nothing works in the end.
  const listing = await nft.list().catch(() => undefined);
  const objects = listing === undefined ? [] : (objectsOf(listing) ?? []);
  const table = objects.find(({ kind }) => kind === 'table')?.inside['handle'];
  const packets = new Map(
    objects.flatMap(({ kind, inside }) =>
      kind === 'counter' ? [[String(inside['name']), Number(inside['packets'])] as const] : [],
    ),
  );
  return {
    table: typeof table === 'number' ? table : undefined,
    of: (name) => packets.get(flowCounter({ name })) ?? 0,
  };
}

const judgeOf = (policy: Policy): Judge => new Judge(policyAt(policy, epochMs(Date.now())), ownAddresses());

export type Ended<T> = { readonly value: T } | { readonly error: unknown };

/** What came of it, for who has to see to something first. */
export const ended = async <T>(act: Promise<T>): Promise<Ended<T>> =>
  act.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );

/** Addresses at the far end of connections of each flow that were answered, or that nobody has to answer. */
type Answers = ReadonlyMap<string, ReadonlySet<bigint>>;

async function answered(policy: Policy, names: readonly string[]): Promise<Answers> {
  const judge = judgeOf(policy);
  const wanted = new Map(
    policy.flows.filter(({ name }) => names.includes(name)).map((one) => [one.name, one]),
  );
  const answers = new Map(names.map((name) => [name, new Set<bigint>()]));
  await connectionsThat((connection) => {
    for (const name of judge.flowsOf(connection)) {
      const flow = wanted.get(name);
      // A reading that a device sends by itself may be one that wants no answer (RFC 7252, 4.3).
      if (flow === undefined || !(connection.answered || flow.kind === 'push')) continue;
      const far = flow.to.zone === GATEWAY ? connection.source : connection.answers.address;
      answers.get(name)?.add(parseAddress(far)?.value ?? -1n);
    }
    return false; // nothing of it is kept
  });
  return answers;
}

/** `press-2 (poll-control)`, of flows that stand for devices. */
export function withoutAnswer({ flows, devices = [] }: Policy, answers: Answers): string[] {
  return [...answers].flatMap(([name, addresses]) => {
    const meantBy = flows.filter((flow) => flow.name === name).flatMap((flow) => flow.devices);
    const among = (ranges: readonly AddressRange[]): boolean =>
      ranges.some(({ low, high }) => [...addresses].some((one) => low <= one && one <= high));
    return devices
      .filter((device) => meantBy.includes(device.name) && !among([...device.v4, ...device.v6]))
      .map((device) => `${device.name} (${name})`);
  });
}

function notWorking(silent: readonly string[], unanswered: readonly string[], within: Duration): SluiceError {
  const time = `within ${within / 1_000} s`;
  const says = [
    ...(silent.length > 0 ? [`${silent.join(', ')} carried no new connection ${time}`] : []),
    ...(unanswered.length > 0 ? [`nobody answered what ${unanswered.join(', ')} let through ${time}`] : []),
  ];
  return new SluiceError('SETUP', `${says.join('; ')}, and has to work`, {
    remedy: './sluice firewall plan tells who loses access; segmentation.must-work names what has to work',
  });
}
