import { formatAddress } from '../config/network.ts';
import { GATEWAY } from '../config/zones.ts';
import type { Addresses } from './plant.ts';
import type { AddressRange, Policy, PolicyDevice, PolicyZone } from './policy.ts';
import { EVERY, FAMILIES, type Family, isSingle, merged, ofFamily, without } from './ranges.ts';

/** More names in one sentence nobody reads. */
const MOST_NAMES = 6;

/** Addresses as people call them: `control/*`, `control/press-1`, `control/press (3 devices)`, `uplink/192.0.2.0/24`. */
export class Naming {
  readonly #zones: ReadonlyMap<string, PolicyZone>;
  readonly #devices: ReadonlyMap<string, readonly PolicyDevice[]>;

  constructor({ zones, devices = [] }: Policy) {
    this.#zones = new Map(zones.map((zone) => [zone.name, zone]));
    this.#devices = Map.groupBy(devices, ({ zone }) => zone);
  }

  /** The zone of an interface; undefined where no zone has it. */
  zoneOf(name: string): string | undefined {
    return [...this.#zones.values()].find((zone) => zone.interface === name)?.name;
  }

  name(zone: string, addresses: Addresses): string {
    const whole = this.#whole(zone);
    if (isAllOf(addresses, whole)) return zone === GATEWAY ? GATEWAY : `${zone}/*`;
    const names = this.#parts(zone, addresses);
    const rest = minus(whole, addresses);
    const others = this.#parts(zone, rest);
    // "all but one" is shorter than what lies before and behind it.
    const text =
      isWithin(addresses, whole) && others.length > 0 && others.length < names.length
        ? `* except ${listed(others)}`
        : listed(names);
    return `${zone}/${text}`;
  }

  #whole(zone: string): Addresses {
    if (zone === GATEWAY) return { v4: EVERY[4], v6: EVERY[6] };
    return this.#zones.get(zone) ?? { v4: [], v6: [] };
  }

  #parts(zone: string, addresses: Addresses): string[] {
    const devices = (this.#devices.get(zone) ?? []).filter((device) => isWithin(device, addresses));
    const theirs = {
      v4: merged(devices.flatMap(({ v4 }) => v4)),
      v6: merged(devices.flatMap(({ v6 }) => v6)),
    };
    if (devices.length > 0 && isWithin(addresses, theirs)) return this.#deviceNames(zone, devices);
    return FAMILIES.flatMap((family) =>
      merged(ofFamily(addresses, family)).map((range) => rangeText(family, range)),
    );
  }

  #deviceNames(zone: string, devices: readonly PolicyDevice[]): string[] {
    const all = Map.groupBy(this.#devices.get(zone) ?? [], ({ class: kind }) => kind);
    return [...Map.groupBy(devices, ({ class: kind }) => kind)].flatMap(([kind, some]) =>
      some.length > 1 && some.length === all.get(kind)?.length
        ? [`${kind} (${some.length} devices)`]
        : some.map(({ name }) => name),
    );
  }
}

function listed(names: readonly string[]): string {
  const more = names.length - MOST_NAMES;
  if (more > 1) return `${names.slice(0, MOST_NAMES).join(', ')} and ${more} more`;
  return names.join(', ');
}

const minus = (from: Addresses, what: Addresses): Addresses => ({
  v4: what.v4.length === 0 ? [] : without(merged(from.v4), what.v4),
  v6: what.v6.length === 0 ? [] : without(merged(from.v6), what.v6),
});

function isWithin(inner: Addresses, outer: Addresses): boolean {
  return FAMILIES.every((family) => {
    const [some, all] = [merged(ofFamily(inner, family)), merged(ofFamily(outer, family))];
    return some.every(({ low, high }) => all.some((one) => one.low <= low && high <= one.high));
  });
}

/** In each family that is meant at all. */
const isAllOf = (some: Addresses, whole: Addresses): boolean =>
  FAMILIES.every(
    (family) =>
      ofFamily(some, family).length === 0 ||
      (isWithin(ofOnly(some, family), whole) && isWithin(ofOnly(whole, family), some)),
  ) && FAMILIES.some((family) => ofFamily(some, family).length > 0);

const ofOnly = (addresses: Addresses, family: Family): Addresses => ({
  v4: family === 4 ? addresses.v4 : [],
  v6: family === 6 ? addresses.v6 : [],
});

export function rangeText(family: Family, range: AddressRange): string {
  const { low, high } = range;
  const first = formatAddress(family, low);
  if (isSingle(range)) return first;
  const size = high - low + 1n;
  if (size === 1n << BigInt(family === 4 ? 32 : 128)) return `any IPv${family}`;
  const isSubnet = (size & (size - 1n)) === 0n && low % size === 0n;
  if (!isSubnet) return `${first}-${formatAddress(family, high)}`;
  return `${first}/${(family === 4 ? 32 : 128) - (size.toString(2).length - 1)}`;
}
