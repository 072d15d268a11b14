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
export function meant(policy: Policy, flows: readonly string[]): string[] {
  const kinds = flows.flatMap((name) => KINDS.get(name) ?? []);
  const names = policy.flows
    .filter(({ kind, name }) => kinds.includes(kind) || flows.includes(name))
    .map(({ name }) => name);
  return [...new Set(names)];
}

/**
 * Returns when each of the flows has opened connections that these rules allowed, and that somebody answered; throws with
 * those that have not. What is open already is forgotten by connection tracking, so that its next packet is judged anew;
 * whoever had sent a packet that was lost thereby sends it again. What it returns: devices of these flows that did not
 * answer until then, which may well be off, or asked more rarely.
 */
export async function mustWork(nft: Nft, policy: Policy, { flows, within }: MustWork): Promise<string[]> {
  const names = meant(policy, flows);
  if (names.length === 0) return [];
  const before = await counts(nft);
  const judge = new Judge(policyAt(policy, epochMs(Date.now())), ownAddresses());
  await cutAll((connection) => judge.flowsOf(connection).some((name) => names.includes(name)));
  const end = sinceBoot() + within;
  for (;;) {
    const now = await counts(nft);
    const silent = names.filter((name) => (now.get(name) ?? 0) <= (before.get(name) ?? 0));
    const isOver = sinceBoot() > end;
    // The table of connections may be long: it is read when every flow has had a packet, and to tell what is missing.
    if (silent.length === 0 || isOver) {
      const answers = await answered(policy, names, judge);
      const unanswered = names.filter((name) => !silent.includes(name) && answers.get(name)?.size === 0);
      if (silent.length === 0 && unanswered.length === 0) return withoutAnswer(policy, answers);
      if (isOver) throw notWorking(silent, unanswered, within);
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

/** Addresses at the far end of connections of each flow that were answered, or that nobody has to answer. */
type Answers = ReadonlyMap<string, ReadonlySet<bigint>>;

async function answered(policy: Policy, names: readonly string[], judge: Judge): Promise<Answers> {
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
