import type { Traffic } from '../config/services.ts';
import { GATEWAY } from '../config/zones.ts';
import type { Flow, FlowKind, Side } from './policy.ts';
import { FAMILIES, type Family, ofFamily } from './ranges.ts';

/** What the flows of one declaration have in common. */
export interface Ends {
  readonly name: string;
  readonly kind: FlowKind;
  readonly from: Side;
  readonly to: Side;
  readonly because: string;
  readonly path: string;
  readonly devices: readonly string[];
}

/** One flow for each kind of packet that can exist between the two ends. */
export function flowsOf(ends: Ends, traffic: readonly Traffic[]): Flow[] {
  const { name, kind, because, path, devices } = ends;
  return traffic.flatMap(({ protocol, ports }) => {
    const families = FAMILIES.filter(
      (family) =>
        ofFamily(ends.from, family).length > 0 &&
        ofFamily(ends.to, family).length > 0 &&
        protocol !== (family === 4 ? 'icmpv6' : 'icmp'),
    );
    if (families.length === 0) return [];
    const [from, to] = [onlyOf(ends.from, families), onlyOf(ends.to, families)];
    return [{ name, kind, from, to, protocol, ports, because, path, devices }];
  });
}

const onlyOf = (side: Side, families: readonly Family[]): Side => ({
  ...side,
  v4: families.includes(4) ? side.v4 : [],
  v6: families.includes(6) ? side.v6 : [],
});

/** Zones are what stays: an interface that has another name changes nothing of what passes. */
export const byZone = (side: Side): Side => ({
  ...side,
  interface: side.zone === GATEWAY ? undefined : side.zone,
});
