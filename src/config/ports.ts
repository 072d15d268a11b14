import type { DeviceConfig, Network, Zone } from './config.ts';
import { parseAddress } from './network.ts';
import { describe, type Report } from './problem.ts';
import { choose, interfaceOf, type Known, type ZoneEntry } from './zones.ts';

interface Devices {
  readonly devices: readonly DeviceConfig[];
  /** False where a class or a device was wrong: then nothing can be said about those that are missing. */
  readonly whole: boolean;
}

/** Access ports, and who may send into them; the zones as they are meant. */
export function checkPorts(
  zones: Known<ZoneEntry>,
  { devices, whole }: Devices,
  network: Network | undefined,
  report: Report,
): Zone[] {
  const owners = interfaceOwners(zones);
  checkOwnAddresses(zones, devices, report);
  for (const device of devices) checkPlug(device, zones, report);
  return [...zones.values()].map((entry) => {
    const { zone } = entry;
    checkNames(zone, owners, report);
    checkVlan(entry, network, report);
    return { ...zone, unknownMacs: unknownMacs(entry, devices, whole, report) };
  });
}

function interfaceOwners(zones: Known<ZoneEntry>): ReadonlyMap<string, string> {
  const owners = new Map([['lo', 'the interface of the appliance itself']]);
  for (const [name, { zone }] of zones) {
    if (zone.vlan !== undefined) owners.set(`vlan${zone.vlan}`, `the VLAN of zone ${name}`);
    const own = interfaceOf(zone);
    if (own !== undefined) owners.set(own, `the interface of zone ${name}`);
  }
  return owners;
}

function checkNames({ name, ports }: Zone, owners: ReadonlyMap<string, string>, report: Report): void {
  for (const [i, port] of ports.entries()) {
    const path = ['zones', name, 'ports', i];
    const owner = owners.get(port);
    if (owner !== undefined) report(path, `${port} is also ${owner}`, 'name a port of the bridge');
    if (ports.indexOf(port) < i) report(path, `${port} is there twice`, 'keep one of them');
  }
}

function checkVlan({ zone, whole }: ZoneEntry, network: Network | undefined, report: Report): void {
  const { name, ports, vlan } = zone;
  if (ports.length === 0 || !whole) return;
  const path = ['zones', name, 'ports'];
  if (network?.kind === 'trunk') {
    report(
      path,
      'access ports, and a network without a bridge',
      'write network: { bridge: { name: br-plant } }',
    );
  } else if (vlan === undefined && (network !== undefined || zone.interface === undefined)) {
    report(path, 'access ports, and no vlan', 'give the zone a vlan', 'key');
  } else if (network !== undefined && zone.interface !== undefined) {
    const fix = 'leave the interface out: on the bridge it is the one of the VLAN';
    report(['zones', name, 'interface'], `${zone.interface} and access ports on ${network.name}`, fix);
  }
}

/** No address of the gateway is one of a device or of another zone. */
function checkOwnAddresses(zones: Known<ZoneEntry>, devices: readonly DeviceConfig[], report: Report): void {
  const owners = new Map<string, string>();
  for (const { name, endpoint } of devices) {
    const address = 'host' in endpoint ? parseAddress(endpoint.host) : undefined;
    if (address !== undefined) owners.set(address.text, `the address of device ${name}`);
  }
  for (const [name, { addressPaths }] of zones) {
    for (const [text, path] of addressPaths) {
      const [host = ''] = text.split('/');
      const owner = owners.get(host);
      if (owner !== undefined) report(path, `${host} is also ${owner}`, 'use an address that nobody has');
      owners.set(host, owner ?? `an address of zone ${name}`);
    }
  }
}

function checkPlug({ name, port, mac, zone }: DeviceConfig, zones: Known<ZoneEntry>, report: Report): void {
  if (port === undefined) return;
  const path = ['devices', name, 'port'];
  const ports = zones.get(zone)?.zone.ports ?? [];
  if (!ports.includes(port)) {
    report(path, `${describe(port)} is no port of zone ${zone}`, choose(port, ports, `zones.${zone}.ports`));
  } else if (mac === undefined) {
    report(path, 'a port and no mac', 'add the hardware address: a device is told by it');
  }
}

/** Nobody is cut off by what was not written, and nothing is let in that could have been told apart. */
function unknownMacs(
  { zone, unknownMacs: said, whole: entryIsWhole }: ZoneEntry,
  devices: readonly DeviceConfig[],
  whole: boolean,
  report: Report,
): Zone['unknownMacs'] {
  const { name, ports } = zone;
  const own = devices.filter((device) => device.zone === name);
  const without = own.filter(({ mac }) => mac === undefined);
  const path = ['zones', name, 'unknown-macs'];
  if (ports.length === 0) {
    if (said !== undefined && entryIsWhole)
      report(path, 'no access ports, so nobody to deny', 'add ports, or leave it out');
    return zone.unknownMacs;
  }
  const [first] = without;
  if (said === 'deny' && whole && own.length === 0) {
    report(path, 'deny, and no device with a mac', 'add devices with their mac, or allow');
  } else if (said === 'deny' && first !== undefined) {
    report(
      path,
      `deny, and device ${first.name} has no mac`,
      'give every device of the zone its mac, or allow',
    );
  } else if (said === undefined && entryIsWhole && first !== undefined && without.length < own.length) {
    report(
      ['zones', name, 'ports'],
      `some devices of the zone have a mac, and ${first.name} has none`,
      'give every device its mac, or write unknown-macs: allow',
    );
  }
  return said ?? (own.length > 0 && without.length === 0 ? 'deny' : 'allow');
}
