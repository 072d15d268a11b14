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

export function startForwarding(before: Forwarded): void {
  for (const family of before) writeFileSync(SWITCHES[family], '1\n');
}

/** No IPv6 in the kernel: nothing is forwarded. */
function isOn(family: Family): boolean {
  try {
    return readFileSync(SWITCHES[family], 'utf8').trim() !== '0';
  } catch {
    return false;
  }
}
