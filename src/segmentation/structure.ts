import { merged, rangeText } from './naming.ts';
import type { Flow, Policy, PolicyZone } from './policy.ts';
import { FAMILIES, ofFamily } from './ranges.ts';

/** Something else than access that another policy changes. */
export interface StructureChange {
  readonly what: 'mode' | 'zone' | 'interface' | 'addresses' | 'guard';
  /** Undefined for the mode and for guards. */
  readonly zone: string | undefined;
  /** Place in the file, of a conduit that is looked into otherwise, or no longer. */
  readonly conduit?: string;
  /** Undefined: it was not there, or will not be. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

/** Mode, zones, their interfaces and addresses, and what of Modbus passes on conduits that were there before. Undefined: no rules at all, as in mode off. */
export function changesOfStructure(before: Policy | undefined, after: Policy): StructureChange[] {
  const [old, next] = [zonesOf(before), zonesOf(after)];
  const names = [...new Set([...old.keys(), ...next.keys()])];
  return [
    ...changed('mode', undefined, before?.mode ?? 'off', after.mode),
    ...names.flatMap((zone): StructureChange[] => {
      const [was, is] = [old.get(zone), next.get(zone)];
      if (was === undefined || is === undefined) return changed('zone', zone, placeOf(was), placeOf(is));
      return [
        ...changed('interface', zone, was.interface, is.interface),
        ...changed('addresses', zone, addressesText(was), addressesText(is)),
      ];
    }),
    ...changesOfGuards(before?.flows ?? [], after.flows),
  ];
}

/** Who reaches whom may be the same as before, and yet they may do more, or less. */
function changesOfGuards(before: readonly Flow[], after: readonly Flow[]): StructureChange[] {
  const [old, next] = [guardsOf(before), guardsOf(after)];
  return [...next].flatMap(([key, { conduit, guard }]): StructureChange[] => {
    const was = old.get(key)?.guard;
    if (was === undefined || was === guard) return [];
    return [{ what: 'guard', zone: undefined, conduit, before: was, after: guard }];
  });
}

/** Of each conduit and port of TCP: how it is guarded. */
function guardsOf(flows: readonly Flow[]): Map<string, { readonly conduit: string; readonly guard: string }> {
  const conduits = flows.filter(({ kind, protocol }) => kind === 'conduit' && protocol === 'tcp');
  return new Map(
    conduits.map(({ name, path, ports, guard }) => [
      `${name} ${ports.join('-')}`,
      { conduit: path, guard: guard === undefined ? 'no guard' : `${guard.grade}: ${guard.limits}` },
    ]),
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
