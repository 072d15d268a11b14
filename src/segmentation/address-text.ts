/** An address in a form that compares fast: IPv4 as a number, IPv6 as a bigint. */
export type AddressValue = number | bigint;

const GROUPS = 8;
const MAPPED_PREFIX = 0xffffn;

/** Dotted quad; undefined where it is none. */
export function ipv4Value(text: string): number | undefined {
  const parts = text.split('.');
  if (parts.length !== 4) return undefined;
  let value = 0;
  for (const part of parts) {
    if (!/^\d{1,3}$/.test(part) || Number(part) > 255) return undefined;
    value = value * 256 + Number(part);
  }
  return value;
}

/** RFC 4291 text, with a dotted quad at its end too; no scope. Undefined where it is none. */
export function ipv6Value(text: string): bigint | undefined {
  const quad = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text);
  if (quad !== null) {
    const low = ipv4Value(quad[2] ?? '');
    if (low === undefined) return undefined;
    const [high16, low16] = [Math.floor(low / 65_536), low % 65_536];
    return ipv6Value(`${quad[1] ?? ''}${high16.toString(16)}:${low16.toString(16)}`);
  }
  const halves = text.split('::');
  if (halves.length > 2) return undefined;
  const [head = [], tail] = halves.map((half) => (half === '' ? [] : half.split(':')));
  const given = head.length + (tail?.length ?? 0);
  if (tail === undefined ? given !== GROUPS : given >= GROUPS) return undefined;
  const zeros = Array.from({ length: GROUPS - given }, () => '0');
  let digits = '';
  for (const group of [...head, ...zeros, ...(tail ?? [])]) {
    if (!/^[0-9a-f]{1,4}$/i.test(group)) return undefined;
    digits += group.padStart(4, '0');
  }
  return BigInt(`0x${digits}`);
}

/** As people write it: dotted quad, or RFC 5952. */
export function addressText(value: AddressValue): string {
  return typeof value === 'number' ? ipv4Text(value) : ipv6Text(value);
}

function ipv4Text(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 0xff).join('.');
}

function ipv6Text(value: bigint): string {
  if (value >> 32n === MAPPED_PREFIX) return `::ffff:${ipv4Text(Number(value & 0xffffffffn))}`;
  const groups = Array.from({ length: GROUPS }, (_, i) => Number((value >> BigInt(112 - 16 * i)) & 0xffffn));
  const { start, length } = longestZeros(groups);
  if (length < 2) return groupsText(groups);
  return `${groupsText(groups.slice(0, start))}::${groupsText(groups.slice(start + length))}`;
}

function groupsText(groups: readonly number[]): string {
  return groups.map((group) => group.toString(16)).join(':');
}

/** The first of the longest runs of zeros (RFC 5952, 4.2.3). */
function longestZeros(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start += 1) {
    let end = start;
    while (groups[end] === 0) end += 1;
    if (end - start > best.length) best = { start, length: end - start };
  }
  return best;
}
