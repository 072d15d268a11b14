import type { NetworkPlan, PlannedPort, PlannedVlan } from './network-plan.ts';

// Units of systemd-networkd (systemd.netdev(5), systemd.network(5)), as text.

/** Files that begin so are ours, and no others. */
export const UNIT_PREFIX = '10-sluice-';

/** Nobody on a link of the plant tells the gateway its addresses or routes. */
const QUIET = ['LinkLocalAddressing=no', 'IPv6AcceptRA=no', 'DHCP=no', 'ConfigureWithoutCarrier=yes'];
const HEAD = '# Written by ./sluice network apply; changes are lost.';

/** Every file by its name. */
export function networkUnits(plan: NetworkPlan): ReadonlyMap<string, string> {
  const files = new Map<string, string>();
  const add = (name: string, ...sections: readonly (readonly string[])[]): void => {
    files.set(
      `${UNIT_PREFIX}${name}`,
      `${[[HEAD], ...sections].map((lines) => lines.join('\n')).join('\n\n')}\n`,
    );
  };
  const names = plan.vlans.map(({ name }) => `VLAN=${name}`);
  if (plan.bridge !== undefined) {
    add(
      `${plan.bridge}.netdev`,
      ['[NetDev]', `Name=${plan.bridge}`, 'Kind=bridge'],
      // A port outside the plan has no VLAN at all.
      ['[Bridge]', 'VLANFiltering=yes', 'DefaultPVID=none', 'STP=no'],
    );
    add(
      `${plan.bridge}.network`,
      match(plan.bridge),
      ['[Network]', ...QUIET, ...names],
      ...plan.vlans.map(({ id }) => ['[BridgeVLAN]', `VLAN=${id}`]),
    );
  }
  for (const port of plan.ports)
    add(`${port.name}.network`, match(port.name), ...portSections(port, plan, names));
  for (const vlan of plan.vlans) {
    add(`${vlan.name}.netdev`, ['[NetDev]', `Name=${vlan.name}`, 'Kind=vlan'], ['[VLAN]', `Id=${vlan.id}`]);
    add(`${vlan.name}.network`, match(vlan.name), ['[Network]', ...QUIET, ...addressLines(vlan)]);
  }
  return files;
}

/** A link that a unit of ours made, or was to make. */
export interface MadeLink {
  readonly kind: string;
  /** Of a VLAN: what it was put on; undefined where no unit says it. */
  readonly parent: string | undefined;
  readonly addresses: readonly string[];
}

/** By name, from units as `networkUnits` writes them: what is left of a file that says something else by now. */
export function madeLinks(units: ReadonlyMap<string, string>): ReadonlyMap<string, MadeLink> {
  const made = new Map<string, MadeLink>();
  for (const [file, netdev] of units) {
    const name = nameOf(file, '.netdev');
    if (name === undefined) continue;
    const [parent] = [...units].flatMap(([other, text]) =>
      values(text, 'VLAN').includes(name) ? (nameOf(other, '.network') ?? []) : [],
    );
    const addresses = values(units.get(`${UNIT_PREFIX}${name}.network`) ?? '', 'Address');
    made.set(name, { kind: values(netdev, 'Kind')[0] ?? '', parent, addresses });
  }
  return made;
}

const nameOf = (file: string, ending: string): string | undefined =>
  file.startsWith(UNIT_PREFIX) && file.endsWith(ending)
    ? file.slice(UNIT_PREFIX.length, -ending.length)
    : undefined;

const values = (unit: string, key: string): string[] =>
  unit.split('\n').flatMap((line) => (line.startsWith(`${key}=`) ? line.slice(key.length + 1) : []));

/** A machine must not wait for a plant to be plugged in before it says that it is online. */
const match = (name: string): string[] => ['[Match]', `Name=${name}`, '', '[Link]', 'RequiredForOnline=no'];

function portSections(
  { access, tagged }: PlannedPort,
  { bridge }: NetworkPlan,
  names: readonly string[],
): readonly (readonly string[])[] {
  if (bridge === undefined) return [['[Network]', ...QUIET, ...names]];
  const own =
    access === undefined
      ? []
      : [['[BridgeVLAN]', `VLAN=${access}`, `PVID=${access}`, `EgressUntagged=${access}`]];
  return [
    ['[Network]', `Bridge=${bridge}`, ...QUIET],
    ...own,
    ...tagged.map((id) => ['[BridgeVLAN]', `VLAN=${id}`]),
  ];
}

function addressLines({ addresses, forwards }: PlannedVlan): string[] {
  const v6 = addresses.some((address) => address.includes(':'));
  const v4 = addresses.some((address) => !address.includes(':'));
  const families = v4 && v6 ? 'yes' : v6 ? 'ipv6' : 'ipv4';
  return [
    ...addresses.map((address) => `Address=${address}`),
    ...(forwards && addresses.length > 0 ? [`IPForward=${families}`] : []),
  ];
}
