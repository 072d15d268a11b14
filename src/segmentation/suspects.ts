import type { Config } from '../config/config.ts';
import { nearest } from '../config/nearest.ts';
import { type Address, notADevice, parseAddress, parseSubnet } from '../config/network.ts';
import type { Traffic } from '../config/services.ts';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import type { Policy } from './policy.ts';
import { MAC, type Suspect } from './quarantine.ts';
import { ofFamily } from './ranges.ts';

// Whom somebody means who is to be cut off: a name, an address or a hardware address, by what the file says.

/** What management lets through whoever is in quarantine. */
export interface Managing {
  readonly address: string;
  readonly traffic: readonly Traffic[];
}

export function managingFrom(policy: Policy, addresses: readonly string[]): readonly Managing[] {
  const flows = policy.flows.filter(({ kind }) => kind === 'management');
  return addresses.flatMap((one) => {
    const address = parseAddress(one);
    if (address === undefined) return [];
    const { family, value } = address;
    const traffic = flows.filter(({ from }) =>
      ofFamily(from, family).some(({ low, high }) => low <= value && value <= high),
    );
    return traffic.length === 0 ? [] : [{ address: one, traffic }];
  });
}

/** What of a device is needed to tell its packets apart. */
export interface KnownDevice {
  readonly name: string;
  readonly mac: string | undefined;
  readonly endpoint: object;
}

/** What the file says about who has which address. */
export interface Directory {
  readonly devices: readonly KnownDevice[];
  /** Those of the zones. */
  readonly subnets: readonly string[];
}

export const EMPTY_DIRECTORY: Directory = { devices: [], subnets: [] };

export const directoryOf = ({ devices, zones }: Pick<Config, 'devices' | 'zones'>): Directory => ({
  devices,
  subnets: zones.flatMap(({ subnets }) => subnets),
});

/** Somebody who is asked for. */
export interface Meant extends Suspect {
  /** What they are called from now on: the name of the device; an address where that stands for none, or for several. */
  readonly device: string;
  /** What they may have been called before the file said whose address it is. */
  readonly aliases: readonly string[];
  /** Devices that no packet can be told apart from it: units behind one address. */
  readonly beside: readonly string[];
}

/** Does it name somebody whatever the file says? */
export const isAddress = (name: string): boolean =>
  parseAddress(name) !== undefined || macOf(name) !== undefined;

const macOf = (text: string): string | undefined =>
  MAC.test(text.toLowerCase()) ? text.toLowerCase() : undefined;

/** As it stands in the book, however it was written. */
export const canonicalName = (name: string): string => parseAddress(name)?.text ?? macOf(name) ?? name;

function loopback({ family, value }: Address): string | undefined {
  const isOwn = family === 4 ? value >> 24n === 127n : value === 1n;
  return isOwn ? 'is what every machine calls itself' : undefined;
}

/** The ends of an IPv4 subnet are of nobody (RFC 1122, 3.2.1.3); one of two addresses, or of one, has no ends (RFC 3021). */
function end(address: Address, subnets: readonly string[]): string | undefined {
  for (const { family, first, last, prefix, text } of subnets.flatMap((one) => parseSubnet(one) ?? [])) {
    if (family !== 4 || address.family !== 4 || prefix > 30) continue;
    if (address.value === first) return `is the address of the network ${text} itself`;
    if (address.value === last) return `is the broadcast address of ${text}`;
  }
  return undefined;
}

/** Why no device can have it as its own: the lowest bit of the first byte is that of groups (IEEE 802, the I/G bit). */
function group(mac: string | undefined): string | undefined {
  const isNobody =
    mac !== undefined && ((Number.parseInt(mac.slice(0, 2), 16) & 1) === 1 || /^[0:]*$/.test(mac));
  return isNobody ? 'is the hardware address of a group, or of nobody' : undefined;
}

/** One device, and by what its packets are known. */
interface Ends {
  readonly name: string;
  readonly mac: string | undefined;
  readonly address: string | undefined;
}

function endsOf({ name, mac, endpoint }: KnownDevice): Ends {
  const host = 'host' in endpoint && typeof endpoint.host === 'string' ? endpoint.host : '';
  return { name, mac: mac?.toLowerCase(), address: parseAddress(host)?.text };
}

const isSameHost = (one: Ends, other: Ends): boolean =>
  (one.mac !== undefined && one.mac === other.mac) ||
  (one.address !== undefined && one.address === other.address);

/** A device by its name, or anybody by an address. Throws SETUP where it is neither, or has no address. */
export function suspectOf(name: string, { devices, subnets }: Directory): Meant {
  const known = devices.map(endsOf);
  const named = known.find((one) => one.name === name);
  const asked = named ?? { name: canonicalName(name), mac: macOf(name), address: parseAddress(name)?.text };
  if (named === undefined) mustBeOne(name, devices, subnets);
  else if (named.mac === undefined && named.address === undefined) {
    throw new SluiceError('SETUP', `${name} has no address in the network`, {
      remedy: 'unplug it; what has no address no rule can hold back',
    });
  }
  // Of units behind one address perhaps one alone names the hardware: what is at the same host as one of these is, too.
  const near = known.filter((one) => isSameHost(one, asked));
  const host = known.filter((one) => near.some((other) => isSameHost(one, other)));
  const all = [asked, ...host];
  const [mac] = all.flatMap((one) => one.mac ?? []);
  const addresses = [...new Set(all.flatMap((one) => one.address ?? []))];
  const [only, second] = host;
  const device = named?.name ?? (second === undefined ? only?.name : addresses[0]) ?? asked.name;
  const isAlone = named === undefined || second === undefined;
  return {
    device,
    mac,
    addresses,
    aliases: isAlone ? [...addresses, ...(mac === undefined ? [] : [mac])] : [],
    beside: host.flatMap((one) => (one.name === device ? [] : one.name)),
  };
}

function mustBeOne(name: string, devices: readonly KnownDevice[], subnets: readonly string[]): void {
  const address = parseAddress(name);
  const notOne =
    address === undefined
      ? group(macOf(name))
      : (notADevice(address) ?? loopback(address) ?? end(address, subnets));
  if (notOne !== undefined) {
    throw new SluiceError('SETUP', `${visible(name)} ${notOne}`, {
      remedy: 'name one device, or cut everything: ./sluice firewall island',
    });
  }
  if (isAddress(name)) return;
  const meant = nearest(
    name,
    devices.map((one) => one.name),
  );
  throw new SluiceError('SETUP', `no device, address or hardware address is called ${visible(name)}`, {
    remedy: meant === undefined ? 'the devices of gateway.yaml have names' : `did you mean ${meant}?`,
  });
}
