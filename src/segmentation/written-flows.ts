import type { Conduit } from '../config/config.ts';
import { conduitNames } from '../config/conduits.ts';
import { isModbus } from '../config/guard.ts';
import { ANY_PORT, type Traffic, trafficOf } from '../config/services.ts';
import { GATEWAY } from '../config/zones.ts';
import { flowsOf } from './flows.ts';
import { partOf, selected } from './guards.ts';
import { addressesOf, type Plant, type Reachable } from './plant.ts';
import type { Flow } from './policy.ts';

// What somebody wrote down: management, conduits, and what a zone may do within itself.

export function management(plant: Plant): Flow[] {
  const given = plant.config.segmentation.management;
  if (given === undefined) return [];
  const ends = {
    name: 'management',
    kind: 'management',
    from: plant.side(given.zone, addressesOf(given.from)),
    to: plant.side(GATEWAY),
    because: 'whoever manages the gateway always reaches it',
    path: 'segmentation.management',
    devices: [],
  } as const;
  return flowsOf(ends, given.allow.flatMap(trafficOf));
}

/** `guarded` are the flows of those that are looked into, by place in the file: they stand in the place of Modbus. */
export function conduits(plant: Plant, guarded: ReadonlyMap<string, readonly Flow[]>): Flow[] {
  const names = conduitNames(plant.config.conduits);
  return plant.config.conduits.flatMap((conduit, i) => {
    const { from, to, allow, because, only, guard } = conduit;
    const ends = {
      name: names[i] ?? '',
      kind: 'conduit',
      from: plant.side(from, partOf(plant, only.from)),
      to: plant.side(to, partOf(plant, only.to)),
      because,
      path: `conduits[${i}]`,
      devices: devicesOf(plant, conduit).map(({ name }) => name),
    } as const;
    const plain = guard === undefined ? allow : allow.filter((service) => !isModbus(service));
    const flows = [...(guarded.get(ends.path) ?? []), ...flowsOf(ends, plain.flatMap(trafficOf))];
    if (flows.length === 0)
      plant.refuse(
        ends.path,
        `no packet can flow from ${from} to ${to}`,
        'choose addresses of one family, or take it out',
      );
    return flows;
  });
}

function devicesOf(plant: Plant, { only }: Conduit): Reachable[] {
  return [...only.from, ...only.to].flatMap((selector) => selected(plant, selector));
}

/** What a zone may do within itself where it is allowed to; as everywhere, ICMP is the echo request alone. */
const WITHIN: readonly Traffic[] = (['tcp', 'udp', 'icmp', 'icmpv6'] as const).map((protocol) => ({
  protocol,
  ports: ANY_PORT,
}));

export function within(plant: Plant): Flow[] {
  return plant.config.zones
    .filter((zone) => zone.within === 'allow')
    .flatMap(({ name: zone }) => {
      const ends = {
        name: `within-${zone}`,
        kind: 'within',
        from: plant.side(zone),
        to: plant.side(zone),
        because: 'devices of the zone may reach one another',
        path: `zones.${zone}.within`,
        devices: [],
      } as const;
      return flowsOf(ends, WITHIN);
    });
}
