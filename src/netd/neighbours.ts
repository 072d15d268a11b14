import { notADevice, parseAddress } from '../config/network.ts';
import { errorText } from '../core/errors.ts';
import type { PolicyDevice } from '../segmentation/policy.ts';
import { ofFamily } from '../segmentation/ranges.ts';
import { asked } from './asked.ts';
import { ownAddresses } from './conntrack.ts';

/** What the kernel knows of a neighbour that does not answer any more. */
const LOST: readonly unknown[] = ['FAILED', 'INCOMPLETE'];

/** Canonical addresses that each of these hardware addresses answered for, as far as the kernel remembers; surest first. */
async function neighbours(macs: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  return macs.length === 0 ? new Map() : neighboursIn(await asked('ip', ['-j', 'neigh', 'show']), macs);
}

export function neighboursIn(json: unknown, macs: readonly string[]): ReadonlyMap<string, readonly string[]> {
  const found = new Map<string, string[]>();
  const list: readonly unknown[] = Array.isArray(json) ? json : [];
  for (const wanted of [true, false]) {
    for (const one of list) {
      if (typeof one !== 'object' || one === null || !('dst' in one) || !('lladdr' in one)) continue;
      const { dst, lladdr } = one;
      const states: readonly unknown[] = 'state' in one && Array.isArray(one.state) ? one.state : [];
      if (typeof dst !== 'string' || typeof lladdr !== 'string') continue;
      if (states.includes('REACHABLE') !== wanted || states.some((state) => LOST.includes(state))) continue;
      const mac = lladdr.toLowerCase();
      const address = parseAddress(dst);
      // Link-local ones among them: what goes there never passes from zone to zone.
      if (address === undefined || notADevice(address) !== undefined || !macs.includes(mac)) continue;
      found.set(mac, [...(found.get(mac) ?? []), address.text]);
    }
  }
  return found;
}

/** Somebody in quarantine, and what is declared of them. */
export interface Named {
  readonly device: string;
  readonly mac: string | undefined;
}

export interface Sightings {
  /** By hardware address. */
  readonly seen: ReadonlyMap<string, readonly string[]>;
  /** Why it is not known. */
  readonly notSeen: string | undefined;
}

/** Whoever claims the address of another device, or of the gateway, does not take that one with it. */
export async function sightings(
  suspects: readonly Named[],
  devices: readonly PolicyDevice[],
): Promise<Sightings> {
  const macs = suspects.flatMap(({ mac }) => mac ?? []);
  try {
    const found = await neighbours(macs);
    const own = new Set(ownAddresses());
    const seen = [...found].map(([mac, addresses]) => {
      const names = suspects.flatMap((one) => (one.mac === mac ? [one.device] : []));
      const others = devices.filter(({ name }) => !names.includes(name));
      return [mac, addresses.filter((one) => !own.has(one) && !others.some((two) => has(two, one)))] as const;
    });
    return { seen: new Map(seen), notSeen: undefined };
  } catch (error) {
    return { seen: new Map(), notSeen: errorText(error) };
  }
}

function has(device: PolicyDevice, text: string): boolean {
  const address = parseAddress(text);
  if (address === undefined) return false;
  const { family, value } = address;
  return ofFamily(device, family).some(({ low, high }) => low <= value && value <= high);
}
