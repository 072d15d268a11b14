/** An IP address as a number, so that zones can be compared. */
export interface Address {
  readonly family: 4 | 6;
  readonly value: bigint;
  /** Canonical: dotted quad, or RFC 5952. */
  readonly text: string;
}

export interface Subnet {
  readonly family: 4 | 6;
  /** First and last address. */
  readonly first: bigint;
  readonly last: bigint;
  readonly prefix: number;
  readonly text: string;
}

/** IPv4 in dotted decimal without leading zeros, or IPv6 without a scope; undefined where it is neither. */
export function parseAddress(text: string): Address | undefined {
  return text.includes(':') ? parseIpv6(text) : parseIpv4(text);
}

/** `10.20.20.0/24`, `fd00:20::/64`; bits of the host may be set, `text` is without them. */
export function parseSubnet(text: string): Subnet | undefined {
  const [, host = '', digits = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const address = parseAddress(host);
  const prefix = Number(digits);
  if (address === undefined || prefix > bitsOf(address.family)) return undefined;
  const size = 1n << BigInt(bitsOf(address.family) - prefix);
  const first = address.value - (address.value % size);
  const { family } = address;
  return {
    family,
    first,
    last: first + size - 1n,
    prefix,
    text: `${formatAddress(family, first)}/${prefix}`,
  };
}

/** `10.1.2.3` or `10.1.2.0/24`: an address alone is a subnet of its own. */
export function parseAddressOrSubnet(text: string): Subnet | undefined {
  const address = text.includes('/') ? undefined : parseAddress(text);
  return address === undefined ? parseSubnet(text) : parseSubnet(`${address.text}/${bitsOf(address.family)}`);
}

export function includes(outer: Subnet, inner: Subnet): boolean {
  return outer.family === inner.family && outer.first <= inner.first && inner.last <= outer.last;
}

export function contains(subnet: Subnet, address: Address): boolean {
  return subnet.family === address.family && subnet.first <= address.value && address.value <= subnet.last;
}

export function overlap(a: Subnet, b: Subnet): boolean {
  return a.family === b.family && a.first <= b.last && b.first <= a.last;
}

/** Why no device can have this address; undefined where one can. */
export function notADevice(address: Address): string | undefined {
  const { family, value } = address;
  if (family === 4) {
    if (value >> 24n === 0n) return 'is not the address of a host';
    if (value >> 28n === 0xen) return 'is a multicast address';
    if (value >> 28n === 0xfn) return 'is a reserved or broadcast address';
    return undefined;
  }
  if (value === 0n) return 'is not the address of a host';
  if (value >> 120n === 0xffn) return 'is a multicast address';
  if (value >> 118n === 0x3fan) return 'is link-local and needs an interface beside it';
  if (value >> 32n === 0xffffn) return 'is an IPv4 address in IPv6 clothes';
  return undefined;
}

/** The same of a subnet, where it is true of all of it: nobody there can send or be sent anything from host to host. */
export function noHosts({ family, first, last }: Subnet): string | undefined {
  const ends = [first, last].map((value) =>
    notADevice({ family, value, text: formatAddress(family, value) }),
  );
  return ends[0] === ends[1] ? ends[0] : undefined;
}

/** No packet from another host comes from there (RFC 1122, 3.2.1.3; RFC 4291, 2.5.3). */
export const LOOPBACK: readonly Subnet[] = [
  { family: 4, first: 127n << 24n, last: (128n << 24n) - 1n, prefix: 8, text: '127.0.0.0/8' },
  { family: 6, first: 1n, last: 1n, prefix: 128, text: '::1/128' },
];
export const isLoopback = (subnet: Subnet): boolean => LOOPBACK.some((one) => includes(one, subnet));

export function bitsOf(family: 4 | 6): number {
  return family === 4 ? 32 : 128;
}

function parseIpv4(text: string): Address | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0n;
  for (const part of parts) {
    // No leading zeros: some programs read them as octal.
    if (!/^(?:0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return undefined;
    value = (value << 8n) | BigInt(part);
  }
  return { family: 4, value, text };
}

function parseIpv6(text: string): Address | undefined {
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head, tail] = halves.map((half) => (half === '' ? [] : half.split(':')));
  if (head === undefined) return undefined;
  const given = head.length + (tail?.length ?? 0);
  if (tail === undefined ? given !== 8 : given > 7) return undefined;
  const groups = [...head, ...Array.from({ length: 8 - given }, () => '0'), ...(tail ?? [])];
  let value = 0n;
  for (const group of groups) {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
    value = (value << 16n) | BigInt(`0x${group}`);
  }
  return { family: 6, value, text: formatAddress(6, value) };
}

/** Canonical text of an address. */
export function formatAddress(family: 4 | 6, value: bigint): string {
  if (family === 4) {
    return [24n, 16n, 8n, 0n].map((shift) => ((value >> shift) & 0xffn).toString()).join('.');
  }
  const groups = Array.from({ length: 8 }, (_, i) =>
    ((value >> BigInt(112 - 16 * i)) & 0xffffn).toString(16),
  );
  // RFC 5952, 4.2: the longest run of at least two zero groups is shortened, the first one of equals.
  const runs = [...groups.join(':').matchAll(/\b0(?::0\b)+/g)].sort((a, b) => b[0].length - a[0].length);
  const longest = runs[0];
  if (longest === undefined) return groups.join(':');
  const full = groups.join(':');
  const before = full.slice(0, longest.index).replace(/:$/, '');
  const after = full.slice(longest.index + longest[0].length).replace(/^:/, '');
  return `${before}::${after}`;
}
