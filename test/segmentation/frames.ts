// Frames as an attacker would make them, byte by byte.

export type Frame = Buffer;

export const mac = (text: string): Buffer => Buffer.from(text.replaceAll(':', ''), 'hex');
export const ip4 = (text: string): Buffer => Buffer.from(text.split('.').map(Number));
const groups = (half: string): string[] => (half === '' ? [] : half.split(':'));
export const ip6 = (text: string): Buffer => {
  const [head = '', tail] = text.split('::');
  const [a, b] = [groups(head), groups(tail ?? '')];
  const zeros = Array.from({ length: 8 - a.length - b.length }, () => '0');
  return Buffer.from([...a, ...zeros, ...b].map((group) => group.padStart(4, '0')).join(''), 'hex');
};
export const u16 = (...values: readonly number[]): Buffer =>
  Buffer.from(values.flatMap((value) => [(value >> 8) & 0xff, value & 0xff]));

export const BROADCAST = 'ff:ff:ff:ff:ff:ff';
const ALL_NODES = '33:33:00:00:00:01';

export function ethernet(to: string, from: string, type: number, payload: Buffer): Frame {
  return Buffer.concat([mac(to), mac(from), u16(type), payload]);
}

/** "sender is at mac", to everybody. */
export function arp(from: string, sender: string, claimed = from, target = sender): Frame {
  const body = [
    u16(1, 0x0800),
    Buffer.from([6, 4]),
    u16(2),
    mac(claimed),
    ip4(sender),
    mac(BROADCAST),
    ip4(target),
  ];
  return ethernet(BROADCAST, from, 0x0806, Buffer.concat(body));
}

export function checksum(parts: readonly Buffer[]): number {
  const data = Buffer.concat(parts);
  let sum = 0;
  for (let i = 0; i < data.length; i += 2) sum += ((data[i] ?? 0) << 8) | (data[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

export function udp4(from: string, source: string, target: string, ports: readonly [number, number]): Frame {
  const data = Buffer.from('sluice-frame');
  const length = 8 + data.length;
  const transport = Buffer.concat([u16(ports[0], ports[1], length, 0), data]);
  const head = Buffer.concat([
    Buffer.from([0x45, 0]), u16(20 + length, 1, 0), Buffer.from([64, 17]), u16(0), ip4(source), ip4(target),
  ]); // biome-ignore format: a header reads better
  head.writeUInt16BE(checksum([head]), 10);
  return ethernet(BROADCAST, from, 0x0800, Buffer.concat([head, transport]));
}

function packet6(source: string, target: string, next: number, rest: Buffer): Buffer {
  return Buffer.concat([
    Buffer.from([0x60, 0, 0, 0]), u16(rest.length), Buffer.from([next, 255]), ip6(source), ip6(target), rest,
  ]); // biome-ignore format: a header reads better
}

function icmp6(source: string, target: string, body: Buffer): Buffer {
  const message = Buffer.from(body);
  const pseudo = Buffer.concat([
    ip6(source),
    ip6(target),
    u16(0, message.length),
    Buffer.from([0, 0, 0, 58]),
  ]);
  message.writeUInt16BE(checksum([pseudo, message]), 2);
  return message;
}

const LINK = 'ff02::1';

/** A router advertisement; behind a destination-options header, or in a fragment, if wanted. */
export function advert(from: string, source: string, way: 'plain' | 'options' | 'fragment' = 'plain'): Frame {
  const message = icmp6(
    source,
    LINK,
    Buffer.concat([Buffer.from([134, 0, 0, 0, 64, 0]), u16(1800), Buffer.alloc(8)]),
  );
  return ethernet(ALL_NODES, from, 0x86dd, wrapped(source, message, way));
}

/** "address is at my hardware address", unasked. */
export function neighbour(
  from: string,
  source: string,
  address: string,
  way: 'plain' | 'fragment' = 'plain',
): Frame {
  const option = Buffer.concat([Buffer.from([2, 1]), mac(from)]);
  const body = Buffer.concat([Buffer.from([136, 0, 0, 0, 0x20, 0, 0, 0]), ip6(address), option]);
  return ethernet(ALL_NODES, from, 0x86dd, wrapped(source, icmp6(source, LINK, body), way));
}

/** "Does anybody have this address?", of one that has none yet. */
export function claim(from: string, address: string): Frame {
  const body = Buffer.concat([Buffer.from([135, 0, 0, 0, 0, 0, 0, 0]), ip6(address)]);
  return ethernet(ALL_NODES, from, 0x86dd, packet6('::', LINK, 58, icmp6('::', LINK, body)));
}

export function udp6(from: string, source: string, ports: readonly [number, number], target = LINK): Frame {
  const data = Buffer.from('sluice-frame');
  const body = Buffer.concat([u16(ports[0], ports[1], 8 + data.length, 0), data]);
  const pseudo = Buffer.concat([ip6(source), ip6(target), u16(0, body.length), Buffer.from([0, 0, 0, 17])]);
  body.writeUInt16BE(checksum([pseudo, body]), 6);
  return ethernet(ALL_NODES, from, 0x86dd, packet6(source, target, 17, body));
}

function wrapped(source: string, message: Buffer, way: 'plain' | 'options' | 'fragment'): Buffer {
  if (way === 'plain') return packet6(source, LINK, 58, message);
  const options = Buffer.from([58, 0, 1, 4, 0, 0, 0, 0]);
  if (way === 'options') return packet6(source, LINK, 60, Buffer.concat([options, message]));
  // The only fragment of a whole packet (RFC 6946): hosts take it as it is.
  const fragment = Buffer.concat([Buffer.from([58, 0]), u16(0), Buffer.from([0, 0, 0, 7])]);
  return packet6(source, LINK, 44, Buffer.concat([fragment, message]));
}

/** The same frame with one or two priority tags (IEEE 802.1Q and 802.1ad, VLAN 0), and as 802.3 with LLC and SNAP. */
export function disguises(frame: Frame): readonly (readonly [string, Frame])[] {
  const [addresses, rest] = [frame.subarray(0, 12), frame.subarray(12)];
  const [tag, service] = [u16(0x8100, 0), u16(0x88a8, 0)];
  const snap = Buffer.concat([Buffer.from([0xaa, 0xaa, 3, 0, 0, 0]), rest]);
  return [
    ['plain', frame],
    ['VLAN 0', Buffer.concat([addresses, tag, rest])],
    ['VLAN 0 twice', Buffer.concat([addresses, tag, tag, rest])],
    ['service VLAN 0', Buffer.concat([addresses, service, rest])],
    ['service VLAN 0 around VLAN 0', Buffer.concat([addresses, service, tag, rest])],
    ['LLC and SNAP', Buffer.concat([addresses, u16(snap.length), snap])],
  ];
}
