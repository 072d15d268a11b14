import { formatAddress } from '../config/network.ts';
import type { BoundHost, GuardedPort, PortGuard } from './port-guard.ts';

// What another policy changes at the access ports of a bridge: who may be where, which no rule about packets tells.

export interface PortChange {
  /** `port` of the bridge, or a `mac`. */
  readonly what: 'port' | 'mac';
  /** `lan1`; `02:00:00:00:10:11`, with the name of its device behind it where that is known. */
  readonly name: string;
  /** Undefined: it was not guarded, or will not be. */
  readonly before: string | undefined;
  readonly after: string | undefined;
}

export function changesOfPorts(before: PortGuard | undefined, after: PortGuard | undefined): PortChange[] {
  const devices = new Map(
    [...(before?.hosts ?? []), ...(after?.hosts ?? [])].map(({ mac, path }) => [mac, path?.split('.')[1]]),
  );
  const named = (mac: string): string => {
    const device = devices.get(mac);
    return device === undefined ? mac : `${mac} (${device})`;
  };
  return [
    ...differing('port', textsOf(before?.ports, nameOf, portText), textsOf(after?.ports, nameOf, portText)),
    ...differing('mac', textsOf(before?.hosts, macOf, hostText), textsOf(after?.hosts, macOf, hostText)).map(
      (change) => ({ ...change, name: named(change.name) }),
    ),
  ];
}

const nameOf = ({ name }: GuardedPort): string => name;
const macOf = ({ mac }: BoundHost): string => mac;

const portText = ({ unknown }: GuardedPort): string => `unknown hardware addresses: ${unknown}`;

function hostText({ ports, v4, v6 }: BoundHost): string {
  const addresses = [...v4.map((one) => formatAddress(4, one)), ...v6.map((one) => formatAddress(6, one))];
  return `${ports.length === 0 ? 'at no access port' : `at ${ports.join(', ')}`}, as ${addresses.join(', ') || 'no address'}`;
}

const textsOf = <T>(
  all: readonly T[] | undefined,
  name: (one: T) => string,
  text: (one: T) => string,
): ReadonlyMap<string, string> => new Map(all?.map((one) => [name(one), text(one)]));

function differing(
  what: PortChange['what'],
  old: ReadonlyMap<string, string>,
  next: ReadonlyMap<string, string>,
): PortChange[] {
  return [...new Set([...old.keys(), ...next.keys()])].flatMap((name) => {
    const [before, after] = [old.get(name), next.get(name)];
    return before === after ? [] : [{ what, name, before, after }];
  });
}
