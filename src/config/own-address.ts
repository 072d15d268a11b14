import { bitsOf, contains, formatAddress, parseAddress, type Subnet } from './network.ts';
import { describe, type Path, type Report } from './problem.ts';

/** Addresses of the gateway in a zone, `10.20.10.1/24`, and where each is written: of one of its subnets, with its length. */
export function readAddresses(
  value: string | readonly string[] | undefined,
  subnets: readonly Subnet[],
  path: Path,
  report: Report,
): ReadonlyMap<string, Path> {
  const known = new Map<string, Path>();
  if (value === undefined) return known;
  const texts = typeof value === 'string' ? [value] : value;
  for (const [i, text] of texts.entries()) {
    const at = typeof value === 'string' ? path : [...path, i];
    const address = readAddress(text, subnets, at, report);
    if (address === undefined) continue;
    if (known.has(address)) report(at, `${address} is there twice`, 'keep one of them');
    else known.set(address, at);
  }
  return known;
}

function readAddress(
  text: string,
  subnets: readonly Subnet[],
  path: Path,
  report: Report,
): string | undefined {
  const [host = '', length = ''] = text.split('/');
  const address = parseAddress(host);
  if (address === undefined || !/^\d{1,3}$/.test(length) || Number(length) > bitsOf(address.family)) {
    report(path, `${describe(text)} is no address with a length`, 'write an address such as 10.20.10.1/24');
    return undefined;
  }
  const canonical = `${formatAddress(address.family, address.value)}/${Number(length)}`;
  if (canonical !== text.toLowerCase()) {
    report(path, `${describe(text)} is not how the address is written`, `write ${canonical}`);
    return undefined;
  }
  if (subnets.length === 0) return canonical;
  const subnet = subnets.find((one) => contains(one, address));
  if (subnet === undefined) {
    const inside = subnets.map((one) => one.text).join(' or ');
    report(path, `${host} is outside the zone`, `use an address of ${inside}`);
    return undefined;
  }
  if (subnet.prefix !== Number(length)) {
    report(path, `/${length} where the subnet is ${subnet.text}`, `write ${host}/${subnet.prefix}`);
    return undefined;
  }
  const { first, last, family, prefix } = subnet;
  // IPv4 keeps both ends for itself (RFC 1122, 3.2.1.3; not RFC 3021); the first of IPv6 is any router (RFC 4291, 2.6.1).
  const isFirst = address.value === first && prefix < (family === 4 ? 31 : 127);
  const isLast = address.value === last && family === 4 && prefix < 31;
  if (isFirst || isLast) {
    const which = isLast ? 'broadcast address' : family === 4 ? 'network address' : 'address of any router';
    report(path, `${host} is the ${which} of ${subnet.text}`, 'use another address of the subnet');
    return undefined;
  }
  return canonical;
}
