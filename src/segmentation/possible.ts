import { exactly, free, inState, type Interval, ofFamily, onHook, quarantined } from './boxes.ts';
import { ABSENT, type Hook, ICMPV6, QUARANTINE } from './packet.ts';
import type { PacketSet } from './packet-set.ts';
import type { PacketSpace } from './packet-space.ts';

export const LOOPBACK = 'lo';

/**
 * From listener query (130) to multicast router termination (153): conntrack opens no connection for any of them but
 * node information (139 and its answer 140).
 */
const UNFOLLOWED: readonly Interval[] = [
  { low: 130, high: 138 },
  { low: 141, high: 153 },
];

/**
 * All packets that can be on a way at all; what no packet can be needs no rule. To be asked when all interfaces have
 * been named.
 */
export function possible(space: PacketSpace, hook: Hook): PacketSet {
  const none = space.interface('');
  const loopback = space.interfaceNumber(LOOPBACK);
  const { low, high } = space.interfaces;
  const some = [{ low, high }];
  // The kernel forwards nothing from or to the loopback interface.
  const other = [...between(low, loopback - 1), ...between(loopback + 1, high)];
  const way = space.set({
    hook: onHook(hook),
    in: hook === 'output' ? none : hook === 'forward' ? other : some,
    out: hook === 'input' ? none : hook === 'forward' ? other : some,
    ...(hook === 'output'
      ? { ether: [exactly(ABSENT)], reversePath: [exactly(1)], quarantine: free(QUARANTINE.ether) }
      : {}),
  });
  const impossible = [
    space.set({ ether: [exactly(ABSENT)], quarantine: quarantined(QUARANTINE.ether) }),
    space.set({
      family: ofFamily('ipv6'),
      protocol: [exactly(ICMPV6)],
      port: UNFOLLOWED,
      state: inState('new', 'established', 'related'),
    }),
  ];
  return space.minus(way, space.union(impossible));
}

function between(low: number, high: number): Interval[] {
  return low <= high ? [{ low, high }] : [];
}
