import { readFileSync, writeFileSync } from 'node:fs';

// Closed in a way that no program undoes by flushing rules: nothing is forwarded at all.

const SWITCHES = {
  v4: '/proc/sys/net/ipv4/ip_forward',
  v6: '/proc/sys/net/ipv6/conf/all/forwarding',
} as const;
type Family = keyof typeof SWITCHES;

/** Which families were forwarded before. */
export type Forwarded = readonly Family[];

export const FORWARDED: readonly Family[] = ['v4', 'v6'];

/** Nothing passes this machine from then on. Throws where the kernel does not let us. */
export function stopForwarding(): Forwarded {
  const before = FORWARDED.filter((family) => isOn(family));
  for (const family of before) writeFileSync(SWITCHES[family], '0\n');
  return before;
}

/** Those of both, each once. */
export const bothOf = (some: Forwarded, others: Forwarded): Forwarded =>
  FORWARDED.filter((family) => some.includes(family) || others.includes(family));

export function startForwarding(before: Forwarded): void {
  for (const family of before) writeFileSync(SWITCHES[family], '1\n');
}

/**
 * Which packets that come in at a link may go on to others. IPv4 has a switch for each link, which the one for all sets;
 * of IPv6 only the one for all decides.
 */
export const forwardedFrom = (link: string): Forwarded => [
  ...(isSwitched(`/proc/sys/net/ipv4/conf/${link}/forwarding`) ? (['v4'] as const) : []),
  ...(isOn('v6') ? (['v6'] as const) : []),
];

const isOn = (family: Family): boolean => isSwitched(SWITCHES[family]);

/** No IPv6 in the kernel: nothing is forwarded. */
function isSwitched(path: string): boolean {
  try {
    return readFileSync(path, 'utf8').trim() !== '0';
  } catch {
    return false;
  }
}
