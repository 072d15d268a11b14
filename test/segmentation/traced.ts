import { etherText } from '../../src/segmentation/packet.ts';

// What `nft -a monitor trace` of nft 1.0.6 prints, which is text even with -j: a line for each packet at each base chain
// ("inet sluice g_raw packet: iif ..."), for each rule whose conditions it met ("rule ... # handle 71 (verdict goto
// c_a_b)"), and for a policy that decided. Neither says which packet it was: frames are told by their source address.

/** A rule that decided something: its chain and its handle, or the policy of a chain. */
export interface Decision {
  readonly chain: string;
  readonly by: string;
  /** accept, drop, goto, jump or return; at the end accept or drop. */
  readonly verdict: string;
}

export interface Traced {
  /** What decided at each base chain, in the order in which the packet met them. */
  readonly stages: readonly (readonly Decision[])[];
  /** Destination as the last base chain saw it. */
  readonly destination: string;
}

/** Source address of the frame with a number. */
export const markOf = (number: number): string => etherText(0x0201_0000_0000 + number);

/** By the source address of the frame. */
export function tracesOf(text: string): ReadonlyMap<string, Traced> {
  const found = new Map<string, { stages: Decision[][]; destination: string; id: string }>();
  const byId = new Map<string, string>();
  for (const line of text.split('\n')) {
    const [, id, table, chain = '', what = ''] = /^trace id (\w+) inet (\w+) (\w+) (.*)$/.exec(line) ?? [];
    if (id === undefined) continue;
    const [, mark] = /^packet: .*ether saddr (\S+)/.exec(what) ?? [];
    if (mark !== undefined) byId.set(id, mark);
    const packet = byId.get(id);
    if (packet === undefined || table !== 'sluice') continue;
    // The last one sent counts, where one was sent until it was seen.
    let trace = found.get(packet);
    if (trace === undefined || trace.id !== id) {
      trace = { stages: [], destination: '', id };
      found.set(packet, trace);
    }
    if (mark !== undefined) {
      trace.stages.push([]);
      trace.destination = /ip6? daddr (\S+)/.exec(what)?.[1] ?? '';
      continue;
    }
    const decision = decisionOf(chain, what);
    if (decision !== undefined) trace.stages.at(-1)?.push(decision);
  }
  return found;
}

/** Undefined for a rule that only counted or logged. */
function decisionOf(chain: string, what: string): Decision | undefined {
  const [, policy] = /^policy (accept|drop)/.exec(what) ?? [];
  if (policy !== undefined) return { chain, by: `policy ${policy}`, verdict: policy };
  const [, handle = '', verdict = ''] = /^rule .* # handle (\d+) \(verdict (\w+)/.exec(what) ?? [];
  if (verdict === '' || verdict === 'continue') return undefined;
  return { chain, by: `handle ${handle}`, verdict };
}

/** The same of what the Follower says: `g_forward, rule 4 (handle 71), element ... > c_a_b, rule 1 (handle 17)`. */
export function decisionsIn(rule: string): string[] {
  return [...rule.matchAll(/(\w+), (?:rule \d+ \((handle \d+)\)|(policy \w+))/g)].map(
    ([, chain = '', handle, policy]) => `${chain} ${handle ?? policy}`,
  );
}
