import type { Conduit, Selector } from '../config/config.ts';
import { ANY_PORT, type Traffic, trafficOf } from '../config/services.ts';
import { GATEWAY } from '../config/zones.ts';
import { flowsOf } from './flows.ts';
import { type Addresses, addressesOf, isReachable, type Plant, type Reachable } from './plant.ts';
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

export function conduits(plant: Plant): Flow[] {
  const counts = new Map<string, number>();
  return plant.config.conduits.flatMap((conduit, i) => {
    const { from, to, allow, because, only } = conduit;
    // Numbered among those of the same two zones: what is added between others renames no counter.
    const stem = `conduit-${from}-${to}`;
    const count = counts.get(stem) ?? 0;
    counts.set(stem, count + 1);
    const ends = {
      name: `${stem}-${count}`,
      kind: 'conduit',
      from: plant.side(from, partOf(plant, only.from)),
      to: plant.side(to, partOf(plant, only.to)),
      because,
      path: `conduits[${i}]`,
      devices: devicesOf(plant, conduit).map(({ name }) => name),
    } as const;
    const flows = flowsOf(ends, allow.flatMap(trafficOf));
    if (flows.length === 0)
      plant.refuse(
        ends.path,
        `no packet can flow from ${from} to ${to}`,
        'choose addresses of one family, or take it out',
      );
    return flows;
  });
}

/** Undefined where no part is named: all of it. */
function partOf(plant: Plant, selectors: readonly Selector[]): Addresses | undefined {
  if (selectors.length === 0) return undefined;
  const texts = selectors.flatMap((selector) =>
    selector.kind === 'subnet'
      ? [selector.text]
      : selected(plant, selector).map(({ endpoint }) => endpoint.host),
  );
  return addressesOf(texts);
}

function devicesOf(plant: Plant, { only }: Conduit): Reachable[] {
  return [...only.from, ...only.to].flatMap((selector) => selected(plant, selector));
}

function selected({ config }: Plant, { kind, text }: Selector): Reachable[] {
  if (kind === 'subnet') return [];
  return config.devices
    .filter(isReachable)
    .filter((device) => (kind === 'class' ? device.class : device.name) === text);
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
