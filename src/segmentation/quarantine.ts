import { nearest } from '../config/nearest.ts';
import { type Address, notADevice, parseAddress } from '../config/network.ts';
import { SluiceError } from '../core/errors.ts';
import { visible } from '../core/visible.ts';
import { objectsOf } from './canonical.ts';
import { isRecord, text } from './field.ts';

// Who is in quarantine, as elements of the sets that the rules look into before anything else.

/** By what a device is told apart. */
export interface Suspect {
  /** Lower case, or undefined where it is not known. */
  readonly mac: string | undefined;
  /** Canonical. */
  readonly addresses: readonly string[];
}

/** Elements by the name of their set. */
export type QuarantineElements = ReadonlyMap<string, readonly string[]>;

export const QUARANTINE_SETS = ['q_mac', 'q_ip_4', 'q_ip_6'] as const;
/** More than that is no longer a quarantine; the kernel says so when it is full. */
export const QUARANTINE_SIZE = 1_024;
const MAC = /^[0-9a-f]{2}(?::[0-9a-f]{2}){5}$/;

export function quarantineElements(suspects: readonly Suspect[]): QuarantineElements {
  const macs = suspects.flatMap(({ mac }) => (mac !== undefined && MAC.test(mac) ? [mac] : []));
  const addresses = suspects.flatMap((suspect) =>
    suspect.addresses.flatMap((one) => parseAddress(one) ?? []),
  );
  const of = (family: 4 | 6): string[] =>
    addresses.flatMap((one) => (one.family === family ? [one.text] : []));
  return new Map([
    ['q_mac', sorted(macs)],
    ['q_ip_4', sorted(of(4))],
    ['q_ip_6', sorted(of(6))],
  ]);
}

const sorted = (texts: readonly string[]): string[] => [...new Set(texts)].toSorted();

/** The rules of both tables with these in quarantine from the first moment on; a document without the sets is what it was. */
export function withQuarantine(document: string, elements: QuarantineElements): string {
  if ([...elements.values()].every((some) => some.length === 0)) return document;
  const commands = commandsOf(document).map((command) => {
    const { add } = command;
    const set = isRecord(add) && isRecord(add['set']) ? add['set'] : undefined;
    const some = set === undefined ? undefined : elements.get(text(set['name']));
    return some === undefined || some.length === 0 ? command : { add: { set: { ...set, elem: some } } };
  });
  return `{"nftables":[\n${commands.map((command) => JSON.stringify(command)).join(',\n')}\n]}\n`;
}

/** Who the kernel holds in quarantine now. */
export function quarantinedIn(listing: string | undefined): QuarantineElements {
  const sets = listing === undefined ? [] : (objectsOf(listing) ?? []);
  const names: readonly string[] = QUARANTINE_SETS;
  return new Map(
    sets.flatMap(({ kind, inside }) => {
      const name = text(inside['name']);
      return kind === 'set' && names.includes(name) ? [[name, valuesOf(inside['elem'])] as const] : [];
    }),
  );
}

function valuesOf(json: unknown): string[] {
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  return list
    .map((one) => (isRecord(one) && isRecord(one['elem']) ? one['elem']['val'] : one))
    .filter((one) => typeof one === 'string');
}

function commandsOf(document: string): Readonly<Record<string, unknown>>[] {
  const parsed: unknown = JSON.parse(document);
  const list: unknown = isRecord(parsed) ? parsed['nftables'] : undefined;
  return Array.isArray(list) ? list.filter(isRecord) : [];
}

/** What of a device is needed to tell its packets apart. */
export interface KnownDevice {
  readonly name: string;
  readonly mac: string | undefined;
  readonly endpoint: object;
}

/** Does it name somebody whatever the file says? */
export const isAddress = (name: string): boolean =>
  parseAddress(name) !== undefined || MAC.test(name.toLowerCase());

function loopback({ family, value }: Address): string | undefined {
  const isOwn = family === 4 ? value >> 24n === 127n : value === 1n;
  return isOwn ? 'is what every machine calls itself' : undefined;
}

/** Why no device can have it as its own: the lowest bit of the first byte is that of groups (IEEE 802, the I/G bit). */
function group(mac: string | undefined): string | undefined {
  const isNobody =
    mac !== undefined && ((Number.parseInt(mac.slice(0, 2), 16) & 1) === 1 || /^[0:]*$/.test(mac));
  return isNobody ? 'is the hardware address of a group, or of nobody' : undefined;
}

/** A device by its name, or anybody by an address. Throws SETUP where it is neither, or has no address. */
export function suspectOf(
  name: string,
  devices: readonly KnownDevice[],
): Suspect & { readonly device: string } {
  const device = devices.find((one) => one.name === name);
  const parsed = parseAddress(name);
  const address = parsed?.text;
  const mac = MAC.test(name.toLowerCase()) ? name.toLowerCase() : undefined;
  if (device === undefined) {
    const notOne = parsed === undefined ? group(mac) : (notADevice(parsed) ?? loopback(parsed));
    if (notOne !== undefined) {
      throw new SluiceError('SETUP', `${visible(name)} ${notOne}`, {
        remedy: 'name one device, or cut everything: ./sluice firewall island',
      });
    }
    if (address !== undefined) return { device: address, mac: undefined, addresses: [address] };
    if (mac !== undefined) return { device: mac, mac, addresses: [] };
    const meant = nearest(
      name,
      devices.map((one) => one.name),
    );
    throw new SluiceError('SETUP', `no device, address or hardware address is called ${visible(name)}`, {
      remedy: meant === undefined ? 'the devices of gateway.yaml have names' : `did you mean ${meant}?`,
    });
  }
  const { endpoint } = device;
  const host =
    'host' in endpoint && typeof endpoint.host === 'string' ? parseAddress(endpoint.host) : undefined;
  const known = device.mac?.toLowerCase();
  if (host === undefined && known === undefined) {
    throw new SluiceError('SETUP', `${name} has no address in the network`, {
      remedy: 'unplug it; what has no address no rule can hold back',
    });
  }
  return { device: name, mac: known, addresses: host === undefined ? [] : [host.text] };
}
