import { exactly, free, inState, type Interval, onHook, quarantined } from './boxes.ts';
import { ABSENT, type Hook, ICMPV6, QUARANTINE } from './packet.ts';
import type { PacketSet } from './packet-set.ts';
import type { PacketSpace } from './packet-space.ts';

export const LOOPBACK = 'lo';

/** From listener query (130) to multicast router termination (153): conntrack follows none of them. */
const UNFOLLOWED: readonly Interval[] = [{ low: 130, high: 153 }];

/** All packets that can be on a way at all; what no packet can be needs no rule. */
export function possible(space: PacketSpace, hook: Hook): PacketSet {
  const none = space.interface('');
  const loopback = space.interfaceNumber(LOOPBACK);
  const some = [{ low: 1, high: Number.MAX_SAFE_INTEGER }];
  // The kernel forwards nothing from or to the loopback interface.
  const other = [...below(1, loopback), { low: loopback + 1, high: Number.MAX_SAFE_INTEGER }];
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
      protocol: [exactly(ICMPV6)],
      port: UNFOLLOWED,
      state: inState('new', 'established', 'related'),
    }),
  ];
  return space.minus(way, space.union(impossible));
}

function below(low: number, end: number): Interval[] {
  return low < end ? [{ low, high: end - 1 }] : [];
}
