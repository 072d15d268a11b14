import { checked } from './checked.ts';
import type { Network } from './config.ts';
import type { Report } from './problem.ts';
import * as schema from './network-schema.ts';
import { interfaceOf, type Known, type ZoneEntry } from './zones.ts';

/** How the VLANs come into being: the section `network`. */
export function readLayout(value: unknown, zones: Known<ZoneEntry>, report: Report): Network | undefined {
  if (value === undefined) return undefined;
  const { shape, whole } = checked(schema.network, value, ['network'], report);
  const { trunk, bridge } = shape;
  if (!whole) return undefined;
  if (trunk !== undefined && bridge !== undefined) {
    report(['network', 'trunk'], 'a trunk and a bridge', 'name the trunks of a bridge in bridge.trunk');
    return undefined;
  }
  if (trunk === undefined && bridge === undefined) {
    report(
      ['network'],
      'neither trunk nor bridge',
      'write trunk: eth1, or bridge: { name: br-plant }',
      'key',
    );
    return undefined;
  }
  if (![...zones.values()].some(({ zone, whole: all }) => zone.vlan !== undefined || !all)) {
    report(['network'], 'a network, and no zone with a vlan', 'give the zones their vlan', 'key');
  }
  const taken = takenNames(zones);
  const check = (name: string, ...path: readonly (string | number)[]): void => {
    const owner = taken.get(name);
    if (owner !== undefined) report(['network', ...path], `${name} is also ${owner}`, 'name another one');
    taken.set(name, owner ?? 'named before it');
  };
  if (trunk !== undefined) {
    check(trunk, 'trunk');
    return { kind: 'trunk', trunk };
  }
  const { name = '', trunk: trunks = [] } = bridge ?? {};
  check(name, 'bridge', 'name');
  for (const [i, one] of trunks.entries()) check(one, 'bridge', 'trunk', i);
  return { kind: 'bridge', name, trunks };
}

/** Names of interfaces that the zones have, and what they are for people. */
function takenNames(zones: Known<ZoneEntry>): Map<string, string> {
  const names = new Map([['lo', 'the appliance itself']]);
  for (const [name, { zone }] of zones) {
    const own = interfaceOf(zone);
    if (own !== undefined) names.set(own, `the interface of zone ${name}`);
    if (zone.vlan !== undefined) names.set(`vlan${zone.vlan}`, `the VLAN of zone ${name}`);
    for (const port of zone.ports) names.set(port, `an access port of zone ${name}`);
  }
  return names;
}
