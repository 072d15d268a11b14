import { rangeText } from './naming.ts';
import { changesOfGuards } from './guard-changes.ts';
import { changesOfPorts } from './port-changes.ts';
import type { Policy, PolicyZone } from './policy.ts';
import { FAMILIES, merged, ofFamily } from './ranges.ts';

/** Something else than access that another policy changes. */
export interface StructureChange {
  readonly what: 'mode' | 'zone' | 'interface' | 'addresses' | 'observing' | 'guard' | 'port' | 'mac';
  /** Undefined where it is about no zone as such. */
  readonly zone: string | undefined;
  /** Of a port of the bridge, or the hardware address; `from -> to` of two zones that are observed. */
  readonly name?: string;
  /** Place in the file, of a conduit that is looked into otherwise, or no longer. */
  readonly conduit?: string;
  /** Undefined: it was not there, or will not be. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/**
 * Mode, zones, their interfaces and addresses, what passes for a while without a line, what of Modbus passes a guard, and
 * who may be at which port. Undefined: no rules at all, as in mode off.
 */
export function changesOfStructure(before: Policy | undefined, after: Policy): StructureChange[] {
  const [old, next] = [zonesOf(before), zonesOf(after)];
  const names = [...new Set([...old.keys(), ...next.keys()])];
  return [
    ...changed('mode', undefined, before?.mode ?? 'off', after.mode),
    ...changesOfObserving(before, after),
    ...names.flatMap((zone): StructureChange[] => {
      const [was, is] = [old.get(zone), next.get(zone)];
      if (was === undefined || is === undefined) return changed('zone', zone, placeOf(was), placeOf(is));
      return [
        ...changed('interface', zone, was.interface, is.interface),
        ...changed('addresses', zone, addressesText(was), addressesText(is)),
      ];
    }),
    ...changesOfGuards(before?.flows ?? [], after.flows).map(
      ({ path, ...texts }): StructureChange => ({ what: 'guard', zone: undefined, conduit: path, ...texts }),
    ),
    ...changesOfPorts(before?.guard, after.guard).map(
      (change): StructureChange => ({ zone: undefined, ...change }),
    ),
  ];
}

/** Until when what no line allows passes, as a whole and between two zones. */
function changesOfObserving(before: Policy | undefined, after: Policy): StructureChange[] {
  const [old, next] = [endsOf(before), endsOf(after)];
  return [...new Set([...old.keys(), ...next.keys()])].flatMap((name): StructureChange[] => {
    const [was, is] = [old.get(name), next.get(name)];
    // What another mode makes of it is told already: two zones are observed where others are not, all where all are.
    if (was === is || after.mode !== (name === EVERYWHERE ? 'observe' : 'enforce')) return [];
    return [{ what: 'observing', zone: undefined, name, before: was, after: is }];
  });
}

/** Everything, where it is no pair of zones. */
export const EVERYWHERE = 'everything';

function endsOf(policy: Policy | undefined): ReadonlyMap<string, string> {
  const { observeUntil, observed = [] } = policy ?? {};
  const whole = observeUntil === undefined ? [] : [[EVERYWHERE, observeUntil] as const];
  const pairs = observed.map(({ from, to, until }) => [`${from} -> ${to}`, until] as const);
  return new Map(
    [...whole, ...pairs].map(([name, until]) => [name, `${new Date(until).toISOString().slice(0, 16)}Z`]),
  );
}

const zonesOf = (policy: Policy | undefined): ReadonlyMap<string, PolicyZone> =>
  new Map(policy?.zones.map((zone) => [zone.name, zone]));

function changed(
  what: StructureChange['what'],
  zone: string | undefined,
  before: string | undefined,
  after: string | undefined,
): StructureChange[] {
  return before === after ? [] : [{ what, zone, before, after }];
}

const placeOf = (zone: PolicyZone | undefined): string | undefined =>
  zone && `${zone.interface}, ${addressesText(zone)}`;

/** A zone that has the rest of the world has a dozen ranges, which change with every other zone. */
const MOST_RANGES = 4;

function addressesText(zone: PolicyZone): string {
  const ranges = FAMILIES.flatMap((family) =>
    merged(ofFamily(zone, family)).map((range) => rangeText(family, range)),
  );
  return ranges.length > MOST_RANGES ? 'what no other zone has' : ranges.join(', ') || 'no addresses';
}
