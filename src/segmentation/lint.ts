import type { Conduit, Config } from '../config/config.ts';
import { parseAddress } from '../config/network.ts';
import { DNS } from '../config/services.ts';
import { GATEWAY } from '../config/zones.ts';
import { flowBoxes } from './declared.ts';
import type { PacketSet } from './packet-set.ts';
import { PacketSpace } from './packet-space.ts';
import type { Contradiction } from './plant.ts';
import type { Flow, Policy } from './policy.ts';

/** What is right, can be loaded, and is hardly meant. Nothing where segmentation is off. */
export function lint(config: Config, policy: Policy): Contradiction[] {
  if (policy.mode === 'off') return [];
  return [
    ...shadowed(config, policy),
    ...unresolved(config, policy),
    ...filtered(config),
    ...pastTheDmz(config),
    ...lonely(policy),
  ];
}

/** Names of other conduits that a warning can usefully hold. */
const MOST_NAMED = 3;

/** Conduits that allow nothing that is not allowed without them; of several that say the same, the later ones. */
function shadowed({ conduits }: Config, { flows }: Policy): Contradiction[] {
  const space = new PacketSpace();
  const byPath = Map.groupBy(flows, ({ path }) => path);
  const setOf = (some: readonly Flow[]): PacketSet =>
    space.union(some.flatMap((flow) => flowBoxes(flow, space).map((box) => space.set(box))));
  const sets = conduits.map((_, i) => setOf(byPath.get(`conduits[${i}]`) ?? []));
  const own = setOf(flows.filter(({ kind }) => kind !== 'conduit'));
  // What stands before each conduit, so that no union is made anew for each of them.
  const before: PacketSet[] = [];
  let all = own;
  for (const set of sets) {
    before.push(all);
    all = space.or(all, set);
  }
  const found: Contradiction[] = [];
  let after = space.nothing;
  for (let i = conduits.length - 1; i >= 0; i -= 1) {
    const set = sets[i] ?? space.nothing;
    const left = space.minus(space.minus(set, before[i] ?? space.nothing), after);
    if (left !== space.nothing || set === space.nothing || hasMore(conduits[i])) after = space.or(after, set);
    else found.push({ path: `conduits[${i}]`, ...byWhom(i, sets, space, own) });
  }
  return found.toReversed();
}

/** Keys beyond what packets can tell: a conduit that says more than who reaches whom is never only in the way. */
const KNOWN = new Set(['from', 'to', 'allow', 'because', 'only']);
const hasMore = (conduit: Conduit | undefined): boolean =>
  Object.entries(conduit ?? {}).some(([key, value]) => !KNOWN.has(key) && value !== undefined);

function byWhom(
  index: number,
  sets: readonly PacketSet[],
  space: PacketSpace,
  own: PacketSet,
): Pick<Contradiction, 'found' | 'fix'> {
  const mine = sets[index] ?? space.nothing;
  const others = sets.flatMap((set, i) =>
    i !== index && space.and(set, mine) !== space.nothing ? [`conduits[${i}]`] : [],
  );
  const named = others.slice(0, MOST_NAMED).join(', ') + (others.length > MOST_NAMED ? ' and others' : '');
  const who =
    space.and(own, mine) === space.nothing ? named : [named, 'the devices'].filter(Boolean).join(' and ');
  return {
    found: `allows nothing that ${who} ${others.length > 1 || who.includes('devices') ? 'do' : 'does'} not allow already`,
    fix: 'take it out, or narrow the others',
  };
}

/** What the file calls by its name the gateway has to ask for, and nothing lets it ask by itself. */
function unresolved({ mqtt }: Config, { flows }: Policy): Contradiction[] {
  const host = mqtt.upstream?.host;
  if (host === undefined || parseAddress(host) !== undefined) return [];
  const asks = flows.some(
    ({ from, protocol, ports: [low, high] }) =>
      from.zone === GATEWAY && protocol === 'udp' && low <= DNS && DNS <= high,
  );
  const zone = flows.find(({ kind }) => kind === 'upstream')?.to.zone ?? 'ZONE';
  return asks
    ? []
    : [
        {
          path: 'mqtt.upstream.url',
          found: `${host} is a name, and no conduit lets the gateway ask a name server for it`,
          fix: `add { from: gateway, to: ${zone}, allow: [dns], because: … } with the zone of the name server, or write the address`,
        },
      ];
}

/** Told each time: whoever reads "guard" in a file takes it for more. */
function filtered({ conduits }: Config): Contradiction[] {
  return conduits.flatMap(({ guard }, i) =>
    guard?.grade === 'filtered'
      ? [
          {
            path: `conduits[${i}].guard.grade`,
            found: 'filtered, which is weaker: whoever builds segments by hand writes past it',
            fix: 'use enforced where a write would be dangerous',
          },
        ]
      : [],
  );
}

/** IEC 62443 and the Purdue model: between office and plant stands the DMZ. */
const DMZ = 3.5;

function pastTheDmz({ zones, conduits }: Config): Contradiction[] {
  const levels = new Map(zones.map(({ name, purdue }) => [name, purdue]));
  return conduits.flatMap(({ from, to }, i) => {
    const [a, b] = [levels.get(from), levels.get(to)];
    if (a === undefined || b === undefined || !(Math.min(a, b) < DMZ && Math.max(a, b) > DMZ)) return [];
    return [
      {
        path: `conduits[${i}]`,
        found: `from level ${a} to level ${b}, past the DMZ (${DMZ})`,
        fix: 'let both ends talk to something in a zone of level 3.5',
      },
    ];
  });
}

function lonely({ zones, flows }: Policy): Contradiction[] {
  const busy = new Set(flows.flatMap(({ from, to }) => [from.zone, to.zone]));
  return zones
    .filter(({ name }) => !busy.has(name))
    .map(({ name }) => ({
      path: `zones.${name}`,
      found: 'nothing may go into this zone or out of it',
      fix: 'add a conduit or devices, or take the zone out',
    }));
}
