import { hostname, networkInterfaces } from 'node:os';
import { isIP } from 'node:net';

const DNS_NAME = /^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9])?$/;
const ANY = new Set(['0.0.0.0', '::']);

/**
 * What a client may call a server that listens on these addresses: the addresses; for `0.0.0.0` and `::` all of this
 * machine and its name; `localhost` where one of them is a loopback address.
 */
export function namesOf(listens: readonly string[]): string[] {
  const names = new Set<string>();
  for (const listen of listens) {
    for (const name of ANY.has(listen) ? ownNames(listen === '::') : [listen]) {
      if (isIP(name) !== 0 || DNS_NAME.test(name)) names.add(name);
    }
  }
  if ([...names].some(isLoopback)) names.add('localhost');
  return [...names].sort();
}

/** `::` takes IPv4 too, as Linux does by default. */
function ownNames(dual: boolean): string[] {
  const addresses = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .filter(({ family }) => dual || family === 'IPv4')
    .map(({ address }) => address);
  return [hostname(), ...addresses];
}

function isLoopback(name: string): boolean {
  return name === '::1' || (isIP(name) === 4 && name.startsWith('127.'));
}
